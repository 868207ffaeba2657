"""The figures of the theory: one HTML file that opens without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrasift.store.atomic import write_text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_LAYOUT = {"template": "plotly_white", "height": 460, "margin": {"t": 60, "l": 70, "r": 30}}


def write_figures(path: Path, title: str, figures: Sequence[Figure]) -> None:
    """Write figures below one another, Plotly's script included."""
    import html

    parts = [
        figure.to_html(full_html=False, include_plotlyjs=index == 0)
        for index, figure in enumerate(figures)
    ]
    name = html.escape(title)
    write_text(
        path,
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title></head>'
        f'<body style="max-width:1000px;margin:auto;font-family:sans-serif"><h1>{name}</h1>'
        + "".join(parts)
        + "</body></html>\n",
    )


def advisor_figures(curve: Mapping[str, Sequence[float]], negatives: int) -> list[Figure]:
    """υ and τ against K, and the collision term; K is marked."""
    chances = _figure("Seeing every class, and colliding", "negatives K", "probability")
    _line(chances, curve["negatives"], curve["coverage_probability"], "υ: every class is seen")
    _line(chances, curve["negatives"], curve["collision_probability"], "τ: a negative collides")
    term = _figure("The collision term", "negatives K", "E ln(Col + 1)")
    _line(term, curve["negatives"], curve["expected_log_collisions"], "E ln(Col + 1)")
    for figure in (chances, term):
        figure.add_vline(x=negatives, line_dash="dot", annotation_text=f"K = {negatives:,}")
        figure.update_xaxes(type="log")
    return [chances, term]


def _figure(title: str, x: str, y: str) -> Figure:
    from plotly.graph_objects import Figure

    return Figure(layout={**_LAYOUT, "title": title, "xaxis_title": x, "yaxis_title": y})


def _line(figure: Figure, x: Any, y: Any, name: str, **settings: Any) -> None:
    figure.add_scatter(x=list(x), y=list(y), name=name, mode="lines+markers", **settings)
