"""Which files a pool of shards is made of: one file, a folder, a pattern, a numbered series."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from contrasift.errors import DataError, UsageError
from contrasift.pools.labels import natural_key
from contrasift.store.objects import RemoteFile, file_name

TAR, PARQUET = ".tar", ".parquet"
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_BRACES = re.compile(r"\{([^{}]*)\}")
_SERIES = re.compile(r"([0-9]+)\.\.([0-9]+)")
_MOST_IN_A_SERIES = 1_000_000


@dataclass(frozen=True)
class Shard:
    """One file of many examples.

    Attributes:
        path: where it lies: a path, or an object as it was when it was found.
        name: what the ids of its examples begin with; relative to what all shards have in common.
        size: in bytes, when it was found.
        modified: its modification time then, in ns; of an object a number made from its version.
    """

    path: Path | RemoteFile
    name: str
    size: int
    modified: int

    def content(self) -> bytes:
        """What changes whenever the file does."""
        name = self.name.encode("utf-8", "backslashreplace")
        return b"%s\0%d\0%d\0" % (name, self.size, self.modified)

    def open(self) -> BufferedReader:
        """Its bytes, to read and seek in.

        Raises:
            OSError: a file that cannot be opened.
            ContrasiftError: an object that cannot be read, or has changed since it was found.
        """
        self.check()
        return self.path.open() if isinstance(self.path, RemoteFile) else open(self.path, "rb")

    def check(self) -> None:
        """Make sure that an object is still the one that was found; a file is checked by its reader.

        Raises:
            ContrasiftError: it is not, or its storage does not answer.
        """
        if isinstance(self.path, RemoteFile):
            self.path.check()


def shards_in_folder(folder: Path) -> list[Shard]:
    """The `.tar` files directly in a folder, else its `.parquet` files; hidden ones are skipped.

    Raises:
        DataError: it cannot be listed, or holds compressed tars and no others.
    """
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError as error:
        raise DataError("a folder that can be listed", f"{folder}: {error.strerror}") from error
    for suffix in (TAR, PARQUET):
        if found := [name for name in names if name.endswith(suffix)]:
            return _shards([folder / name for name in found], folder)
    if packed := sorted(name for name in names if name.endswith(_COMPRESSED)):
        raise compressed(folder / packed[0])
    return []


def shards_named(pattern: str) -> list[Shard]:
    """The shards that a file name, a pattern or a numbered series names; none if it is no such thing.

    `*`, `?` and `[...]` match as in a shell; `{000..012}` and `{a,b}` name every file of a series,
    and each of them must be there.

    Raises:
        UsageError: files of several kinds.
        DataError: nothing matches, a file of a series is missing, or they are compressed.
    """
    series = _BRACES.search(pattern) is not None
    if not (pattern.endswith((TAR, PARQUET, *_COMPRESSED)) or series or glob.has_magic(pattern)):
        return []
    literal = os.path.isfile(os.path.expanduser(pattern))
    paths = _series_paths(pattern) if series and not literal else _matching(pattern)
    if not paths:
        raise DataError(f"shards that match {pattern}", "none", "Check the folder and the name")
    check_kinds(paths)
    return _shards(paths, common_folder(pattern))


def check_kinds(places: Iterable[Path | str]) -> None:
    """Stop unless all are tars, or all are Parquet files.

    Raises:
        UsageError: several kinds, or another.
        DataError: one is compressed.
    """
    kinds = set()
    for place in places:
        name = file_name(place)
        if name.endswith(_COMPRESSED):
            raise compressed(place)
        kinds.add(Path(name).suffix)
    if len(kinds) > 1 or not kinds <= {TAR, PARQUET}:
        raise UsageError(
            "shards that all end in .tar, or all in .parquet", ", ".join(sorted(kinds))
        )


def in_order(shards: Iterable[Shard]) -> list[Shard]:
    """Natural order of their names, folder by folder."""
    return sorted(shards, key=lambda shard: [natural_key(part) for part in shard.name.split("/")])


def name_of(pattern: str) -> str:
    """What to call a pool of shards: a file's name, or that of the folder which the pattern is in."""
    path = Path(pattern).expanduser()
    return path.stem if path.is_file() else common_folder(pattern).resolve().name


def compressed(path: Path | RemoteFile | str) -> DataError:
    """Why a compressed shard is refused."""
    return DataError(
        "shards that are not compressed, so that any image can be read at once",
        str(path),
        "Unpack it once (gunzip, unxz, ...); images inside are compressed already",
    )


def _shards(paths: Iterable[Path], root: Path) -> list[Shard]:
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise DataError("shards that can be read", f"{path}: {error.strerror}") from error
        name = os.fsencode(os.path.relpath(path, root).replace(os.sep, "/"))
        shown = name.decode("utf-8", "backslashreplace")
        found.append(Shard(path, shown, status.st_size, status.st_mtime_ns))
    return in_order(found)


def _matching(pattern: str) -> list[Path]:
    expanded = os.path.expanduser(pattern)
    if os.path.isfile(expanded):
        return [Path(expanded)]
    return [Path(name) for name in glob.glob(expanded, recursive=True) if os.path.isfile(name)]


def _series_paths(pattern: str) -> list[Path]:
    """Every file of a series, matched further where it also holds `*`."""
    paths, missing = [], []
    for name in expand_braces(pattern):
        matches = _matching(name)
        paths += matches
        if not matches:
            missing.append(name)
    if missing and paths:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"every shard of {pattern}", f"no {missing[0]}{more}", "Copy it again")
    return list(dict.fromkeys(paths))


def expand_braces(pattern: str) -> Iterator[str]:
    """All names that `{000..012}` and `{a,b}` in a pattern stand for, in order.

    Raises:
        UsageError: more than a million.
    """
    pieces = _BRACES.split(pattern)  # text, inside, text, inside, ..., text
    choices: list[Sequence[str]] = []
    total = 1
    for place, piece in enumerate(pieces):
        choices.append([piece] if place % 2 == 0 else _choices(piece))
        total *= len(choices[-1])
        if total > _MOST_IN_A_SERIES:
            raise UsageError(f"at most {_MOST_IN_A_SERIES:,} shards", pattern)
    return ("".join(parts) for parts in itertools.product(*choices))


def _choices(inside: str) -> list[str]:
    numbers = _SERIES.fullmatch(inside)
    if numbers is None:
        return inside.split(",")
    first, last = (int(number) for number in numbers.groups())
    if last - first >= _MOST_IN_A_SERIES:
        raise UsageError(f"at most {_MOST_IN_A_SERIES:,} shards", f"{{{inside}}}")
    width = len(numbers[1])
    return [f"{number:0{width}}" for number in range(first, last + 1)]


def common_folder(pattern: str) -> Path:
    """The folder that a pattern names before anything in it may vary."""
    fixed = []
    parts = Path(os.path.expanduser(pattern)).parts
    for part in parts[:-1]:
        if glob.has_magic(part) or _BRACES.search(part):
            break
        fixed.append(part)
    return Path(*fixed) if fixed else Path()
