"""What every format comes down to: so many rows of one width and type, read from first to last.

A part is one stored array: a file, a shard, a column of a table. Where its bytes can be mapped, its
rows are read in place; else they are decoded in the pieces that the format has.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from contrasift.arrays import Rows, forget_pages, row_blocks
from contrasift.errors import DataError
from contrasift.store.atomic import sha256_of


@runtime_checkable
class IdColumns(Protocol):
    """Columns with a value for every row, any of which may name the rows."""

    @property
    def where(self) -> str:
        """The file, for messages."""
        ...

    def names(self) -> list[str]:
        """Columns of text or whole numbers."""
        ...

    def read(self, name: str) -> Any:
        """One of them, as an Arrow array."""
        ...


class Part(ABC):
    """One stored array.

    Attributes:
        name: of the file, for messages.
        shape: rows and width.
        dtype: of the entries, as `read` hands them out.
        mapped: the array itself where it can be read in place, without a copy.
        in_place: whether any rows can be read at once, without decoding others.
    """

    name: str
    shape: tuple[int, int]
    dtype: np.dtype
    mapped: Rows | None = None
    in_place: bool = False

    @abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop − 1."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, by ascending numbers."""

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows in order, in pieces that the format has."""
        for block in row_blocks(self.shape[0], self.shape[1] * self.dtype.itemsize):
            yield self.read(block.start, block.stop)
            self.forget()

    def forget(self) -> None:  # noqa: B027  most keep nothing
        """Let go of what reading left in memory."""


@dataclass(frozen=True)
class SourceTable:
    """All columns of what is a table.

    Attributes:
        schema: their names and types, an Arrow schema.
        batches: of the columns that are named, or of all, in Arrow batches and in order.
    """

    schema: Any
    batches: Callable[[Sequence[str] | None], Iterator[Any]]


@dataclass(frozen=True)
class Stored:
    """One file, table or frame.

    Attributes:
        name: for messages.
        parts: its rows, in order.
        digest: makes the hash of its content; the same file gives the same.
        ids: columns that may name the rows, or None.
        table: all columns of what is a table; else None.
    """

    name: str
    parts: Sequence[Part]
    digest: Callable[[], str]
    ids: IdColumns | None = None
    table: SourceTable | None = None

    @property
    def n(self) -> int:
        """Rows."""
        return sum(part.shape[0] for part in self.parts)


Decode = Callable[[np.ndarray], np.ndarray]


@dataclass
class MappedPart(Part):
    """Rows that lie in memory or in a mapped file as they are, or but for a number's encoding.

    Attributes:
        name: of the file.
        values: [n, d].
        decode: from stored entries to real numbers, e.g. bfloat16 to float32.
        held: what must live as long as the rows, such as the object that owns the memory.
    """

    name: str
    values: Rows
    decode: Decode | None = None
    held: Any = field(default=None, repr=False)

    in_place = True

    def __post_init__(self) -> None:
        self.shape = self.values.shape[0], self.values.shape[1]
        plain = self.decode is None
        self.dtype = self.values.dtype if plain else np.dtype(np.float32)
        self.mapped = self.values if plain else None

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop − 1."""
        rows = self.values[start:stop]
        return rows if self.decode is None else self.decode(rows)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, by ascending numbers."""
        found = self.values[rows]
        return found if self.decode is None else self.decode(found)

    def forget(self) -> None:
        """Let the system take back the pages."""
        forget_pages(self.values)


@dataclass
class StreamedPart(Part):
    """Rows that are decoded piece by piece: a row group, a chunk, a batch.

    Attributes:
        name: of the file.
        shape: rows and width.
        dtype: of the entries.
        bounds: int64 [pieces + 1]; the row at which each piece begins; or what finds that out, where
            it costs a pass.
        piece: decodes one.
        stream: all pieces in order, where that is faster than one by one; they may be cut otherwise.
    """

    name: str
    shape: tuple[int, int]
    dtype: np.dtype
    bounds: np.ndarray | Callable[[], np.ndarray]
    piece: Callable[[int], np.ndarray]
    stream: Callable[[], Iterator[np.ndarray]] | None = None
    _kept: tuple[int, np.ndarray] | None = field(default=None, repr=False)

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 [pieces + 1]; the row at which each piece begins."""
        return self.bounds() if callable(self.bounds) else self.bounds

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop − 1, from the pieces that hold them."""
        if stop <= start:
            return np.empty((0, self.shape[1]), dtype=self.dtype)
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        last = int(np.searchsorted(self.starts, stop, side="left"))
        found = []
        for number in range(first, last):
            begin = int(self.starts[number])
            found.append(self._decoded(number)[max(start - begin, 0) : stop - begin])
        return found[0] if len(found) == 1 else np.concatenate(found)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, by ascending numbers, from the pieces that hold them."""
        out = np.empty((rows.size, self.shape[1]), dtype=self.dtype)
        bounds = np.searchsorted(rows, self.starts)
        for number in np.flatnonzero(np.diff(bounds)).tolist():
            some = slice(bounds[number], bounds[number + 1])
            out[some] = self._decoded(number)[rows[some] - self.starts[number]]
        return out

    def _decoded(self, number: int) -> np.ndarray:
        """A piece; the last one is kept, also by `forget`: its neighbours are asked for next."""
        if self._kept is None or self._kept[0] != number:
            self._kept = None  # before the next is made: two are never held
            self._kept = number, self.piece(number)
        return self._kept[1]

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows in order."""
        if self.stream is not None:
            yield from self.stream()
            return
        for number in range(self.starts.size - 1):
            yield self.piece(number)


@dataclass
class ScaledPart(Part):
    """8-bit rows as the numbers that they stand for: (entry − zero) · scale, in float32.

    Attributes:
        inner: the stored entries.
        scale: of one step.
        zero: the entry that stands for zero.
    """

    inner: Part
    scale: float
    zero: float = 0.0

    def __post_init__(self) -> None:
        self.name, self.shape = self.inner.name, self.inner.shape
        self.dtype = np.dtype(np.float32)
        self.in_place = self.inner.in_place

    def _real(self, stored: np.ndarray) -> np.ndarray:
        rows = stored.astype(np.float32)
        rows -= np.float32(self.zero)
        rows *= np.float32(self.scale)
        return rows

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop − 1."""
        return self._real(self.inner.read(start, stop))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, by ascending numbers."""
        return self._real(self.inner.take(rows))

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows in order."""
        return map(self._real, self.inner.blocks())

    def forget(self) -> None:
        """Let go of what reading left in memory."""
        self.inner.forget()


