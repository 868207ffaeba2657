"""Rows drawn at random from a whole corpus: those of the smallest numbers, with no list of all.

Every row's number is made (`numbers`), which costs a few cycles; similarities and places are found
of the few with the smallest ones.

Time: q·n numbers, and q·n comparisons for each row that is drawn. Memory: what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.mining.listed import Known
from contrasift.mining.numbers import RANDOM, smallest_rows
from contrasift.selection.kernels import products
from contrasift.selection.kernels.dots import compiled, embedding_rows

_GATHERED_BYTES = 8 << 20


@dataclass(frozen=True)
class Tried:
    """Candidates of some queries in the order of their random numbers.

    Attributes:
        rows: int64 [b, k]; −1 where a row is no candidate.
        values: float32 [b, k]; similarities.
        places: int64 [b, k]; places among all candidates, from 1, once all have been looked at.
    """

    rows: np.ndarray
    values: np.ndarray
    places: np.ndarray

    @classmethod
    def of(
        cls, known: Known, left: np.ndarray, queries: np.ndarray, packed: np.ndarray, n: int, count: int
    ) -> Tried:  # fmt: skip
        """The first candidates of each query, at least `count` where there are so many.

        Args:
            known: of queries and corpus.
            left: float32 [b, d]; the queries' unit rows.
            queries: int64 [b]; their numbers.
            packed: the corpus as kernels read it.
            n: its rows.
            count: how many.
        """
        out = int(known.positives.counts[queries].max(initial=0)) + int(known.same)
        rows = smallest_rows(known.seed, RANDOM, queries, n, min(n, count + out))
        values = similar_rows(left, rows, packed)
        none = known.positives.holds(queries, rows)
        if known.same:
            none |= rows == queries[:, None]
        rows[none] = -1
        return cls(rows, values, np.ones(rows.shape, dtype=np.int64))

    def look(self, similar: np.ndarray, columns: int, first: int) -> None:
        """Look at the first `columns` of a group, which are `first` and so on among all."""
        count_harder(similar, columns, first, self.rows, self.values, self.places)


def similar_rows(left: np.ndarray, rows: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """Similarities of queries to a few rows each: float32 [b, k].

    Args:
        left: float32 [b, d]; unit rows.
        rows: int64 [b, k].
        packed: the corpus as kernels read it.
    """
    (b, k), d = rows.shape, left.shape[1]
    result = np.empty((b, k), dtype=np.float32)
    for part in row_blocks(b, 4 * k * d, _GATHERED_BYTES):
        some = rows[part]
        gathered = np.empty((some.size, d), dtype=np.float32)
        _unpack(packed, some.ravel(), gathered)
        numbers = np.arange(some.size).reshape(some.shape)
        own = np.ascontiguousarray(left[part])
        products.pair_products(embedding_rows(own), numbers, embedding_rows(gathered), result[part])
    return result


@compiled
def _unpack(packed, rows, result):
    width = packed.shape[2]
    for i in range(rows.size):
        panel, column = rows[i] // width, rows[i] % width
        for c in range(result.shape[1]):
            result[i, c] = packed[panel, c, column]


@compiled
def count_harder(similar, columns, first, rows, values, counts):
    """Add how many of a group of columns are harder than each row: more similar, or as much and later.

    similar [b, at least columns], of the corpus rows from `first` on; rows [b, k] with their values.
    """
    for r in range(rows.shape[0]):
        row = similar[r]
        for place in range(rows.shape[1]):
            value = values[r, place]
            later = min(max(rows[r, place] + 1 - first, 0), columns)
            count = 0
            for c in range(later):
                count += row[c] > value
            for c in range(later, columns):
                count += row[c] >= value
            counts[r, place] += count
