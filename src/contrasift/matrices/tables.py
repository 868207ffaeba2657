"""What a source says of its rows beside their vectors: its own columns, or the tables beside shards."""

from __future__ import annotations

from pathlib import Path

from contrasift.matrices.matrix import Matrix
from contrasift.matrices.parts import SourceTable
from contrasift.matrices.readers.parquet import parquet_table
from contrasift.store.objects import RemoteFile, file_name, is_url


def source_tables(matrix: Matrix) -> list[tuple[str, int, SourceTable]]:
    """The tables that run beside the stored rows, in order: a file's name, its rows, its columns.

    Args:
        matrix: as it was opened.

    Returns:
        the tables; none where some stored rows have no columns beside their vectors.

    Raises:
        DataError: a table that is missing or damaged.
    """
    metadata = matrix.source.get("metadata")
    if metadata:
        return [
            (file_name(place), one.n, parquet_table(_place(place)))
            for place, one in zip(metadata, matrix.stored, strict=True)
        ]
    found = [
        (f"{number:05d}.parquet", one.n, one.table)
        for number, one in enumerate(matrix.stored)
        if one.table is not None
    ]
    return found if len(found) == len(matrix.stored) else []


def _place(place: str) -> Path | RemoteFile:
    return RemoteFile.look_up(place) if is_url(place) else Path(place)