class SideBySide(Part):
    """Two towers: the rows of several matrices beside each other, image and text of a pair.

    Attributes:
        towers: the matrices, of as many rows each.
        dtype: wide enough for all.
    """

    def __init__(self, towers: Sequence[Any]) -> None:
        self.towers: tuple[Any, ...] = tuple(towers)
        self.dtype: np.dtype = np.result_type(*(tower.dtype for tower in towers))
        self.shape: tuple[int, int] = (len(towers[0]), sum(tower.shape[1] for tower in towers))
        self.name: str = " + ".join(str(tower.source.get("place")) for tower in towers)
        self.in_place: bool = all(tower.in_place for tower in towers)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop − 1."""
        return np.hstack([tower[start:stop] for tower in self.towers])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, by ascending numbers."""
        return np.hstack([tower[rows] for tower in self.towers])

    def forget(self) -> None:
        """Let go of what reading left in memory."""
        for tower in self.towers:
            tower.forget()


class HeldIds:
    """Columns that a file holds beside its matrix, such as a list of names."""

    def __init__(self, where: str, columns: dict[str, Any]) -> None:
        """Keep them.

        Args:
            where: the file, for messages.
            columns: arrays or lists of text or whole numbers.
        """
        self.where = where
        self._columns = columns

    def names(self) -> list[str]:
        """Columns of text or whole numbers."""
        return list(self._columns)

    def read(self, name: str) -> Any:
        """One of them, as an Arrow array."""
        import pyarrow as pa

        found = self._columns[name]
        found = found() if callable(found) else found
        if isinstance(found, np.ndarray) and found.dtype.kind in "SO":
            found = [text.decode() if isinstance(text, bytes) else text for text in found.tolist()]
        elif isinstance(found, np.ndarray) and found.dtype.kind == "U":
            found = found.tolist()
        return pa.array(found)


def file_digest(path: Path) -> Callable[[], str]:
    """The hash of a file, made when it is asked for."""
    return lambda: sha256_of(path)


def folder_digest(folder: Path) -> Callable[[], str]:
    """The hash of all files below a folder, by name."""

    def made() -> str:
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(folder)}\0{sha256_of(path)}\0".encode())
        return digest.hexdigest()

    return made


def bfloat16_to_float32(stored: np.ndarray) -> np.ndarray:
    """bfloat16 is the upper half of a float32: exact.

    Args:
        stored: uint16, the bits.
    """
    return (stored.astype(np.uint32) << 16).view(np.float32)


def choose_matrix(shapes: dict[str, tuple[int, ...]], column: str | None, where: str) -> str:
    """The one array of several that is the matrix.

    Args:
        shapes: of every array in the file, by name.
        column: the one that is asked for; None for the only one with two axes.
        where: the file, for messages.

    Raises:
        DataError: no such array, none with two axes, or several.
    """
    there = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "nothing"
    if column is not None:
        if column not in shapes:
            raise DataError(f"an array {column!r} in {where}", f"these: {there}")
        if len(shapes[column]) != 2:
            raise DataError(
                f"an array of two axes, one row an example, as {column!r} in {where}",
                f"shape {list(shapes[column])}; there are: {there}",
                "Flatten every example's features into one row",
            )
        return column
    fit = [name for name, shape in shapes.items() if len(shape) == 2]
    if len(fit) != 1:
        raise DataError(
            f"one array of two axes in {where}",
            f"{len(fit)} of them; there are: {there}",
            "Name one of them with column=, or FILE:NAME"
            if fit
            else "Flatten every example's features into one row",
        )
    return fit[0]
