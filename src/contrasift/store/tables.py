"""The Parquet tables between stages. They open in pandas, DuckDB or Polars without contrasift."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contrasift.class_names import plain_names
from contrasift.errors import DataError, RunFolderError
from contrasift.results import LatentClasses
from contrasift.store.atomic import atomic_path
from contrasift.store.made import made_again


def write_table(path: Path, columns: Mapping[str, object]) -> None:
    """Write columns as Parquet, atomically; the same columns give the same bytes."""
    write_blocks(path, [columns])


def write_blocks(path: Path, blocks: Iterable[Mapping[str, object]]) -> None:
    """Write a table of which only a block at a time is in memory, as `write_table` does it.

    Args:
        path: of the file.
        blocks: its columns, piece by piece, at least one; the same pieces give the same bytes.
    """
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(atomic_path(path))
        writer = None
        for columns in blocks:
            table = pa.table({name: _column(values) for name, values in columns.items()})
            if writer is None:
                opened = pq.ParquetWriter(
                    temporary, table.schema, compression="zstd", write_statistics=True
                )
                writer = stack.enter_context(opened)
            writer.write_table(table)


def read_table(path: Path, *columns: str) -> dict[str, np.ndarray]:
    """Columns of a Parquet file as arrays (all of them if none is named).

    Raises:
        DataError: missing, truncated, or without one of the columns.
    """
    table = read_arrow(path, *columns)
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        with _opened(path) as file:
            there = file.schema_arrow.names
        raise DataError(f"the column {missing[0]} in {path}", ", ".join(there))
    return {name: _array(table[name]) for name in table.column_names}


def read_arrow(path: Path, *columns: str) -> pa.Table:
    """A Parquet file, or some columns of it, as Arrow has it.

    Raises:
        DataError: missing, truncated, or with two columns of one name.
    """
    table = _read(path, columns)
    check_columns(table, path)
    return table


def read_blocks(path: Path, *columns: str) -> Iterator[dict[str, np.ndarray]]:
    """Some columns of a Parquet file, a row group at a time.

    Raises:
        DataError: missing, or truncated.
    """
    with _opened(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=list(columns))
            yield {name: _array(table[name]) for name in columns}


def read_records(path: Path, *columns: str) -> list[dict[str, Any]]:
    """The lines of a Parquet file of few: plain values, lists as arrays, None for nothing.

    Args:
        path: of the file.
        columns: which; default: all.

    Raises:
        DataError: missing or truncated.
    """
    table = _read(path, columns)
    lines: list[dict[str, Any]] = [{} for _ in range(table.num_rows)]
    for name in table.column_names:
        for line, value in zip(lines, table[name], strict=True):
            is_list = isinstance(value, pa.ListScalar) and value.is_valid
            # A copy, or one line would hold the whole table.
            line[name] = np.array(np.from_dlpack(value.values)) if is_list else value.as_py()
    return lines


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    with _opened(path) as file:
        return file.read(columns=list(columns) or None)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        # Not pq.read_table, which loads the whole of pyarrow.dataset for one file.
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"a table at {path}", "no such file", made_again(path)) from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"a whole Parquet file at {path}", str(error)) from error


def _column(values: object) -> object:
    """Numbers as Arrow sees them in place; pyarrow's own way there loads pandas, 40 MB of it."""
    if not (isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "biuf"):
        return values
    plain = np.packbits(values, bitorder="little") if values.dtype == bool else values
    buffers = [None, pa.py_buffer(np.ascontiguousarray(plain))]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, buffers)


def check_columns(table: pa.Table, path: Path) -> None:
    """Stop at two columns of one name, of which either could be meant.

    Raises:
        DataError: names the first.
    """
    names = table.column_names
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise DataError(f"every column of {path} once", f"{twice[0]!r} twice")


def _array(column: pa.ChunkedArray) -> np.ndarray:
    """A column as an array; numbers without loading pandas, as above.

    Whole numbers with nulls stay whole numbers, with None.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if column.null_count and (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return np.array(column.to_pylist(), dtype=object)
    if column.null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return column.to_numpy()
    return np.from_dlpack(column.combine_chunks())


def write_classes(path: Path, index: np.ndarray, classes: LatentClasses) -> None:
    """Write `classes.parquet`: index, latent_class, score, and a column for each nested level."""
    columns: dict[str, object] = {
        "index": index,
        "latent_class": classes.labels,
        "score": classes.score,
    }
    levels = {f"latent_class_at_{gamma:g}": codes for gamma, codes in classes.levels.items()}
    write_table(path, columns | levels)


def read_latent_classes(path: Path, index: np.ndarray) -> np.ndarray:
    """The class of every example in `index`, in that order.

    Raises:
        DataError: the table does not speak of exactly these examples.
    """
    table = read_table(path, "index", "latent_class")
    if not np.array_equal(table["index"], index):
        raise DataError(
            f"{path} to name the classes of the {index.size} embedded examples",
            f"a table of {table['index'].size} others",
            f"Delete {path} and run `contrasift classes` again",
        )
    return plain_names(table["latent_class"], f"classes in {path}")


def positions_of(index: np.ndarray, pool_index: np.ndarray) -> np.ndarray:
    """Positions in the pool of examples named by their index (both ascending).

    Raises:
        RunFolderError: the pool no longer has one of them.
    """
    positions = np.searchsorted(pool_index, index)
    found = positions < pool_index.size
    if not found.all() or not np.array_equal(pool_index[positions], index):
        raise RunFolderError(
            "the pool that this run was made from",
            "one without some of its examples",
            "Begin a new run with another out=",
        )
    return positions.astype(np.int64)
