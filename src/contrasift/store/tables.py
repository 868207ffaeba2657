"""The Parquet tables between stages. They open in pandas, DuckDB or Polars without contrasift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contrasift.errors import DataError
from contrasift.results import LatentClasses
from contrasift.store.atomic import atomic_path


def write_table(path: Path, columns: dict[str, object]) -> None:
    """Write columns as Parquet, atomically; the same columns give the same bytes."""
    table = pa.table(columns)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_statistics=True)


def read_table(path: Path, *columns: str) -> dict[str, np.ndarray]:
    """Columns of a Parquet file as arrays (all of them if none is named).

    Raises:
        DataError: missing, truncated, or without one of the columns.
    """
    try:
        # Not pq.read_table, which loads the whole of pyarrow.dataset for one file.
        with pq.ParquetFile(path) as file:
            table = file.read(columns=list(columns) or None)
    except FileNotFoundError as error:
        raise DataError(f"a table at {path}", "no such file") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"a whole Parquet file at {path}", str(error)) from error
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DataError(f"the column {missing[0]} in {path}", ", ".join(table.column_names))
    return {name: table[name].to_numpy() for name in table.column_names}


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
