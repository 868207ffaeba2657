"""The stage that pre-trains on a selection, or on what it is held against."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from contrasift.arrays import class_codes
from contrasift.errors import UsageError
from contrasift.fingerprints import json_fingerprint
from contrasift.options import RunOptions, SelectOptions, TrainOptions
from contrasift.options.words import ObjectiveName
from contrasift.pipeline.arms import arm_positions, arm_upstream
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.batch import check_batch, steps_per_epoch
from contrasift.pipeline.stages.scan import readable_positions
from contrasift.pipeline.stages.within import Selector, check_switch
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


@dataclass(frozen=True)
class _Plan:
    """What one arm is trained on, for how long, and what decides it."""

    positions: np.ndarray
    options: TrainOptions
    upstream: str
    max_steps: int | None = None
    selector: Selector | None = None


def _plan(run: Run, arm: Arm) -> _Plan:
    if run.options.switch.select_after is None:
        positions = arm_positions(run, arm)
        check_batch(run, positions.size)
        options, max_steps = arm_schedule(run, positions.size)
        return _Plan(positions, options, arm_upstream(run, arm), max_steps)
    everything = readable_positions(run)
    check_switch(run.options, everything.size)
    check_batch(run, everything.size)
    upstream = run.record("scan").fingerprint
    if arm.subset == "full":
        return _Plan(everything, run.options.train, upstream)
    selector = Selector(run, _options_of(run, arm), arm.seed)
    switch = selector.switch()
    upstream += json_fingerprint(switch.describe())
    return _Plan(everything, run.options.train, upstream, selector=selector)


def _options_of(run: Run, arm: Arm) -> RunOptions:
    """The options under which an arm selects within its training."""
    if arm.subset == "selected":
        return run.options
    if arm.subset not in ("random", "random-per-class"):
        raise UsageError(
            "subset= as selected, random, random-per-class or full for select_after=", arm.subset
        )
    select = SelectOptions(
        objective=cast(ObjectiveName, arm.subset),
        fraction=run.options.select.fraction,
        budget=run.options.select.budget,
        seed=arm.seed,
    )
    return dataclasses.replace(run.options, select=select)


def train(run: Run, arm: Arm) -> StageRecord:
    """Pre-train on one arm's subset, or on everything up to a selection within the training."""
    plan = _plan(run, arm)
    options, upstream, latent_classes = plan.options, plan.upstream, None
    if "same_latent_class" in options.negatives + options.negatives_schedule:
        latent_classes = pool_latent_classes(run)
        upstream += run.record("classes").fingerprint
    fingerprint = options.fingerprint(upstream, arm.name, str(plan.max_steps))

    def work() -> dict[str, Any]:
        from contrasift.training.pretrain import pretrain

        with run.narrator.progress(f"training {arm.name}", "steps") as progress:
            result = pretrain(
                run.pool,
                plan.positions,
                options,
                seed=arm.seed,
                folder=run.training_folder(arm.name, fingerprint),
                device=run.device,
                progress=progress,
                max_steps=plan.max_steps,
                latent_classes=latent_classes,
                switch=None if plan.selector is None else plan.selector.switch(),
            )
        note = f"{plan.positions.size:,} examples, {result.steps:,} steps, loss {result.loss:.3f}"
        facts = {
            "seconds": result.seconds,
            "steps": result.steps,
            "examples": plan.positions.size,
            "match": run.options.compare.match if plan.selector is None else "steps",
        }
        if result.selections:
            facts["selections"] = result.selections
            note += f"; {'; '.join(map(_selected_in_words, result.selections))}"
        return {**facts, "note": note}

    return run.do(
        f"train {arm.name}", fingerprint, [f"training/{arm.name}/encoder.safetensors"], work
    )


def _selected_in_words(facts: Mapping[str, Any]) -> str:
    """One selection within a training: `2,000 selected after epoch 5 (41 classes) in 6.2 s`."""
    classes = f" ({facts['n_classes']} classes)" if "n_classes" in facts else ""
    return (
        f"{facts['examples']:,} selected after epoch {facts['epoch']}{classes} "
        f"in {facts['seconds']:.1f} s"
    )
