"""Panels with lines in them, each with its own axes, and one legend: an SVG with no script in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from contrasift.evaluation import Interval
from reproduce.render.forest import ticks

_LEFT, _PANEL, _HEIGHT, _GAP, _TOP, _BOTTOM = 44, 230, 210, 56, 34, 46
_LEGEND_ROW, _LETTER, _MOST_LABELS, _IN_A_ROW = 20, 6.6, 6, 4
_MOST_MARKS = 20  # of a line; beyond, its standard errors are a band
_LOGARITHMIC_FROM = 9.5  # largest over smallest: 0.1 … 0.9 is linear, 0.05 … 0.5 is not
# Told apart by those who see colours differently (Okabe and Ito), and by dashes beyond eight.
_COLOURS = ("0072b2", "d55e00", "009e73", "cc79a7", "b8860b", "56b4e9", "666666", "7b3fb5")
_ON_DARK = ("4aa8e0", "ff8a3d", "2fcf9f", "e6a3c8", "e3b93c", "8fd0f5", "aaaaaa", "b58be0")
_DASHES = ("none", "7 4", "2 3")


@dataclass(frozen=True)
class Panel:
    """Lines over one axis.

    Attributes:
        title: what is drawn.
        axis: what it is drawn against.
        places: ascending numbers on that axis.
        labels: of the places; an empty one is not written.
        lines: by name, a mean for every place, or None where there is none.
        logarithmic: draw an axis of positive places that span a factor of ten so.
    """

    title: str
    axis: str
    places: Sequence[float | int]
    labels: Sequence[str]
    lines: Mapping[str, Sequence[Interval | None]]
    logarithmic: bool = True


def draw_panels(panels: Sequence[Panel]) -> str:
    """Four panels in a row, a colour a name; standard errors as bars, or as bands of long lines."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    in_a_row = max(1, min(_IN_A_ROW, len(panels)))
    width = _LEFT + in_a_row * (_PANEL + _GAP) - _GAP + 16
    legend = list(_legend(names, width))
    each = _TOP + _HEIGHT + _BOTTOM
    bottom = each * math.ceil(len(panels) / in_a_row)
    height = bottom + _LEGEND_ROW * (1 + max((row for row, _, _ in legend), default=0))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img"><style>{_style()}</style>'
    ]
    for number, panel in enumerate(panels):
        row, column = divmod(number, in_a_row)
        parts.append(
            f'<g transform="translate({_LEFT + column * (_PANEL + _GAP)} {row * each})">'
            f'<text class="t" x="{_PANEL / 2:g}" y="18" text-anchor="middle">'
            f"{escape(panel.title)}</text>"
        )
        parts += _drawn(panel, names)
        parts.append(
            f'<text x="{_PANEL / 2:g}" y="{_TOP + _HEIGHT + 34}" text-anchor="middle">'
            f"{escape(panel.axis)}</text></g>"
        )
    for row, at, name in legend:
        y = bottom + _LEGEND_ROW * row + 8
        parts.append(f'<path {_look(names.index(name))} d="M{at:g} {y - 4}h22"/>')
        parts.append(f'<text x="{at + 28:g}" y="{y}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _style() -> str:
    light = "".join(f".c{k}{{stroke:#{c};fill:#{c}}}" for k, c in enumerate(_COLOURS))
    dark = "".join(f".c{k}{{stroke:#{c};fill:#{c}}}" for k, c in enumerate(_ON_DARK))
    return (
        "text{font:12px sans-serif;fill:#444}.t{font-weight:bold}.g{stroke:#ddd}"
        ".l{stroke-width:2;fill:none!important}.e{stroke-width:1.2}"
        ".b{stroke:none!important;fill-opacity:.2}" + light + "@media"
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

    def __call__(self, value: float | int) -> float:
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (self.end - self.start) * (at - low) / (high - low)


def _legend(names: Sequence[str], width: float | int) -> Iterator[tuple[int, float, str]]:
    """Row, left end and name, as many in a row as have room."""
    row, at = 0, float(_LEFT)
    for name in names:
        length = 28 + _LETTER * len(name) + 20
        if at > _LEFT and at + length > width:
            row, at = row + 1, float(_LEFT)
        yield row, at, name
        at += length


def _look(number: int) -> str:
    dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
    dashes = "" if dash == "none" else f' stroke-dasharray="{dash}"'
    return f'class="l {_colour(number)}"{dashes}'


def _colour(number: int) -> str:
    return f"c{number % len(_COLOURS)}"


def _drawn(panel: Panel, names: Sequence[str]) -> Iterator[str]:
    known = [one for line in panel.lines.values() for one in line if one is not None]
    if not known:
        return
    low = min(one.mean - (one.standard_error or 0.0) for one in known)
    high = max(one.mean + (one.standard_error or 0.0) for one in known)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    y = _Scale(low - room, high + room, float(_TOP + _HEIGHT), float(_TOP))
    first, last = panel.places[0], panel.places[-1]
    spread = first > 0 and last / first >= _LOGARITHMIC_FROM
    x = _Scale(float(first), float(last), 0.0, float(_PANEL), panel.logarithmic and spread)
    yield from _axes(y, [x(place) for place in panel.places], panel.labels)
    for name, line in panel.lines.items():
        shown = [
            (x(place), one)
            for place, one in zip(panel.places, line, strict=True)
            if one is not None
        ]
        if shown:
            yield from _line(shown, y, names.index(name))


def _axes(y: _Scale, xs: Sequence[float], labels: Sequence[str]) -> Iterator[str]:
    for tick in ticks(y.low, y.high):
        yield f'<path class="g" d="M0 {y(tick):.1f}H{_PANEL}"/>'
        yield f'<text x="-6" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
    last = -math.inf
    for at, label in zip(xs, labels, strict=True):
        if not label:
            continue
        yield f'<path class="g" d="M{at:.1f} {_TOP + _HEIGHT}v5"/>'
        if at - last >= _PANEL / _MOST_LABELS / 1.5:
            last = at
            yield f'<text x="{at:.1f}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">{label}</text>'


def _line(shown: Sequence[tuple[float, Interval]], y: _Scale, number: int) -> Iterator[str]:
    colour = _colour(number)
    ends = [
        (at, y(one.mean - error), y(one.mean + error))
        for at, one in shown
        for error in (one.standard_error,)
        if error
    ]
    path = "L".join(f"{at:.1f} {y(one.mean):.1f}" for at, one in shown)
    if len(shown) > _MOST_MARKS:
        edge = [f"{at:.1f} {low:.1f}" for at, low, _ in ends]
        edge += [f"{at:.1f} {high:.1f}" for at, _, high in reversed(ends)]
        if edge:
            yield f'<path class="b {colour}" d="M{"L".join(edge)}z"/>'
        yield f'<path {_look(number)} d="M{path}"/>'
        return
    yield f'<path {_look(number)} d="M{path}"/>'
    for at, low, high in ends:
        yield f'<path class="e {colour}" d="M{at:.1f} {low:.1f}V{high:.1f}"/>'
    for at, one in shown:
        yield f'<circle class="{colour}" cx="{at:.1f}" cy="{y(one.mean):.1f}" r="3"/>'
