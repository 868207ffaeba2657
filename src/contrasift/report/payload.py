"""What the page's scripts draw, as plain values; and how it travels in the page."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from contrasift.report.data import ArmResult, EmbeddingMap, Gallery, RankedClass, ReportData, Topic
from contrasift.report.words import arm_label, measure_label

_BARS = 300


def script_json(value: object) -> str:
    """JSON that no name in it can break out of a <script> block with."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def measures_of(data: ReportData) -> list[str]:
    """Every measure of accuracy that some arm has."""
    return list(dict.fromkeys(name for arm in data.arms for name in arm.accuracy))


def topics_of(data: ReportData) -> list[Topic]:
    """The parts that are text, charts and tables."""
    return [topic for topic in (data.coverage, data.negatives, data.bounds) if topic is not None]


def payload_of(data: ReportData) -> dict[str, Any]:
    """Everything that the scripts need."""
    measures = measures_of(data)
    labels = {arm.name: arm.label for arm in data.arms}
    return {
        "measures": measures,
        "measureLabels": [measure_label(name) for name in measures],
        "arms": [_arm(arm, measures) for arm in data.arms],
        "map": None if data.map is None else map_payload(data.map),
        "gallery": None if data.gallery is None else _gallery(data.gallery),
        "charts": {
            topic.anchor: [_fields(chart) for chart in topic.charts] for topic in topics_of(data)
        },
        "gains": [_fields(curve) for curve in data.gains],
        "classes": [
            {"name": row.name, "size": row.size, "budget": row.budget}
            for row in data.classes[:_BARS]
        ],
        "training": [
            _fields(curve) | {"label": labels.get(curve.arm) or arm_label(curve.arm)}
            for curve in data.training
        ],
    }


def _arm(arm: ArmResult, measures: Sequence[str]) -> dict[str, Any]:
    return {
        "name": arm.name,
        "label": arm.label or arm_label(arm.name),
        "accuracy": [
            _plain([spread.mean, spread.low, spread.high])
            if (spread := arm.accuracy.get(name)) is not None
            else None
            for name in measures
        ],
        "seeds": [_plain(arm.seeds.get(name, ())) for name in measures],
        "parts": {name: _plain([seconds])[0] for name, seconds in arm.parts.items()},
    }


def map_payload(points: EmbeddingMap) -> dict[str, Any]:
    """Points by column; names of classes and labels once each, the largest first."""
    class_names, classes = _coded(points.latent_class)
    label_names, labels = _coded(points.label)
    return {
        "x": _rounded(points.x),
        "y": _rounded(points.y),
        "classNames": class_names,
        "class": classes,
        "labelNames": label_names,
        "label": labels,
        "selected": [int(kept) for kept in points.selected],
        "rank": _plain(points.rank),
        "place": _plain(points.place),
        "size": _plain(points.class_size),
        "id": [str(name) for name in points.id],
        "image": list(points.image),
    }


def _coded(names: object) -> tuple[list[str], list[int]]:
    """Distinct names, and which each point has; the largest groups get the most distinct colours."""
    distinct, codes = np.unique(np.asarray(names, dtype=str), return_inverse=True)
    sizes = np.bincount(codes.reshape(-1), minlength=distinct.size)
    order = np.lexsort((distinct, -sizes))
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    return distinct[order].tolist(), place[codes.reshape(-1)].tolist()


def _gallery(gallery: Gallery) -> dict[str, Any]:
    return {
        "total": gallery.total,
        "budgets": _plain(gallery.budgets),
        "own": gallery.own,
        "classes": [_ranked_class(one) for one in gallery.classes],
    }


def _ranked_class(one: RankedClass) -> dict[str, Any]:
    tiles = one.tiles
    return {
        "name": one.name,
        "size": one.size,
        "kept": _plain(one.kept),
        "id": [tile.id for tile in tiles],
        "image": [tile.image for tile in tiles] if any(tile.image for tile in tiles) else [],
        "rank": [tile.rank for tile in tiles],
        "place": [tile.place for tile in tiles],
        "label": [tile.label for tile in tiles] if any(tile.label for tile in tiles) else [],
    }


def _fields(one: Any) -> dict[str, Any]:
    """A dataclass by its fields, and what it holds of others likewise."""
    return {item.name: _shown(getattr(one, item.name)) for item in dataclasses.fields(one)}


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, float | np.number):
        # Six significant digits are more than a screen shows.
        return _plain_number(value if isinstance(value, np.integer) else float(f"{value:.6g}"))
    return [_shown(item) for item in (value.tolist() if isinstance(value, np.ndarray) else value)]


def _rounded(values: object) -> list[Any]:
    return _plain(np.round(np.asarray(values, dtype=np.float64), 3))


def _plain(values: object) -> list[Any]:
    """Numbers as JSON knows them; what is not finite becomes null."""
    items = values.tolist() if isinstance(values, np.ndarray) else list(values)  # type: ignore[call-overload]
    return [_plain_number(item) for item in items]


def _plain_number(item: Any) -> int | float | None:
    if item is None or not math.isfinite(item):
        return None
    return int(item) if isinstance(item, int | np.integer) else float(item)
