"""`contrasift plan`: which fraction is enough?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from contrasift.cli.common import How
from contrasift.cli.console import print_json
from contrasift.cli.flags import pick, with_options
from contrasift.errors import UsageError
from contrasift.options import MatrixOptions, MatrixReading, SelectOptions
from contrasift.options.plan import PlanRequest


@with_options(
    *(PlanRequest, MatrixReading),
    first=["accuracy", "metric", "fractions"],
    how=["moved_to", "device", "update"],
)
def plan_command(
    place: Annotated[
        str,
        typer.Argument(
            metavar="RUN|SELECTION|EMBEDDINGS",
            help="A run folder, the folder of a selection, or embeddings in any format.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Of embeddings: folder for their classes, selection and plan."
        ),
    ] = None,
    *,
    how: How,
    given: dict[str, Any],
) -> None:
    """Show what every fraction reaches, and suggest the smallest that costs little accuracy.

    Draws coverage and centre of the ranking against the fraction, with random's band. Of bare
    embeddings a fifth is selected first. With --accuracy it trains a run's encoder for a short time
    at a few fractions, extrapolates by a power law with an interval, and suggests a fraction, or says
    that it cannot tell. Writes plan.json and plan.html.

    Examples:
        contrasift plan runs/photos

        contrasift plan runs/photos --accuracy --loss 1 --seeds 5

        contrasift plan embeddings.npy --out chosen/
    """
    request = PlanRequest(**pick(given, PlanRequest))
    reading = MatrixReading(**pick(given, MatrixReading))
    folder = Path(place)
    if (folder / "options.yaml").exists() or (
        folder.is_dir() and (folder / "stages.json").exists()
    ):
        _refuse(out, reading, f"{folder}, a run")
        with how.run(folder) as run:
            from contrasift.pipeline.studies.plan import plan

            result = plan(run, request)
    else:
        from contrasift.pipeline.studies.plan import plan_selection

        if how.moved_to is not None:
            raise UsageError("a run folder for pool=", place)
        if (folder / "selection.json").exists():
            _refuse(out, reading, f"{folder}, a selection")
        else:
            folder = _select_a_fifth(place, out, reading, request, how)
        result = plan_selection(folder, request, how.narrator)
    page = folder / "plan.html"
    if how.as_json:
        print_json({**result, "page": str(page)})
        return
    for sentence in result["sentences"]:
        print(sentence)
    print(page)


def _refuse(out: Path | None, reading: MatrixReading, what: str) -> None:
    """What only bare embeddings take."""
    given = [name for name, value in reading.as_dict().items() if value]
    given += ["out"] if out is not None else []
    if given:
        raise UsageError(f"embeddings for {' and '.join(f'{name}=' for name in given)}", what)


def _select_a_fifth(
    place: str, out: Path | None, reading: MatrixReading, request: PlanRequest, how: How
) -> Path:
    """A ranking of bare embeddings, kept in `out`."""
    from contrasift.pipeline.stages.select_matrix import select_from_matrix

    if request.accuracy:
        raise UsageError("a run, with images to train on, for accuracy=True", place)
    if out is None:
        from contrasift.pipeline.stages.matrix_rows import opened

        opened(place, reading, how.narrator)  # what is not there at all is said first
        raise UsageError("out= for a plan of embeddings", "none")
    options = SelectOptions(fraction=0.2, seed=request.seed)
    beside = MatrixOptions(**reading.as_dict())
    select_from_matrix(place, out, options, beside, narrator=how.narrator, update=how.update)
    return out
