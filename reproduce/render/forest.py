"""Differences to the reference as points with their intervals: one SVG a table, no script in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from contrasift.evaluation import Interval
from reproduce.declared.declaring import Experiment
from reproduce.metrics.extras import METRICS
from reproduce.render.cell_table import CellTable

_LABEL, _PANEL, _GAP, _ROW, _TOP, _BOTTOM = 270, 180, 24, 22, 34, 30
_LETTER, _IN_A_ROW = 6.6, 5
_STYLE = (
    "text{font:12px sans-serif;fill:#444}.t{font-weight:bold}.z{stroke:#999}"
    ".g{stroke:#ddd}.i{stroke:#0b7a75;stroke-width:2}.p{fill:#0b7a75}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}.g{stroke:#444}"
    ".i{stroke:#4cc9c0}.p{fill:#4cc9c0}}"
)


def forest(experiment: Experiment, table: CellTable) -> str:
    """A panel a metric, five side by side, a row an arm; the line at 0 is the reference.

    Args:
        experiment: whose reference and metrics are shown.
        table: the numbers.
    """
    arms = [arm for arm in table.records if arm != experiment.reference]
    panels = {
        metric: {arm: table.difference(arm, experiment.reference, metric) for arm in arms}
        for metric in experiment.metrics
        if table.values(metric)
    }
    label = max(_LABEL, *(math.ceil(_LETTER * len(arm)) + 20 for arm in arms), 0)
    in_a_row = max(1, min(_IN_A_ROW, len(panels)))
    width = label + in_a_row * (_PANEL + _GAP)
    each = _TOP + _ROW * len(arms) + _BOTTOM
    height = each * math.ceil(len(panels) / in_a_row)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img"><style>{_STYLE}</style>'
    ]
    named = list(panels.items())
    for begin in range(0, len(named), in_a_row):
        parts.append(f'<g transform="translate(0 {each * (begin // in_a_row)})">')
        for row, arm in enumerate(arms):
            y = _TOP + _ROW * (row + 0.5)
            parts.append(
                f'<text x="{label - 10}" y="{y + 4:g}" text-anchor="end">{escape(arm)}</text>'
            )
        for place, (metric, rows) in enumerate(named[begin : begin + in_a_row]):
            left = label + place * (_PANEL + _GAP)
            parts += _panel(METRICS[metric].name, rows, left, each)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(
    name: str, rows: Mapping[str, Interval | None], left: float | int, height: int
) -> list[str]:
    known = [one for one in rows.values() if one is not None]
    ends = [0.0, *(one.mean for one in known)]
    # One wild interval must not squeeze the others: it is cut at the panel's edge.
    half_widths = sorted(_half_width(one) for one in known)
    typical = half_widths[len(half_widths) // 2] if half_widths else 0.0
    room = 1.2 * typical + 0.04 * (max(ends) - min(ends) + typical) or 1.0
    low, high = min(ends) - room, max(ends) + room

    def x(value: float) -> float:
        clipped = min(max(value, low), high)
        return left + _PANEL * (clipped - low) / (high - low)

    floor = height - _BOTTOM
    parts = [
        f'<text class="t" x="{left + _PANEL / 2:g}" y="18" text-anchor="middle">{escape(name)}</text>'
    ]
    for tick in ticks(low, high):
        kind = "z" if tick == 0 else "g"
        parts.append(f'<path class="{kind}" d="M{x(tick):.1f} {_TOP - 6}V{floor}"/>')
        parts.append(
            f'<text x="{x(tick):.1f}" y="{floor + 16}" text-anchor="middle">{tick:+g}</text>'
        )
    for row, one in enumerate(rows.values()):
        if one is None:
            continue
        y = _TOP + _ROW * (row + 0.5)
        if one.low is not None and one.high is not None:
            parts.append(f'<path class="i" d="M{x(one.low):.1f} {y:g}H{x(one.high):.1f}"/>')
        parts.append(f'<circle class="p" cx="{x(one.mean):.1f}" cy="{y:g}" r="4"/>')
    return parts


def _half_width(interval: Interval) -> float:
    return 0.0 if interval.high is None else interval.high - interval.mean


def ticks(low: float, high: float) -> list[float]:
    """Round numbers in [low, high], at most five; 0 is one of them if it is inside."""
    size = 10.0 ** math.floor(math.log10((high - low) / 5))
    for step in (size, 2 * size, 5 * size, 10 * size, 20 * size):
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < 5:
            return [float(f"{step * turn:.6g}") for turn in range(first, last + 1)]
    raise AssertionError("twenty times a fifth of it has at most five places")
