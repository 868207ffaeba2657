"""One contract for every method of the registry, and each method's own numbers."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, VICRegLoss

from contrasift.errors import ContrasiftError, RunFolderError, UsageError
from contrasift.negatives.losses import InfoNCE
from contrasift.options import METHODS, TrainOptions
from contrasift.store.atomic import is_temporary
from contrasift.training.byol import byol_loss
from contrasift.training.checkpoints import save_state
from contrasift.training.encoders import HEADS, weights_sha256
from contrasift.training.loading import load_encoder
from contrasift.training.method import spread
from contrasift.training.methods import MODULES
from contrasift.training.pretrain import pretrain, untrained_encoder
from contrasift.training.views import AUGMENTATIONS

# What each method is tried with; a method that is not listed fails the test of the registry.
SETTINGS = {
    "simclr": {},
    "moco": {"queue_size": 64, "momentum": 0.9, "split_bn": 2},
    "byol": {"momentum": 0.9, "predictor_dim": 12},
    "simsiam": {"predictor_dim": 6},
    "barlowtwins": {},
    "vicreg": {},
}
# Networks that follow the trained one.
FOLLOWERS = {"moco": "key_encoder", "byol": "target"}


class Spots:
    """Bright spots on dark ground, a different pattern in every image."""

    def __init__(self, count: int = 36, size: int = 12):
        rng = np.random.default_rng(11)
        spots = rng.random((count, 1, size // 3, size // 3)) < 0.3
        self._images = (255 * spots.repeat(3, axis=2).repeat(3, axis=3)).astype(np.uint8)
        self.index = np.arange(count, dtype=np.int64) * 3 + 5
        self.channels, self.image_size, self.mirror = 1, size, False

    def __len__(self) -> int:
        return len(self.index)

    def images(self, positions: np.ndarray) -> np.ndarray:
        return self._images[positions]


def options_of(method: str, **more) -> TrainOptions:
    common = {"epochs": 3, "batch_size": 16, "projection_dim": 8}
    return TrainOptions(**{**common, "method": method, **SETTINGS[method], **more})


def train(folder, method: str, *, pool=None, seed: int = 1, stop_after: int = 0, **more):
    pool = pool or Spots()
    steps = []

    def progress(done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == stop_after:
            raise InterruptedError("half-way")

    return pretrain(
        pool, np.arange(len(pool)), options_of(method, **more), seed=seed, folder=folder,
        device="cpu", progress=progress,
    )  # fmt: skip


def weights(result) -> str:
    return weights_sha256(load_encoder(result.encoder))


def log(folder) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def module_of(method: str, **more):
    options = options_of(method, **more)
    encoder = untrained_encoder(options, 1, 12, seed=3)
    return MODULES[method](
        encoder, options, augmentation=AUGMENTATIONS["small-grey"], mirror=False, seed=3,
        total_steps=10,
    )  # fmt: skip


# The contract -------------------------------------------------------------------------------------


def test_every_method_is_listed_once_everywhere():
    assert set(METHODS) == set(MODULES) == set(SETTINGS)
    for method in METHODS.values():
        assert method.head in HEADS
        assert method.paper.startswith("arXiv ")
        assert method.uses <= set(TrainOptions().as_dict())


@pytest.fixture(scope="module", params=sorted(METHODS))
def whole(request, tmp_path_factory):
    """A method and its uninterrupted run."""
    return request.param, train(tmp_path_factory.mktemp(request.param) / "run", request.param)


def test_an_interrupted_run_ends_with_the_same_weights(whole, tmp_path):
    method, uninterrupted = whole
    with pytest.raises(InterruptedError, match="half-way"):
        train(tmp_path / "run", method, stop_after=3)  # in the second epoch
    resumed = train(tmp_path / "run", method)
    assert weights(resumed) == weights(uninterrupted)
    losses = [[row["loss"] for row in log(it.folder)] for it in (resumed, uninterrupted)]
    assert losses[0] == losses[1]
    assert all(math.isfinite(float(loss)) for loss in losses[0])


def test_the_seed_decides(whole, tmp_path):
    method, first = whole
    torch.manual_seed(77)
    assert weights(train(tmp_path / "a", method)) == weights(first)
    assert weights(train(tmp_path / "b", method, seed=2)) != weights(first)


def test_the_encoder_can_be_used_elsewhere(whole):
    _, result = whole
    encoder = load_encoder(result.encoder)
    assert encoder.features(torch.rand(3, 1, 12, 12)).shape == (3, 128)
    assert encoder(torch.rand(3, 1, 12, 12)).shape == (3, 8)
    assert all(torch.isfinite(value).all() for value in encoder.state_dict().values())


def test_other_options_are_refused(whole):
    method, result = whole
    with pytest.raises(RunFolderError, match="other options"):
        train(result.folder, method, weight_decay=0.1)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_loss_falls_on_an_easy_problem(method, tmp_path):
    more = {"projection_dim": 32, "epochs": 8, "learning_rate": 3e-3}
    if method == "moco":
        more["split_bn"] = 1
    result = train(tmp_path / "run", method, **more)
    losses = [float(row["loss"]) for row in log(result.folder)]
    assert losses[-1] < losses[0]
    for row in log(result.folder):
        if "spread" in row:
            assert float(row["spread"]) > 0.3  # no collapse


@pytest.mark.parametrize("method", sorted(METHODS))
def test_gradients_reach_what_is_trained_and_nothing_else(method):
    module = module_of(method)
    learned = {id(p) for group in module.configure_optimizers()["optimizer"].param_groups
               for p in group["params"]}  # fmt: skip
    views = torch.rand(32, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    module.contrast(views, torch.arange(16)).backward()
    follower = FOLLOWERS.get(method, "none")
    for name, parameter in module.named_parameters():
        trained = not name.startswith(follower)
        assert (parameter.grad is not None) == trained == (id(parameter) in learned), name


@pytest.mark.parametrize("method", sorted(FOLLOWERS))
def test_followers_move_by_one_minus_the_momentum(method):
    module = module_of(method)
    follower = getattr(module, FOLLOWERS[method])
    before = [parameter.clone() for parameter in follower.parameters()]
    with torch.no_grad():
        for parameter in module.encoder.parameters():
            parameter.add_(1.0)
    module.contrast(torch.rand(32, 1, 12, 12), torch.arange(16))
    for old, new in zip(before, follower.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)  # m = 0.9 at the first step


# Numbers ------------------------------------------------------------------------------------------


def at_angle(degrees: float) -> tuple[torch.Tensor, torch.Tensor]:
    angle = math.radians(degrees)
    first = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    second = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    return first, second


def test_byol_and_simsiam_at_30_degrees():
    # docs/mathematics.md#losses-without-negatives
    predicted, target = at_angle(30)
    assert float(byol_loss(3 * predicted, 5 * target)) == pytest.approx(0.267949, abs=5e-7)
    similarity = NegativeCosineSimilarity()
    assert float(similarity(predicted, target)) == pytest.approx(-0.866025, abs=5e-7)


class Fixed(torch.nn.Module):
    """An encoder that gives back what it is given, for the loss of a whole module."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        return views


