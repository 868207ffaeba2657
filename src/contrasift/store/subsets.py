"""Lists of examples that a user brings to train on."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from contrasift.class_names import canonical_integer, plain_names
from contrasift.errors import DataError
from contrasift.reading import read_text
from contrasift.store.inputs import load_indices_file
from contrasift.store.tables import read_table

_SHOWN = 3
_TRUE = {"true": True, "1": True, "false": False, "0": False}


def load_subset_file(path: Path) -> np.ndarray:
    """The pool indices that a file lists, ascending.

    Args:
        path: `.npy` of integers; `.parquet` or `.csv` with a column `index` and perhaps `selected`
            (then only rows where it is true count); anything else is text with one index a line.

    Returns:
        int64 [k]; at least one index, none negative, none twice.

    Raises:
        DataError: unreadable, empty, negative, or an index that is listed more than once.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        index = _of_parquet(path)
    elif suffix == ".csv":
        index = _of_csv(path)
    else:
        index = load_indices_file(path)
    if index.dtype.kind not in "iu":
        raise DataError(f"integers in the column index of {path}", str(index.dtype))
    index = plain_names(index, f"indices in {path}")
    if index.size == 0:
        raise DataError(f"at least one index in {path}", "none")
    if index.min() < 0:
        raise DataError(f"indices of at least 0 in {path}", f"{index.min()}")
    listed, counts = np.unique(index, return_counts=True)
    if listed.size != index.size:
        worst = int(counts.argmax())
        raise DataError(
            f"every index once in {path}",
            f"{index.size - listed.size} of {index.size} repeat another, such as {listed[worst]}, "
            f"which stands there {counts[worst]} times",
            "A subset with repetitions is smaller than it looks: list each example once",
        )
    return listed


def check_in_pool(index: np.ndarray, known: np.ndarray, path: str) -> None:
    """Every index must be one of the pool's readable examples.

    Raises:
        DataError: some are not; counts them and shows the first.
    """
    strange = index[~np.isin(index, known)]
    if strange.size:
        examples = ", ".join(str(number) for number in strange[:_SHOWN])
        raise DataError(
            f"indices of examples that can be read ({known.min()} to {known.max()}) in {path}",
            f"{strange.size} others, such as {examples}",
            "Check that the list was made for this pool; see `index` and `error` in examples.parquet",
        )


def _of_parquet(path: Path) -> np.ndarray:
    table = read_table(path)
    if "index" not in table:
        raise DataError(f"the column index in {path}", ", ".join(table))
    return table["index"][table["selected"].astype(bool)] if "selected" in table else table["index"]


def _of_csv(path: Path) -> np.ndarray:
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, "a table")))
        columns, rows = reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise DataError(f"a table at {path}", str(error)) from error
    if "index" not in columns:
        raise DataError(f"the column index in {path}", ", ".join(columns) or "no header")
    try:
        kept = [row for row in rows if _TRUE[(row.get("selected") or "true").strip().lower()]]
    except KeyError as error:
        raise DataError(f"true or false in the column selected of {path}", str(error)) from error
    numbers = [canonical_integer((row["index"] or "").strip()) for row in kept]
    if None in numbers:
        wrong = kept[numbers.index(None)]["index"]
        raise DataError(f"integers in the column index of {path}", repr(wrong))
    return np.array(numbers, dtype=np.int64)
