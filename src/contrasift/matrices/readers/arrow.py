"""Vectors in IPC and Feather files and in frames, and rows that lie in no file of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
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
from contrasift.matrices.readers.arrow_columns import (
    ArrowIds,
    entry_type,
    vector_column,
    vectors,
    width_of,
)
from contrasift.store.faults import reading_remedy


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
