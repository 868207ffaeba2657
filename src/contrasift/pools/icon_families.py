"""Which icon themes draw alike: copies and recoloured ones are one family.

What a theme inherits says little: most name a few large themes for the icons they lack. So the
drawings themselves are compared, name by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_GRAIN = 2  # pixels that are taken together, so that half a pixel's shift makes no other drawing
_SAME_OUTLINE, _SAME_SHADING = 0.92, 0.9
_FLAT = 10.0  # of 255: below this deviation a drawing has one colour
_SOLID, _FEWEST_CELLS = 0.5, 2
# Related themes share a third of their drawings and more, strangers a seventh at most: arrows and
# signs of one colour are alike everywhere.
_SHARE, _FEWEST = 0.15, 5
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Shapes:
    """Drawings without their colour.

    Attributes:
        outline: centred opacity of unit norm; two products are their correlation.
        opacity: in [0, 1].
        brightness: in [0, 255], where it is not transparent.
    """

    outline: Float32[np.ndarray, "n cells"]
    opacity: Float32[np.ndarray, "n cells"]
    brightness: Float32[np.ndarray, "n cells"]


def shapes_of(icons: UInt8[np.ndarray, "n side side 4"]) -> Shapes:
    """What drawings are compared by."""
    alpha = icons[..., 3].astype(np.float32) / 255
    opacity = _coarse(alpha)
    brightness = _coarse(icons[..., :3] @ _LUMA * alpha) / np.maximum(opacity, 1e-6)
    return Shapes(_standardised(opacity), opacity, brightness)


def _coarse(values: np.ndarray) -> np.ndarray:
    cells = values.shape[1] // _GRAIN
    shape = (len(values), cells, _GRAIN, cells, _GRAIN)
    means = values.reshape(shape).mean(axis=(2, 4))
    return means.reshape(len(values), cells**2).astype(np.float32)


def _standardised(values: np.ndarray) -> np.ndarray:
    """Rows centred and of unit norm; a constant row becomes zeros, like no other."""
    centred = values - values.mean(axis=-1, keepdims=True)
    norm = np.linalg.norm(centred, axis=-1, keepdims=True)
    return np.where(norm > 1e-4, centred / np.maximum(norm, 1e-4), 0).astype(np.float32)


def alike(
    shapes: Shapes, first: Int64[np.ndarray, " m"], second: Int64[np.ndarray, " m"]
) -> Bool[np.ndarray, " m"]:
    """Which pairs differ in nothing but colours: one outline, one shading or its reverse.

    Args:
        shapes: all drawings.
        first: rows of the one.
        second: rows of the other.
    """
    close = (shapes.outline[first] * shapes.outline[second]).sum(axis=1) >= _SAME_OUTLINE
    solid = (shapes.opacity[first] > _SOLID) & (shapes.opacity[second] > _SOLID)
    one, one_flat = _shading(shapes.brightness[first], solid)
    other, other_flat = _shading(shapes.brightness[second], solid)
    shaded = np.abs((one * other).sum(axis=1)) >= _SAME_SHADING
    same = np.where(one_flat | other_flat, one_flat & other_flat, shaded)
    return close & (solid.sum(axis=1) >= _FEWEST_CELLS) & same


def _shading(brightness: np.ndarray, solid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brightness where it is solid, centred and of unit norm; and whether it is one colour."""
    cells = np.maximum(solid.sum(axis=1, keepdims=True), 1)
    mean = np.where(solid, brightness, 0).sum(axis=1, keepdims=True) / cells
    centred = np.where(solid, brightness - mean, 0)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.maximum(norm, 1e-4), (norm < _FLAT * np.sqrt(cells))[:, 0]


def alike_any(
    shapes: Shapes, rows: Int64[np.ndarray, " m"], others: Int64[np.ndarray, " k"]
) -> Bool[np.ndarray, " m"]:
    """Which of some drawings are alike to any of others.

    Args:
        shapes: all drawings.
        rows: those asked about.
        others: those they are held against.
    """
    near = shapes.outline[rows] @ shapes.outline[others].T >= _SAME_OUTLINE
    return np.array([
        alike(shapes, np.full(close.sum(), row), others[close]).any()
        for row, close in zip(rows, near, strict=True)
    ], dtype=bool)  # fmt: skip


def theme_families(
    shapes: Shapes,
    drawn: Sequence[tuple[int, str]],
    themes: Sequence[tuple[str, Sequence[str]]],
) -> Int64[np.ndarray, " themes"]:
    """The family of every theme, by the number of its first theme.

    Two are of one family when 15 % of the names that both draw, five at least, are drawn alike;
    or when one inherits from the other and its name is the other's with an addition (`Yaru-blue`).

    Args:
        shapes: of all drawings.
        drawn: theme and name of each drawing.
        themes: name, and what it inherits from.
    """
    rows: list[dict[str, int]] = [{} for _ in themes]
    for row, (theme, name) in enumerate(drawn):
        rows[theme][name] = row
    related = [
        (one, other)
        for other in range(len(themes))
        for one in range(other)
        if _is_variant(themes[one], themes[other])
        or _is_variant(themes[other], themes[one])
        or _draw_alike(shapes, rows[one], rows[other])
    ]
    ends = np.array(related, dtype=np.int64).reshape(-1, 2)
    links = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(themes),) * 2)
    _, family = connected_components(links, directed=False)
    _, first = np.unique(family, return_index=True)
    return first[family].astype(np.int64)


def _is_variant(theme: tuple[str, Sequence[str]], other: tuple[str, Sequence[str]]) -> bool:
    return other[0] in theme[1] and theme[0].startswith(f"{other[0]}-")


def _draw_alike(shapes: Shapes, one: dict[str, int], other: dict[str, int]) -> bool:
    shared = sorted(one.keys() & other.keys())
    rows = np.array([(one[name], other[name]) for name in shared], dtype=np.int64).reshape(-1, 2)
    same = alike(shapes, rows[:, 0], rows[:, 1]).sum()
    return bool(same >= max(_FEWEST, _SHARE * len(shared)))
