"""`contrasift compare-selections`: selections of one pool beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from contrasift.cli.common import Json
from contrasift.cli.console import print_json
from contrasift.narration import shown


def compare_selections_command(
    selections: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B ...",
            help="Folders written by `select` or `run`, or lists of indices (.npy, or lines).",
            show_default=False,
        ),
    ],
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings",
            help="Embeddings to measure by, in any format that `select` takes. [default: those of "
            "the first run or selection that are still there]",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option("--classes", help="Latent classes. [default: of the first selection]"),
    ] = None,
    redundancy: Annotated[
        float | None,
        typer.Option("--redundancy", help="λ for all. [default: min(1, 1/(4·largest fraction))]"),
    ] = None,
    whole: Annotated[
        bool,
        typer.Option("--whole", help="Coverage over all examples, not over a sample of 5,000."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of that sample.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for comparison.json and comparison.html."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what selections of one pool share, and what each is worth by every measure.

    Shared examples beside what chance gives, rank correlation, F and its share of the possible
    gain over random, coverage, centre, the gap of the means, and the balance of classes.

    Examples:
        contrasift compare-selections sas/ k-center/ random/
    """
    from contrasift.pipeline.studies.compare_selections import compare_selections

    result = compare_selections(
        selections,
        embeddings=embeddings,
        classes=classes,
        redundancy=redundancy,
        whole=whole,
        seed=seed,
        out=out,
    )
    if as_json:
        print_json(result)
        return
    _show(result)
    if out is not None:
        typer.echo(f"plot: {out / 'comparison.html'}")


def _show(result: Mapping[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    # A cell that is cut says nothing: a table too wide for the terminal wraps instead.
    longest = max(len(row["name"]) for row in result["selections"])
    needed = longest + 6 + max(56, 5 * len(result["selections"]))
    wide = Console(highlight=False, emoji=False, width=max(console.width, needed))
    wide.print(_measures_table(result))
    if "redundancy" in result:
        console.print(
            f"F at λ = {result['redundancy']:g} for all, as the share of what was possible over "
            "random. Coverage: mean similarity to the nearest kept example of the class; centre: "
            "mean similarity to all kept ones; gap: ‖μ − μ_S‖; classes, labels: how far from "
            f"proportional (total variation).{_interval_in_words(result)}",
            markup=False,
        )
    else:
        console.print(
            "F, coverage, centre and gap need the embeddings that were selected from: "
            "--embeddings FILE.",
            markup=False,
        )
    console.print()
    wide.print(_pairs_table(result))
    pair = result["pairs"][0]
    console.print(
        f"Above the diagonal shared examples (of the smaller selection; by chance "
        f"{pair['share_by_chance']:.0%} of {pair['first']} and {pair['second']}); below it rank "
        "correlation within classes.",
        markup=False,
    )


def _measures_table(result: Mapping[str, Any]) -> Any:
    from rich.table import Table

    rows = result["selections"]
    measured, labelled = "redundancy" in result, "labels" in rows[0]
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    headings = ["kept"] + (["F share", "coverage", "centre", "gap"] if measured else [])
    headings += ["classes"] + (["labels"] if labelled else [])
    for name in headings:
        table.add_column(name, justify="right", no_wrap=True)
    for number, row in enumerate(rows, start=1):
        cells = [f"{row['kept']:,}"]
        if measured:
            share = row["share_over_random"]
            cells += [
                shown(share, ".1%"),
                f"{row['coverage']:.4f}",
                f"{row['centre']:.4f}",
                f"{row['herding_gap']:.4f}",
            ]
        cells.append(f"{row['classes']['total_variation']:.3f}")
        if labelled:
            cells.append(f"{row['labels']['total_variation']:.3f}")
        table.add_row(f"{number} {row['name']}", *cells)
    return table


def _interval_in_words(result: Mapping[str, Any]) -> str:
    """How far sampled coverages may be off; nothing where they are whole."""
    halves = [
        row["coverage_interval"][1] - row["coverage"]
        for row in result["selections"]
        if row["coverage_interval"] is not None
    ]
    if not halves:
        return ""
    return f" Coverage is of a sample, ±{max(halves):.4f} at most (95 %); --whole for all."


def _pairs_table(result: Mapping[str, Any]) -> Any:
    from rich.table import Table

    names = [row["name"] for row in result["selections"]]
    pairs = {(pair["first"], pair["second"]): pair for pair in result["pairs"]}
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for number in range(1, len(names) + 1):
        table.add_column(str(number), justify="right", no_wrap=True)
    for a, first in enumerate(names):
        cells = []
        for b, second in enumerate(names):
            if a == b:
                cells.append("·")
            elif a < b:
                cells.append(f"{pairs[first, second]['share']:.0%}")
            else:
                correlation = pairs[second, first]["rank_correlation_within"]
                cells.append(shown(correlation, ".2f").replace("0.", "."))
        table.add_row(f"{a + 1} {first}", *cells)
    return table
