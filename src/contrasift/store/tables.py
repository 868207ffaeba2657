"""The Parquet tables between stages. They open in pandas, DuckDB or Polars without contrasift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contrasift.errors import DataError
from contrasift.results import LatentClasses
from contrasift.store.atomic import atomic_path


def write_table(path: Path, columns: dict[str, object]) -> None:
    """Write columns as Parquet, atomically; the same columns give the same bytes."""
    table = pa.table({name: _column(values) for name, values in columns.items()})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_statistics=True)


def read_table(path: Path, *columns: str) -> dict[str, np.ndarray]:
    """Columns of a Parquet file as arrays (all of them if none is named).

    Raises:
        DataError: missing, truncated, or without one of the columns.
    """
    table = _read(path, columns)
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DataError(f"the column {missing[0]} in {path}", ", ".join(table.column_names))
    return {name: _array(table[name]) for name in table.column_names}


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines of a small Parquet file as plain values, None where there is nothing.

    Raises:
        DataError: missing or truncated.
    """
    return _read(path, ()).to_pylist()


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    try:
        # Not pq.read_table, which loads the whole of pyarrow.dataset for one file.
        with pq.ParquetFile(path) as file:
            return file.read(columns=list(columns) or None)
    except FileNotFoundError as error:
        raise DataError(f"a table at {path}", "no such file") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"a whole Parquet file at {path}", str(error)) from error


def _column(values: object) -> object:
    """Numbers as Arrow sees them in place; pyarrow's own way there loads pandas, 40 MB of it."""
    if not (isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "biuf"):
        return values
    plain = np.packbits(values, bitorder="little") if values.dtype == bool else values
    buffers = [None, pa.py_buffer(np.ascontiguousarray(plain))]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, buffers)


def _array(column: pa.ChunkedArray) -> np.ndarray:
    """A column as an array; numbers without loading pandas, as above."""
    kind = column.type
    if column.null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return column.to_numpy()
    return np.from_dlpack(column.combine_chunks())


def write_classes(path: Path, index: np.ndarray, classes: LatentClasses) -> None:
    """Write `classes.parquet`: index, latent_class, score."""
    write_table(path, {"index": index, "latent_class": classes.labels, "score": classes.score})


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
            "Run `contrasift classes` again",
        )
    labels = table["latent_class"]
    return labels.astype(str) if labels.dtype == object else labels
