"""The figures of `contrasift compare-selections`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from contrasift.report.figures.page import blank

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def selection_figures(result: Mapping[str, Any]) -> list[Figure]:
    """What each two share and how alike they rank; every measure of every selection."""
    names = [row["name"] for row in result["selections"]]
    figures = [
        _matrix(result, names, "share", "Shared examples, of the smaller selection", 0),
        _matrix(result, names, "rank_correlation_within", "Rank correlation within classes", -1),
    ]
    if "redundancy" in result:
        measures = (
            ("share_over_random", "Share of the possible gain in F over random"),
            ("coverage", "Coverage: mean similarity to the nearest kept example"),
            ("centre", "Centre: mean similarity of examples and kept examples"),
            ("herding_gap", "Gap ‖μ − μ_S‖"),
        )
        figures += [_bars(result, names, key, title) for key, title in measures]
    figures.append(_bars(result, names, "classes", "Total variation from proportional classes"))
    return figures


def _matrix(
    result: Mapping[str, Any], names: Sequence[str], key: str, title: str, least: int
) -> Figure:
    from plotly.graph_objects import Figure, Heatmap

    place = {name: number for number, name in enumerate(names)}
    matrix: list[list[float | None]] = [[None] * len(names) for _ in names]
    for number in range(len(names)):
        matrix[number][number] = 1.0
    for pair in result["pairs"]:
        a, b = place[pair["first"]], place[pair["second"]]
        matrix[a][b] = matrix[b][a] = pair[key]
    heat = Heatmap(
        x=list(names),
        y=list(names),
        z=matrix,
        zmin=least,
        zmax=1,
        colorscale="Blues" if least == 0 else "RdBu",
        texttemplate="%{z:.2f}",
    )
    figure = Figure(
        heat, layout={"template": "plotly_white", "title": title, "height": 200 + 32 * len(names)}
    )
    figure.update_yaxes(autorange="reversed", type="category")
    return figure.update_xaxes(type="category")


def _bars(result: Mapping[str, Any], names: Sequence[str], key: str, title: str) -> Figure:
    rows = result["selections"]
    values = [row[key]["total_variation"] if key == "classes" else row[key] for row in rows]
    figure = blank(title, height=340)
    errors = None
    if key == "coverage" and any(row["coverage_interval"] for row in rows):
        halves = [
            row["coverage_interval"][1] - row["coverage"] if row["coverage_interval"] else 0.0
            for row in rows
        ]
        errors = {"type": "data", "array": halves}
    figure.add_bar(x=list(names), y=values, error_y=errors)
    return figure.update_xaxes(type="category")
