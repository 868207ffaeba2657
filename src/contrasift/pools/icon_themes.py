"""Icon themes of the freedesktop specification: which file is a theme's icon of a name."""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SIDE = 48
# A raster below this becomes mush at 48 pixels.
_SMALLEST_RASTER = 32
VECTORS = frozenset({".svg", ".svgz"})
_SUFFIXES = VECTORS | {".png"}
_MAIN = "Icon Theme"


@dataclass(frozen=True)
class Theme:
    """One icon theme.

    Attributes:
        name: its folder's name, by which others inherit from it.
        inherits: the themes where a desktop looks for what this one lacks.
        files: by icon name, the files that show it, the fittest for 48 pixels first.
    """

    name: str
    inherits: tuple[str, ...]
    files: dict[str, tuple[Path, ...]]


def find_themes(folders: Sequence[Path], names: Iterable[str]) -> list[Theme]:
    """The themes in some folders, by name; of two of one name the one in the first folder.

    Args:
        folders: each with one sub-folder a theme, as `/usr/share/icons`.
        names: of the icons that are asked for.

    Returns:
        Those with an `index.theme` that can be read and at least one of these icons.
    """
    # Far fewer than there are files, of which some themes have eighty thousand.
    wanted = frozenset(name + suffix for name in names for suffix in _SUFFIXES)
    found: dict[str, Theme] = {}
    for folder in folders:
        for place in theme_folders(folder):
            index = _read_index(place / "index.theme")
            if index is None or place.name in found:
                continue
            files = _files(place, index, wanted)
            if files:
                found[place.name] = Theme(place.name, _listed(index, "Inherits"), files)
    return [found[name] for name in sorted(found)]


def theme_folders(folder: Path) -> list[Path]:
    """The sub-folders that say that they are themes."""
    if not folder.is_dir():
        return []
    return [place for place in sorted(folder.iterdir()) if (place / "index.theme").is_file()]


def _read_index(path: Path) -> configparser.RawConfigParser | None:
    """An `index.theme`; None where there is none that can be read."""
    index = configparser.RawConfigParser(strict=False, delimiters=("=",), interpolation=None)
    try:
        index.read_string(path.read_text("utf-8", "replace"))
    except (OSError, configparser.Error):
        return None
    return index if index.has_section(_MAIN) else None


def _listed(index: configparser.RawConfigParser, key: str) -> tuple[str, ...]:
    values = (value.strip() for value in index.get(_MAIN, key, fallback="").split(","))
    return tuple(dict.fromkeys(value for value in values if value))


def _files(
    place: Path, index: configparser.RawConfigParser, wanted: frozenset[str]
) -> dict[str, tuple[Path, ...]]:
    """Every icon's files. Whether they can be opened shows when they are drawn."""
    ranked: dict[str, list[tuple[float, str]]] = {}
    for folder in _listed(index, "Directories") + _listed(index, "ScaledDirectories"):
        size = _size(index, folder)
        try:
            entries = os.listdir(place / folder) if size else []
        except OSError:
            continue
        for entry in wanted.intersection(entries):
            name, suffix = os.path.splitext(entry)
            if suffix in VECTORS or size >= _SMALLEST_RASTER:
                path = os.path.join(place, folder, entry)
                ranked.setdefault(name, []).append((_misfit(size), path))
    return {
        name: tuple(Path(path) for _, path in sorted(files))
        for name, files in sorted(ranked.items())
    }


def _size(index: configparser.RawConfigParser, folder: str) -> int:
    """Pixels for which a folder's icons were drawn; 0 where that is not said."""
    try:
        size = index.getint(folder, "Size") * index.getint(folder, "Scale", fallback=1)
        smallest = index.getint(folder, "MinSize", fallback=size)
        largest = index.getint(folder, "MaxSize", fallback=size)
    except (configparser.Error, ValueError):
        return 0
    scalable = index.get(folder, "Type", fallback="").strip() == "Scalable"
    return SIDE if scalable and smallest <= SIDE <= largest else size


def _misfit(size: int) -> float:
    """0 for 48 pixels; larger ones lose little when they are scaled down, smaller ones much."""
    return size / SIDE if size > SIDE else 100 * (SIDE / size - 1)
