"""Encoders evaluated: those of a run, one from elsewhere on a run's data, or one on a pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from contrasift.evaluation import Evaluation
from contrasift.options import PoolOptions
from contrasift.pipeline.pool_of_run import open_run_pool
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.evaluate import (
    EvaluationProtocol,
    evaluate,
    evaluate_encoder,
    external_arm,
    labels_and_test,
    require_evaluation_data,
)
from contrasift.pipeline.stages.summary import summarise
from contrasift.pools import scan_pool
from contrasift.store.arms import Arm, trained_arms


def evaluate_in_run(
    run: Run, source: str | None, layers: Sequence[str], probe: str
) -> dict[str, Any]:
    """Evaluate all trained encoders of a run and the untrained one, or one from elsewhere.

    Args:
        run: with trainings, or with a pool to evaluate on.
        source: the encoder from elsewhere; None: those of the run.
        layers: `backbone`, `head`.
        probe: `logistic` or `sgd`.

    Returns:
        The run's summary.

    Raises:
        DataError: no labels, or nothing held out.
    """
    require_evaluation_data(run)
    encoder = None
    if source is None:
        trained = trained_arms(run.folder)
        seeds = sorted({arm.seed for arm in trained} | {0})
        arms = [*trained, *(Arm("untrained", seed) for seed in seeds)]
    else:
        from contrasift.training.loading import load_encoder

        encoder = load_encoder(source, channels=run.pool.channels)
        arms = [external_arm(source)]
    for arm in arms:
        for layer in layers:
            evaluate(run, arm, EvaluationProtocol(layer, probe), encoder)
    return summarise(run)


def evaluate_on_pool(
    options: PoolOptions,
    source: str,
    layers: Sequence[str],
    probe: str,
    *,
    device: str,
    say: Callable[[str], None],
) -> dict[str, Evaluation]:
    """Evaluate one encoder on a pool, and keep nothing.

    Args:
        options: of the pool.
        source: the encoder.
        layers: `backbone`, `head`.
        probe: `logistic` or `sgd`.
        device: where the encoder runs.
        say: told what is done.

    Returns:
        What it is worth, by layer.

    Raises:
        DataError: no labels, or nothing held out.
    """
    from contrasift.training.loading import load_encoder

    pool = open_run_pool(options)
    _, test = labels_and_test(pool)
    encoder = load_encoder(source, channels=pool.channels)
    say(f"evaluating {source} on {options.pool} ...")
    positions, held_out = scan_pool(pool).positions, scan_pool(test).positions
    return {
        layer: evaluate_encoder(
            pool,
            positions,
            held_out,
            encoder,
            EvaluationProtocol(layer, probe),
            seed=options.seed,
            device=device,
        )
        for layer in layers
    }
