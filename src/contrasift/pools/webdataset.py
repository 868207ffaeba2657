"""Pools of tar shards in the WebDataset form: members `key.jpg`, `key.cls`, `key.json`, ...

A shard is read in place: an image is one read at its offset. Nothing is ever unpacked, so no name in
a shard becomes a path; and only images and labels are read, so a pickle in a shard is bytes that
nobody looks at.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError
from contrasift.pools.encoded import ShardSource
from contrasift.pools.labels import Coder
from contrasift.pools.passed_over import PassedOver
from contrasift.pools.prepare import UnreadableExample, check_encoded_size
from contrasift.pools.shards import Shard
from contrasift.pools.tar_index import PROBLEMS, TarIndex, index_shard
from contrasift.pools.whole import Whole, check_enough
from contrasift.store.objects import RemoteFile

# Reading from other storage is mostly waiting; its shards are looked up again now and then.
_THREADS = 32
_LOOK_UP_SECONDS = 10
_LABEL_KEYS = ("label", "cls", "class")
_LARGEST_LABEL = {"cls": 1_000, "txt": 1_000, "json": 1 << 20}


class TarSource(ShardSource):
    """Images inside tar shards, read at their offsets.

    Args:
        shards: the files.
        indices: what lies where in each.
    """

    def __init__(self, shards: Sequence[Shard], indices: Sequence[TarIndex]) -> None:
        super().__init__(shards)
        self._suffixes = [index.suffixes for index in indices]
        # Columns by themselves: the places of the labels need not stay in memory.
        self._offset, self._size, self._suffix, self._problem = (
            np.concatenate([index.rows[name] for index in indices])
            for name in ("image", "image_size", "suffix", "problem")
        )
        self._starts = np.cumsum([0, *(len(index.keys) for index in indices)])
        self._looked_up: dict[int, float] = {}
        self.look_at_images(every=not isinstance(shards[0].path, RemoteFile))
        if any(isinstance(shard.path, RemoteFile) for shard in shards):
            self.threads: int = max(self.threads, _THREADS)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def image_bytes(self, row: int) -> bytes:
        """The member that is the image; raises UnreadableExample."""
        if self._problem[row]:
            raise UnreadableExample(PROBLEMS[self._problem[row]])
        size = int(self._size[row])
        check_encoded_size(size)
        number, offset = self._number(row), int(self._offset[row])
        shard = self._shards[number]
        if not isinstance(shard.path, RemoteFile):
            return _read_at(shard, shard.path, offset, size)
        data = shard.path.read(offset, offset + size)
        if time.monotonic() - self._looked_up.get(number, -math.inf) > _LOOK_UP_SECONDS:
            shard.check()
            self._looked_up[number] = time.monotonic()
        return data

    def encoded(self, row: int) -> tuple[bytes, str]:
        """The image's bytes and the extension of its name; raises UnreadableExample."""
        return self.image_bytes(row), self._suffixes[self._number(row)][self._suffix[row]]

    def _number(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1


def tar_pool(shards: Sequence[Shard], name: str, *, labelled: bool = True) -> Whole:
    """Every example of some tar shards, in the order of the shards and of their members.

    Members are one example when their names agree up to the first dot of the file's name. An
    example without an image, or with two, is kept with its error and left out by the scan. Labels
    are the first of these that there are: members `.cls`; the field `label` (or `cls`, `class`) of
    members `.json`; members `.txt`, unless more than half of them differ, as captions do.

    Raises:
        DataError: a shard that is empty, compressed, damaged or cut short; fewer than two examples.
    """
    indices = [index_shard(shard) for shard in shards]
    ids = [f"{s.name}/{key}" for s, i in zip(shards, indices, strict=True) for key in i.keys]
    check_enough(len(ids), "examples", name, "Members are named key.jpg, key.cls, ...")
    codes, names = _labels(shards, indices) if labelled else (None, ())
    # A member that belongs to no example has no extension.
    others = PassedOver({"": sum(index.ignored for index in indices)})
    return Whole(TarSource(shards, indices), name, ids, codes, names, passed_over=others)


def _read_at(shard: Shard, path: Path, offset: int, size: int) -> bytes:
    """Some bytes of a shard that is still the file that was indexed.

    Raises:
        UnreadableExample: it is gone, or another file by now.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (shard.size, shard.modified):
                raise UnreadableExample(f"{shard.name} has changed since it was opened")
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise UnreadableExample(f"{shard.name}: {error.strerror}") from error


def _labels(
    shards: Sequence[Shard], indices: Sequence[TarIndex]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels from the first kind of member that has any."""
    readers: dict[str, Callable[[bytes], str]] = {"cls": _text, "json": _json_label, "txt": _text}
    for kind, read in readers.items():
        present = sum(int((index.rows[kind] >= 0).sum()) for index in indices)
        coder = Coder(sum(len(index.keys) for index in indices))
        most = present // 2 if kind == "txt" else present
        for row, value in _label_members(shards, indices, kind, read):
            coder.add(row, value)
            if coder.distinct > most:
                break
        if 0 < coder.distinct <= most:
            return coder.finish()
    return None, ()


def _label_members(
    shards: Sequence[Shard],
    indices: Sequence[TarIndex],
    kind: str,
    read: Callable[[bytes], str],
) -> Iterator[tuple[int, str]]:
    """Row and value of every label member of a kind, shard by shard."""
    first = 0
    for shard, index in zip(shards, indices, strict=True):
        offsets, sizes = index.rows[kind], index.rows[f"{kind}_size"]
        wanted = np.flatnonzero((offsets >= 0) & (sizes <= _LARGEST_LABEL[kind]))
        wanted = wanted[np.argsort(offsets[wanted], kind="stable")]
        found = _members(shard, offsets[wanted], sizes[wanted])
        for row, data in zip(wanted.tolist(), found, strict=True):
            yield first + row, read(data)
        first += len(index.keys)


def _members(shard: Shard, offsets: np.ndarray, sizes: np.ndarray) -> Iterator[bytes]:
    """Many small members of a shard, one after the other."""
    if not offsets.size:  # most shards have none of most kinds: they need not be opened
        return
    if isinstance(shard.path, RemoteFile):
        for own, piece in shard.path.read_together(offsets, offsets + sizes):
            places = (offsets[own] - offsets[own.start]).tolist()
            for place, size in zip(places, sizes[own].tolist(), strict=True):
                yield piece[place : place + size]
        shard.check()
        return
    try:
        with shard.open() as file:
            for offset, size in zip(offsets.tolist(), sizes.tolist(), strict=True):
                file.seek(offset)
                yield file.read(size)
    except OSError as error:
        raise DataError("shards that can be read", f"{shard.path}: {error.strerror}") from error


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace").strip()


def _json_label(data: bytes) -> str:
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError):  # not JSON, or nested to exhaust the stack
        return ""
    if not isinstance(value, dict):
        return ""
    found = next((value[key] for key in _LABEL_KEYS if key in value), "")
    is_label = isinstance(found, (str, int)) and not isinstance(found, bool)
    return str(found) if is_label else ""
