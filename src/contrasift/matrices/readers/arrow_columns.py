"""The column of an Arrow table that holds vectors: which it is, how wide, and its rows as a matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from contrasift.errors import DataError

_FLOATS = (pa.types.is_float16, pa.types.is_float32, pa.types.is_float64)
_BYTES = (pa.types.is_int8, pa.types.is_uint8)


@dataclass(frozen=True)
class ArrowIds:
    """The columns of text or whole numbers of a table.

    Attributes:
        where: the file.
        schema: of the table.
        column: reads one of them.
    """

    where: str
    schema: pa.Schema
    column: Callable[[str], Any]

    def names(self) -> list[str]:
        """Columns of text or whole numbers."""
        return [item.name for item in self.schema if _names_rows(item.type)]

    def read(self, name: str) -> Any:
        """One of them, as an Arrow array."""
        return self.column(name)


def _names_rows(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _names_rows(kind.value_type)
    tests = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    return any(test(kind) for test in (*tests, pa.types.is_string_view))


def vector_column(schema: pa.Schema, column: str | None, where: str) -> str:
    """The column that holds the embeddings: the one asked for, or the only one that can.

    Lists of half, float or double, or of 8-bit integers, of any kind of list, can be it.

    Raises:
        DataError: no such column, one that is not of vectors, none that can be it, or several.
    """
    there = ", ".join(f"{item.name!r} ({item.type})" for item in schema) or "none"
    if column is not None:
        if column not in schema.names:
            raise DataError(f"a column {column!r} in {where}", f"columns {there}")
        if not _is_vector(schema.field(column).type, of_any_number=True):
            raise DataError(
                f"a column of vectors (lists of numbers) as {column!r} in {where}",
                f"{schema.field(column).type}; columns {there}",
            )
        return column
    fit = [item.name for item in schema if _is_vector(item.type)]
    if len(fit) != 1:
        listed = ", ".join(map(repr, fit))
        raise DataError(
            f"one column of vectors (lists of half, float or double) in {where}",
            f"{len(fit)} that can be it: {listed}" if fit else f"columns {there}",
            "Name one with column=" if fit else "",
        )
    return fit[0]


def _is_vector(kind: pa.DataType, *, of_any_number: bool = False) -> bool:
    kind = _storage(kind)
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(test(kind) for test in lists):
        return False
    tests = (pa.types.is_integer, *_FLOATS) if of_any_number else (*_FLOATS, *_BYTES)
    return any(test(kind.value_type) for test in tests)


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def entry_type(kind: pa.DataType) -> np.dtype:
    """The type of a vector's entries."""
    return np.dtype(_storage(kind).value_type.to_pandas_dtype())


def width_of(kind: pa.DataType, first: Callable[[], Any], where: str) -> int:
    """How long the vectors of a column are: by its type, or as its first vector.

    Args:
        kind: of the column.
        first: an Arrow array of some of the first rows.
        where: file and column, for messages.

    Raises:
        DataError: there is no vector, or an empty one.
    """
    kind = _storage(kind)
    if pa.types.is_fixed_size_list(kind):
        width = kind.list_size
    else:
        lengths = (len(item) for item in first() if item.is_valid)
        width = next(lengths, 0)
    if not width:
        raise DataError(f"vectors with entries in {where}", "none in its first rows")
    return width


def vectors(chunk: Any, width: int, where: str, first_row: int = 0) -> np.ndarray:
    """The rows of one chunk of a column of lists, without a copy where there are no nulls.

    A null vector becomes a row of NaN, and a null entry NaN, so that they are found like any other
    row that cannot be used. Integers have no NaN: there a null is an error.

    Args:
        chunk: an Arrow array of lists.
        width: how long they shall be.
        where: file and column, for messages.
        first_row: the chunk's first row in them.

    Returns:
        [rows, width], in the column's own type.

    Raises:
        DataError: a list of another length, named by its row; a null among integers.
    """
    if isinstance(chunk, pa.ExtensionArray):
        chunk = chunk.storage
    n, kind = len(chunk), chunk.type
    if entry_type(kind).kind != "f" and (chunk.null_count or chunk.flatten().null_count):
        raise DataError(
            f"whole-number vectors without nulls in {where}",
            f"{max(chunk.null_count, 1)} in the rows from {first_row} on",
            "Leave such rows out of the table",
        )
    if pa.types.is_fixed_size_list(kind):
        if kind.list_size != width:
            raise _ragged(where, width, kind.list_size, first_row)
        starts = None
        entries = chunk.values.slice(chunk.offset * width, n * width)
    else:
        starts = _starts(chunk, width, where, first_row)
        if starts is None:
            begin = chunk.offsets[0].as_py() if n else 0
            entries = chunk.values.slice(begin, n * width)
        else:
            entries = chunk.values
    values = _plain(entries)
    if starts is not None:  # null lists take no place among the entries
        rows = np.full((n, width), np.nan, dtype=values.dtype)
        given = starts >= 0
        rows[given] = values[starts[given, None] + np.arange(width)]
        return rows
    rows = values.reshape(n, width)
    if chunk.null_count:
        rows = rows.copy()
        rows[np.asarray(chunk.is_null().to_numpy(zero_copy_only=False))] = np.nan
    return rows


def _starts(chunk: Any, width: int, where: str, first_row: int) -> np.ndarray | None:
    """Where each list begins, −1 for null ones; None where they follow each other without a gap."""
    offsets = _plain(chunk.offsets)
    lengths = np.diff(offsets)
    if not chunk.null_count:
        wrong = np.flatnonzero(lengths != width)
        if wrong.size:
            raise _ragged(where, width, int(lengths[wrong[0]]), first_row + int(wrong[0]))
        return None
    valid = np.asarray(chunk.is_valid().to_numpy(zero_copy_only=False))
    wrong = np.flatnonzero(valid & (lengths != width))
    if wrong.size:
        raise _ragged(where, width, int(lengths[wrong[0]]), first_row + int(wrong[0]))
    return np.where(valid, offsets[:-1], -1).astype(np.int64)


def _ragged(where: str, width: int, got: int, row: int) -> DataError:
    return DataError(
        f"vectors of one length in {where}: {width}, as the first",
        f"{got} entries in row {row}",
        "Leave such rows out of the table, or embed them again",
    )


def _plain(entries: Any) -> np.ndarray:
    """Numbers in place; pyarrow's own way there loads pandas, and copies halves."""
    dtype = np.dtype(entries.type.to_pandas_dtype())
    valid, data = entries.buffers()
    if data is None or not len(entries):
        return np.empty(len(entries), dtype)
    values = np.frombuffer(data, dtype, len(entries), entries.offset * dtype.itemsize)
    if valid is not None and entries.null_count:
        values = values.copy()
        values[np.asarray(entries.is_null().to_numpy(zero_copy_only=False))] = np.nan
    return values
