"""What `contrasift evaluate` calls and shows: encoders of a run, or another one on its or a pool's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contrasift.cli.common import How
from contrasift.cli.console import print_json
from contrasift.cli.tables import show_accuracies, show_comparison
from contrasift.options import PoolOptions


def evaluate_in_run(
    folder: Path,
    given: Mapping[str, Any],
    source: str | None,
    layers: Sequence[str],
    probe: str,
    how: How,
) -> None:
    """Evaluate all trained encoders of a run and the untrained one, or one from elsewhere."""
    with how.run(folder, given) as run:
        from contrasift.pipeline import evaluation

        summary = evaluation.evaluate_in_run(run, source, layers, probe)
    show_comparison(summary, folder, as_json=how.as_json)


def evaluate_on_pool(
    given: Mapping[str, Any], source: str, layers: Sequence[str], probe: str, how: How
) -> None:
    """Evaluate one encoder on a pool, and keep nothing."""
    from contrasift.pipeline import evaluation

    options = PoolOptions.from_mapping(given)
    results = evaluation.evaluate_on_pool(
        options, source, layers, probe, device=how.device, say=how.narrator.say
    )
    if how.as_json:
        rows = {layer: vars(result) for layer, result in results.items()}
        print_json({"encoder": source, "pool": options.pool, "layers": rows})
        return
    show_accuracies(source, results)