@pytest.mark.parametrize(("method", "loss"), [("byol", 2 * 0.267949), ("simsiam", -0.866025)])
def test_the_modules_give_these_losses(method, loss):
    module = module_of(method)
    del module.encoder, module.predictor
    module.encoder, module.predictor = Fixed(), Fixed()
    if method == "byol":
        module.target = Fixed()
    first, second = at_angle(30)
    views = torch.cat([first, second]).repeat_interleave(2, dim=0)
    assert float(module.contrast(views, torch.arange(2))) == pytest.approx(loss, abs=1e-6)


def test_moco_at_the_example_of_the_paper_on_negatives():
    # docs/mathematics.md#difficulty: q·k₊ = .9, τ = .2, loss .5333.
    cosines = torch.tensor([0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, -0.1, -0.3, -0.6])
    keys = torch.zeros(len(cosines), len(cosines) + 1)
    keys[:, 0] = cosines
    keys[torch.arange(len(cosines)), torch.arange(len(cosines)) + 1] = (1 - cosines**2).sqrt()
    query = torch.eye(len(cosines) + 1)[:1]
    loss = InfoNCE(METHODS["moco"].temperature)(query, keys[:1], keys[1:])
    assert float(loss) == pytest.approx(0.5333, abs=5e-5)


def test_barlow_twins_and_vicreg_as_they_are_written():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 9, 4))
    tensors = torch.from_numpy(first), torch.from_numpy(second)
    scaled = [(z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (first, second)]
    c = scaled[0].T @ scaled[1] / 9
    off = ~np.eye(4, dtype=bool)
    barlow = ((1 - np.diag(c)) ** 2).sum() + 5e-3 * (c[off] ** 2).sum()
    assert float(BarlowTwinsLoss()(*tensors)) == pytest.approx(barlow, rel=1e-9)
    vicreg = 25 * ((first - second) ** 2).mean()
    for z in (first, second):
        covariance = np.cov(z.T)
        vicreg += 12.5 * np.maximum(0, 1 - np.sqrt(np.diag(covariance) + 1e-4)).mean()
        vicreg += (covariance[off] ** 2).sum() / 4
    assert float(VICRegLoss()(*tensors)) == pytest.approx(vicreg, rel=1e-9)


def test_the_momentum_of_byol_rises_to_one():
    module = module_of("byol")
    for step in (0, 1, 5, 9, 10):
        expected = 1 - (1 - 0.9) * (math.cos(math.pi * step / 10) + 1) / 2
        assert module.target_momentum(step) == pytest.approx(expected, abs=1e-12)


def test_the_spread_of_even_and_of_equal_directions():
    even = torch.randn(20_000, 16, generator=torch.Generator().manual_seed(0))
    assert float(spread(even)) == pytest.approx(1, abs=0.02)
    assert float(spread(torch.ones(50, 16))) == pytest.approx(0, abs=1e-6)


# Optimisers, batch norm in parts ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "rate"), [("adam", "Adam", 3e-3), ("sgd", "SGD", 0.05), ("lars", "LARS", 0.3)]
)
def test_optimisers_and_their_rates(name, kind, rate):
    options = {"optimizer_name": name, "warmup_epochs": 0, "weight_decay": 0.01}
    configured = module_of("simclr", **options).configure_optimizers()["optimizer"]
    assert type(configured).__name__ == kind
    assert {group["lr"] for group in configured.param_groups} == {rate}
    scaled = module_of("simclr", scale_learning_rate=True, batch_size=512, **options)
    group = scaled.configure_optimizers()["optimizer"].param_groups[0]
    assert group["lr"] == pytest.approx(2 * rate)
    assert group["weight_decay"] == 0.01
    assert group.get("momentum", 0.9) == 0.9


