"""The report cut to what a page can hold: below 15 MB, of which Plotly's own script takes 5."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from contrasift.report.data import EmbeddingMap, GainCurve, Gallery, RankedClass, ReportData, Tile

_MAP_IMAGE_BYTES = 3_000_000
_GALLERY_BYTES = 5_000_000
_TILE_BYTES = 40  # of a tile's numbers in the page
_MAP_POINTS = 5_000
_CURVES = 60
_CURVE_POINTS = 250
_CLASS_ROWS = 500
_UNREADABLE_ROWS = 1_000

T = TypeVar("T")


def fitted(data: ReportData) -> tuple[ReportData, dict[str, int]]:
    """The same data, cut to size; and of each part that was cut how many there were, else 0."""
    cuts: dict[str, int] = {"gains": 0, "classes": 0, "unreadable": 0, "pictured": 0}

    def cut(name: str, items: Sequence[T], kept: Sequence[T]) -> Sequence[T]:
        if len(kept) < len(items):
            cuts[name] = len(items)
        return kept

    gains = sorted(data.gains, key=lambda curve: -curve.size)[:_CURVES]
    classes = sorted(data.classes, key=lambda row: -row.size)[:_CLASS_ROWS]
    gallery = data.gallery and _fitted_gallery(data.gallery)
    if gallery:
        pictured = sum(any(tile.image for tile in one.tiles) for one in gallery.classes)
        cuts["pictured"] = pictured if 0 < pictured < len(gallery.classes) else 0
    small = dataclasses.replace(
        data,
        map=_fitted_map(data.map) if data.map is not None else None,
        gallery=gallery,
        gains=cut("gains", data.gains, [thinned(curve) for curve in gains]),
        classes=cut("classes", data.classes, classes),
        unreadable=cut("unreadable", data.unreadable, data.unreadable[:_UNREADABLE_ROWS]),
    )
    return small, cuts


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


def _fitted_gallery(gallery: Gallery) -> Gallery:
    """Pictures, and then tiles, of as many classes from the front as fit; all classes stay."""
    used, classes = 0, []
    for one in gallery.classes:
        images = sum(len(tile.image) for tile in one.tiles)
        names = sum(len(tile.id) + len(tile.label) + _TILE_BYTES for tile in one.tiles)
        tiles: Sequence[Tile] = one.tiles
        if used + names > _GALLERY_BYTES:
            tiles, images, names = (), 0, 0
        elif used + names + images > _GALLERY_BYTES:
            tiles, images = [dataclasses.replace(tile, image="") for tile in tiles], 0
        used += images + names
        classes.append(one if tiles is one.tiles else _with_tiles(one, tiles))
    return dataclasses.replace(gallery, classes=classes)


def _with_tiles(one: RankedClass, tiles: Sequence[Tile]) -> RankedClass:
    return dataclasses.replace(one, tiles=tiles)


def thinned(curve: GainCurve) -> GainCurve:
    """Evenly spaced ranks, the first and the last among them."""
    count = len(curve.rank)
    if count <= _CURVE_POINTS:
        return curve
    kept = np.unique(np.linspace(0, count - 1, _CURVE_POINTS).round().astype(np.int64))
    return dataclasses.replace(
        curve, rank=np.asarray(curve.rank)[kept], gain=np.asarray(curve.gain)[kept]
    )
