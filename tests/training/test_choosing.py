"""Training under a policy for negatives, in the batch and beside a queue."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch

from contrasift.errors import DataError, UsageError
from contrasift.negatives import (
    Debiased,
    Decoupled,
    HardnessWeighted,
    difficulty,
    everything,
    parse_schedule,
)
from contrasift.options import PoolOptions, RunOptions, TrainOptions
from contrasift.pipeline.stages.proxy import proxy_options
from contrasift.training.choosing import ChosenNegatives, PoolTags
from contrasift.training.encoders import weights_sha256
from contrasift.training.loading import load_encoder
from contrasift.training.pretrain import pretrain


class LabelledImages:
    """Small noisy images in memory, of three classes."""

    channels, image_size, mirror = 1, 12, True

    def __init__(self, count: int = 24, labelled: bool = True):
        rng = np.random.default_rng(11)
        self.index = np.arange(count, dtype=np.int64) * 3 + 5
        labels = np.arange(count, dtype=np.int64) % 3
        self.labels = labels if labelled else None
        shapes = rng.integers(0, 256, (3, 1, 12, 12))
        noisy = shapes[labels] + rng.normal(0, 20, (count, 1, 12, 12))
        self._images = np.clip(noisy, 0, 255).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.index)

    def images(self, positions: np.ndarray) -> np.ndarray:
        return self._images[positions]


BASE = {"epochs": 3, "batch_size": 8, "projection_dim": 8}
MOCO = {**BASE, "method": "moco", "queue_size": 16, "momentum": 0.9}


def train(folder, pool=None, settings=BASE, stop_after=None, **more):
    pool = pool or LabelledImages()
    steps = []

    def progress(done: int, total: int) -> None:
        steps.append(done)
        if stop_after is not None and len(steps) == stop_after:
            raise InterruptedError("half-way")

    return pretrain(
        pool, np.arange(len(pool)), TrainOptions(**settings), seed=1, folder=folder, device="cpu",
        progress=progress, **more,
    )  # fmt: skip


def weights(result) -> str:
    return weights_sha256(load_encoder(result.encoder))


def rows(folder) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# Schedules ----------------------------------------------------------------------------------------


def test_a_schedule():
    schedule = parse_schedule("", "2: difficulty(50,100); 5: all")
    assert [schedule.at(epoch) for epoch in range(7)] == [
        None, None, *[difficulty(50, 100)] * 3, everything, everything
    ]  # fmt: skip
    assert schedule.chooses
    assert not parse_schedule("").chooses
    assert parse_schedule("~same_class", "3: all").compares("labels")
    for later in ("difficulty(50,100)", "0: all", "5: all; 5: all", "x: all", "5: all; 2: all"):
        with pytest.raises(UsageError, match="ascending epochs from 1 on"):
            parse_schedule("", later)
    with pytest.raises(UsageError, match="a policy made of"):
        parse_schedule("", "3: hard")


# Training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {**BASE, "negatives": "difficulty(50,100)"},
        {**BASE, "negatives": "random(0.5)"},
        MOCO,
        {**MOCO, "negatives": "difficulty(20,100) & ~same_class", "queue_keep_hard": 0.5},
        {**MOCO, "negatives": "~difficulty(90,100)", "queue_reserve": 16},
        {**MOCO, "negatives_schedule": "1: difficulty(50,100); 2: random(0.5)"},
    ],
    ids=lambda settings: " ".join(str(value) for value in settings.values()),
)
def test_an_interrupted_training_is_the_same(tmp_path, settings):
    whole = train(tmp_path / "whole", settings=settings)
    with pytest.raises(InterruptedError, match="half-way"):
        train(tmp_path / "parts", settings=settings, stop_after=5)
    assert weights(train(tmp_path / "parts", settings=settings)) == weights(whole)
    assert math.isfinite(whole.loss)
    losses = [row["loss"] for row in rows(tmp_path / "whole")]
    assert losses == [row["loss"] for row in rows(tmp_path / "parts")]


def test_a_policy_changes_the_weights_and_all_does_not(tmp_path):
    plain = train(tmp_path / "a")
    assert weights(train(tmp_path / "b", settings={**BASE, "negatives": "difficulty(50,100)"})) != (
        weights(plain)
    )
    everything_ = train(tmp_path / "c", settings={**BASE, "negatives": "all"})
    assert everything_.loss == pytest.approx(plain.loss, rel=1e-3)
    assert "removed_share" not in rows(tmp_path / "a")[0]


def test_the_log_says_what_was_removed(tmp_path):
    train(tmp_path / "a", settings={**BASE, "negatives": "~same_class"})
    for row in rows(tmp_path / "a"):
        assert float(row["removed_same_class"]) == 1
        assert float(row["kept_same_class"]) == 0
        assert 0 < float(row["removed_share"]) < 1
        assert 0 < float(row["removed_mass"]) < 1
    train(tmp_path / "b", settings={**MOCO, "negatives": "difficulty(50,100)"})
    assert [float(row["removed_share"]) for row in rows(tmp_path / "b")] == [0.5] * 3
    train(
        tmp_path / "c",
        LabelledImages(labelled=False),
        {**BASE, "negatives_schedule": "1: difficulty(50,100)"},
    )
    shares = [float(row["removed_share"]) for row in rows(tmp_path / "c")]
    assert math.isnan(shares[0])
    assert shares[1:] == [0.5, 0.5]
    assert {row["removed_same_class"] for row in rows(tmp_path / "c")} == {"nan"}


def test_latent_classes_and_labels_where_a_policy_needs_them(tmp_path):
    settings = {**MOCO, "negatives": "~same_latent_class"}
    latent = np.arange(24) % 3
    one = weights(train(tmp_path / "a", settings=settings, latent_classes=latent))
    by_label = weights(train(tmp_path / "b", settings={**MOCO, "negatives": "~same_class"}))
    assert one == by_label  # the same classes, found another way
    with pytest.raises(UsageError, match="latent classes for the policy ~same_latent_class"):
        train(tmp_path / "c", settings=settings)
    with pytest.raises(UsageError, match="labels for the policy ~same_class"):
        train(tmp_path / "d", LabelledImages(labelled=False), {**BASE, "negatives": "~same_class"})
    with pytest.raises(DataError, match="for each of the 24 examples"):
        train(tmp_path / "e", settings=settings, latent_classes=latent[:5])
    assert not (tmp_path / "c").exists()


def test_moco_keys_follow_and_the_queue_holds_them(tmp_path):
    from contrasift.training.encoders import build_encoder
    from contrasift.training.moco import MoCo
    from contrasift.training.views import AUGMENTATIONS, random_views

    options = TrainOptions(**MOCO)
    pool = LabelledImages()
    encoder = build_encoder("narrow", 1, 12, 8, 0)
    module = MoCo(
        encoder, options, augmentation=AUGMENTATIONS["small-grey"], mirror=True, seed=0,
        total_steps=9, tags=PoolTags.of(pool),
    )  # fmt: skip
    started = [p.detach().clone() for p in module.key_encoder.parameters()]
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(1.0)
    index = torch.from_numpy(pool.index[:8])
    views = random_views(
        torch.from_numpy(pool.images(np.arange(8))), index, (0, 1), seed=0, epoch=0,
        augmentation=AUGMENTATIONS["small-grey"], mirror=True,
    )  # fmt: skip
    before, _ = module.queue.newest_first()
    loss = module.contrast(views, index)
    loss.backward()
    for old, new in zip(started, module.key_encoder.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)  # m = 0.9
        assert new.grad is None
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    vectors, tags = module.queue.newest_first()
    torch.testing.assert_close(vectors[8:], before[:8])
    assert tags.examples[:8].tolist() == index.flip(0).tolist()
    assert tags.labels[:8].tolist() == pool.labels[:8][::-1].tolist()
    assert (tags.examples[8:] == -1).all()


def test_random_policies_draw_by_seed_epoch_and_step():
    options = TrainOptions(**{**BASE, "negatives": "random(0.5)"})
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 8, 4, generator=generator)
    index = torch.arange(8)

    def value(seed: int, epoch: int, step: int) -> float:
        return float(
            ChosenNegatives(options, None, seed).loss(first, second, index, epoch=epoch, step=step)
        )

    assert value(0, 1, 2) == value(0, 1, 2)
    assert len({value(0, 1, 2), value(1, 1, 2), value(0, 2, 2), value(0, 1, 3)}) == 4


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("decoupled", Decoupled(0.2)),
        ("debiased(0.1)", Debiased(0.1, 0.2)),
        ("hardness( 0.5, 0.1 )", HardnessWeighted(0.5, 0.1, 0.2)),
    ],
)
def test_a_loss_is_the_one_that_is_named(text, same):
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 8, 4, generator=generator)
    queue = torch.randn(32, 4, generator=generator)
    index = torch.arange(8)

    def value(queue=None, **more):
        options = TrainOptions(loss=text, temperature=0.2, **more)
        chosen = ChosenNegatives(options, None, 0)
        return float(chosen.loss(first, second, index, epoch=0, step=0, queue=queue))

    assert value() == pytest.approx(float(same(first, second)))
    assert value(queue, method="moco") == pytest.approx(float(same(first, second, queue)))
    same.negatives = difficulty(0, 50)
    left = value(queue, method="moco", negatives="difficulty(0,50)")
    assert left == pytest.approx(float(same(first, second, queue)))
    assert left != value(queue, method="moco")


@pytest.mark.parametrize(
    "text",
    ["infonce", "debiased", "debiased()", "debiased(1)", "debiased(x)", "debiased(0.1",
     "hardness(0.1)", "hardness(-1,0.1)", "hardness(nan,0.1)", "decoupled()", "decoupled(0)"],
)  # fmt: skip
def test_losses_that_there_are_not(text):
    with pytest.raises(UsageError, match="loss= as decoupled, debiased"):
        TrainOptions(loss=text)


def test_the_proxy_is_trained_with_the_plain_loss():
    run = RunOptions(PoolOptions("digits"), train=TrainOptions(method="moco", loss="debiased(0.1)"))
    assert proxy_options(run).loss == ""


def test_bad_options():
    with pytest.raises(UsageError, match="method='simclr' or method='moco' for loss="):
        TrainOptions(method="byol", loss="decoupled")
    for name, value, expected in [
        ("queue_size", 0, "queue_size= of at least 1"),
        ("queue_reserve", -1, "queue_reserve= of at least 0"),
        ("queue_keep_hard", 1.0, "queue_keep_hard= in"),
        ("momentum", 1.0, "momentum= in"),
    ]:
        with pytest.raises(UsageError, match=expected):
            TrainOptions(**{name: value})
    with pytest.raises(UsageError, match="method='moco' for queue_reserve="):
        TrainOptions(queue_reserve=5, negatives="all")
    with pytest.raises(UsageError, match="negatives= for queue_reserve="):
        TrainOptions(queue_reserve=5, method="moco")
