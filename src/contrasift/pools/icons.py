"""The pool `icons`: icons of every theme there is, one class a name.

Colour, style and many classes, for machines without a network. Themes of one family (copies and
recoloured ones) are all in the training or all in the test part.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from PIL import Image

from contrasift.errors import DataError
from contrasift.narration import Progress
from contrasift.pools.icon_drawing import draw_icon, lay_over
from contrasift.pools.icon_families import alike_any, shapes_of, theme_families
from contrasift.pools.icon_names import NAMES
from contrasift.pools.icon_themes import SIDE, Theme, find_themes, theme_folders
from contrasift.pools.stored import ArraySource
from contrasift.pools.whole import Whole
from contrasift.store.cache import cache_folder, cached

_FORMAT = 3  # of the cache; raise it when the drawing changes
ICON_FOLDERS = (Path("/usr/share/icons"), Path("/usr/local/share/icons"))
FEWEST_FAMILIES = 10
_TEST_SHARE = 0.2  # of the images, at most
HOW_TO_GET = (
    "pip install 'contrasift[icons]' and install icon themes, on Debian those of "
    "benchmarks/icons.txt: adwaita-icon-theme breeze-icon-theme elementary-icon-theme ...; or name "
    "a folder of themes (icons:FOLDER)"
)


@dataclass(frozen=True)
class Icons:
    """Icons as images, ordered by theme and name; no two are the same.

    Attributes:
        images: uint8 [n, 3, 48, 48], over white or dark grey.
        names: of the icon, by row.
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


def icon_pool(folder: Path | None, progress: Progress | None) -> Whole:
    """A pool of the icons in the themes of a folder, or of the system.

    Classes are the names of the freedesktop specification that at least ten families draw.

    Args:
        folder: with one sub-folder a theme; None looks where Debian's packages put theirs.
        progress: called with (icons done, icons in all) while drawing.

    Raises:
        DataError: no name that enough families draw.
        MissingExtraError: vectors, without the library that draws them.
    """
    folders = ICON_FOLDERS if folder is None else (folder,)
    drawn = _cached_icons(find_themes(folders, NAMES), progress)
    classes = well_drawn(drawn)
    if not classes:
        place = "the system's icon folders" if folder is None else str(folder)
        families = np.unique(drawn.families[np.unique(drawn.themes)]).size
        raise DataError(
            f"names of icons that at least {FEWEST_FAMILIES} families of themes draw",
            f"themes of {families} in {place}",
            HOW_TO_GET,
        )
    train, test = (
        _part(drawn, classes, mask) for mask in (~drawn.testing, drawn.testing & ~drawn.copied)
    )
    return Whole(
        train.source, "icons", train.ids, train.labels, train.label_names, mirror=False, test=test
    )


def _part(drawn: Icons, classes: Sequence[str], mask: np.ndarray) -> Whole:
    code = {name: place for place, name in enumerate(classes)}
    rows = [row for row in np.flatnonzero(mask).tolist() if drawn.names[row] in code]
    ids = [f"{drawn.theme_names[drawn.themes[row]]}/{drawn.names[row]}" for row in rows]
    labels = np.array([code[drawn.names[row]] for row in rows], dtype=np.int64)
    return Whole(
        ArraySource(drawn.images[rows]), "icons", ids, labels, tuple(classes), mirror=False
    )


def well_drawn(drawn: Icons) -> list[str]:
    """The names that at least ten families draw, each in its own way."""
    families: dict[str, set[int]] = {}
    for name, theme in zip(drawn.names, drawn.themes.tolist(), strict=True):
        families.setdefault(name, set()).add(int(drawn.families[theme]))
    return sorted(name for name, of in families.items() if len(of) >= FEWEST_FAMILIES)


def enough_themes() -> bool:
    """Whether the system has as many themes as there must be families."""
    return sum(len(theme_folders(folder)) for folder in ICON_FOLDERS) >= FEWEST_FAMILIES


def draw_icons(themes: Sequence[Theme], progress: Progress | None = None) -> Icons:
    """Draw every icon of some themes, tell families apart and set some of them aside.

    Of images that are the same to the last pixel one stays: a file's own name goes before a link
    to it, then the first theme and name. Families are told by all drawings, copies included.

    Args:
        themes: as `find_themes` gives them.
        progress: called with (done, total).

    Returns:
        Icons in the order of theme and name.

    Raises:
        MissingExtraError: vectors, without the library that draws them.
    """
    drawings = _drawings(themes, progress)
    places = [(theme, name) for theme, name, _, _ in drawings]
    icons = np.array([icon for *_, icon in drawings], dtype=np.uint8).reshape(-1, SIDE, SIDE, 4)
    shapes = shapes_of(icons)
    families = theme_families(shapes, places, [(theme.name, theme.inherits) for theme in themes])
    images = np.array([lay_over(icon) for icon in icons], dtype=np.uint8).reshape(-1, 3, SIDE, SIDE)
    rows = _distinct(images, [linked for _, _, linked, _ in drawings])
    of = np.array([theme for theme, _ in places], dtype=np.int64)
    testing = np.isin(families[of], held_out(families[of[rows]], [theme.name for theme in themes]))
    copied = np.zeros(len(of), dtype=bool)
    tested, trained = rows[testing[rows]], rows[~testing[rows]]
    copied[tested] = alike_any(shapes, tested, trained)
    return Icons(
        images[rows],
        tuple(places[row][1] for row in rows.tolist()),
        of[rows],
        tuple(theme.name for theme in themes),
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


def _drawings(
    themes: Sequence[Theme], progress: Progress | None
) -> list[tuple[int, str, bool, np.ndarray]]:
    """Theme, name, whether another name's file is linked to, and the icon."""
    wanted = [(number, name) for number, theme in enumerate(themes) for name in theme.files]
    known: dict[str, np.ndarray | None] = {}
    found = []
    for done, (number, name) in enumerate(wanted, start=1):
        for path in themes[number].files[name]:
            real = os.path.realpath(path)
            if real not in known:
                known[real] = draw_icon(Path(real))
            icon = known[real]
            if icon is not None:
                found.append((number, name, Path(real).stem != name, icon))
                break
        if progress is not None:
            progress(done, len(wanted))
    return found


def _distinct(images: np.ndarray, linked: Sequence[bool]) -> Int64[np.ndarray, " n"]:
    """One row of every image, ascending."""
    first: dict[bytes, int] = {}
    for row in sorted(range(len(images)), key=lambda row: (linked[row], row)):
        first.setdefault(images[row].tobytes(), row)
    return np.array(sorted(first.values()), dtype=np.int64)


def _cached_icons(themes: Sequence[Theme], progress: Progress | None) -> Icons:
    """Icons from the cache, where files and drawing are the same; else drawn, and kept there."""
    place = cache_folder() / "icons" / f"{_fingerprint(themes)}.npz"
    return cached(place, Icons, lambda: draw_icons(themes, progress))


def _fingerprint(themes: Sequence[Theme]) -> str:
    try:
        from resvg_py import __version__ as vectors
    except ImportError:
        vectors = ""
    digest = hashlib.sha256(f"{_FORMAT}\0{Image.__version__}\0{vectors}".encode())
    for theme in themes:
        digest.update(repr((theme.name, theme.inherits)).encode())
        for name, paths in theme.files.items():
            digest.update(name.encode())
            digest.update(_stamp(paths[0]))
    return digest.hexdigest()[:24]


def _stamp(path: Path) -> bytes:
    try:
        status = path.stat()
    except OSError:  # a link to nothing
        return os.fsencode(path)
    return os.fsencode(path) + f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode()
