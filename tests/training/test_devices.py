"""Several processes that share each batch are one process with the whole batch."""

from __future__ import annotations

import csv
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from contrasift.errors import ContrasiftError, UsageError
from contrasift.options import TrainOptions
from contrasift.training import pretrain as module
from contrasift.training.devices import errors_of_processes, reports, where_to_train
from contrasift.training.encoders import build_encoder, load_encoder


class Noise:
    """Random images in memory."""

    def __init__(self, count: int = 40, size: int = 12):
        rng = np.random.default_rng(5)
        self._images = rng.integers(0, 256, (count, 1, size, size), dtype=np.uint8)
        self.index = np.arange(count, dtype=np.int64)
        self.labels = self.index % 4
        self.channels, self.image_size, self.mirror = 1, size, False

    def __len__(self) -> int:
        return len(self.index)

    def images(self, positions: np.ndarray) -> np.ndarray:
        return self._images[positions]


def without_batch_norm(network: nn.Module) -> nn.Module:
    for name, child in network.named_children():
        without_batch_norm(child)
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            setattr(network, name, nn.Identity())
    return network


def losses(result) -> list[float]:
    with open(result.folder / "metrics.csv", encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


CASES = {
    "simclr": {"epochs": 3},
    "moco": {"epochs": 3, "method": "moco", "queue_size": 48, "momentum": 0.9,
             "queue_keep_hard": 0.5},
    "policy": {"epochs": 3, "negatives": "difficulty(30,100) & ~same_class"},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(CASES))
def test_two_processes_are_one_with_the_doubled_batch(case, tmp_path, monkeypatch):
    monkeypatch.setattr(
        module, "build_encoder", lambda *about: without_batch_norm(build_encoder(*about))
    )
    monkeypatch.setattr(module, "find_spec", lambda name: None)  # no TensorBoard: it starts slowly
    pool, curves, steps = Noise(), {}, []
    for devices in (1, 2):
        options = TrainOptions(
            batch_size=16, projection_dim=8, devices=devices, learning_rate=1e-3, **CASES[case]
        )
        result = module.pretrain(
            pool, np.arange(len(pool)), options, seed=0, folder=tmp_path / str(devices),
            device="cpu", progress=lambda done, total: steps.append((done, total)),
        )  # fmt: skip
        curves[devices] = losses(result)
    # Float tolerance: sums over a batch are taken in another order.
    assert curves[2] == pytest.approx(curves[1], rel=2e-5)
    assert steps == 2 * [(step, 6) for step in range(1, 7)]


def test_where_to_train():
    cpu = torch.device("cpu")
    assert where_to_train(cpu, TrainOptions())["devices"] == 1
    two = where_to_train(cpu, TrainOptions(devices=2, precision="bf16-mixed"))
    assert (two["devices"], two["strategy"], two["precision"]) == (2, "ddp_spawn", "bf16-mixed")
    assert not two["sync_batchnorm"]  # torch has none for CPUs
    with pytest.raises(UsageError, match=r"at most 0 for --device cuda; got 2"):
        where_to_train(torch.device("cuda"), TrainOptions(devices=2))
    with pytest.raises(UsageError, match=r"for --device cuda:1"):
        where_to_train(torch.device("cuda:1"), TrainOptions(devices=2))


def test_batch_norm_is_synchronised_but_for_moco(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    cuda = torch.device("cuda")
    for method, synchronised in (("simclr", True), ("byol", True), ("moco", False)):
        settings = where_to_train(cuda, TrainOptions(method=method, devices=4))
        assert settings["sync_batchnorm"] is synchronised


def test_reports_of_other_processes_arrive_in_order():
    seen = []
    with reports(lambda done, total: seen.append((done, total, threading.get_ident())), 2) as send:
        for step in range(5):
            send(step, 5)
        time.sleep(0.01)
    assert [(done, total) for done, total, _ in seen] == [(step, 5) for step in range(5)]
    assert {thread for *_, thread in seen} != {threading.get_ident()}

    def alone(done: int, total: int) -> None: ...

    with reports(alone, 1) as same:
        assert same is alone


def test_an_error_in_another_process_is_told_in_a_line():
    from torch.multiprocessing.spawn import ProcessRaisedException

    story = (
        "Traceback ...\n\nContrasiftError: expected a finite loss; got nan at step 3 (epoch 0)\n"
    )
    with pytest.raises(ContrasiftError, match=r"nan at step 3 \(epoch 0\)"), errors_of_processes():
        raise ProcessRaisedException(story, 1, 4711)


@pytest.mark.parametrize("precision", ["bf16-mixed"])
@pytest.mark.parametrize("method", ["simclr", "moco", "byol", "barlowtwins"])
def test_half_precision_trains(method, precision, tmp_path):
    pool = Noise()
    options = TrainOptions(
        method=method, batch_size=16, projection_dim=8, epochs=1, precision=precision
    )
    result = module.pretrain(
        pool, np.arange(len(pool)), options, seed=0, folder=tmp_path / "run", device="cpu",
        progress=False,
    )  # fmt: skip
    assert np.isfinite(losses(result)).all()
    encoder = load_encoder(result.encoder)
    assert encoder(torch.rand(2, 1, 12, 12)).dtype == torch.float32
