from __future__ import annotations

import csv
import math
import signal
import time

import numpy as np
import pytest
import torch
from lightly.loss import NTXentLoss

from contrasift.errors import ContrasiftError, RunFolderError, UsageError
from contrasift.options import TrainOptions
from contrasift.training.batches import (
    EpochBatches,
    RowBatches,
    check_positions,
    epoch_order,
    load_batches,
)
from contrasift.training.encoders import build_encoder, weights_sha256
from contrasift.training.loading import load_encoder
from contrasift.training.method import learning_rate_factor
from contrasift.training.pretrain import choose_device, pretrain
from forking import killed_after

OPTIONS = TrainOptions(epochs=4, batch_size=8, projection_dim=8)
STEPS = 4 * 2  # 20 examples: two full batches of 8 an epoch


class ArrayImages:
    """Small noisy images in memory."""

    def __init__(self, count: int = 20, channels: int = 1, size: int = 12):
        rng = np.random.default_rng(11)
        self._images = rng.integers(0, 256, (count, channels, size, size), dtype=np.uint8)
        self.index = np.arange(count, dtype=np.int64) * 3 + 5
        self.channels, self.image_size, self.mirror = channels, size, True

    def __len__(self) -> int:
        return len(self.index)

    def images(self, positions: np.ndarray) -> np.ndarray:
        return self._images[positions]


def train(folder, pool=None, positions=None, options=OPTIONS, **settings):
    pool = pool or ArrayImages()
    positions = np.arange(len(pool)) if positions is None else positions
    settings = {"seed": 1, "device": "cpu", "progress": False, **settings}
    return pretrain(pool, positions, options, folder=folder, **settings)


def weights(result) -> str:
    return weights_sha256(load_encoder(result.encoder))


