"""Figures on one HTML page that opens without a network, and the frame of each."""

from __future__ import annotations

from collections.abc import Sequence
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


def blank(title: str, x: str = "", y: str = "", **layout: Any) -> Figure:
    """A figure with its titles and nothing in it."""
    from plotly.graph_objects import Figure

    titles = {"title": title, "xaxis_title": x or None, "yaxis_title": y or None}
    return Figure(layout={**_LAYOUT, **titles, **layout})


def add_line(figure: Figure, x: Any, y: Any, name: str, **settings: Any) -> None:
    """Points joined by a line."""
    figure.add_scatter(x=list(x), y=list(y), name=name, mode="lines+markers", **settings)
