"""Metrics along an axis of numbers: one SVG with a panel a metric and a line an arm, no script in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from contrasift.evaluation import Interval
from contrasift.experiments.declaring import Experiment
from contrasift.experiments.extras import METRICS
from contrasift.experiments.figures import ticks
from contrasift.experiments.reading import Table

_LEFT, _PANEL, _HEIGHT, _GAP, _TOP, _BOTTOM = 44, 230, 210, 56, 34, 46
_LEGEND_ROW, _LETTER, _MOST_LABELS, _IN_A_ROW = 20, 6.6, 6, 4
_LOGARITHMIC_FROM = 9.5  # largest over smallest: 0.1 … 0.9 is linear, 0.05 … 0.5 is not
# Told apart by those who see colours differently (Okabe and Ito), and by dashes beyond eight.
_COLOURS = ("0072b2", "d55e00", "009e73", "cc79a7", "b8860b", "56b4e9", "666666", "7b3fb5")
_ON_DARK = ("4aa8e0", "ff8a3d", "2fcf9f", "e6a3c8", "e3b93c", "8fd0f5", "aaaaaa", "b58be0")
_DASHES = ("none", "7 4", "2 3")


def _style() -> str:
    light = "".join(f".c{k}{{stroke:#{c};fill:#{c}}}" for k, c in enumerate(_COLOURS))
    dark = "".join(f".c{k}{{stroke:#{c};fill:#{c}}}" for k, c in enumerate(_ON_DARK))
    return (
        "text{font:12px sans-serif;fill:#444}.t{font-weight:bold}.g{stroke:#ddd}"
        ".l{stroke-width:2;fill:none!important}.e{stroke-width:1.2}" + light + "@media"
        "(prefers-color-scheme:dark){text{fill:#ccc}.g{stroke:#444}" + dark + "}"
    )


@dataclass(frozen=True)
class _Scale:
    """From values to pixels, the other way up where `start` is below."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (self.end - self.start) * (at - low) / (high - low)


def curves_of(experiment: Experiment, tables: Sequence[Table]) -> list[tuple[list[Table], bool]]:
    """Tables that differ only in their place along the experiment's line, from low to high.

    Returns:
        Groups in the order of their first tables, and whether each has two places or more, so that
        a line can be drawn.
    """
    groups: dict[tuple, list[Table]] = {}
    for table in tables:
        rest = tuple(
            (axis, label) for axis, label in table.setting.items() if axis != experiment.line
        )
        groups.setdefault(rest, []).append(table)
    return [
        (sorted(group, key=lambda one: place_of(experiment, one)), True)
        if experiment.line and len(group) > 1
        else (group, False)
        for group in groups.values()
    ]


def place_of(experiment: Experiment, table: Table) -> float:
    """Where a table stands along the experiment's line."""
    return float(table.setting[experiment.line])


def curves(experiment: Experiment, group: Sequence[Table]) -> str:
    """A panel a metric, four in a row, a line an arm: its means, and their standard errors as bars.

    Args:
        experiment: whose line and metrics are shown.
        group: tables that differ only in their place along that line, from low to high.
    """
    places = [place_of(experiment, table) for table in group]
    arms = list(dict.fromkeys(arm for table in group for arm in table.records))
    metrics = [
        metric for metric in experiment.metrics if any(table.values(metric) for table in group)
    ]
    in_a_row = max(1, min(_IN_A_ROW, len(metrics)))
    width = _LEFT + in_a_row * (_PANEL + _GAP) - _GAP + 16
    legend = list(_legend(arms, width))
    floor, each = _TOP + _HEIGHT, _TOP + _HEIGHT + _BOTTOM
    bottom = each * math.ceil(len(metrics) / in_a_row)
    height = bottom + _LEGEND_ROW * (1 + max((row for row, _, _ in legend), default=0))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img"><style>{_style()}</style>'
    ]
    x = _Scale(
        places[0], places[-1], 0.0, float(_PANEL),
        places[0] > 0 and places[-1] / places[0] >= _LOGARITHMIC_FROM,
    )  # fmt: skip
    labels = [table.setting[experiment.line] for table in group]
    for number, metric in enumerate(metrics):
        row, column = divmod(number, in_a_row)
        lines = {arm: [table.mean(arm, metric) for table in group] for arm in arms}
        title = escape(METRICS[metric].name)
        parts.append(
            f'<g transform="translate({_LEFT + column * (_PANEL + _GAP)} {row * each})">'
            f'<text class="t" x="{_PANEL / 2:g}" y="18" text-anchor="middle">{title}</text>'
        )
        parts += _panel(lines, [x(place) for place in places], labels)
        parts.append(
            f'<text x="{_PANEL / 2:g}" y="{floor + 34}" text-anchor="middle">'
            f"{escape(experiment.line)}</text></g>"
        )
    for row, at, arm in legend:
        y = bottom + _LEGEND_ROW * row + 8
        parts.append(f'<path {_look(arms.index(arm))} d="M{at:g} {y - 4}h22"/>')
        parts.append(f'<text x="{at + 28:g}" y="{y}">{escape(arm)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(arms: Sequence[str], width: float | int) -> Iterator[tuple[int, float, str]]:
    """Row, left end and arm, as many in a row as have room."""
    row, at = 0, float(_LEFT)
    for arm in arms:
        length = 28 + _LETTER * len(arm) + 20
        if at > _LEFT and at + length > width:
            row, at = row + 1, float(_LEFT)
        yield row, at, arm
        at += length


def _look(number: int) -> str:
    dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
    dashes = "" if dash == "none" else f' stroke-dasharray="{dash}"'
    return f'class="l c{number % len(_COLOURS)}"{dashes}'


def _panel(
    lines: Mapping[str, Sequence[Interval | None]], xs: Sequence[float], labels: Sequence[str]
) -> Iterator[str]:
    known = [one for line in lines.values() for one in line if one is not None]
    if not known:
        return
    low = min(one.mean - (one.standard_error or 0.0) for one in known)
    high = max(one.mean + (one.standard_error or 0.0) for one in known)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    y = _Scale(low - room, high + room, float(_TOP + _HEIGHT), float(_TOP))
    for tick in ticks(y.low, y.high):
        yield f'<path class="g" d="M0 {y(tick):.1f}H{_PANEL}"/>'
        yield f'<text x="-6" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
    last = -math.inf
    for at, label in zip(xs, labels, strict=True):
        yield f'<path class="g" d="M{at:.1f} {_TOP + _HEIGHT}v5"/>'
        if at - last >= _PANEL / _MOST_LABELS / 1.5:
            last = at
            yield f'<text x="{at:.1f}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">{label}</text>'
    for number, line in enumerate(lines.values()):
        colour = f"c{number % len(_COLOURS)}"
        shown = [(at, one) for at, one in zip(xs, line, strict=True) if one is not None]
        path = "L".join(f"{at:.1f} {y(one.mean):.1f}" for at, one in shown)
        if shown:
            yield f'<path {_look(number)} d="M{path}"/>'
        for at, one in shown:
            error = one.standard_error
            if error:
                ends = f"{y(one.mean - error):.1f}V{y(one.mean + error):.1f}"
                yield f'<path class="e {colour}" d="M{at:.1f} {ends}"/>'
            yield f'<circle class="{colour}" cx="{at:.1f}" cy="{y(one.mean):.1f}" r="3"/>'
