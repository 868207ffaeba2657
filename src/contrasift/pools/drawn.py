"""Drawings of many themes or emoji sets: families apart, one of every image, families held out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from PIL import Image

from contrasift.pools.icon_drawing import lay_over
from contrasift.pools.icon_families import alike_any, shapes_of, theme_families
from contrasift.pools.stored import ArraySource
from contrasift.pools.whole import Whole

_TEST_SHARE = 0.2  # of the images, at most


@dataclass(frozen=True)
class Drawing:
    """One drawing.

    Attributes:
        theme: its number.
        name: of what is shown; `CLASS/NAME` where the name alone is no class.
        linked: whether another name's file is linked to.
        icon: uint8 [side, side, 4].
    """

    theme: int
    name: str
    linked: bool
    icon: np.ndarray


@dataclass(frozen=True)
class Drawn:
    """Drawings as images, ordered by theme and name; no two are the same.

    Attributes:
        images: uint8 [n, 3, side, side], over white or dark grey.
        names: of the drawing, by row.
        themes: number of the theme, by row.
        theme_names: by number.
        families: number of its family's first theme, by theme.
        copied: whether another family's training part has it, too, but for colours; never True
            outside of the test part.
        testing: whether its family is held out.
    """

    images: UInt8[np.ndarray, "n 3 side side"]
    names: tuple[str, ...]
    themes: Int64[np.ndarray, " n"]
    theme_names: tuple[str, ...]
    families: Int64[np.ndarray, " themes"]
    testing: Bool[np.ndarray, " n"]
    copied: Bool[np.ndarray, " n"]

    @property
    def classes(self) -> list[str]:
        """By row."""
        return [name.partition("/")[0] for name in self.names]


def set_apart(
    drawings: Sequence[Drawing],
    themes: Sequence[tuple[str, Sequence[str]]],
    side: int,
    tested: Collection[str] = (),
) -> Drawn:
    """Tell families apart and set some of them aside.

    Of images that are the same to the last pixel one stays: a file's own name goes before a link
    to it, then the first theme and name. Families are told by all drawings, copies included.

    Args:
        drawings: by theme and name.
        themes: name, and what it inherits from.
        side: pixels.
        tested: themes whose families are held out; where none is named, `held_out` says which.
    """
    icons = np.array([drawing.icon for drawing in drawings], dtype=np.uint8)
    icons = icons.reshape(-1, side, side, 4)
    shapes = shapes_of(icons)
    families = theme_families(shapes, [(one.theme, one.name) for one in drawings], themes)
    images = np.array([lay_over(icon) for icon in icons], dtype=np.uint8).reshape(-1, 3, side, side)
    rows = _distinct(images, [drawing.linked for drawing in drawings])
    of = np.array([drawing.theme for drawing in drawings], dtype=np.int64)
    names = [name for name, _ in themes]
    chosen = [int(families[number]) for number, name in enumerate(names) if name in tested]
    testing = np.isin(families[of], chosen if tested else held_out(families[of[rows]], names))
    copied = np.zeros(len(of), dtype=bool)
    tested, trained = rows[testing[rows]], rows[~testing[rows]]
    copied[tested] = alike_any(shapes, tested, trained)
    return Drawn(
        images[rows],
        tuple(drawings[row].name for row in rows.tolist()),
        of[rows],
        tuple(names),
        families,
        testing[rows],
        copied[rows],
    )


def held_out(families: Int64[np.ndarray, " n"], names: Sequence[str]) -> list[int]:
    """Families for the test part: in the order of their hashes, each that still fits into a fifth.

    One at least is held out, the smallest, and one is not.

    Args:
        families: of every image.
        names: of the families, by number.
    """
    numbers, sizes = np.unique(families, return_counts=True)
    size: dict[int, int] = dict(zip(numbers.tolist(), sizes.tolist(), strict=True))
    chosen: list[int] = []
    for family in sorted(size, key=lambda family: _hash(names[family])):
        if sum(size[one] for one in [*chosen, family]) <= _TEST_SHARE * len(families):
            chosen.append(family)
    return chosen or sorted(size, key=lambda family: (size[family], family))[: len(size) > 1]


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.casefold().encode()).digest()


def _distinct(images: np.ndarray, linked: Sequence[bool]) -> Int64[np.ndarray, " n"]:
    """One row of every image, ascending."""
    first: dict[bytes, int] = {}
    for row in sorted(range(len(images)), key=lambda row: (linked[row], row)):
        first.setdefault(images[row].tobytes(), row)
    return np.array(sorted(first.values()), dtype=np.int64)


def whole(drawn: Drawn, name: str, classes: Sequence[str], mirror: bool) -> Whole:
    """Training and test part of some classes as a source of a pool.

    Args:
        drawn: everything.
        name: of the pool.
        classes: those that are kept; their order gives the labels.
        mirror: whether a mirrored image keeps its meaning.
    """
    code = {label: place for place, label in enumerate(classes)}
    labels = np.array([code.get(label, -1) for label in drawn.classes], dtype=np.int64)

    def part(mask: np.ndarray, test: Whole | None) -> Whole:
        kept = np.flatnonzero(mask & (labels >= 0)).tolist()
        ids = [f"{drawn.theme_names[drawn.themes[row]]}/{drawn.names[row]}" for row in kept]
        source = ArraySource(drawn.images[kept])
        return Whole(source, name, ids, labels[kept], tuple(classes), mirror, test)

    return part(~drawn.testing, part(drawn.testing & ~drawn.copied, None))


def drawing_stamp() -> bytes:
    """What decides how the same files are drawn: for the names of caches."""
    try:
        from resvg_py import __version__ as vectors
    except ImportError:
        vectors = ""
    return f"{Image.__version__}\0{vectors}".encode()


def file_stamp(path: Path) -> bytes:
    """What changes with a file."""
    try:
        status = path.stat()
    except OSError:  # a link to nothing
        return os.fsencode(path)
    return os.fsencode(path) + f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode()
