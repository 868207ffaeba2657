"""Where the examples of a tar shard lie: read from its headers once, then kept.

A tar file has no table of contents, so each header must be visited. What was found is kept in the
user's cache under the shard's place, size and modification time; a cache that cannot be read or
written costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from contrasift.errors import ContrasiftError, DataError
from contrasift.pools.prepare import image_extensions
from contrasift.pools.shards import Shard, compressed
from contrasift.store.cache import cache_arrays, cache_folder
from contrasift.store.faults import reading_remedy
from contrasift.store.objects import RemoteFile

LABEL_MEMBERS = ("cls", "json", "txt")
# One row an example: offset (−1: none) and size in bytes of its image and of its labels' members;
# where its image's extension and what is wrong with it stand in the lists beside.
ROW = np.dtype(
    [("image", "<i8"), ("image_size", "<i8")]
    + [(f"{kind}{part}", "<i8") for kind in LABEL_MEMBERS for part in ("", "_size")]
    + [("suffix", "<u2"), ("problem", "<u1")]
)
PROBLEMS = (
    "",
    "no image among the members of its key",
    "more than one image under its key",
    "a link, which is not followed",
    "not an ordinary file",
)
_NO_IMAGE, _SEVERAL, _LINK, _NO_FILE = range(1, 5)
_FORMAT = 1  # of the cache; raise it when a shard would be understood in another way
_LEAST_CACHED = 1000  # smaller shards on this machine are read as fast as the cache

# The key ends at the first dot of the file's name, as WebDataset has it.
_MEMBER = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)", re.DOTALL)
_BLOCK = tarfile.BLOCKSIZE
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True)
class TarIndex:
    """The examples of one shard, in the order of their first members.

    Attributes:
        keys: [n]; the members' names up to the first dot.
        rows: [n] of `ROW`.
        suffixes: extensions of images with their dot, by the rows' `suffix`.
        ignored: members that belong to no example.
    """

    keys: list[str]
    rows: np.ndarray
    suffixes: list[str]
    ignored: int


def index_shard(shard: Shard) -> TarIndex:
    """The index of a shard, from the cache if the shard is still the same.

    Raises:
        DataError: the shard is empty, compressed, damaged or cut short.
    """
    # Another Pillow, or a plug-in of it, may know another extension as an image's.
    kind = f"{_FORMAT}\0{Image.__version__}\0{' '.join(sorted(image_extensions()))}"
    remote = isinstance(shard.path, RemoteFile)
    where = shard.path.url if isinstance(shard.path, RemoteFile) else os.path.abspath(shard.path)
    place = f"{where}\0{shard.size}\0{shard.modified}\0{kind}"
    digest = hashlib.blake2b(place.encode("utf-8", "surrogateescape"), digest_size=16)
    cached = cache_folder() / "shards" / f"{digest.hexdigest()}.npz"
    index = _read_cache(cached)
    if index is None:
        index = _scan(shard)
        if remote or len(index.keys) >= _LEAST_CACHED:
            _write_cache(cached, index)
    return index


def _scan(shard: Shard) -> TarIndex:
    places: dict[str, int] = {}
    rows: list[list[int]] = []
    suffixes: dict[str, int] = {}
    extensions = image_extensions()
    ignored = 0
    for member in _members(shard):
        raw = member.name.removeprefix("./").encode("utf-8", "surrogateescape")
        parts = _MEMBER.fullmatch(raw.decode("utf-8", "backslashreplace"))
        if member.isdir() or parts is None:
            ignored += not member.isdir()
            continue
        key, kind = parts[1], parts[2].lower()
        if key not in places:
            places[key] = len(rows)
            rows.append([-1, 0, -1, 0, -1, 0, -1, 0, 0, _NO_IMAGE])
        row = rows[places[key]]
        suffix = f".{kind.rpartition('.')[2]}"
        if suffix in extensions:
            row[8] = suffixes.setdefault(suffix, len(suffixes))
            row[9] = _problem(row, member)
            row[0:2] = member.offset_data, member.size
        elif kind in LABEL_MEMBERS and member.isreg() and not member.issparse():
            column = 2 + 2 * LABEL_MEMBERS.index(kind)
            row[column : column + 2] = member.offset_data, member.size
    table = np.array([tuple(row) for row in rows], dtype=ROW)
    return TarIndex(list(places), table, list(suffixes), ignored)


def _problem(row: list[int], member: tarfile.TarInfo) -> int:
    """What is wrong with an example, once this member is its image."""
    if row[0] >= 0:
        return _SEVERAL
    if member.issym() or member.islnk():
        return _LINK
    return 0 if member.isreg() and not member.issparse() else _NO_FILE


def _members(shard: Shard) -> Iterator[tarfile.TarInfo]:
    """The headers of a tar file, one at a time.

    Raises:
        DataError: it is no tar file, damaged, or ends too early.
    """
    try:
        with shard.open() as file:
            if file.read(6).startswith(_PACKED):
                raise compressed(shard.path)
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as tar:
                before = -1
                while (member := tar.next()) is not None:
                    if tar.offset <= before:  # a negative size would lead round in circles
                        raise tarfile.ReadError(f"bad header at byte {member.offset:,}")
                    before = tar.offset
                    yield member
                    # tarfile would keep them all
                    tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                file.seek(tar.offset)
                if file.read(_BLOCK) != bytes(_BLOCK):
                    raise tarfile.ReadError(f"no header and no end mark at byte {tar.offset:,}")
            shard.check()
    except ContrasiftError:
        raise
    except (tarfile.TarError, OSError, ValueError, EOFError, LookupError, OverflowError) as error:
        raise DataError(
            "a whole tar shard",
            f"{shard.path}: {getattr(error, 'strerror', None) or error}",
            reading_remedy(
                error,
                "Copy it again, or leave it out. A tar that is whole but lacks its end mark is "
                "mended by `truncate -s +1024`",
            ),
        ) from error


def _read_cache(path: Path) -> TarIndex | None:
    """What was kept; None if there is nothing, or nothing that fits together."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            rows, words = archive["rows"], archive["words"]
        keys, suffixes, ignored = json.loads(words.tobytes())
        fits = rows.dtype == ROW and len(keys) == len(rows) and max(rows["suffix"]) < len(suffixes)
        return TarIndex(keys, rows, suffixes, ignored) if fits else None
    except Exception:  # absent, cut short, or another program's: zipfile has errors of its own
        return None


def _write_cache(path: Path, index: TarIndex) -> None:
    words = json.dumps([index.keys, index.suffixes, index.ignored]).encode()
    cache_arrays(path, rows=index.rows, words=np.frombuffer(words, dtype=np.uint8))
