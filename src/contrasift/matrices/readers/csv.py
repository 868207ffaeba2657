"""Comma-separated values as lightly-train writes them: `filename,embedding_0,…,embedding_511`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from contrasift.errors import DataError
from contrasift.matrices.parts import MappedPart, Stored, file_digest
from contrasift.matrices.readers.arrow import held_table
from contrasift.matrices.readers.arrow_columns import ArrowIds


def open_csv(path: Path, column: str | None) -> Stored:
    """Columns `NAME_0 … NAME_d−1` as one vector; the file is read into memory.

    Args:
        path: of the file, with a header.
        column: NAME; None for the only one that there is.

    Raises:
        DataError: damaged, without rows or such columns, or with what are not numbers in them.
    """
    try:
        table = csv.read_csv(path)
    except FileNotFoundError as error:
        raise DataError("an existing file", f"{path}, which does not exist") from error
    except (OSError, pa.ArrowException) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"a table of comma-separated values at {path}", reason) from error
    numbered: dict[str, dict[int, str]] = {}
    for name in table.column_names:
        if match := re.fullmatch(r"(.*?)[_.]?(\d+)", name):
            numbered.setdefault(match[1], {})[int(match[2])] = name
    fit = [name for name, found in numbered.items() if column in (None, name) and len(found) > 1]
    if len(fit) != 1 or not table.num_rows:
        there = ", ".join(table.column_names[:20])
        raise DataError(
            f"rows of one vector, columns {column or 'embedding'}_0, {column or 'embedding'}_1, … "
            f"in {path}",
            f"{table.num_rows} rows of columns {there}",
        )
    found = numbered[fit[0]]
    values = np.empty((table.num_rows, len(found)), dtype=np.float32)
    for place, number in enumerate(sorted(found)):
        entries = table[found[number]]
        if not (pa.types.is_floating(entries.type) or pa.types.is_integer(entries.type)):
            raise DataError(f"numbers in {found[number]} of {path}", str(entries.type))
        values[:, place] = entries.to_numpy()
    ids = ArrowIds(str(path), table.schema, lambda name: table[name])
    part = MappedPart(str(path), values)
    return Stored(str(path), [part], file_digest(path), ids, held_table(table))
