"""What a selection within a training costs: seconds of an epoch, of the switch, of the sampler.

    python benchmarks/bench_one_training.py [POOL] [--fraction 0.4] [--views 2]

Trains two epochs on everything and two after the switch, on one thread of the machine it runs on, and
prints JSON. The accuracies belong to `python -m reproduce one-training`.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path

import torch

import contrasift as cs
from contrasift.cli.console import ConsoleNarrator
from contrasift.options import (
    EmbedOptions,
    PoolOptions,
    RunOptions,
    SelectOptions,
    SwitchOptions,
    TrainOptions,
)
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.scan import scan
from contrasift.pipeline.stages.train import train
from contrasift.store.arms import Arm
from contrasift.store.run import RunFolder

_BATCH = 256


def measured(pool: str, fraction: float, views: int) -> dict[str, float]:
    """Seconds of every part."""
    options = RunOptions(
        PoolOptions(pool=pool, limit=10_000),
        embed=EmbedOptions(views=views),
        select=SelectOptions(fraction=fraction),
        train=TrainOptions(epochs=4, batch_size=_BATCH),
        switch=SwitchOptions(select_after=2),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Run(RunFolder(folder), options, ConsoleNarrator(quiet=True))
        scan(run)
        record = train(run, Arm("selected", 0))
        with open(Path(folder) / "training/selected-seed0/metrics.csv", encoding="utf-8") as file:
            log = list(csv.DictReader(file))
        n = int(run.record("scan").facts["n"])
    # The first epoch of each half also warms up what runs later.
    before, after = (float(log[epoch]["seconds"]) for epoch in (1, 3))
    (told,) = record.facts["selections"]
    step = before / (n // _BATCH)
    return {
        "examples": n,
        "seconds_of_a_step": step,
        "seconds_of_an_epoch_on_everything": before,
        "seconds_of_an_epoch_on_the_selection": after,
        "seconds_of_the_switch": told["seconds"],
        **{f"of_it_{name}": seconds for name, seconds in told["stages"].items()},
        "switch_of_13_epochs": told["seconds"] / (13 * before),
        "13_epochs_with_a_switch_of_20": (13 * before + told["seconds"]) / (20 * before),
        "sampler_of_a_step": _sampler_seconds(n) / step,
    }


def _sampler_seconds(n: int) -> float:
    """Of a batch of 256, a tenth of it mixed in: mean over ten epochs."""
    sampler = cs.SelectedSampler(n, batch_size=_BATCH, mix=0.1)
    sampler.select(range(0, n, 5))
    begun = time.perf_counter()
    given = sum(1 for _ in range(10) for _ in sampler)
    return (time.perf_counter() - begun) / (given / _BATCH)


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", nargs="?", default="glyphs")
    parser.add_argument("--fraction", type=float, default=0.4)
    parser.add_argument("--views", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(measured(given.pool, given.fraction, given.views), indent=2))


if __name__ == "__main__":
    main()
