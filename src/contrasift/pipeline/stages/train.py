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
from contrasift.store.provenance import makers
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


def arm_schedule(
    options: TrainOptions, match: str, n: int, full: int
) -> tuple[TrainOptions, int | None]:
    """Options and step limit of a training on n of `full` examples.

    Args:
        options: of a training on all of them.
        match: `epochs`, or `steps`: as many as a training on all of them takes.
        n: examples trained on.
        full: examples of the pool.

    Returns:
        The options, and the steps after which it ends; None: at the end of its epochs.
    """
    if match == "epochs":
        return options, None
    return in_steps(options, options.epochs * steps_per_epoch(full, options.batch_size), n)


def in_steps(options: TrainOptions, steps: int, n: int) -> tuple[TrainOptions, int]:
    """The options with as many epochs on n examples as these steps take, and the steps."""
    epochs = math.ceil(steps / max(1, steps_per_epoch(n, options.batch_size)))
    return dataclasses.replace(options, epochs=epochs), steps


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


@dataclass(frozen=True)
class _Training:
    """What decides an arm's training, and its fingerprint."""

    positions: np.ndarray
    options: TrainOptions
    max_steps: int | None
    latent_classes: np.ndarray | None
    fingerprint: str
    selector: Selector | None = None


def _training(run: Run, arm: Arm) -> _Training:
    selector, max_steps = None, None
    options, everything = run.options.train, readable_positions(run)
    if run.options.switch.select_after is None:
        upstream, positions = arm_upstream(run, arm), arm_positions(run, arm)
        check_batch(run, positions.size)
        match = run.options.compare.match
        options, max_steps = arm_schedule(options, match, positions.size, everything.size)
    else:
        upstream, positions = run.record("scan").fingerprint, everything
        check_switch(run.options, positions.size)
        check_batch(run, positions.size)
        if arm.subset != "full":
            selector = Selector(run, _options_of(run, arm), arm.seed)
            upstream += json_fingerprint(selector.switch().describe())
    latent_classes = None
    if compares_classes(options):
        latent_classes = pool_latent_classes(run)
        upstream += run.record("classes").fingerprint
    fingerprint = options.fingerprint(upstream, arm.name, str(max_steps))
    return _Training(positions, options, max_steps, latent_classes, fingerprint, selector)


def compares_classes(options: TrainOptions) -> bool:
    """Whether the policy for negatives asks for the latent classes."""
    return "same_latent_class" in options.negatives + options.negatives_schedule


def needs_selection(run: Run, arm: Arm) -> bool:
    """Whether an arm's training needs latent classes or a selection."""
    return arm.subset != "full" or compares_classes(run.options.train)


def is_trained(run: Run, arm: Arm) -> bool:
    """Whether an arm's encoder is finished under the run's options."""
    return run.folder.is_finished(f"train {arm.name}", _training(run, arm).fingerprint)


def begin_training(run: Run, arm: Arm) -> None:
    """Note that an arm's training begins, and under which versions."""
    stage = f"train {arm.name}"
    run.folder.begin(stage, _training(run, arm).fingerprint, makers(stage))


def steps_of(run: Run, arm: Arm) -> int:
    """How many steps an arm's training has."""
    asked = _training(run, arm)
    epoch = steps_per_epoch(asked.positions.size, asked.options.batch_size)
    return asked.max_steps or asked.options.epochs * epoch


def train(run: Run, arm: Arm) -> StageRecord:
    """Pre-train on one arm's subset."""
    asked = _training(run, arm)

    def work() -> dict[str, Any]:
        from contrasift.training.pretrain import pretrain

        with run.narrator.progress(f"training {arm.name}", "steps") as progress:
            result = pretrain(
                run.pool,
                asked.positions,
                asked.options,
                seed=arm.seed,
                folder=run.training_folder(arm.name, asked.fingerprint),
                device=run.device,
                progress=progress,
                max_steps=asked.max_steps,
                latent_classes=asked.latent_classes,
                switch=None if asked.selector is None else asked.selector.switch(),
            )
        n = asked.positions.size
        note = f"{n:,} examples, {result.steps:,} steps, loss {result.loss:.3f}"
        facts: dict[str, Any] = {
            "seconds": result.seconds,
            "steps": result.steps,
            "examples": n,
            "match": run.options.compare.match if asked.selector is None else "steps",
        }
        if result.selections:
            facts["selections"] = result.selections
            note += f"; {'; '.join(map(_selected_in_words, result.selections))}"
        return {**facts, "note": note}

    return run.do(
        f"train {arm.name}", asked.fingerprint, [f"training/{arm.name}/encoder.safetensors"], work
    )


def _selected_in_words(facts: Mapping[str, Any]) -> str:
    """One selection within a training: `2,000 selected after epoch 5 (41 classes) in 6.2 s`."""
    classes = f" ({facts['n_classes']} classes)" if "n_classes" in facts else ""
    return (
        f"{facts['examples']:,} selected after epoch {facts['epoch']}{classes} "
        f"in {facts['seconds']:.1f} s"
    )
