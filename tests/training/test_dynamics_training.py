from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from contrasift.errors import ContrasiftError, DataError, RunFolderError
from contrasift.options import DynamicsOptions
from contrasift.training import supervised as module
from contrasift.training.supervised import record_dynamics

OPTIONS = DynamicsOptions(epochs=3, batch_size=16, seeds=1)


class Stripes:
    """Bright above or bright below; the last two examples are labelled wrongly."""

    channels, image_size, mirror = 1, 16, True

    def __init__(self, count: int = 41):
        rng = np.random.default_rng(0)
        self.index = np.arange(count, dtype=np.int64) * 3
        self.codes = np.arange(count) % 2
        self.values = rng.integers(0, 60, (count, 1, 16, 16)).astype(np.uint8)
        self.values[self.codes == 0, :, :8] += 150
        self.values[self.codes == 1, :, 8:] += 150
        self.codes[-2:] = 1 - self.codes[-2:]

    def __len__(self) -> int:
        return len(self.index)

    def images(self, positions: np.ndarray) -> np.ndarray:
        return self.values[positions]


POOL = Stripes()
ALL = np.arange(len(POOL))


def record(folder: str, options: DynamicsOptions = OPTIONS, **more):
    more = {"seed": 0, "device": "cpu", **more}
    return record_dynamics(POOL, ALL, POOL.codes, options, folder=Path(folder), **more)


def same(first, second) -> bool:
    return all(
        np.array_equal(getattr(first, item.name), getattr(second, item.name))
        for item in dataclasses.fields(first)
    )


def test_records_every_example_in_every_epoch():
    steps = []
    found = record("a", progress=lambda done, total: steps.append((done, total)))
    assert found.correct.shape == found.probability.shape == (3, 41)
    assert steps == [(n + 1, 6) for n in range(6)]  # 41 examples in two pieces of 21 and 20
    assert ((found.probability >= 0) & (found.probability <= 1)).all()
    # With two classes ‖p − y‖ = √2·(1 − p_y).
    np.testing.assert_allclose(found.error_norm, math.sqrt(2) * (1 - found.probability), atol=1e-6)
    assert (found.gradient_norm >= found.error_norm).all()


def test_wrong_labels_are_hardest():
    found = record("a", dataclasses.replace(OPTIONS, epochs=8))
    confidence = found.probability.mean(axis=0)
    assert set(np.argsort(confidence)[:2].tolist()) == {39, 40}
    assert found.error_norm[-1, 39:].min() > found.error_norm[-1, :39].max()


def test_interrupted_it_goes_on_to_the_same_records():
    whole = record("whole")

    def stop(done: int, total: int) -> None:
        if done == 4:  # the last step of the second epoch, before its records are kept
            raise KeyboardInterrupt("half-way")

    with pytest.raises(KeyboardInterrupt, match="half-way"):
        record("cut", progress=stop)
    assert [p.name for p in Path("cut/records").iterdir()] == ["epoch-0001.npz"]
    steps = []
    resumed = record("cut", progress=lambda done, total: steps.append(done))
    assert steps == [3, 4, 5, 6]
    assert same(resumed, whole)
    steps.clear()
    assert same(record("cut", progress=lambda done, total: steps.append(done)), whole)
    assert steps == []


def test_seeds_differ_and_the_global_generator_does_not_matter():
    first = record("a")
    torch.manual_seed(99)
    assert same(first, record("b"))
    assert not same(first, record("c", seed=1))


def test_a_folder_of_another_training():
    record("a")
    with pytest.raises(RunFolderError, match="other options or examples"):
        record("a", dataclasses.replace(OPTIONS, epochs=4))


def test_a_loss_that_is_not_finite(monkeypatch):
    cross_entropy, calls = module.nn.functional.cross_entropy, []

    def broken(*arguments):
        calls.append(1)
        return cross_entropy(*arguments) * (math.nan if len(calls) == 4 else 1)

    monkeypatch.setattr(module.nn.functional, "cross_entropy", broken)
    with pytest.raises(ContrasiftError, match=r"nan at step 3 \(epoch 1\)"):
        record("a")
    assert torch.load("a/last.ckpt", weights_only=True)["epochs"] == 1


def test_data_that_teach_nothing():
    with pytest.raises(DataError, match="41 of one class"):
        record_dynamics(POOL, ALL, np.zeros(41, dtype=int), OPTIONS, seed=0, folder=Path("a"))
    with pytest.raises(DataError, match="a class for each of 41"):
        record_dynamics(POOL, ALL, np.zeros(40, dtype=int), OPTIONS, seed=0, folder=Path("a"))
