"""Lance tables, fragment by fragment, on `pylance`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError
from contrasift.matrices.parts import SourceTable, Stored, StreamedPart
from contrasift.matrices.readers.arrow_columns import (
    ArrowIds,
    entry_type,
    vector_column,
    vectors,
    width_of,
)

_BATCH_BYTES = 32 << 20


def open_lance(path: Path | str, column: str | None) -> Stored:
    """A column of vectors of a Lance table, in the table's own order.

    Args:
        path: a folder, or an address, which Lance itself opens.
        column: its name; None for the only one that can be it.

    Raises:
        DataError: no Lance table, without rows or such a column.
        MissingExtraError: pylance is not installed.
    """
    import lance  # pyright: ignore[reportMissingImports]

    try:
        table = lance.dataset(str(path))
        schema, n = table.schema, table.count_rows()
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0][:200]
        raise DataError("a Lance table", f"{path}: {reason}") from error
    name = vector_column(schema, column, str(path))
    where = f"{path}:{name}"
    if not n:
        raise DataError(f"rows in {path}", "a table without rows")
    kind = schema.field(name).type
    width = width_of(
        kind, lambda: table.head(1024, columns=[name]).column(0).combine_chunks(), where
    )
    rows = max(1, _BATCH_BYTES // (width * entry_type(kind).itemsize))
    starts = np.append(np.arange(0, n, rows), n)

    def read(**which: Any) -> Iterator[np.ndarray]:
        begin = which.get("offset", 0)
        scanner = table.scanner(columns=[name], batch_size=rows, scan_in_order=True, **which)
        try:
            for batch in scanner.to_batches():
                yield vectors(batch.column(0), width, where, begin)
                begin += batch.num_rows
        except DataError:
            raise
        except (OSError, ValueError) as error:  # of Lance, or of Arrow
            reason = str(error).split("\n")[0][:200]
            raise DataError("a whole Lance table", f"{path}: {reason}", "Write it again") from error

    def piece(number: int) -> np.ndarray:
        begin, end = int(starts[number]), int(starts[number + 1])
        return np.concatenate(list(read(offset=begin, limit=end - begin)))

    # A version of a table never changes: it names its files, which are written once.
    label = (
        f"{table.version}\0{[fragment.metadata.to_json() for fragment in table.get_fragments()]}"
    )
    ids = ArrowIds(str(path), schema, lambda wanted: table.to_table(columns=[wanted]).column(0))
    part = StreamedPart(where, (n, width), entry_type(kind), starts, piece, read)
    return Stored(
        where,
        [part],
        lambda: hashlib.sha256(label.encode()).hexdigest(),
        ids,
        SourceTable(
            schema,
            lambda columns: table.scanner(
                columns=None if columns is None else list(columns), scan_in_order=True
            ).to_batches(),
        ),
    )
