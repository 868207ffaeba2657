"""The pool `icons`: icons of every theme there is, one class a name.

Colour, style and many classes, for machines without a network. Themes of one family (copies and
recoloured ones) are all in the training or all in the test part.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from contrasift.errors import DataError
from contrasift.narration import Progress
from contrasift.pools.drawn import Drawing, Drawn, drawing_stamp, file_stamp, set_apart, whole
from contrasift.pools.icon_drawing import draw_icon
from contrasift.pools.icon_names import NAMES
from contrasift.pools.icon_themes import SIDE, Theme, find_themes, theme_folders
from contrasift.pools.whole import Whole
from contrasift.store.cache import cache_folder, cached

_FORMAT = 3  # of the cache; raise it when the drawing changes
ICON_FOLDERS = (Path("/usr/share/icons"), Path("/usr/local/share/icons"))
FEWEST_FAMILIES = 10
HOW_TO_GET = (
    "pip install 'contrasift[icons]' and install icon themes, on Debian those of "
    "benchmarks/icons.txt: adwaita-icon-theme breeze-icon-theme elementary-icon-theme ...; or name "
    "a folder of themes (icons:FOLDER)"
)


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
    return whole(drawn, "icons", classes, mirror=False)


def well_drawn(drawn: Drawn) -> list[str]:
    """The names that at least ten families draw, each in its own way."""
    families: dict[str, set[int]] = {}
    for name, theme in zip(drawn.names, drawn.themes.tolist(), strict=True):
        families.setdefault(name, set()).add(int(drawn.families[theme]))
    return sorted(name for name, of in families.items() if len(of) >= FEWEST_FAMILIES)


def enough_themes() -> bool:
    """Whether the system has as many themes as there must be families."""
    return sum(len(theme_folders(folder)) for folder in ICON_FOLDERS) >= FEWEST_FAMILIES


def draw_icons(themes: Sequence[Theme], progress: Progress | None = None) -> Drawn:
    """Draw every icon of some themes, tell families apart and set some of them aside.

    Args:
        themes: as `find_themes` gives them.
        progress: called with (done, total).

    Raises:
        MissingExtraError: vectors, without the library that draws them.
    """
    drawings = _drawings(themes, progress)
    return set_apart(drawings, [(theme.name, theme.inherits) for theme in themes], SIDE)


def _drawings(themes: Sequence[Theme], progress: Progress | None) -> list[Drawing]:
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
                found.append(Drawing(number, name, Path(real).stem != name, icon))
                break
        if progress is not None:
            progress(done, len(wanted))
    return found


def _cached_icons(themes: Sequence[Theme], progress: Progress | None) -> Drawn:
    """Icons from the cache, where files and drawing are the same; else drawn, and kept there."""
    place = cache_folder() / "icons" / f"{_fingerprint(themes)}.npz"
    return cached(place, Drawn, lambda: draw_icons(themes, progress))


def _fingerprint(themes: Sequence[Theme]) -> str:
    digest = hashlib.sha256(f"{_FORMAT}\0".encode() + drawing_stamp())
    for theme in themes:
        digest.update(repr((theme.name, theme.inherits)).encode())
        for name, paths in theme.files.items():
            digest.update(name.encode())
            digest.update(file_stamp(paths[0]))
    return digest.hexdigest()[:24]
