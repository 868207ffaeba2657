"""Data sets of Hugging Face: `hf:NAME:SPLIT#column`, a saved folder, or the object itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError, MissingExtraError, UsageError, with_extra
from contrasift.matrices.parts import SourceTable, Stored, StreamedPart
from contrasift.matrices.readers.arrow import mapped_parts, stored_rows
from contrasift.matrices.readers.arrow_columns import (
    ArrowIds,
    entry_type,
    vector_column,
    vectors,
    width_of,
)

_ROWS = 16_384


def open_named(text: str, column: str | None) -> Stored:
    """What stands behind `hf:`: a name or a folder, a split, a column.

    Raises:
        UsageError: no name, or a split that there is not.
        DataError: it cannot be had.
        MissingExtraError: the package datasets is not installed.
    """
    place, _, named = text.partition("#")
    if named and column not in (None, named):
        raise UsageError("one column", f"hf:{text} and column='{column}'")
    name, split = place, ""
    if not Path(place).expanduser().is_dir() and ":" in place:
        name, _, split = place.rpartition(":")
    if not name:
        raise UsageError("hf:NAME:SPLIT#column", f"hf:{text}")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return open_saved(folder, named or column, split)
    try:
        found = with_extra("datasets", "hf").load_dataset(name)
    except MissingExtraError:
        raise
    except Exception as error:  # whatever the network does
        raise DataError(
            f"the data set {name}",
            (str(error) or type(error).__name__).split("\n")[0],
            "Check the name and the network; a data set saved to a folder is hf:FOLDER",
        ) from error
    return dataset_part(_split(found, split, name), named or column, f"hf:{name}")


def open_saved(folder: Path, column: str | None, split: str = "") -> Stored:
    """A folder that `save_to_disk` made.

    Raises:
        UsageError: a split that there is not, or none where there are several.
        DataError: it cannot be read.
        MissingExtraError: the package datasets is not installed.
    """
    datasets = with_extra("datasets", "hf")
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # Arrow, JSON and the package have errors of their own
        reason = (str(error) or type(error).__name__).split("\n")[0]
        raise DataError(f"a saved data set in {folder}", reason) from error
    return dataset_part(_split(found, split, str(folder)), column, str(folder))


def _split(found: Any, split: str, name: str) -> Any:
    if not isinstance(found, Mapping):
        if split and str(getattr(found, "split", "")) not in (split, "None", ""):
            raise UsageError(f"the split of {name}: {found.split}", split)
        return found
    if not split and len(found) == 1:
        return next(iter(found.values()))
    if split not in found:
        raise UsageError(
            f"a split of {name}: {', '.join(found)}", split or "none", f"hf:{name}:SPLIT"
        )
    return found[split]


def dataset_part(dataset: Any, column: str | None, where: str = "the data set") -> Stored:
    """A `datasets.Dataset`: its tables are mapped, unless rows were picked or shuffled.

    Raises:
        DataError: no such column, vectors of several lengths, or no rows.
    """
    schema = dataset.data.schema
    name = vector_column(schema, column, where)
    kind = schema.field(name).type
    label = f"{where}:{name}"
    if not len(dataset):
        raise DataError(f"rows in {where}", "a data set without rows")
    arrow = dataset.with_format("arrow")
    ids = ArrowIds(where, schema, lambda wanted: arrow.select_columns([wanted])[:].column(0))
    only = arrow.select_columns([name])
    table = SourceTable(schema, lambda columns: _batches(arrow, columns))

    if getattr(dataset, "_indices", None) is None:
        chunks = [chunk for chunk in dataset.data.column(name).chunks if len(chunk)]
        return stored_rows(label, mapped_parts(label, kind, chunks), ids, table)
    width = width_of(kind, lambda: only[:_ROWS].column(0).combine_chunks(), label)
    starts = np.append(np.arange(0, len(dataset), _ROWS), len(dataset))

    def piece(number: int) -> np.ndarray:
        begin, end = int(starts[number]), int(starts[number + 1])
        found = only[begin:end].column(0).combine_chunks()
        return vectors(found, width, label, begin)

    part = StreamedPart(label, (len(dataset), width), entry_type(kind), starts, piece)
    return stored_rows(label, [part], ids, table)


def _batches(arrow: Any, columns: Sequence[str] | None) -> Iterator[Any]:
    some = arrow if columns is None else arrow.select_columns(list(columns))
    for begin in range(0, len(some), _ROWS):
        yield from some[begin : begin + _ROWS].combine_chunks().to_batches()
