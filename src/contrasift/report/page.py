"""From `ReportData` to one HTML file that opens from disk, without a network."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from markupsafe import Markup

from contrasift.report.data import (
    ArmResult,
    ClassGallery,
    EmbeddingMap,
    GainCurve,
    ReportData,
    Tile,
)
from contrasift.store.atomic import write_text

# The page stays below 15 MB: Plotly's own script takes 5, and these are the rest's shares.
_MAP_IMAGE_BYTES = 4_000_000
_GALLERY_BYTES = 4_000_000
_MAP_POINTS = 5_000
_CURVES = 60
_CURVE_POINTS = 250
_BARS = 300
_CLASS_ROWS = 500
_UNREADABLE_ROWS = 1_000

_ARM_LABELS = {
    "selected": "Selected",
    "random-per-class": "Random per class",
    "random": "Random",
    "full": "Full pool",
    "untrained": "Untrained",
}
_MEASURE_LABELS = {"linear": "Linear probe", "knn": "kNN", "mean classifier": "Mean classifier"}

T = TypeVar("T")


def write_report(data: ReportData, path: Path) -> Path:
    """Write the page, whole or not at all.

    Every text from outside is shown as text: Jinja escapes it in the markup, the data block holds
    no `<`, `>` or `&`, and the scripts set text, never markup. The page asks for nothing from a
    network, and its content policy forbids it to.

    Args:
        data: what to show; parts that are missing are left out.
        path: of the HTML file; its folder is made if need be.

    Returns:
        The path.

    Raises:
        ContrasiftError: the file cannot be written.
    """
    write_text(path, render(data))
    return path


def render(data: ReportData) -> str:
    """The page as text: see `write_report`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("contrasift.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=_count, percent=_percent, duration=_duration, number=_number, value=_value
    )
    data, cuts = _fitted(data)
    payload = _payload(data)
    html = environment.get_template("report.html.j2").render(
        data=data,
        cuts=cuts,
        sections=_sections(data),
        measures=[(name, _measure_label(name)) for name in payload["measures"]],
        arm_label=_arm_label,
        style=_asset("report.css"),
        script=_asset("report.js"),
        plotly=Markup(get_plotlyjs()) if _has_charts(data) else "",  # noqa: S704 - a library
        payload=Markup(script_json(payload)),  # noqa: S704 - made safe for a script block
    )
    # File names may hold bytes that are no text; they become visible replacement marks.
    return html.encode("utf-8", "replace").decode("utf-8")


