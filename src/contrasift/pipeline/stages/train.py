"""The stage that pre-trains on a selection, or on what it is held against."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from contrasift.arrays import class_codes
from contrasift.options import TrainOptions
from contrasift.pipeline.arms import arm_positions, arm_upstream
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.batch import check_batch, steps_per_epoch
from contrasift.pipeline.stages.scan import readable_positions
from contrasift.store.arms import Arm
from contrasift.store.run import StageRecord
from contrasift.store.tables import read_latent_classes


def pool_latent_classes(run: Run) -> np.ndarray:
    """The latent class of every example by its place in the pool, as a code; −1 for none."""
    run.record("classes")
    everything = readable_positions(run)
    names = read_latent_classes(run.folder.path / "classes.parquet", run.pool.index[everything])
    codes = np.full(len(run.pool), -1, dtype=np.int64)
    codes[everything], _ = class_codes(names, everything.size)
    return codes


def arm_schedule(run: Run, n: int) -> tuple[TrainOptions, int | None]:
    """Options and step limit of a training on n examples, under `--match`."""
    options = run.options.train
    if run.options.compare.match == "epochs":
        return options, None
    full = readable_positions(run).size
    steps = options.epochs * steps_per_epoch(full, options.batch_size)
    epochs = math.ceil(steps / steps_per_epoch(n, options.batch_size))
    return dataclasses.replace(options, epochs=epochs), steps


def train(run: Run, arm: Arm) -> StageRecord:
    """Pre-train on one arm's subset."""
    upstream = arm_upstream(run, arm)
    positions = arm_positions(run, arm)
    check_batch(run, positions.size)
    options, max_steps = arm_schedule(run, positions.size)
    latent_classes = None
    if "same_latent_class" in options.negatives + options.negatives_schedule:
        latent_classes = pool_latent_classes(run)
        upstream += run.record("classes").fingerprint
    fingerprint = options.fingerprint(upstream, arm.name, str(max_steps))

    def work() -> dict[str, Any]:
        from contrasift.training.pretrain import pretrain

        with run.narrator.progress(f"training {arm.name}", "steps") as progress:
            result = pretrain(
                run.pool,
                positions,
                options,
                seed=arm.seed,
                folder=run.training_folder(arm.name, fingerprint),
                device=run.device,
                progress=progress,
                max_steps=max_steps,
                latent_classes=latent_classes,
            )
        note = f"{positions.size:,} examples, {result.steps:,} steps, loss {result.loss:.3f}"
        return {
            "seconds": result.seconds,
            "steps": result.steps,
            "examples": positions.size,
            "match": run.options.compare.match,
            "note": note,
        }

    return run.do(
        f"train {arm.name}", fingerprint, [f"training/{arm.name}/encoder.safetensors"], work
    )
