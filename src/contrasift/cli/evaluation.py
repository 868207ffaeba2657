"""What `contrasift evaluate` does: encoders of a run, or another one on a run's or a pool's data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contrasift.cli.common import continue_run
from contrasift.cli.console import ConsoleNarrator, print_json
from contrasift.cli.tables import show_accuracies, show_comparison
from contrasift.options import PoolOptions


def evaluate_in_run(
    folder: Path,
    given: Mapping[str, Any],
    source: str | None,
    layers: Sequence[str],
    probe: str,
    *,
    device: str,
    update: bool,
    quiet: bool,
    as_json: bool,
    moved_to: str | None = None,
) -> None:
    """Evaluate all trained encoders of a run and the untrained one, or one from elsewhere."""
    with continue_run(
        folder, given, device=device, update=update, quiet=quiet or as_json, moved_to=moved_to
    ) as run:
        from contrasift.pipeline.stages.evaluate import (
            EvaluationProtocol,
            evaluate,
            external_arm,
            require_evaluation_data,
        )
        from contrasift.pipeline.stages.summary import summarise
        from contrasift.store.arms import Arm, trained_arms

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
        summary = summarise(run)
    show_comparison(summary, folder, as_json=as_json)


def evaluate_on_pool(
    given: Mapping[str, Any],
    source: str,
    layers: Sequence[str],
    probe: str,
    *,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Evaluate one encoder on a pool, and keep nothing."""
    from contrasift.pipeline.pool_of_run import open_run_pool
    from contrasift.pipeline.stages.evaluate import (
        EvaluationProtocol,
        evaluate_encoder,
        labels_and_test,
    )
    from contrasift.pools import scan_pool
    from contrasift.training.loading import load_encoder

    options = PoolOptions.from_mapping(given)
    pool = open_run_pool(options)
    _, test = labels_and_test(pool)
    encoder = load_encoder(source, channels=pool.channels)
    narrator = ConsoleNarrator(quiet=quiet or as_json)
    narrator.say(f"evaluating {source} on {options.pool} ...")
    positions, held_out = scan_pool(pool).positions, scan_pool(test).positions
    results = {
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
    if as_json:
        rows = {layer: vars(result) for layer, result in results.items()}
        print_json(json.dumps({"encoder": source, "pool": options.pool, "layers": rows}, indent=2))
        return
    show_accuracies(source, results)
