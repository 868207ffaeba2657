"""Batches after a switch against a naive loop; a training that selects on its way, interrupted anywhere."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from contrasift.errors import RunFolderError, UsageError
from contrasift.options import SwitchOptions, TrainOptions
from contrasift.training.encoders import weights_sha256
from contrasift.training.loading import load_encoder
from contrasift.training.method import learning_rate_factor
from contrasift.training.pretrain import CHECKPOINT, pretrain
from contrasift.training.switching import Choice, SelectedBatches, Switch
from contrasift.training.views import counter_uniforms

OPTIONS = {
    "architecture": "narrow:0.125",
    "epochs": 5,
    "batch_size": 16,
    "projection_dim": 8,
}
WHEN = {"select_after": 1, "reselect_every": 2, "mix": 0.25}


class Noise:
    """Small noisy images in memory."""

    def __init__(self, count: int = 64):
        rng = np.random.default_rng(1)
        self._images = rng.integers(0, 256, (count, 1, 12, 12), dtype=np.uint8)
        self.index = np.arange(count) * 3 + 5
        self.channels, self.image_size, self.mirror = 1, 12, False

    def __len__(self) -> int:
        return len(self.index)

    def images(self, positions: np.ndarray) -> np.ndarray:
        return self._images[positions]


# Batches ----------------------------------------------------------------------------------------


def order_key(seed: int, step: int, index: int) -> float:
    return counter_uniforms(seed, step, np.array([index]), -1, 1)[0, 0]


@settings(deadline=None, max_examples=40)
@given(
    everything=st.integers(1, 40),
    kept=st.integers(0, 40),
    batch_size=st.integers(1, 12),
    mix=st.sampled_from([0.0, 0.25, 0.5]),
    first=st.integers(1, 30),
    seed=st.integers(0, 3),
)
def test_batches_after_a_switch_are_those_of_a_loop(everything, kept, batch_size, mix, first, seed):
    pool = Noise(everything)
    selected = np.random.default_rng(seed).permutation(everything)[:kept]
    given_to = {"batch_size": batch_size, "seed": seed, "first_step": first, "mix": mix}
    others = round(mix * batch_size)
    if len(selected) < batch_size - others or everything - len(selected) < others:
        with pytest.raises(UsageError, match="as many as a batch takes"):
            SelectedBatches(pool, np.arange(everything), selected, steps=5, **given_to)
        return
    batches = SelectedBatches(pool, np.arange(everything), selected, steps=5, **given_to)
    found = [batches.batch(first + step) for step in range(12)]
    naive = reference.selected_batches(
        pool.index, selected.tolist(), order_key, count=12, **given_to
    )
    assert [sorted(batch) for batch in found] == [sorted(batch) for batch in naive]
    assert all(len(set(batch)) == batch_size for batch in found)
    backwards = [batches.batch(first + step) for step in range(11, -1, -1)]
    assert all((one == two).all() for one, two in zip(found, backwards[::-1], strict=True))


def test_an_epoch_is_as_many_steps_as_before():
    batches = SelectedBatches(
        Noise(), np.arange(64), np.arange(20), batch_size=16, seed=0, steps=4, first_step=8
    )
    assert len(batches) == len(list(batches)) == 4
    batches.first_epoch = 2
    batches.set_epoch(1)
    assert [b.tolist() for b in batches] == [batches.batch(12 + i).tolist() for i in range(4)]


def test_the_cosine_may_begin_later():
    factors = [learning_rate_factor(step, 4, 20, decay_from=8) for step in range(21)]
    assert factors[3:9] == [1] * 6
    assert factors[14] == pytest.approx(0.5)
    assert factors[20] == pytest.approx(0)
    usual = [learning_rate_factor(step, 4, 20) for step in range(21)]
    assert [learning_rate_factor(step, 4, 20, decay_from=2) for step in range(21)] == usual


# Trainings --------------------------------------------------------------------------------------


class Stop:
    """Raises at a step of this sitting, or at a call of `choose`."""

    def __init__(self, step: int = 0, choice: int = 0):
        self.step, self.choice, self.moments = step, choice, []

    def __call__(self, done: int, total: int) -> None:
        self.step -= 1
        if self.step == 0:
            raise OSError("stopped")

    def choose(self, moment) -> Choice:
        self.moments.append(
            (moment.number, moment.epoch, weights_sha256(load_encoder(moment.encoder)))
        )
        if moment.number == self.choice:
            self.choice = 0
            raise OSError("stopped")
        return Choice(np.arange(moment.number, moment.number + 24), {"told": moment.number})


def train(folder, stop=None, when=WHEN, identity="same", pool=None, **options):
    stop = stop or Stop()
    switch = Switch(SwitchOptions(**when), stop.choose, identity) if when else None
    pool = pool or Noise()
    return pretrain(
        pool,
        np.arange(len(pool)),
        TrainOptions(**OPTIONS | options),
        seed=0,
        folder=folder,
        device="cpu",
        progress=stop,
        switch=switch,
    )


def weights(result) -> str:
    return weights_sha256(load_encoder(result.encoder))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(tmp_path_factory.mktemp("switched") / "run")


def test_what_was_trained_on_is_logged(whole):
    with open(whole.folder / "metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["examples"] for row in rows] == ["64", "24", "24", "24", "24"]
    assert [row["selection"] for row in rows] == ["0", "1", "1", "2", "2"]
    assert [row["steps"] for row in rows] == ["4", "8", "12", "16", "20"]
    told = whole.selections
    assert [(one["number"], one["epoch"], one["told"]) for one in told] == [(1, 1, 1), (2, 3, 2)]
    assert told[1]["overlap_with_previous"] == pytest.approx(23 / 24)
    kept = np.load(whole.folder / "selections" / "2" / "selected.npy")
    np.testing.assert_array_equal(kept, Noise().index[2:26])


@pytest.mark.parametrize("method", ["simclr", "moco"])
def test_interrupted_anywhere_it_ends_with_the_same_weights(tmp_path, whole, method):
    options = {"method": method, **({"queue_size": 32} if method == "moco" else {})}
    expected = whole if method == "simclr" else train(tmp_path / "whole", **options)
    stops = (Stop(2), Stop(choice=1), Stop(6), Stop(choice=2), Stop(3))
    for stop in stops if method == "simclr" else stops[1::2]:
        with pytest.raises(OSError, match="stopped"):
            train(tmp_path / "run", stop, **options)
    last = Stop()
    assert weights(train(tmp_path / "run", last, **options)) == weights(expected)
    made = [] if method == "simclr" else [2]  # what was made before is not made again
    assert [number for number, *_ in last.moments] == made


def test_what_came_before_the_switch_is_the_training_without_it(tmp_path, whole):
    stop = Stop(choice=1)
    with pytest.raises(OSError, match="stopped"):
        train(tmp_path / "a", stop)
    plain = train(tmp_path / "b", when={}, keep_epochs="1")
    assert stop.moments[0][2] == weights_sha256(
        load_encoder(plain.folder / "encoder-epoch0001.safetensors")
    )
    state = torch.load(tmp_path / "a" / CHECKPOINT, weights_only=True)
    assert len(state["optimizer"]["state"]) > 0
    assert weights(plain) != weights(whole)


def test_mocos_average_may_embed(tmp_path):
    seen = {}
    for name in ("encoder", "average"):
        stop = Stop(choice=1)
        with pytest.raises(OSError, match="stopped"):
            train(
                tmp_path / name, stop, when=WHEN | {"select_with": name},
                method="moco", queue_size=32, split_bn=2,
            )  # fmt: skip
        seen[name] = stop.moments[0][2]
    assert seen["encoder"] != seen["average"]
    with pytest.raises(UsageError, match="method='moco' or method='byol'"):
        train(tmp_path / "c", when=WHEN | {"select_with": "average"})


def test_others_than_it_went_on_with_are_refused(tmp_path):
    with pytest.raises(OSError, match="stopped"):
        train(tmp_path, Stop(10))
    chosen = tmp_path / "selections" / "1" / "selected.npy"
    index = np.load(chosen)
    np.save(chosen, index[:-1])
    with pytest.raises(RunFolderError, match="examples that this training went on with"):
        train(tmp_path)
    chosen.unlink()
    with pytest.raises(RunFolderError, match="selection of epoch 1"):
        train(tmp_path)
    np.save(chosen, index)
    train(tmp_path)


def test_another_way_to_select_or_another_pool_is_another_run(tmp_path):
    with pytest.raises(OSError, match="stopped"):
        train(tmp_path, Stop(6))
    for changed in ({"identity": "other"}, {"when": WHEN | {"mix": 0.0}}, {"pool": Noise(65)}):
        with pytest.raises(RunFolderError, match="belongs to this run"):
            train(tmp_path, **changed)


# Options ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"select_after": 0}, "select_after= of at least 1"),
        ({"select_after": 1, "reselect_every": 0}, "reselect_every= of at least 1"),
        ({"select_after": 1, "mix": 1.0}, r"mix= in \[0, 1\)"),
        ({"mix": 0.1}, "select_after= for mix="),
        ({"reselect_every": 2}, "select_after= for reselect_every="),
        ({"select_after": 1, "fraction_schedule": "0.5,0.2"}, "reselect_every= for several"),
        ({"select_after": 1, "fraction_schedule": "much"}, "fraction_schedule= in"),
        ({"select_after": 1, "fraction_schedule": "0"}, "fraction_schedule= in"),
    ],
)
def test_what_cannot_be_done_is_said(options, words):
    with pytest.raises(UsageError, match=words):
        SwitchOptions(**options)


def test_when_and_how_much():
    assert SwitchOptions().epochs(5) == ()
    assert SwitchOptions(select_after=2).epochs(5) == (2,)
    assert SwitchOptions(select_after=2, reselect_every=2).epochs(7) == (2, 4, 6)
    with pytest.raises(UsageError, match="select_after= below the 2 epochs"):
        SwitchOptions(select_after=2).epochs(2)
    every = SwitchOptions(select_after=1, reselect_every=1, fraction_schedule="0.6, 0.3")
    assert [every.fraction_at(number, 0.2) for number in (1, 2, 3)] == [0.6, 0.3, 0.3]
    assert SwitchOptions(select_after=1).fraction_at(2, 0.2) == 0.2
    assert json.dumps(every.as_dict())