def log(result) -> list[dict]:
    with (result.folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


class StopAfter:
    """A progress callback that raises after so many steps of this sitting."""

    def __init__(self, steps: int, error: BaseException):
        self.left, self.error = steps, error

    def __call__(self, done: int, total: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole") / "run")


# The loss ---------------------------------------------------------------------------------------


def naive_nt_xent(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    views = np.concatenate([first, second])
    views = views / np.linalg.norm(views, axis=1, keepdims=True)
    n, losses = len(first), []
    for i in range(2 * n):
        positive = math.exp(views[i] @ views[(i + n) % (2 * n)] / temperature)
        others = sum(math.exp(views[i] @ views[j] / temperature) for j in range(2 * n) if j != i)
        losses.append(-math.log(positive / others))
    return sum(losses) / len(losses)


def test_the_loss_is_nt_xent():
    # docs/mathematics.md#example-two-pairs
    first, second = (np.radians(angles) for angles in ([0, 90], [30, 150]))
    first, second = (np.stack([np.cos(a), np.sin(a)], axis=1) for a in (first, second))
    assert naive_nt_xent(first, second, 0.5) == pytest.approx(0.4174, abs=5e-5)
    loss = NTXentLoss(temperature=0.5)(torch.from_numpy(first), torch.from_numpy(second))
    assert float(loss) == pytest.approx(naive_nt_xent(first, second, 0.5), rel=1e-9)
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 7, 5))
    loss = NTXentLoss(temperature=0.2)(torch.from_numpy(first), torch.from_numpy(second))
    assert float(loss) == pytest.approx(naive_nt_xent(first, second, 0.2), rel=1e-9)


def test_the_learning_rate_rises_then_follows_a_cosine():
    factors = [learning_rate_factor(step, 4, 20) for step in range(21)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1, 1]
    assert factors[12] == pytest.approx(0.5)
    assert factors[20] == pytest.approx(0)
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert learning_rate_factor(0, 1, 1) == 1


# Batches ----------------------------------------------------------------------------------------


def test_the_order_is_a_permutation_of_seed_and_epoch():
    index = np.arange(100)
    order = epoch_order(1, 2, index)
    assert sorted(order) == list(range(100))
    np.testing.assert_array_equal(order, epoch_order(1, 2, index))
    assert (order != epoch_order(1, 3, index)).any()
    assert (order != epoch_order(2, 2, index)).any()
    assert epoch_order(0, 0, index[:0]).shape == (0,)
    assert epoch_order(0, 0, index[:1]).tolist() == [0]


def test_epochs_are_full_batches_of_distinct_examples():
    pool = ArrayImages()
    positions = np.array([3, 1, 4, 15, 9, 2, 6])
    batches = EpochBatches(pool, positions, 3, seed=0)
    seen = [np.concatenate(list(batches))]
    batches.set_epoch(1)
    seen.append(np.concatenate(list(batches)))
    assert len(batches) == 2
    for epoch in seen:
        assert len(set(epoch)) == 6
        assert set(epoch) <= set(positions)
    assert (seen[0] != seen[1]).any()
    shuffled = EpochBatches(pool, positions[::-1], 3, seed=0)
    np.testing.assert_array_equal(np.concatenate(list(shuffled)), seen[0])


def test_rows_come_in_order_from_any_batch_on():
    positions = np.arange(7)
    assert [b.tolist() for b in RowBatches(positions, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [b.tolist() for b in RowBatches(positions, 3, first=2)] == [[6]]
    assert list(RowBatches(positions, 3, first=3)) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_read_whole_and_leave_the_global_generator_alone(workers):
    pool = ArrayImages()
    before = torch.get_rng_state()
    batches = list(load_batches(pool, RowBatches(np.array([4, 0, 2]), 2), workers))
    assert torch.equal(torch.get_rng_state(), before)
    assert [index.tolist() for _, index in batches] == [[17, 5], [11]]
    np.testing.assert_array_equal(batches[0][0], pool.images(np.array([4, 0])))


def test_images_that_cannot_be_written_to_are_fine():
    pool = ArrayImages()
    pool._images.flags.writeable = False
    pool.images = lambda positions: pool._images[positions[0] : positions[-1] + 1]
    images, _ = next(iter(load_batches(pool, RowBatches(np.arange(3), 3))))
    assert images.shape == (3, 1, 12, 12)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([], "at least one"),
        ([0.5], "dtype float64"),
        ([[0]], "shape"),
        ([0, 20], "between 0 and 19.*0 to 20"),
        ([-1], "between 0 and 19"),
        ([3, 3], "given twice"),
    ],
)
def test_positions_that_cannot_be_used_are_explained(positions, message):
    with pytest.raises(UsageError, match=message):
        check_positions(positions, 20)


# A run ------------------------------------------------------------------------------------------


def test_a_run_leaves_its_result_and_its_log(whole_run):
    assert (whole_run.steps, whole_run.epochs, whole_run.examples) == (STEPS, 4, 20)
    files = {p.name for p in whole_run.folder.iterdir()}
    assert files == {"run.json", "result.json", "metrics.csv", "encoder.safetensors", "tensorboard"}
    rows = log(whole_run)
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert [int(row["steps"]) for row in rows] == [2, 4, 6, 8]
    assert float(rows[-1]["loss"]) == whole_run.loss
    assert sum(float(row["seconds"]) for row in rows) == pytest.approx(whole_run.seconds)
    assert weights(whole_run) != weights_sha256(build_encoder("narrow", 1, 12, 8, seed=1))


def test_a_finished_run_is_given_back_without_work(whole_run, monkeypatch):
    monkeypatch.setattr("contrasift.training.pretrain._fit", None)
    again = train(whole_run.folder)
    assert again == whole_run


def test_training_learns(tmp_path):
    # Bright spots on dark ground: the views of an image must come to agree more than at the start.
    pool = ArrayImages(64)
    spots = np.random.default_rng(0).random((64, 1, 4, 4)) < 0.2
    pool._images = (255 * spots.repeat(3, axis=2).repeat(3, axis=3)).astype(np.uint8)
    options = TrainOptions(epochs=10, batch_size=32, learning_rate=3e-3)
    rows = log(train(tmp_path / "run", pool, options=options))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) - 0.2


def test_the_order_of_positions_and_the_global_generators_do_not_matter(tmp_path, whole_run):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    result = train(tmp_path / "run", positions=np.arange(20)[::-1])
    assert weights(result) == weights(whole_run)
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_do_not_matter(tmp_path, whole_run):
    assert weights(train(tmp_path / "run", workers=1)) == weights(whole_run)


@pytest.mark.parametrize("change", [{"seed": 2}, {"positions": np.arange(19)}])
def test_seed_and_examples_matter(tmp_path, whole_run, change):
    assert weights(train(tmp_path / "run", **change)) != weights(whole_run)


