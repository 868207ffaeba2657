"""`contrasift evaluate`: encoders of a run, or another one on its data or a pool's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from contrasift.cli.common import How
from contrasift.cli.console import print_json
from contrasift.cli.flags import with_options
from contrasift.cli.tables import show_accuracies, show_comparison
from contrasift.errors import UsageError
from contrasift.options import PoolOptions


class Layer(StrEnum):
    """What of an encoder is evaluated."""

    backbone = "backbone"
    head = "head"
    both = "both"


class Probe(StrEnum):
    """How the linear classifier is trained."""

    logistic = "logistic"
    sgd = "sgd"


@with_options(PoolOptions, hide=["pool"], how=["moved_to", "device", "update"])
def evaluate_command(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="RUN|POOL", help="The run folder; with --encoder also a pool, as for `embed`."
        ),
    ],
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder", help="Evaluate this encoder instead, named as for `contrasift embed`."
        ),
    ] = None,
    layer: Annotated[
        Layer, typer.Option("--layer", help="Before (`backbone`) or after the projection `head`.")
    ] = Layer.backbone,
    probe: Annotated[
        Probe,
        typer.Option(
            "--probe", help="`logistic` regression, or MoCo's protocol of 100 epochs of `sgd`."
        ),
    ] = Probe.logistic,
    *,
    how: How,
    given: dict[str, Any],
) -> None:
    """Linear probe, kNN and mean classifier of every encoder trained in a run, on held-out data.

    The untrained encoder is evaluated beside them, so that one sees what is worth how much. Any
    other encoder can be evaluated on the data of a run, or of a pool without a run.

    Examples:
        contrasift evaluate runs/photos --layer both

        contrasift evaluate fashion-mnist --encoder resnet18 --limit 5000
    """
    layers = ["backbone", "head"] if layer is Layer.both else [layer.value]
    if encoder is not None and not (Path(folder) / "options.yaml").exists():
        if how.moved_to is not None:
            raise UsageError("a run folder for --pool", folder)
        _on_pool(given | {"pool": folder}, encoder, layers, probe.value, how)
    else:
        _in_run(Path(folder), given, encoder, layers, probe.value, how)


def _in_run(
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


def _on_pool(
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
