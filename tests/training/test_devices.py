"""Where a training runs, and what becomes of processes' reports and errors; see `test_several_devices.py`."""

from __future__ import annotations

import csv
import threading
import time

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch

from contrasift.errors import ContrasiftError, UsageError
from contrasift.options import METHODS, TrainOptions
from contrasift.training import pretrain as module
from contrasift.training.devices import errors_of_processes, reports, where_to_train
from contrasift.training.joining import JoinedBatchNorm
from contrasift.training.loading import load_encoder


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


def losses(result) -> list[float]:
    with open(result.folder / "metrics.csv", encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_where_to_train():
    cpu = torch.device("cpu")
    assert where_to_train(cpu, TrainOptions())["devices"] == 1
    two = where_to_train(cpu, TrainOptions(devices=2, precision="bf16-mixed"))
    assert (two["devices"], two["precision"]) == (2, "bf16-mixed")
    assert two["strategy"]._start_method == "spawn"
    assert two["strategy"]._ddp_kwargs == {"broadcast_buffers": False}
    with pytest.raises(UsageError, match=r"at most 0 for device='cuda'; got 2"):
        where_to_train(torch.device("cuda"), TrainOptions(devices=2))
    with pytest.raises(UsageError, match=r"for device='cuda:1'"):
        where_to_train(torch.device("cuda:1"), TrainOptions(devices=2))


def test_batch_norm_is_synchronised_but_for_moco(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "device_count", lambda: 4)
        for device in ("cpu", "cuda"):
            for method in METHODS:
                options = TrainOptions(method=method, devices=4)
                plugins = where_to_train(torch.device(device), options)["plugins"]
                assert [plugin._device_type for plugin in plugins] == [device] * (method != "moco")
    # What Lightning makes of them.
    cpu = where_to_train(torch.device("cpu"), TrainOptions(devices=2))
    trainer = lightning.Trainer(**cpu, logger=False, enable_checkpointing=False)
    assert trainer.strategy._layer_sync is cpu["plugins"][0]
    network = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    on_gpus = JoinedBatchNorm("cuda").apply(network)
    assert type(on_gpus[0]) is torch.nn.SyncBatchNorm


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


def test_an_error_of_the_callback_ends_the_work_and_is_raised():
    seen = []

    def report(done: int, total: int) -> None:
        seen.append(done)
        if done == 2:
            raise KeyError("no such bar")

    sent = []
    with pytest.raises(KeyError, match="no such bar"), reports(report, 2) as send:
        for step in range(1, 1000):  # within a few steps
            sent.append(step)
            send(step, 5)
            time.sleep(0.01)
    assert seen == [1, 2]
    assert len(sent) < 999


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


def test_the_scale_of_16_bit_gradients_is_that_before_the_interruption(tmp_path, monkeypatch):
    from pytorch_lightning.plugins import MixedPrecision

    # Where it begins gradients vanish, and it doubles at every step: to begin anew is noticed.
    def in_16_bits(device, options):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-18, growth_interval=1)
        settings = where_to_train(device, options)
        del settings["precision"]  # on CPUs Lightning would take another
        return {**settings, "plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}

    def train(name: str, stop_after: int = 0):
        def report(done: int, total: int) -> None:
            if done == stop_after:
                raise InterruptedError("half-way")

        options = TrainOptions(
            architecture="narrow:0.125", epochs=4, batch_size=16, projection_dim=8,
            optimizer_name="sgd",
        )  # fmt: skip
        return module.pretrain(
            Noise(), np.arange(40), options, seed=0, folder=tmp_path / name, device="cpu",
            progress=report,
        )  # fmt: skip

    monkeypatch.setattr(module, "where_to_train", in_16_bits)
    whole = train("whole")
    with pytest.raises(InterruptedError, match="half-way"):
        train("resumed", stop_after=5)
    assert losses(train("resumed")) == losses(whole)
