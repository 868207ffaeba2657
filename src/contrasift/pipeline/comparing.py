"""Stages that show what a selection is worth: train on it and beside it, evaluate, compare."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from contrasift.arrays import class_codes
from contrasift.errors import DataError, UsageError
from contrasift.options import TrainOptions
from contrasift.pipeline.preparation import readable_positions
from contrasift.pipeline.run import Run, positions_of
from contrasift.pools import Pool
from contrasift.store.atomic import write_json
from contrasift.store.run import StageRecord
from contrasift.store.tables import read_latent_classes, read_table

ARMS = ("selected", "random-per-class", "random", "full")
COMPARED = ("selected", "random-per-class", "full")
METRICS = ("linear", "knn", "mean_classifier")


@dataclass(frozen=True)
class Arm:
    """One training of the comparison: which subset, which seed."""

    subset: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder and stages."""
        return f"{self.subset}-seed{self.seed}"


def arm_positions(run: Run, arm: Arm) -> np.ndarray:
    """Positions in the pool that this arm trains on, ascending."""
    everything = readable_positions(run)
    if arm.subset == "full":
        return everything
    if arm.subset == "selected":
        table = read_table(run.folder.path / "selection.parquet", "index", "selected")
        return positions_of(np.sort(table["index"][table["selected"]]), run.pool.index)
    from contrasift.selection.baselines import random_order, random_per_class_order

    budget = run.record("select").facts["budget"]
    if arm.subset == "random":
        rows = random_order(everything.size, seed=arm.seed)[:budget]
    else:
        labels = read_latent_classes(
            run.folder.path / "classes.parquet", run.pool.index[everything]
        )
        rows = random_per_class_order(labels, seed=arm.seed)[:budget]
    return np.sort(everything[rows])


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
    full = run.record("embed").facts["n"]
    steps = options.epochs * steps_per_epoch(full, options.batch_size)
    epochs = math.ceil(steps / steps_per_epoch(n, options.batch_size))
    return dataclasses.replace(options, epochs=epochs), steps


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Whole batches in a pass over n examples."""
    return n // batch_size


def check_batch(run: Run, n: int) -> None:
    """Stop early when a subset is too small to fill one batch.

    Raises:
        UsageError: the batch is larger than the subset.
    """
    batch = run.options.train.batch_size
    if batch > n:
        raise UsageError(
            f"a subset of at least one batch ({batch} examples)",
            f"{n} examples",
            f"Pass --batch-size {n} or less, or select more" if n > 1 else "Select more",
        )


def train(run: Run, arm: Arm) -> StageRecord:
    """Pre-train on one arm's subset."""
    upstream = run.record("scan").fingerprint
    if arm.subset != "full":
        upstream = run.record("select").fingerprint
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
            "note": note,
        }

    return run.do(
        f"train {arm.name}", fingerprint, [f"training/{arm.name}/encoder.safetensors"], work
    )


def evaluate(run: Run, arm: Arm) -> StageRecord:
    """Linear probe, kNN and mean classifier of one arm's encoder (or of an untrained one)."""
    if arm.subset == "untrained":
        upstream = run.options.train.fingerprint(run.record("scan").fingerprint, str(arm.seed))
    else:
        upstream = run.record(f"train {arm.name}").fingerprint
    fingerprint = hashlib.sha256(f"evaluate {arm.name} {upstream}".encode()).hexdigest()[:16]
    result_file = f"evaluation/{arm.name}.json"

    def work() -> dict[str, Any]:
        from contrasift.embedding import features
        from contrasift.evaluation import evaluate as evaluate_features

        encoder = _arm_encoder(run, arm)
        labels, test = require_evaluation_data(run)
        positions = readable_positions(run)
        positions = positions[labels[positions] >= 0]
        held_out = run.test_positions
        result = evaluate_features(
            features(run.pool, positions, encoder, device=run.device),
            labels[positions],
            features(test, held_out, encoder, device=run.device),
            require_labels(test)[held_out],
            seed=arm.seed,
        )
        write_json(
            run.folder.path / result_file,
            {
                "subset": arm.subset,
                "seed": arm.seed,
                "train_examples": positions.size,
                "test_examples": held_out.size,
                **dataclasses.asdict(result),
            },
        )
        return {
            "note": ", ".join(f"{m.replace('_', ' ')} {getattr(result, m):.1%}" for m in METRICS)
        }

    return run.do(f"evaluate {arm.name}", fingerprint, [result_file], work)


def _arm_encoder(run: Run, arm: Arm) -> Any:
    from contrasift.training.encoders import build_encoder, load_encoder

    if arm.subset == "untrained":
        train = run.options.train
        return build_encoder(
            train.architecture,
            run.pool.channels,
            run.pool.image_size,
            train.projection_dim,
            arm.seed,
        )
    return load_encoder(str(run.folder.path / "training" / arm.name / "encoder.safetensors"))


def can_evaluate(run: Run) -> bool:
    """Whether the pool has labels and held-out data."""
    return run.pool.labels is not None and run.pool.test is not None


def require_evaluation_data(run: Run) -> tuple[np.ndarray, Pool]:
    """The pool's labels and its held-out part.

    Raises:
        DataError: there is nothing to evaluate on.
    """
    test = run.pool.test
    if test is None:
        raise DataError(
            "a pool with labels, to evaluate on",
            f"{run.options.pool.pool} without them",
            "Class sub-folders serve as labels with --labels folders",
        )
    return require_labels(run.pool), test


def require_labels(pool: Pool) -> np.ndarray:
    """The labels of a pool, −1 where unknown.

    Raises:
        DataError: it has none.
    """
    if pool.labels is None:
        raise DataError("a pool with labels", f"{pool.name} without them")
    return pool.labels


def trained_arms(run: Run) -> list[Arm]:
    """The arms whose training is finished, in the order of the comparison."""
    names = [
        name.removeprefix("train ") for name in run.folder.records() if name.startswith("train ")
    ]
    found = []
    for name in names:
        subset, _, seed = name.rpartition("-seed")
        found.append(Arm(subset, int(seed)))
    return sorted(found, key=lambda arm: (ARMS.index(arm.subset), arm.seed))


def comparison_arms(run: Run) -> list[Arm]:
    """Every training of `contrasift run`, seeds outermost so that early seeds finish first."""
    return [Arm(subset, seed) for seed in range(run.options.compare.seeds) for subset in COMPARED]
