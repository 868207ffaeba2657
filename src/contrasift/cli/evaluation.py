"""What `contrasift evaluate` calls and shows: encoders of a run, or another one on its or a pool's data."""

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
        from contrasift.pipeline import evaluation

        summary = evaluation.evaluate_in_run(run, source, layers, probe)
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
    from contrasift.pipeline import evaluation

    options = PoolOptions.from_mapping(given)
    narrator = ConsoleNarrator(quiet=quiet or as_json)
    results = evaluation.evaluate_on_pool(
        options, source, layers, probe, device=device, say=narrator.say
    )
    if as_json:
        rows = {layer: vars(result) for layer, result in results.items()}
        print_json(json.dumps({"encoder": source, "pool": options.pool, "layers": rows}, indent=2))
        return
    show_accuracies(source, results)
