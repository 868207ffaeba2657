"""Processes that share each batch learn what one learns from the whole, also when interrupted."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from contrasift.errors import ContrasiftError
from contrasift.options import SwitchOptions, TrainOptions
from contrasift.training import devices, joining, splitting
from contrasift.training import pretrain as module
from contrasift.training.encoders import weights_sha256
from contrasift.training.loading import load_encoder
from contrasift.training.switching import Choice, Switch

STEPS = 4
COMMON = {"architecture": "narrow:0.125", "epochs": 2, "batch_size": 16, "projection_dim": 8,
          "learning_rate": 1e-2, "optimizer_name": "sgd"}  # fmt: skip
# Every method, MoCo with all that its queue can do.
METHODS = {
    "simclr": {},
    "moco": {"queue_size": 24, "queue_reserve": 16, "queue_keep_hard": 0.5, "momentum": 0.9,
             "negatives": "~duplicates"},
    "byol": {"momentum": 0.9},
    "simsiam": {},
    "barlowtwins": {},
    "vicreg": {},
    "policy": {"method": "simclr", "negatives": "difficulty(30,100) & ~same_class"},
    "loss": {"method": "simclr", "loss": "debiased(0.1)"},
    "switch": {"method": "simclr", "select_after": 1},
}  # fmt: skip
# Also what is drawn by step and process.
RESUMED = {"moco": METHODS["moco"], "random": {"method": "simclr", "negatives": "random(0.5)"}}

ENDS = {
    "raised": (OSError, "the plug was pulled"),
    "interrupted": (KeyboardInterrupt, ""),
    "killed": (ContrasiftError, "SIGKILL"),
}
# How a run ends is no matter of what is drawn in it.
INTERRUPTED = [*(("moco", end) for end in ENDS), ("random", "killed")]


class Noise:
    """Random images in memory, 12 × 12."""

    def __init__(self, count: int = 40):
        rng = np.random.default_rng(5)
        self._images = rng.integers(0, 256, (count, 1, 12, 12), dtype=np.uint8)
        self.index = np.arange(count, dtype=np.int64)
        self.labels = self.index % 4
        self.channels, self.image_size, self.mirror = 1, 12, False

    def __len__(self) -> int:
        return len(self.index)

    def images(self, positions: np.ndarray) -> np.ndarray:
        return self._images[positions]


def train(folder: Path, progress=lambda done, total: None, select_after=None, **options):
    pool, switch = Noise(), None
    if select_after is not None:
        half = Choice(np.arange(0, len(pool), 2))
        switch = Switch(
            SwitchOptions(select_after=select_after), lambda moment: half, "every other"
        )
    return module.pretrain(
        pool, np.arange(len(pool)), TrainOptions(**{**COMMON, **options}), seed=0, folder=folder,
        device="cpu", progress=progress, switch=switch,
    )  # fmt: skip


def log(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# What another process does ------------------------------------------------------------------------


def trainings(folder: Path) -> None:
    """Train everything that the tests below compare.

    One process for all of it, and forks of it for the devices: to start Python takes seconds. What
    goes on after its starter was killed spawns them, as users do; it is first, because nobody forks
    whoever was forked after torch had looked for CUDA.
    """
    module.find_spec = lambda name: None  # no TensorBoard: it starts slowly
    orphaned(folder / "orphaned", {"method": "moco", **METHODS["moco"], "devices": 2})
    devices._START = "fork"
    for name, options in METHODS.items():
        options = {"method": name, **options}
        alone = {**options, "split_bn": 2} if name == "moco" else options
        train(folder / f"{name}-1", **alone)
        steps: list[tuple[int, int]] = []
        train(folder / f"{name}-2", lambda *step, seen=steps: seen.append(step), **options,
              devices=2)  # fmt: skip
        assert steps == [(step, STEPS) for step in range(1, STEPS + 1)], steps
    for name, options in RESUMED.items():
        options = {"method": name, **options, "devices": 2}
        if name not in METHODS:
            train(folder / f"{name}-2", **options)
        for end in [end for resumed, end in INTERRUPTED if resumed == name]:
            interrupted(folder / f"{name}-{end}", end, options)
            gone_on(folder / f"{name}-{end}", options)
    print("done", flush=True)
    os._exit(0)  # gloo's threads sometimes outlive the interpreter and abort it


def interrupted(folder: Path, end: str, options: dict) -> None:
    """Train until the third step, the first of the second epoch, and end badly."""

    def stop(done: int, total: int) -> None:
        if done == 3 and end == "raised":
            raise OSError("the plug was pulled")
        if done == 3 and end == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
        if done == 3 and end == "killed":  # as for want of memory
            for process in multiprocessing.active_children():
                process.kill()

    with pytest.raises(ENDS[end][0], match=ENDS[end][1]):
        train(folder, stop, **options)
    assert not multiprocessing.active_children()  # nobody who goes on writing


def gone_on(folder: Path, options: dict) -> None:
    """Train on where it was interrupted, and write down which steps were left."""
    assert not (folder / "result.json").exists()
    left: list[int] = []
    train(folder, lambda done, total: left.append(done), **options)
    (folder / "left.json").write_text(json.dumps(left))


def orphaned(folder: Path, options: dict) -> None:
    """Train in two processes whose starter is killed, wait until they end too, and go on."""
    reader, writer = multiprocessing.Pipe(duplex=False)

    def stop(done: int, total: int) -> None:
        if done == 3:
            writer.send([process.pid for process in multiprocessing.active_children()])
            os.kill(os.getpid(), signal.SIGKILL)

    def begin() -> None:
        devices._START = "fork"
        train(folder, stop, **options)

    starter = multiprocessing.get_context("fork").Process(target=begin)
    starter.start()
    starter.join()
    assert starter.exitcode == -signal.SIGKILL
    workers = reader.recv()
    assert len(workers) == 2
    until = time.monotonic() + 60
    while any(map(works, workers)):
        assert time.monotonic() < until, "they go on without whoever started them"
        time.sleep(0.05)
    # Spawned processes end with the bytes of forked ones, which are compared with one alone below.
    gone_on(folder, options)


def works(pid: int) -> bool:
    """Whether a process is there and not just waiting to be buried."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """All trainings, in a Python of its own."""
    folder = tmp_path_factory.mktemp("trained")
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_several_devices
test_several_devices.trainings(Path({str(folder)!r}))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.stdout.endswith("done\n"), done.stderr[-3000:]
    return folder


# One process and two ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_processes_are_one_with_the_whole_batch(trained, name):
    # Batch norm included: over both processes, and for MoCo in two parts, keys in others.
    one, two = log(trained / f"{name}-1"), log(trained / f"{name}-2")
    assert one[0].keys() == two[0].keys()
    for alone, shared in zip(one, two, strict=True):
        for figure in alone.keys() - {"seconds", "cpu_seconds", "images_per_second"}:
            # Means over two halves: of ratios and of a standard deviation not quite the whole's.
            tolerance = {"spread": 0.2, "loss": 1e-5}.get(figure, 5e-3)
            expected = pytest.approx(float(alone[figure]), rel=tolerance, abs=1e-6, nan_ok=True)
            assert float(shared[figure]) == expected, figure
    weights = [load_encoder(trained / f"{name}-{n}").state_dict() for n in (1, 2)]
    for part, value in weights[0].items():
        if not part.endswith("num_batches_tracked"):  # lightly's SplitBatchNorm does not count
            torch.testing.assert_close(weights[1][part], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "end"), INTERRUPTED)
def test_an_interrupted_run_of_two_ends_with_the_same_weights(trained, name, end):
    whole, resumed = trained / f"{name}-2", trained / f"{name}-{end}"
    assert json.loads((resumed / "left.json").read_text()) == [3, 4]
    assert weights_sha256(load_encoder(resumed)) == weights_sha256(load_encoder(whole))
    rows = [
        [
            {key: row[key] for key in row.keys() - {"seconds", "cpu_seconds", "images_per_second"}}
            for row in log(it)
        ]
        for it in (whole, resumed)
    ]
    assert rows[0] == rows[1]
    assert [row["epoch"] for row in rows[0]] == ["0", "1"]


@pytest.mark.slow
def test_those_whose_starter_is_killed_end_and_another_run_goes_on(trained):
    assert json.loads((trained / "orphaned" / "left.json").read_text()) == [3, 4]
    whole = load_encoder(trained / "moco-2")
    assert weights_sha256(load_encoder(trained / "orphaned")) == weights_sha256(whole)


# The parts, with threads for processes ------------------------------------------------------------


class Threads:
    """Threads that gather as processes do."""

    def __init__(self, count: int, monkeypatch):
        self._count, self._here = count, threading.local()
        self._slots: list = [None] * count
        self._barrier = threading.Barrier(count, timeout=20)
        for place in (splitting, joining):
            monkeypatch.setattr(place, "gathered_rows", self.gathered_rows)
        monkeypatch.setattr(splitting, "rank", lambda: self._here.rank)
        monkeypatch.setattr(joining, "n_processes", lambda: count)

    def gathered_rows(self, values: torch.Tensor, *, gradients: bool = False) -> torch.Tensor:
        self._slots[self._here.rank] = values
        self._barrier.wait()
        rows = torch.cat(self._slots)
        self._barrier.wait()
        return rows

    def __call__(self, work) -> list:
        found: list = [None] * self._count

        def run(rank: int) -> None:
            self._here.rank = rank
            try:
                found[rank] = work(rank)
            except BaseException as error:
                found[rank] = error
                self._barrier.abort()

        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(self._count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found


@pytest.mark.parametrize("count", [1, 2, 3])
def test_keys_are_dealt_out_anew_and_brought_back(count, monkeypatch):
    batch = torch.arange(4.0 * count)[:, None]
    own = [batch[4 * rank : 4 * rank + 4] for rank in range(count)]
    companions: dict[int, torch.Tensor] = {}

    def work(rank: int) -> torch.Tensor:
        def encode(views: torch.Tensor) -> torch.Tensor:
            companions[rank] = views[:, 0]
            return views * 10

        return splitting.encoded_elsewhere(encode, own[rank], 3, 7)

    for rank, keys in enumerate(Threads(count, monkeypatch)(work)):
        torch.testing.assert_close(keys, own[rank] * 10, rtol=0, atol=0)
    together = torch.cat([companions[rank] for rank in range(count)])
    assert together.tolist() == splitting.shuffled(4 * count, 3, 7)[0].tolist()
    if count > 1:  # the statistics of a key's part are not those of its query's
        assert all(
            companions[r].sort().values.tolist() != own[r][:, 0].tolist() for r in companions
        )


@pytest.mark.parametrize("shape", [(12, 5), (12, 5, 3, 3)])
@pytest.mark.parametrize("affine", [True, False])
def test_joined_batch_norm_is_batch_norm_of_the_whole(shape, affine, monkeypatch):
    batch = 3 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    layer = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    plain = nn.Sequential(layer(5, affine=affine))
    if affine:
        plain[0].weight.data.uniform_(0.5, 2)
        plain[0].bias.data.normal_()
    joined = [nn.Sequential(layer(5, affine=affine)) for _ in range(3)]
    for network in joined:
        network.load_state_dict(plain.state_dict())
        network.requires_grad_(False)
        joining.JoinedBatchNorm("cpu").apply(network)
    expected = [plain(batch) for _ in range(2)][-1]
    threads = Threads(3, monkeypatch)
    for _ in range(2):
        parts = threads(lambda rank: joined[rank](batch[4 * rank : 4 * rank + 4]))
    torch.testing.assert_close(torch.cat(parts), expected, rtol=1e-5, atol=1e-5)
    for network in joined:
        assert network.state_dict().keys() == plain.state_dict().keys()
        assert not any(part.requires_grad for part in network.parameters())  # a frozen one stays so
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(network.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    plain.eval(), joined[0].eval()
    torch.testing.assert_close(joined[0](batch), plain(batch), rtol=1e-5, atol=1e-5)


def test_statistics_of_batch_norm_are_averaged_and_nothing_else(monkeypatch):
    networks = [nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)) for _ in range(2)]
    kept = [network[1].weight.clone() for network in networks]
    for rank, network in enumerate(networks):
        network[0].running_mean.fill_(rank)
        network[0].running_var.fill_(3 + rank)
    Threads(2, monkeypatch)(lambda rank: joining.average_statistics(networks[rank]))
    for network, weight in zip(networks, kept, strict=True):
        assert network[0].running_mean.tolist() == [0.5, 0.5]
        assert network[0].running_var.tolist() == [3.5, 3.5]
        assert torch.equal(network[1].weight, weight)


@pytest.mark.parametrize("change", ["split", "joined", "synchronised"])
def test_layers_that_hold_an_activation_keep_it(change):
    from timm.layers.norm_act import BatchNormAct2d

    plain = nn.Sequential(nn.Conv2d(1, 4, 3), BatchNormAct2d(4, act_layer=nn.LeakyReLU))
    other = nn.Sequential(nn.Conv2d(1, 4, 3), BatchNormAct2d(4, act_layer=nn.LeakyReLU))
    other.load_state_dict(plain.state_dict())
    if change == "split":
        splitting.split_batch_norm(other, 2)
    else:
        other = joining.JoinedBatchNorm("cpu" if change == "joined" else "cuda").apply(other)
    assert type(other[1]) is not type(plain[1])
    if change == "joined":
        assert other.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(6, 1, 6, 6)
    plain.eval(), other.eval()
    torch.testing.assert_close(other(images), plain(images))
