"""The files of mined negatives, and the texts that belong to their rows."""

from __future__ import annotations

from typing import Any

from contrasift.errors import DataError
from contrasift.reading import read_lines
from contrasift.store.remote import local_file
from contrasift.store.tables import read_table

TABLE, POSITIVES = "mined.parquet", "positives.parquet"
FACTS, PAGE = "mined.json", "mined.html"


def read_texts(place: str, n: int) -> Any:
    """Texts in the order of the rows: a file of lines, or `TABLE.parquet:COLUMN`.

    Raises:
        DataError: unreadable, another number of them, no such column.
    """
    path, colon, column = place.rpartition(":")
    if colon and path.endswith(".parquet"):
        texts: Any = read_table(local_file(path), column)[column]
    else:
        texts = list(read_lines(local_file(place), "texts"))
    if len(texts) != n:
        raise DataError(f"a text for each of the {n:,} rows in {place}", f"{len(texts):,}")
    return texts