def test_lars_leaves_vectors_undecayed():
    groups = module_of("simclr", optimizer_name="lars").configure_optimizers()["optimizer"]
    matrices, vectors = groups.param_groups
    assert all(p.ndim > 1 for p in matrices["params"])
    assert all(p.ndim <= 1 for p in vectors["params"])
    assert vectors["weight_decay"] == 0


def test_split_batch_norm_is_batch_norm_of_each_part():
    from contrasift.training.splitting import joined_statistics, split_batch_norm

    plain = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    images = torch.randn(8, 1, 6, 6).contiguous(memory_format=torch.channels_last)
    head = torch.nn.Sequential(torch.nn.BatchNorm1d(5))
    vectors = torch.randn(8, 5)
    for network, batch in ((plain, images), (head, vectors)):
        import copy

        split = copy.deepcopy(network)
        split_batch_norm(split, 2)
        reference = copy.deepcopy(network)
        expected = torch.cat([reference(part) for part in batch.chunk(2)])
        torch.testing.assert_close(split(batch), expected)
        joined = copy.deepcopy(network)
        joined.load_state_dict(joined_statistics(split.state_dict(), network.state_dict()))
        split.eval(), joined.eval()
        torch.testing.assert_close(split(batch), joined(batch))


def test_keys_are_shuffled_and_put_back():
    from contrasift.training.splitting import shuffled

    order, back = shuffled(16, seed=1, step=2)
    assert sorted(order.tolist()) == list(range(16)) != order.tolist()
    assert order[back].tolist() == list(range(16))
    assert shuffled(16, 1, 2)[0].tolist() == order.tolist() != shuffled(16, 1, 3)[0].tolist()


# Mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "simsam"}, "simclr, moco, byol, simsiam, barlowtwins, vicreg"),
        (
            {"method": "byol", "negatives": "duplicates"},
            "method='simclr' or method='moco' for negatives=",
        ),
        (
            {"method": "simclr", "predictor_dim": 4},
            "method='byol' or method='simsiam' for predictor_dim=",
        ),
        ({"method": "simclr", "split_bn": 2}, "method='moco' for split_bn="),
        ({"method": "byol", "predictor_dim": 0}, "predictor_dim= of at least 1"),
        ({"projection_dim": 0}, "projection_dim= of at least 1"),
        ({"learning_rate": 0.0}, "learning_rate= above 0"),
        ({"warmup_epochs": 20}, "warmup_epochs= below epochs="),
        ({"devices": 0}, "devices= of at least 1"),
        ({"devices": 3}, "batch_size= as a multiple"),
        ({"optimizer_name": "adamw"}, "adam, sgd, lars"),
        ({"precision": "8"}, "32-true"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(UsageError, match=message):
        TrainOptions(**options)


def test_a_default_that_is_written_out_is_the_same_run():
    plain, written = TrainOptions(), TrainOptions(temperature=0.5, projection_dim=128)
    assert plain.fingerprint("x") == written.fingerprint("x")
    assert TrainOptions(method="moco").resolved().temperature == 0.2
    assert TrainOptions(method="byol").resolved().projection_dim == 256
    assert plain.fingerprint("x") != TrainOptions(temperature=0.4).fingerprint("x")


def test_torchs_own_word_for_a_full_disk_is_explained(tmp_path, monkeypatch):
    def full(values, path):
        raise RuntimeError("[enforce fail at inline_container.cc:664] unexpected pos\nframe #0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ContrasiftError, match="unexpected pos. Free space.*goes on from") as found:
        save_state({}, tmp_path / "last.ckpt")
    assert "frame" not in str(found.value)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    reference = train(tmp_path / "reference", "simclr")
    folder, save, saved = tmp_path / "run", torch.save, []

    def full(values, path):
        saved.append(path)
        if len(saved) == 2:
            path.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        save(values, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(ContrasiftError, match=r"No space left on device.*goes on from"):
            train(folder, "simclr")
    kept = torch.load(folder / "last.ckpt", weights_only=True)
    assert kept["epochs"] == 1
    assert not [path for path in folder.iterdir() if is_temporary(path.name)]
    assert weights(train(folder, "simclr")) == weights(reference)
