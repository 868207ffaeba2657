"""Mined negatives in the forms that trainers take: triplets, n-tuples, labelled lists."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pyarrow as pa

from contrasift.catalogue import check_choice
from contrasift.errors import DataError
from contrasift.options.words import MinedForm


def training_table(
    positives: np.ndarray, negatives: np.ndarray, form: MinedForm, queries: Any, corpus: Any
) -> pa.Table:
    """Examples to train on: one for each query and positive, or for each of their negatives.

    Args:
        positives: int64 [m, 2]; query and corpus rows.
        negatives: int64 [q, k]; corpus rows by query, −1 where there are no more; queries without
            any are left out.
        form: `triplet`: anchor, positive, negative, a line for each negative; `n-tuple`: anchor,
            positive, negative_1 … negative_k, of queries that have k; `labeled-list`: query, docs,
            labels (1 for a positive, 0 for a negative), a line for each query. The names and the
            order are those of sentence-transformers.
        queries: [q] text or numbers, what stands for each query; an Arrow array or a sequence.
        corpus: [n], likewise.

    Raises:
        UsageError: another form.
        DataError: nothing is left.
    """
    check_choice("form=", form, get_args(MinedForm))
    counts = (negatives >= 0).sum(axis=1)
    enough = counts == negatives.shape[1] if form == "n-tuple" else counts > 0
    left, right = _column(queries), _column(corpus)
    positives = positives[enough[positives[:, 0]]]
    if not len(positives):
        some = (counts > 0).any()
        raise DataError(
            f"queries with {negatives.shape[1] if some else 'any'} negatives",
            "none",
            "Take the form triplet" if some else "Mine again with a looser policy",
        )
    if form == "labeled-list":
        return _lists(positives, negatives, left, right)
    of_pair = negatives[positives[:, 0]]
    if form == "n-tuple":
        columns = {"anchor": positives[:, 0], "positive": positives[:, 1]}
        columns |= {f"negative_{number + 1}": one for number, one in enumerate(of_pair.T)}
    else:
        which, place = np.nonzero(of_pair >= 0)
        columns = {
            "anchor": positives[which, 0],
            "positive": positives[which, 1],
            "negative": of_pair[which, place],
        }
    return pa.table(
        {
            name: (left if name == "anchor" else right).take(pa.array(rows))
            for name, rows in columns.items()
        }
    )


def _lists(positives: np.ndarray, negatives: np.ndarray, left: Any, right: Any) -> pa.Table:
    queries = np.unique(positives[:, 0])
    documents, labels, lengths = [], [], []
    for query in queries:
        own = _of(positives, query)
        others = negatives[query][negatives[query] >= 0]
        documents += [own, others]
        labels += [np.ones(own.size, np.int64), np.zeros(others.size, np.int64)]
        lengths.append(own.size + others.size)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    docs = right.take(pa.array(np.concatenate(documents)))
    return pa.table(
        {
            "query": left.take(pa.array(queries)),
            "docs": pa.ListArray.from_arrays(offsets, docs),
            "labels": pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(labels))),
        }
    )


def _of(positives: np.ndarray, query: np.integer) -> np.ndarray:
    """A query's positives; pairs are in the order of queries."""
    first, last = np.searchsorted(positives[:, 0], [query, query + 1])
    return positives[first:last, 1]


def _column(values: Any) -> Any:
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    return values if isinstance(values, pa.Array) else pa.array(values)