def script_json(value: object) -> str:
    """JSON that no name in it can break out of a <script> block with."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _asset(name: str) -> Markup:
    text = resources.files("contrasift.report").joinpath("templates", name).read_text("utf-8")
    return Markup(text)  # noqa: S704 - our own file


def _fitted(data: ReportData) -> tuple[ReportData, dict[str, int]]:
    """The same data, cut to what a page can hold; and how many there were, or 0 if all are in."""
    cuts: dict[str, int] = {"gallery": 0, "gains": 0, "classes": 0, "unreadable": 0}

    def cut(name: str, items: Sequence[T], kept: Sequence[T]) -> Sequence[T]:
        if len(kept) < len(items):
            cuts[name] = len(items)
        return kept

    gains = sorted(data.gains, key=lambda curve: -curve.size)[:_CURVES]
    classes = sorted(data.classes, key=lambda row: -row.size)[:_CLASS_ROWS]
    fitted = dataclasses.replace(
        data,
        map=_fitted_map(data.map) if data.map is not None else None,
        gallery=cut("gallery", data.gallery, _within(data.gallery, _GALLERY_BYTES)),
        gains=cut("gains", data.gains, [_thinned(curve) for curve in gains]),
        classes=cut("classes", data.classes, classes),
        unreadable=cut("unreadable", data.unreadable, data.unreadable[:_UNREADABLE_ROWS]),
    )
    return fitted, cuts


def _fitted_map(points: EmbeddingMap) -> EmbeddingMap:
    """Every k-th point if there are too many; then every k-th picture if they are too large."""
    step = max(1, math.ceil(len(points.x) / _MAP_POINTS))
    columns = {
        item.name: getattr(points, item.name)[::step]
        for item in dataclasses.fields(points)
        if item.name not in ("method", "total")
    }
    images = list(columns["image"])
    share = math.ceil(sum(len(image) for image in images) / _MAP_IMAGE_BYTES)
    if share > 1:
        columns["image"] = [image if i % share == 0 else "" for i, image in enumerate(images)]
    total = points.total if points.total is not None else len(points.x)
    return dataclasses.replace(points, **columns, total=total)


def _within(galleries: Sequence[ClassGallery], limit: int) -> Sequence[ClassGallery]:
    """As many galleries from the front as fit."""
    used = 0
    for number, gallery in enumerate(galleries):
        tiles: list[Tile] = [*gallery.kept, *gallery.dropped]
        used += sum(len(tile.image) + 200 for tile in tiles)
        if used > limit:
            return galleries[:number]
    return galleries


def _thinned(curve: GainCurve) -> GainCurve:
    """Evenly spaced ranks, the first and the last among them."""
    count = len(curve.rank)
    if count <= _CURVE_POINTS:
        return curve
    kept = np.unique(np.linspace(0, count - 1, _CURVE_POINTS).round().astype(np.int64))
    return dataclasses.replace(
        curve, rank=np.asarray(curve.rank)[kept], gain=np.asarray(curve.gain)[kept]
    )


def _has_charts(data: ReportData) -> bool:
    return bool(data.arms or data.map or data.gains or data.classes or data.training)


def _sections(data: ReportData) -> list[tuple[str, str]]:
    """Anchor and title of every part that there is, in the order of the page."""
    setting = data.options or data.versions or data.commands
    parts = [
        ("comparison", "Comparison", data.arms),
        ("map", "Map", data.map),
        ("gallery", "Kept and dropped", data.gallery),
        ("pairs", "Pairs", data.near_pairs or data.far_pairs),
        ("gain", "Gain", data.gains or data.certificate),
        ("classes", "Classes", data.classes or data.class_facts),
        ("training", "Training", data.training),
        ("unreadable", "Unreadable", data.unreadable),
        ("setting", "Repeat it", setting),
    ]
    return [(anchor, title) for anchor, title, present in parts if present]


def _payload(data: ReportData) -> dict[str, Any]:
    """What the scripts draw."""
    measures = list(dict.fromkeys(name for arm in data.arms for name in arm.accuracy))
    return {
        "measures": measures,
        "measureLabels": [_measure_label(name) for name in measures],
        "arms": [_arm_payload(arm, measures) for arm in data.arms],
        "map": None if data.map is None else _map_payload(data.map),
        "gains": [
            {
                "name": curve.name,
                "rank": _plain(curve.rank),
                "gain": _plain(curve.gain),
                "size": curve.size,
                "budget": curve.budget,
                "turn": curve.turn,
            }
            for curve in data.gains
        ],
        "classes": [
            {"name": row.name, "size": row.size, "budget": row.budget}
            for row in data.classes[:_BARS]
        ],
        "training": [
            {
                "arm": curve.arm,
                "name": curve.name,
                "epoch": _plain(curve.epoch),
                "loss": _plain(curve.loss),
            }
            for curve in data.training
        ],
    }


def _arm_payload(arm: ArmResult, measures: Sequence[str]) -> dict[str, Any]:
    return {
        "name": arm.name,
        "label": _arm_label(arm),
        "accuracy": [
            _plain([spread.mean, spread.low, spread.high])
            if (spread := arm.accuracy.get(name)) is not None
            else None
            for name in measures
        ],
        "seeds": [_plain(arm.seeds.get(name, ())) for name in measures],
        "parts": {name: _plain([seconds])[0] for name, seconds in arm.parts.items()},
    }


def _map_payload(points: EmbeddingMap) -> dict[str, Any]:
    names, codes = np.unique(np.asarray(points.latent_class, dtype=str), return_inverse=True)
    sizes = np.bincount(codes, minlength=names.size)
    order = np.lexsort((names, -sizes))  # largest classes first get the most distinct colours
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    return {
        "x": _rounded(points.x),
        "y": _rounded(points.y),
        "classNames": names[order].tolist(),
        "class": place[codes.reshape(-1)].tolist(),
        "selected": [int(kept) for kept in points.selected],
        "rank": _plain(points.rank),
        "size": _plain(points.class_size),
        "id": [str(name) for name in points.id],
        "image": list(points.image),
    }


def _rounded(values: object) -> list[Any]:
    return _plain(np.round(np.asarray(values, dtype=np.float64), 4))


def _plain(values: object) -> list[Any]:
    """Numbers as JSON knows them; what is not finite becomes null."""
    items = values.tolist() if isinstance(values, np.ndarray) else list(values)  # type: ignore[call-overload]
    return [_plain_number(item) for item in items]


def _plain_number(item: Any) -> int | float | None:
    if item is None or not math.isfinite(item):
        return None
    return int(item) if isinstance(item, int | np.integer) else float(item)


def _arm_label(arm: ArmResult) -> str:
    return arm.label or _ARM_LABELS.get(arm.name, arm.name)


def _measure_label(name: str) -> str:
    return _MEASURE_LABELS.get(name, name[:1].upper() + name[1:])


def _count(number: float | int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _percent(share: float | int | None, digits: int = 1) -> str:
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f}"


def _number(value: float | int | None) -> str:
    """Six significant digits, with thousands apart."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.2f}" if 1e4 <= abs(value) < 1e12 else f"{value:.6g}"


def _duration(seconds: float | int | None) -> str:
    """Seconds as one reads them: 0.42 s, 12.3 s, 3 min 05 s, 2 h 07 min."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02d} min"


def _value(value: object) -> str:
    """An option or a fact as text."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value) or "none"
    return str(value) if str(value) else "–"
