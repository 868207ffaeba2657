"""`contrasift compare`: does another proxy, or a shorter training, select the same?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from contrasift.cli.common import Json
from contrasift.cli.console import plain_console, print_json
from contrasift.errors import UsageError
from contrasift.narration import NO_NUMBER


def compare_command(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_A RUN_B [...]",
            help="Runs of one pool; the first is compared with each of the others.",
        ),
    ],
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", help="Write rank against rank, and the overlaps, to this HTML file."
        ),
    ] = None,
    pairs: Annotated[
        int, typer.Option("--pairs", help="Random pairs of examples for similarities.", min=2)
    ] = 100_000,
    seed: Annotated[int, typer.Option("--seed", help="Of the pairs.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Say how much runs of one pool agree: similarities, classes, ranks and selections.

    Needs only the run folders. Ranks and overlaps need `select` in both runs, classes `classes`.

    Example: contrasift compare runs/resnet50 runs/narrow --plot ranks.html
    """
    from contrasift.pipeline.studies.compare_runs import compare_runs, read_run

    if len(folders) < 2:
        raise UsageError("at least two runs", str(len(folders)))
    runs = [read_run(folder) for folder in folders]
    found = [compare_runs(runs[0], other, pairs=pairs, seed=seed) for other in runs[1:]]
    result = {"runs": [run.describe() for run in runs], "comparisons": found}
    if plot is not None:
        from contrasift.report.figures.page import write_figures
        from contrasift.report.figures.runs import comparison_figures

        write_figures(plot, "How much runs agree", comparison_figures(runs, found))
    if as_json:
        print_json(result)
    else:
        _show(result, plot)


def _show(result: dict[str, Any], plot: Path | None) -> None:
    """One table: the runs, and a column of agreement for each but the first."""
    from rich.table import Table

    console = plain_console()
    paths = [run["run"] for run in result["runs"]]
    names = [Path(path).name for path in paths]
    if len(set(names)) < len(set(paths)):
        names = paths
    table = Table(title=f"Compared with {names[0]}", title_justify="left")
    table.add_column("", no_wrap=True)
    for name in names[1:]:
        table.add_column(name, justify="right", overflow="fold")
    for title, cells in _rows(result["comparisons"]):
        if any(cell != NO_NUMBER for cell in cells):
            table.add_row(title, *cells)
    console.print(table)
    for run in result["runs"]:
        console.print(
            f"{run['run']}: {run['encoder']}"
            + (f" of {run['source']}" if run["source"] not in ("proxy", run["encoder"]) else "")
            + f", {run['layer']}; {run['examples']:,} examples"
            + (f", {run['classes']} classes" if run["classes"] else "")
            + (f", {run['budget']:,} selected" if run["budget"] is not None else ""),
            markup=False,
            soft_wrap=True,
        )
    if plot is not None:
        console.print(f"plot: {plot}", markup=False, soft_wrap=True)


def _rows(found: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    named = [
        ("similarities, correlation", "similarities", "pearson", "{:.3f}"),
        ("  within classes", "similarities", "pearson_within", "{:.3f}"),
        ("  Spearman", "similarities", "spearman", "{:.3f}"),
        ("classes, ARI", "classes", "ari", "{:.3f}"),
        ("classes, NMI", "classes", "nmi", "{:.3f}"),
        ("ranking, Spearman", "ranks", "spearman", "{:.3f}"),
        ("  within classes", "ranks", "spearman_within", "{:.3f}"),
        ("ranking, Kendall", "ranks", "kendall", "{:.3f}"),
        ("  within classes", "ranks", "kendall_within", "{:.3f}"),
        ("selections, in both", "overlap", "common", "{:,}"),
        ("  share of the smaller", "overlap", "share", "{:.1%}"),
        ("  expected by chance", "overlap", "chance", "{:.1%}"),
        ("  by chance within classes", "overlap", "chance_within", "{:.1%}"),
    ]
    return [
        (title, [_cell(comparison[part], key, form) for comparison in found])
        for title, part, key, form in named
    ]


def _cell(part: dict[str, Any] | None, key: str, form: str) -> str:
    value = None if part is None else part[key]
    return NO_NUMBER if value is None else form.format(value)
