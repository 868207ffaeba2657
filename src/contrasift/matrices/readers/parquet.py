"""Parquet, a row group at a time, of a path or an address."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contrasift.errors import DataError
from contrasift.matrices.parts import SourceTable, Stored, StreamedPart, file_digest
from contrasift.matrices.readers.arrow_columns import (
    ArrowIds,
    entry_type,
    vector_column,
    vectors,
    width_of,
)
from contrasift.store.objects import RemoteFile

_BATCH_BYTES = 32 << 20
_GROUP_BYTES = 256 << 20  # row groups up to here are decoded side by side
_AT_ONCE = 2
_ROWS_AT_ONCE = 8192
_LOOKED_AT = 1024  # rows in which the length of vectors is looked up


def open_parquet(path: Path | RemoteFile, column: str | None) -> Stored:
    """A column of vectors of a Parquet file.

    Raises:
        DataError: damaged, without rows or such a column, or with vectors of several lengths.
    """
    file = opened(path)
    schema = file.schema_arrow
    name = vector_column(schema, column, str(path))
    where = f"{path}:{name}"
    n = file.metadata.num_rows
    if not n:
        raise DataError(f"rows in {path}", "a table without rows")
    kind = schema.field(name).type
    width = width_of(kind, lambda: _first_rows(file, name, path), where)
    groups = (file.metadata.row_group(number) for number in range(file.num_row_groups))
    starts = np.cumsum([0, *(group.num_rows for group in groups)])

    def piece(number: int) -> np.ndarray:
        with _explained(path):
            found = file.read_row_group(number, columns=[name]).column(0)
        return _joined(found.chunks, int(starts[number]))

    def _joined(chunks: list[Any], begin: int) -> np.ndarray:
        parts = []
        for chunk in chunks:
            parts.append(vectors(chunk, width, where, begin))
            begin += len(chunk)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def stream() -> Iterator[np.ndarray]:
        row_bytes = width * entry_type(kind).itemsize
        if np.diff(starts).max() * row_bytes <= _GROUP_BYTES and len(starts) > 2:
            yield from _side_by_side(
                path, name, lambda chunks, at: _joined(chunks, int(starts[at]))
            )
            return
        batches = file.iter_batches(max(1, _BATCH_BYTES // row_bytes), columns=[name])
        begin = 0
        with _explained(path):
            for batch in batches:
                yield vectors(batch.column(0), width, where, begin)
                begin += batch.num_rows

    ids = ArrowIds(str(path), schema, lambda wanted: read_column(path, wanted))
    digest = file_digest(path) if isinstance(path, Path) else lambda: path.digest
    part = StreamedPart(where, (n, width), entry_type(kind), starts, piece, stream)
    return Stored(where, [part], digest, ids, parquet_table(path, schema))


def _side_by_side(
    path: Path | RemoteFile, name: str, made: Callable[[list[Any], int], np.ndarray]
) -> Iterator[np.ndarray]:
    """Row groups in order, of which a few are decoded at once: pyarrow decodes a column in one thread."""
    held = threading.local()

    def decoded(number: int) -> np.ndarray:
        if not hasattr(held, "file"):
            held.file = opened(path)  # a file of its own for every thread
        with _explained(path):
            return made(held.file.read_row_group(number, columns=[name]).column(0).chunks, number)

    with opened(path) as file:
        count = file.num_row_groups
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        coming = deque(workers.submit(decoded, at) for at in range(min(_AT_ONCE + 1, count)))
        for number in range(count):
            rows = coming.popleft().result()
            if number + len(coming) + 1 < count:
                coming.append(workers.submit(decoded, number + len(coming) + 1))
            yield rows


def opened(path: Path | RemoteFile) -> pq.ParquetFile:
    """A Parquet file with its footer read.

    Raises:
        DataError: missing or damaged.
    """
    with _explained(path):
        if isinstance(path, RemoteFile):
            return pq.ParquetFile(path.open(), pre_buffer=True)
        return pq.ParquetFile(path)


def read_column(path: Path | RemoteFile, name: str) -> pa.ChunkedArray:
    """One column of a Parquet file.

    Raises:
        DataError: damaged.
    """
    with _explained(path), opened(path) as file:
        return file.read(columns=[name]).column(0)


def parquet_table(path: Path | RemoteFile, schema: pa.Schema | None = None) -> SourceTable:
    """All columns of a Parquet file.

    Raises:
        DataError: missing or damaged.
    """
    if schema is None:
        with opened(path) as file:
            schema = file.schema_arrow

    def batches(columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        with _explained(path), opened(path) as file:
            yield from file.iter_batches(_ROWS_AT_ONCE, columns=columns)

    return SourceTable(schema, batches)


def parquet_ids(path: Path | RemoteFile) -> tuple[ArrowIds, int]:
    """A table of metadata: its columns that may name rows, and its length.

    Raises:
        DataError: missing or damaged.
    """
    with opened(path) as file:
        schema, n = file.schema_arrow, file.metadata.num_rows
    return ArrowIds(str(path), schema, lambda name: read_column(path, name)), n


def _first_rows(file: pq.ParquetFile, name: str, path: Path | RemoteFile) -> Any:
    with _explained(path):
        batch = next(file.iter_batches(_LOOKED_AT, columns=[name]), None)
    return [] if batch is None else batch.column(0)


class _explained:
    """What Arrow and the disk say of a damaged file, in our words."""

    def __init__(self, path: Path | RemoteFile) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, FileNotFoundError):
            raise DataError(
                "an existing Parquet file", f"{self._path}, which does not exist"
            ) from (error)
        if isinstance(error, (OSError, pa.ArrowException)):
            reason = (getattr(error, "strerror", None) or str(error)).split("\n")[0]
            raise DataError(
                "a whole Parquet file", f"{self._path}: {reason}", "Copy it again, or leave it out"
            ) from error