def test_steps_can_be_fixed_instead_of_epochs(tmp_path):
    result = train(tmp_path / "run", max_steps=5)
    assert (result.steps, result.epochs) == (5, 3)
    rows = log(result)
    assert [int(row["steps"]) for row in rows] == [2, 4, 5]
    assert float(rows[-1]["learning_rate"]) == pytest.approx(0, abs=1e-12)
    with pytest.raises(UsageError, match="max_steps of at least 1"):
        train(tmp_path / "other", max_steps=0)


# Interruptions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 3, 6, 8])
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path, whole_run, steps):
    with pytest.raises(OSError, match="pulled"):
        train(tmp_path / "run", progress=StopAfter(steps, OSError("the plug was pulled")))
    assert not (tmp_path / "run" / "result.json").exists()
    seen = []
    result = train(tmp_path / "run", progress=lambda done, total: seen.append((done, total)))
    # What was left after the last finished epoch, no more.
    finished = 2 * ((steps - 1) // 2)
    assert seen == [(step, STEPS) for step in range(finished + 1, STEPS + 1)]
    assert weights(result) == weights(whole_run)
    rows = log(result)
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert sum(float(row["seconds"]) for row in rows) == pytest.approx(result.seconds)
    assert result.loss == whole_run.loss


def test_a_run_that_ends_between_its_last_epoch_and_its_result(tmp_path, whole_run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("contrasift.training.pretrain._finish", None)
        with pytest.raises(TypeError, match="'NoneType' object is not callable"):
            train(tmp_path / "run")
    result = train(tmp_path / "run")
    assert weights(result) == weights(whole_run)
    assert result.epochs == 4


def test_control_c_is_passed_on_and_the_run_goes_on_later(tmp_path, whole_run):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", progress=StopAfter(3, KeyboardInterrupt("Ctrl-C")))
    assert signal.getsignal(signal.SIGINT) is handler
    assert weights(train(tmp_path / "run")) == weights(whole_run)


def tells_and_waits(pipe, folder):
    def slowly(done, total):
        pipe.send(done)
        time.sleep(0.3 if done >= 5 else 0)

    train(folder, progress=slowly)


def test_kill_9_in_an_epoch_changes_nothing(tmp_path, whole_run):
    folder = tmp_path / "run"
    killed_after(5, tells_and_waits, folder)  # in the middle of the third epoch
    assert (folder / "last.ckpt").exists()
    seen = []
    result = train(folder, progress=lambda done, total: seen.append(done))
    assert seen[0] == 5
    assert weights(result) == weights(whole_run)


# Mistakes ---------------------------------------------------------------------------------------


def test_a_folder_of_another_run_is_refused_and_left_alone(whole_run):
    before = {p.name: p.stat().st_mtime_ns for p in whole_run.folder.iterdir()}
    with pytest.raises(RunFolderError, match=r"other options.*Choose another folder"):
        train(whole_run.folder, seed=7)
    assert {p.name: p.stat().st_mtime_ns for p in whole_run.folder.iterdir()} == before


def test_a_batch_larger_than_the_training_set_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"batch_size=8 for 5 examples\. Pass batch_size=5"):
        train(tmp_path / "run", positions=np.arange(5))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_epoch(tmp_path, monkeypatch):
    from contrasift.training.simclr import SimCLR

    step = SimCLR.training_step

    def broken(self, batch):
        if self.global_step == 5:
            with torch.no_grad():
                next(self.encoder.parameters()).fill_(float("nan"))
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(SimCLR, "training_step", broken)
        with pytest.raises(ContrasiftError, match=r"nan at step 5 \(epoch 2\).*learning_rate="):
            train(tmp_path / "run")
    assert train(tmp_path / "run").steps == STEPS


def test_devices_that_are_not_there_are_refused():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(UsageError, match=r"auto, cpu.*got tpu"):
        choose_device("tpu")


def test_an_unknown_architecture_is_refused(tmp_path):
    options = TrainOptions(architecture="narow", batch_size=8)
    with pytest.raises(UsageError, match=r"Nearest names: narrow"):
        train(tmp_path / "run", options=options)


def test_plain_lines_show_share_and_rate(tmp_path, capsys):
    train(tmp_path / "run", progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(f"training: {STEPS}/{STEPS} steps, ")
    assert len(lines) == 1  # nothing of Lightning's
