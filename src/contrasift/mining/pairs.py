"""Which corpus rows belong to which query: positives, and what else is known to be relevant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from contrasift.arrays import plain_tensor
from contrasift.errors import DataError, UsageError

_SHOWN = 5


@dataclass(frozen=True)
class CorpusPairs:
    """Corpus rows by query.

    Attributes:
        starts: int64 [q + 1]; where each query's rows begin.
        rows: int64 [m]; rows of the corpus, ascending and each once within a query.
    """

    starts: np.ndarray
    rows: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Rows of each query, int64 [q]."""
        return np.diff(self.starts)

    @cached_property
    def numbers(self) -> np.ndarray:
        """The query of each row, int64 [m]."""
        return np.repeat(np.arange(self.starts.size - 1), self.counts)

    def of(self, queries: np.ndarray) -> np.ndarray:
        """The rows of some queries side by side, int64 [b, most of them], filled up with −1."""
        counts = self.counts[queries]
        table = np.full((queries.size, int(counts.max(initial=0))), -1, dtype=np.int64)
        there = np.arange(table.shape[1]) < counts[:, None]
        places = self.starts[queries][:, None] + np.arange(table.shape[1])
        table[there] = self.rows[places[there]]
        return table

    def holds(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether pairs are among these.

        Args:
            queries: int64 [b].
            rows: int64 [b, k]; −1 is no row.

        Returns:
            bool [b, k].
        """
        if not self.rows.size:
            return np.zeros(rows.shape, dtype=bool)
        width = max(int(self.rows.max()), int(rows.max(initial=0))) + 1
        known = self.numbers * width + self.rows  # ascending, as queries and their rows are
        asked = queries[:, None] * width + rows
        place = np.minimum(np.searchsorted(known, asked), known.size - 1)
        return (known[place] == asked) & (rows >= 0)


def pairs_of(given: Any, n_queries: int, n_corpus: int, name: str = "positives") -> CorpusPairs:
    """CorpusPairs as they are given, checked.

    Args:
        given: [m, 2] of query and corpus rows in any order; or [q], the one row of each query; or
            `CorpusPairs`.
        n_queries: q.
        n_corpus: rows of the corpus.
        name: of the argument, for messages.

    Raises:
        DataError: another shape or type, or rows that there are not.
    """
    if isinstance(given, CorpusPairs):
        return given
    array = np.asarray(plain_tensor(given))
    if (
        array.dtype.kind not in "iu"
        or array.ndim not in (1, 2)
        or array.shape[1:] not in ((), (2,))
    ):
        raise DataError(
            f"{name} as whole numbers: [m, 2] of query and corpus rows, or one corpus row a query",
            f"{array.dtype} of shape {list(array.shape)}",
        )
    if array.ndim == 1:
        if array.size != n_queries:
            raise DataError(
                f"{name} as one corpus row for each of the {n_queries:,} queries, or [m, 2] pairs",
                f"{array.size:,} rows",
            )
        array = np.stack([np.arange(n_queries), array], axis=1)
    array = array.astype(np.int64)
    for column, limit, what in ((0, n_queries, "queries"), (1, n_corpus, "the corpus")):
        bad = np.flatnonzero((array[:, column] < 0) | (array[:, column] >= limit))
        if bad.size:
            raise DataError(
                f"{name} with rows of {what}, 0 to {limit - 1:,}",
                f"{bad.size:,} others, the first of them {array[bad[0], column]} in pair {bad[0]:,}",
            )
    array = np.unique(array, axis=0)
    counts = np.bincount(array[:, 0], minlength=n_queries)
    return CorpusPairs(np.concatenate([[0], np.cumsum(counts)]), np.ascontiguousarray(array[:, 1]))


def check_positives(pairs: CorpusPairs, *, same: bool) -> None:
    """Every query has a positive, which is not itself.

    Args:
        pairs: the positives.
        same: whether queries and corpus are one matrix.

    Raises:
        DataError: a query without one; names the first.
        UsageError: a query that is its own positive.
    """
    without = np.flatnonzero(pairs.counts == 0)
    if without.size:
        raise DataError(
            f"a positive for each of the {pairs.counts.size:,} queries",
            f"{without.size:,} without, the first of them row {_listed(without)}",
            "Leave these queries out, or add their positives",
        )
    if same:
        own = np.flatnonzero(pairs.rows == pairs.numbers)
        if own.size:
            raise UsageError(
                "positives other than the query itself, as queries and corpus are one matrix",
                f"{own.size:,} that are it, the first of row {pairs.rows[own[0]]}",
                "Name pairs of two different rows",
            )


def _listed(rows: np.ndarray) -> str:
    text = ", ".join(str(row) for row in rows[:_SHOWN])
    return text + (", …" if rows.size > _SHOWN else "")
