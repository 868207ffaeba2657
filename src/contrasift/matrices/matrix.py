"""Rows of embeddings, wherever they lie, joined in one order, with their ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from contrasift.arrays import row_numbers
from contrasift.errors import DataError
from contrasift.fingerprints import array_sha256
from contrasift.matrices.parts import Part, Stored


@dataclass(frozen=True, eq=False)
class Matrix:
    """Embeddings, one row an example, that are read when they are asked for.

    Slices and lists of row numbers give arrays, as of an array: of one mapped file without a copy.
    Nothing is joined on the disk.

    Attributes:
        stored: files, tables or frames, in the order of their rows.
        parts: what the rows are read from.
        shape: rows and width.
        dtype: of the entries.
        about: what is known of how they were made; empty of a bare matrix.
        source: facts of the files: place, format, how many, column, ids.
        notes: what a user should be told, in words.
        id_source: reads the ids; None where there are none.
        pool_index: int64; pool index of every stored row; None where it is the row's number.
        known_digest: what the matrix's own description says of its hash, of an object that is not
            read here.
        kept: int64 [n]; numbers of the stored rows that are not left out, ascending; None for all.
    """

    stored: tuple[Stored, ...]
    parts: tuple[Part, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    id_source: Callable[[], Any] | None = None
    pool_index: np.ndarray | None = None
    known_digest: str | None = None
    kept: np.ndarray | None = None

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and width."""
        n = int(self._starts[-1]) if self.kept is None else self.kept.size
        return n, self.parts[0].shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Of the entries."""
        return self.parts[0].dtype

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    @property
    def nbytes(self) -> int:
        """Of the rows, were they an array."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    @property
    def described(self) -> bool:
        """Whether they say of themselves how they were made: then they are mean view embeddings."""
        return bool(self.about)

    @property
    def in_place(self) -> bool:
        """Whether any rows can be read at once; else a pass decodes what it reads."""
        return all(part.in_place for part in self.parts)

    @property
    def file(self) -> Any:
        """Of a single part that has one, what it is read from; else None."""
        return getattr(self.parts[0], "file", None) if len(self.parts) == 1 else None

    @property
    def values(self) -> Any:
        """The array itself where it lies in one mapped piece, else this."""
        whole = self.parts[0].mapped if len(self.parts) == 1 and self.kept is None else None
        return self if whole is None else whole

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what is stored: the files', in order, and which array of them is meant.

        Of a single `.npy` file it is the file's own. It does not depend on where the files lie.
        """
        if self.known_digest is not None and self.kept is None:
            return self.known_digest
        with ThreadPoolExecutor(2) as workers:  # hashing leaves the interpreter's lock
            digests = list(workers.map(lambda one: one.digest(), self.stored))
        what = [self.source.get("column"), self.source.get("scale")]
        if len(digests) == 1 and what == [None, None] and self.kept is None:
            return digests[0]
        left_out = None if self.kept is None else array_sha256(self.kept)
        text = json.dumps([digests, what, left_out])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def description(self) -> dict[str, Any]:
        """What is known of how they were made, and their hash."""
        return {**self.about, "sha256": self.fingerprint}

    @cached_property
    def index(self) -> np.ndarray | None:
        """int64 [n]; the pool index of every row; None where it is the row's number."""
        if self.kept is None:
            return self.pool_index
        return self.kept if self.pool_index is None else self.pool_index[self.kept]

    @property
    def numbers(self) -> np.ndarray:
        """int64 [n]; the pool index of every row, or the row's number."""
        return row_numbers(slice(None), len(self)) if self.index is None else self.index

    @cached_property
    def ids(self) -> Any:
        """Every row's id, an Arrow array [n]; None where the source has none.

        Raises:
            DataError: an id that is missing, or there twice.
        """
        if self.id_source is None:
            return None
        ids = self.id_source()
        return ids if self.kept is None else ids.take(self.kept)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Matrix({self.source.get('place')!s}, {self.dtype}{list(self.shape)})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it; an algorithm that knows better asks for rows."""
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some rows, in the order asked for.

        Args:
            rows: a slice, or integers in any order, repeats and negative ones allowed.

        Raises:
            IndexError: no such row.
            TypeError: anything else, such as a mask.
            DataError: rows that can no longer be read.
        """
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._between(start, max(start, stop))
        ascending, place = np.unique(row_numbers(rows, len(self)), return_inverse=True)
        return self._taken(self.stored_rows(ascending))[place]

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """All rows in order, in pieces that their formats have, each with its first row's number."""
        begin = stored = 0
        for part in self.parts:
            for block in part.blocks():
                end = stored + len(block)
                if self.kept is not None:
                    first, last = np.searchsorted(self.kept, [stored, end])
                    block = block[self.kept[first:last] - stored]
                if len(block):
                    yield begin, block
                begin, stored = begin + len(block), end

    def forget(self) -> None:
        """Let the system take back the pages of mapped files."""
        for part in self.parts:
            part.forget()

    def place(self, row: int) -> str:
        """Where a row comes from, for messages: its file, its number in it, its id."""
        number = int(self.stored_rows(np.array([row]))[0])
        ends = np.cumsum([one.n for one in self.stored])
        at = int(np.searchsorted(ends, number, side="right"))
        name = self.stored[at].name
        inside = number - int(ends[at] - self.stored[at].n)
        return f"row {row}, which is row {inside} of {name}{self._called(row)}"

    def _called(self, row: int) -> str:
        try:
            return "" if self.ids is None else f", id {self.ids[row].as_py()!r}"
        except DataError:  # of the ids something else is to be said
            return ""

    def stored_rows(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of rows among all that are stored."""
        return rows if self.kept is None else self.kept[rows]

    def keeping(self, rows: np.ndarray) -> Matrix:
        """The same without some rows; what remains keeps its index and its ids.

        Args:
            rows: int64, ascending; numbers of the rows that remain.
        """
        return replace(self, kept=self.stored_rows(rows))

    def reading(self, parts: Sequence[Part]) -> Matrix:
        """The same rows, read from elsewhere."""
        return replace(self, parts=tuple(parts))

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *(part.shape[0] for part in self.parts)])

    def _between(self, start: int, stop: int) -> np.ndarray:
        if self.kept is None:
            return self._read(start, stop)
        kept = self.kept[start:stop]
        if not kept.size:
            return self._read(0, 0)
        first, last = int(kept[0]), int(kept[-1]) + 1
        rows = self._read(first, last)
        return rows if last - first == kept.size else rows[kept - first]

    def _read(self, start: int, stop: int) -> np.ndarray:
        if stop <= start:
            return np.empty((0, self.shape[1]), dtype=self.dtype)
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left"))
        found = []
        for part, begin in zip(self.parts[first:last], self._starts[first:last], strict=True):
            found.append(
                part.read(max(0, start - int(begin)), min(part.shape[0], stop - int(begin)))
            )
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _taken(self, rows: np.ndarray) -> np.ndarray:
        """Rows that are stored, ascending."""
        out = np.empty((rows.size, self.shape[1]), dtype=self.dtype)
        bounds = np.searchsorted(rows, self._starts)
        for part, begin, first, last in zip(
            self.parts, self._starts, bounds, bounds[1:], strict=False
        ):
            if last > first:
                out[first:last] = part.take(rows[first:last] - begin)
        return out
