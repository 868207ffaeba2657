"""What the source itself says of the selected rows: its own columns, or the tables beside its shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError, UsageError
from contrasift.matrices import Matrix, open_embeddings, source_tables
from contrasift.store.atomic import atomic_path, read_json

Progress = Callable[[int, int], None]


def write_rows(run: Path, index: np.ndarray, out: Path, progress: Progress) -> None:
    """One Parquet file of the selected rows, in the order of the source, with all their columns.

    Args:
        run: the folder of the selection.
        index: the selected rows, ascending.
        out: the file.
        progress: called with (rows done, rows).

    Raises:
        UsageError: another ending, or a source without tables.
        DataError: the source is another by now.
        ContrasiftError: the file cannot be written.
    """
    if out.suffix != ".parquet":
        raise UsageError("out= ending in .parquet for rows", str(out))
    tables = [batches for _, _, batches in _tables(run)]
    with atomic_path(out) as temporary:
        _write(temporary, _chosen(tables, index, progress))


def write_metadata(run: Path, index: np.ndarray, folder: Path, progress: Progress) -> None:
    """The tables of the source, each under its own name, with the selected rows alone.

    Raises:
        UsageError: a source without tables in files.
        DataError: the source is another by now.
    """
    begin = 0
    for name, n, batches in _tables(run):
        own = index[(index >= begin) & (index < begin + n)] - begin
        _write(folder / name, _chosen([batches], own, lambda done, total: None))
        begin += n
        progress(int(np.searchsorted(index, begin)), index.size)


def _tables(run: Path) -> list[tuple[str, int, Callable[[], Iterator[Any]]]]:
    """Name, length and batches of every table of the source."""
    facts = read_json(run / "selection.json")
    source = facts.get("source") or {}
    if not isinstance(source.get("place"), str):
        raise UsageError("a selection from embeddings in files", f"{run}, another")
    matrix = _opened(source)
    if matrix.fingerprint != facts["inputs"].get("embeddings"):
        raise DataError(
            f"{source['place']} as it was selected from", "another by now", "Select again"
        )
    if not (tables := source_tables(matrix)):
        raise UsageError(
            "a source with tables: Parquet, Arrow, Lance, CSV, a data set of Hugging Face, or shards "
            "with Parquet beside them",
            matrix.stored[0].name,
            "Export ids, or indices",
        )
    return [(name, n, lambda table=table: table.batches(None)) for name, n, table in tables]


def _opened(source: dict[str, Any]) -> Matrix:
    scale = source.get("scale")
    return open_embeddings(
        source["place"],
        column=source.get("column"),
        id="none" if source.get("metadata") is None else source.get("id"),
        scale=None if scale is None else (scale[0], scale[1]),
    )


def _chosen(
    tables: list[Callable[[], Iterator[Any]]], index: np.ndarray, progress: Progress
) -> Iterator[Any]:
    """Batches of the selected rows, at least one, empty or not."""
    begin = 0
    for batches in tables:
        for batch in batches():
            first, last = np.searchsorted(index, [begin, begin + batch.num_rows])
            if last > first or begin == 0:
                yield batch.take(_arrow(index[first:last] - begin))
                progress(int(last), index.size)
            begin += batch.num_rows


def _arrow(rows: np.ndarray) -> Any:
    import pyarrow as pa

    return pa.array(rows.tolist(), pa.int64())


def _write(path: Path, batches: Iterator[Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = next(batches, None)
    if first is None:
        raise DataError("a table with rows", "none")
    try:
        with pq.ParquetWriter(path, first.schema, compression="zstd") as file:
            file.write_batch(first)
            for batch in batches:
                file.write_batch(batch)
    except pa.ArrowException as error:
        raise DataError("tables with the same columns", str(error).split("\n")[0]) from error
