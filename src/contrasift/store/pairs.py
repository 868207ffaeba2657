"""Pairs of query and corpus in files: qrels, tables, arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError, UsageError
from contrasift.ids import are_numbers, rows_of_ids
from contrasift.store.atomic import load_array
from contrasift.store.inputs import read_columns
from contrasift.store.remote import local_file
from contrasift.store.tables import read_table

_QUERY = ("query", "query_id", "query-id", "qid", "anchor", "anchor_id")
_CORPUS = (
    *("positive", "positive_id", "corpus", "corpus_id", "corpus-id", "doc_id", "docid", "doc"),
    *("document", "document_id", "pid", "passage_id", "relevant"),
)
_SCORES = ("score", "scores", "relevance", "rel", "label")
_FORM = (
    "Two columns `query` and `positive`, perhaps a third `score`; or a .npy of [m, 2] row numbers"
)


def read_pairs(path: Path | str, queries: Any, corpus: Any, name: str) -> np.ndarray:
    """Pairs of a file as rows.

    Args:
        path: `.npy` int [m, 2] of rows; `.parquet`, `.csv` or `.tsv` with a column for either
            side, in ids where the matrix has them, else in row numbers. Of a column `score` only
            pairs above 0 count.
        queries: ids of the queries, or None.
        corpus: ids of the corpus, or None.
        name: of the argument, for messages.

    Returns:
        int64 [m, 2].

    Raises:
        DataError: unreadable, other columns, numbers that are none.
        UsageError: ids that there are not.
    """
    path = local_file(path)
    if path.suffix == ".npy":
        array = load_array(path, memory_map=False)
        if array.ndim != 2 or array.shape[1] != 2:
            raise DataError(f"pairs [m, 2] in {path}", f"shape {list(array.shape)}", _FORM)
        left, right = array[:, 0], array[:, 1]
    else:
        left, right = _of_table(path)
    if not left.size:
        raise DataError(
            f"pairs in {path}", "none" + ("" if path.suffix == ".npy" else " with a score above 0")
        )
    return np.stack(
        [
            _rows(left, queries, f"{name}= with queries"),
            _rows(right, corpus, f"{name}= with rows of the corpus"),
        ],
        axis=1,
    )


def _of_table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    table = read_table(path) if path.suffix == ".parquet" else read_columns(path, as_text=True)
    plain = {name.strip().lower(): name for name in table}
    left = next((plain[name] for name in _QUERY if name in plain), None)
    right = next((plain[name] for name in _CORPUS if name in plain), None)
    if (left is None or right is None) and len(table) == 2:
        left, right = table
    if left is None or right is None:
        raise DataError(
            f"a column of queries and one of the corpus in {path}", ", ".join(table), _FORM
        )
    scores = next((plain[name] for name in _SCORES if name in plain), None)
    if scores is None or scores in (left, right):
        return table[left], table[right]
    try:
        belongs = table[scores].astype(np.float64) > 0
    except ValueError as error:
        raise DataError(f"numbers in the column {scores} of {path}", str(error)) from error
    return table[left][belongs], table[right][belongs]


def _rows(values: np.ndarray, ids: Any, name: str) -> np.ndarray:
    if ids is None or are_numbers(ids):
        if values.dtype.kind not in "iu":
            try:
                values = np.array([_whole(one) for one in values.tolist()], dtype=np.int64)
            except (TypeError, ValueError, OverflowError):
                what = (
                    "row numbers, as the embeddings have no ids" if ids is None else "whole numbers"
                )
                raise DataError(
                    f"{name} as {what}", f"{values[0]!r}", "Name the ids of the embeddings with id="
                ) from None
        return values.astype(np.int64) if ids is None else rows_of_ids(ids, values, name)
    try:
        return rows_of_ids(ids, values.astype(str).tolist(), name)
    except UsageError as error:
        if values.dtype.kind not in "iu":
            raise
        raise UsageError(error.expected, error.got, "If they are row numbers: id='none'") from error


def _whole(value: Any) -> int:
    """A whole number of text or of a number."""
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)
