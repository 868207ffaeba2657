"""Vectors in a column of an Arrow table: IPC and Feather files, frames, and what others build on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from contrasift.errors import DataError
from contrasift.matrices.parts import (
    MappedPart,
    Part,
    SourceTable,
    Stored,
    StreamedPart,
    file_digest,
)
from contrasift.store.faults import reading_remedy

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


def open_ipc(path: Path, column: str | None) -> Stored:
    """An Arrow IPC or Feather file: mapped, or batch by batch where it is compressed.

    Raises:
        DataError: damaged, without rows or such a column, or with vectors of several lengths.
    """
    try:
        source = pa.memory_map(str(path))
        return _opened_ipc(path, source, column)
    except FileNotFoundError as error:
        raise DataError("an existing file", f"{path}, which does not exist") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            "a whole Arrow IPC or Feather file",
            f"{path}: {error}",
            reading_remedy(error, "Write it again"),
        ) from error


def _opened_ipc(path: Path, source: Any, column: str | None) -> Stored:
    try:
        reader = pa.ipc.open_file(source)
    except pa.ArrowInvalid:  # the form without a footer, as `datasets` writes it
        source.seek(0)
        stream = pa.ipc.open_stream(source)
        batches, schema = list(stream), stream.schema
        reader = None
    else:
        schema, batches = reader.schema, []
    name = vector_column(schema, column, str(path))
    where, kind = f"{path}:{name}", schema.field(name).type

    def read(wanted: str) -> list[Any]:
        if reader is None:
            return [batch.column(wanted) for batch in batches]
        return [_batch(source, schema, wanted, at) for at in range(reader.num_record_batches)]

    ids = ArrowIds(
        str(path),
        schema,
        lambda wanted: pa.chunked_array(read(wanted), schema.field(wanted).type),
    )
    if reader is None or not reader.num_record_batches:
        parts = mapped_parts(where, kind, [batch.column(name) for batch in batches])
    elif _lies_within(first := reader.get_batch(0).column(name), source):
        numbers = range(reader.num_record_batches)
        chunks = [reader.get_batch(number).column(name) for number in numbers]
        parts = mapped_parts(where, kind, chunks)
    else:
        parts = [_decompressed(path, source, schema, name, [first], reader.num_record_batches)]
    return Stored(where, parts, file_digest(path), ids, _ipc_table(reader, batches, schema))


def _ipc_table(reader: Any, batches: Sequence[Any], schema: pa.Schema) -> SourceTable:
    def some(columns: Sequence[str] | None) -> Iterator[Any]:
        found = (
            iter(batches)
            if reader is None
            else (reader.get_batch(number) for number in range(reader.num_record_batches))
        )
        return (batch if columns is None else batch.select(columns) for batch in found)

    return SourceTable(schema, some)


def held_table(table: pa.Table) -> SourceTable:
    """All columns of a table in memory, or in a map."""

    def batches(columns: Sequence[str] | None) -> Iterator[Any]:
        some = table if columns is None else table.select(columns)
        return iter(some.to_batches(16_384))

    return SourceTable(table.schema, batches)


def _batch(source: Any, schema: pa.Schema, name: str, number: int) -> Any:
    """One column of one batch; the others are not decompressed."""
    options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name)])
    return pa.ipc.open_file(source, options=options).get_batch(number).column(0)


def _lies_within(column: Any, source: Any) -> bool:
    """Whether a column's entries are the mapped file's own bytes."""
    source.seek(0)
    mapped = source.read_buffer(source.size())
    buffers = [buffer for buffer in column.buffers() if buffer is not None and buffer.size]
    return all(0 <= buffer.address - mapped.address < mapped.size for buffer in buffers)


def _decompressed(
    path: Path, source: Any, schema: pa.Schema, name: str, first: list[Any], count: int
) -> Part:
    """Compressed batches, one at a time; where each begins is known after a pass over them.

    The first one was decompressed to find out that it had to be: it is handed out once.
    """
    import pyarrow.dataset as ds

    where, kind = f"{path}:{name}", schema.field(name).type
    n = ds.dataset(path, format="feather").count_rows()
    if not n:
        raise DataError(f"rows in {where}", "a table without rows")
    width = width_of(kind, lambda: first[0], where)

    def batch(number: int) -> Any:
        try:
            return _batch(source, schema, name, number)
        except (OSError, pa.ArrowException) as error:
            raise DataError("a whole Arrow file", f"{where}: {error}", "Write it again") from error

    def bounds() -> np.ndarray:
        return np.cumsum([0, *(len(batch(number)) for number in range(count))])

    def decoded(number: int, begin: int) -> np.ndarray:
        chunk = first.pop() if first and not number else batch(number)
        return vectors(chunk, width, where, begin)

    def stream() -> Iterator[np.ndarray]:
        begin = 0
        for number in range(count):
            rows = decoded(number, begin)
            begin += len(rows)
            yield rows

    def piece(number: int) -> np.ndarray:
        return decoded(number, int(part.starts[number]))

    part = StreamedPart(where, (n, width), entry_type(kind), bounds, piece, stream)
    return part


def mapped_parts(where: str, kind: pa.DataType, chunks: Sequence[Any]) -> list[Part]:
    """Chunks of a column that lie in memory, or in a map, each a part of its own.

    Raises:
        DataError: no rows, or vectors of several lengths.
    """
    chunks = [chunk for chunk in chunks if len(chunk)]
    if not chunks:
        raise DataError(f"rows in {where}", "a table without rows")
    width = width_of(kind, lambda: chunks[0], where)
    parts: list[Part] = []
    begin = 0
    for chunk in chunks:
        parts.append(MappedPart(where, vectors(chunk, width, where, begin), held=chunk))
        begin += len(chunk)
    return parts


def open_frame(frame: Any, column: str | None) -> Stored:
    """A table in memory: pandas, Polars, DuckDB, pyarrow, whatever hands out Arrow.

    Raises:
        DataError: no such column, no rows, or vectors of several lengths.
    """
    where = f"the {type(frame).__name__}"
    if (stacked := _stacked(frame, column, where)) is not None:
        return stacked
    table = as_table(frame)
    name = vector_column(table.schema, column, where)
    ids = ArrowIds(where, table.schema, lambda wanted: table[wanted])
    label, kind = f"{where}, column {name!r}", table.schema.field(name).type
    return stored_rows(label, mapped_parts(label, kind, table[name].chunks), ids, held_table(table))


def _stacked(frame: Any, column: str | None, where: str) -> Stored | None:
    """A pandas frame whose column holds arrays, which Arrow would take apart number by number."""
    if type(frame).__module__.partition(".")[0] != "pandas" or not len(frame):
        return None
    fit = [name for name in frame.columns if isinstance(frame[name].iloc[0], np.ndarray)]
    if len(fit) != 1 or column not in (None, fit[0]):
        return None
    held = frame[fit[0]].tolist()
    width, dtype = held[0].shape, held[0].dtype
    same = all(
        isinstance(row, np.ndarray) and row.shape == width and row.dtype == dtype for row in held
    )
    if len(width) != 1 or not same or dtype.kind not in "fiu":
        return None  # nulls and ragged rows are named by what reads lists
    others = pa.Table.from_pandas(frame.drop(columns=fit), preserve_index=False)
    ids = ArrowIds(where, others.schema, lambda wanted: others[wanted])
    label = f"{where}, column {fit[0]!r}"
    return stored_rows(label, [MappedPart(label, np.stack(held))], ids)


def as_table(frame: Any) -> pa.Table:
    """Whatever hands out Arrow, as a table.

    Raises:
        DataError: it does not, or pyarrow does not understand it.
    """
    try:
        if isinstance(frame, pa.Table):
            return frame
        if isinstance(frame, pa.RecordBatchReader):
            return frame.read_all()
        if hasattr(frame, "__arrow_c_stream__"):
            return pa.table(frame)
        if hasattr(frame, "to_arrow_table"):  # a relation of DuckDB
            return frame.to_arrow_table()
        if type(frame).__module__.partition(".")[0] == "pandas":
            return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise DataError("a table that Arrow understands", reason) from error
    raise DataError("a table that hands out Arrow", type(frame).__name__)


def stored_rows(
    name: str, parts: Sequence[Part], ids: Any = None, table: SourceTable | None = None
) -> Stored:
    """Rows that lie in no file of their own: their hash is that of their entries."""

    def digest() -> str:
        n, width = sum(part.shape[0] for part in parts), parts[0].shape[1]
        made = hashlib.sha256(f"{n} {width} {parts[0].dtype.str}".encode())
        for part in parts:
            for block in part.blocks():
                made.update(np.ascontiguousarray(block).view(np.uint8).data)
        return made.hexdigest()

    return Stored(name, parts, digest, ids, table)
