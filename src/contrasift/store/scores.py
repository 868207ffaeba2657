"""A score for every example, from a file that a user brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError, UsageError
from contrasift.store.atomic import load_array
from contrasift.store.inputs import a_value_a_line, by_index, read_columns
from contrasift.store.remote import local_file
from contrasift.store.tables import read_table


def read_scores(
    path: Path | str,
    index: np.ndarray,
    column: str = "",
    dropped: np.ndarray | None = None,
    ids: Any = None,
) -> np.ndarray:
    """One score for every example: for the objective `scores`.

    A `.parquet` or `.csv` has a column `index` and is brought into the order asked for; a `.npy`
    of numbers, or text with a number a line, is in that order already. `inf` is a score (an
    example that was never learned was forgotten infinitely often); NaN is none.

    Args:
        path: the file.
        index: pool index of every row.
        column: of a table, the scores; empty for the only one beside `index`.
        dropped: pool indices of examples that need no score.
        ids: of every row, if they have any; then a table may have `id` instead of `index`.

    Returns:
        float64 [n]; NaN for dropped examples without a score.

    Raises:
        DataError: unreadable, of another length, with duplicate, missing or foreign examples, NaN,
            or what are not numbers.
        UsageError: a column of a file that has none, or none where there are several.
    """
    path = local_file(path)
    needed = np.ones(index.size, dtype=bool) if dropped is None else ~np.isin(index, dropped)
    if path.suffix in (".parquet", ".csv"):
        scores = _scores_of_table(path, index, column, needed, ids)
    elif column:
        raise UsageError(f"no column for {path}, which has none", column)
    elif path.suffix == ".npy":
        scores = _numbers(load_array(path, memory_map=False), path)
    else:
        scores = _numbers(np.array(a_value_a_line(path, "scores")), path)
    if scores.shape != index.shape:
        raise DataError(
            f"one score for each of the {index.size} examples",
            f"{path} with {scores.size}",
            "A table with a column `index` says which score is whose",
        )
    missing = np.flatnonzero(np.isnan(scores) & needed)
    if missing.size:
        raise DataError(
            "a score for every example",
            f"{path} with NaN for {missing.size} of them, the first {index[missing[0]]}",
            "Write inf for what is hardest of all, or put these examples on the list must_drop=",
        )
    return scores


def _scores_of_table(
    path: Path, index: np.ndarray, column: str, needed: np.ndarray, ids: Any
) -> np.ndarray:
    table = read_table(path) if path.suffix == ".parquet" else read_columns(path)
    table = by_index(table, path, index, ids)
    others = [name for name in table if name != "index"]
    if "index" not in table:
        raise DataError(f"a column `index` in {path}", ", ".join(table) or "no column")
    if not column and len(others) != 1:
        raise UsageError(
            f"scores_column=, one of those in {path}: {', '.join(others)}", "none of them"
        )
    column = column or others[0]
    if column not in others:
        raise UsageError(f"a column of scores in {path}: {', '.join(others)}", column)
    listed = table["index"]
    if listed.dtype.kind not in "iu":
        raise DataError(f"whole numbers in the column `index` of {path}", f"{listed.dtype}")
    order = np.argsort(listed, kind="stable")
    ordered = listed[order]
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if twice.size:
        raise DataError(f"every example once in {path}", f"{twice[0]} more than once")
    for numbers, what in (
        (np.setdiff1d(index[needed], listed), "examples without a score"),
        (np.setdiff1d(listed, index), "scores of examples that are not in the pool"),
    ):
        if numbers.size:
            raise DataError(
                f"one score for each of the {index.size} examples",
                f"{path} with {numbers.size} {what}, among them {numbers[0]}",
                "Check that both files come from the same pool",
            )
    scores = np.full(index.size, np.nan)
    there = np.isin(index, listed)
    scores[there] = _numbers(table[column], path)[order[np.searchsorted(ordered, index[there])]]
    return scores


def _numbers(values: np.ndarray, path: Path) -> np.ndarray:
    """Real numbers as float64; text is read, truth values count 0 and 1."""
    try:
        if values.ndim != 1 or values.dtype.kind not in "biufUO":
            raise ValueError(f"{values.dtype} of shape {values.shape}")
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"a number for every example in {path}", str(error)) from error
