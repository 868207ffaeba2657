"""What negatives are like by difficulty, on any vectors: the measurements of Cai et al. (arXiv 2010.06682, §4).

Queries meet negatives in blocks of rows, so that a whole queue can be analysed. Everything is
computed per query first; draws of other queries and negatives are replicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contrasift.arrays import check_finite_rows, check_matrix, row_blocks, unit_rows
from contrasift.errors import DataError, UsageError
from contrasift.negatives.ranks import band_counts

Number = float | int
Band = tuple[Number, Number]

# The bands of the paper's figures and tables, in percentiles of difficulty.
BANDS: tuple[Band, ...] = (
    (0, 0.1), (0, 5), (0, 50), (0, 95), (85, 90), (90, 95), (95, 100), (98, 100), (99, 100),
    (99.5, 100), (99.8, 100), (99.9, 100),
)  # fmt: skip
ALL: Band = (0, 100)
HARD: Band = (95, 100)
REST: Band = (0, 95)


@dataclass(frozen=True)
class Relation:
    """Something that holds between a query and a negative: a number of each pair of classes.

    Attributes:
        queries: int [q]; codes from 0.
        negatives: int [n]; codes from 0.
        table: [C, C]; the number of each pair of codes. None: 1 for equal codes, else 0.
    """

    queries: np.ndarray
    negatives: np.ndarray
    table: np.ndarray | None = None

    def values(self, rows: slice) -> np.ndarray:
        """float32 [rows, n]."""
        if self.table is None:
            return (self.queries[rows, None] == self.negatives).astype(np.float32)
        return self.table[self.queries[rows]][:, self.negatives].astype(np.float32)


@dataclass(frozen=True)
class Profile:
    """What negatives are like, by difficulty, for each query of one draw.

    `similarity` (the cosine) is one of the measures; the others are the relations' names.

    Attributes:
        n: negatives a query.
        edges: ranks where the percentile bins end, [bins + 1].
        by_bin: measure to float64 [q, bins]: its mean over the negatives in each bin.
        by_band: measure to band to float64 [q]: its mean over the band. Bands without a single
            negative are left out.
        overall: measure to float64 [q]: its mean over all negatives.
        hard_counts: int64 [n]; for how many queries each negative is among the hardest 5 %.
        shuffled_counts: int64 [n]; the same with the negatives permuted for every query.
        n_hard: how many negatives of a query are among its hardest 5 %.
    """

    n: int
    edges: np.ndarray
    by_bin: Mapping[str, np.ndarray]
    by_band: Mapping[str, Mapping[Band, np.ndarray]]
    overall: Mapping[str, np.ndarray]
    hard_counts: np.ndarray
    shuffled_counts: np.ndarray
    n_hard: int


def difficulty_profile(
    queries: np.ndarray,
    negatives: np.ndarray,
    relations: Mapping[str, Relation] | None = None,
    *,
    bins: int = 100,
    seed: int = 0,
) -> Profile:
    """Rank every query's negatives by cosine and average what is known of them by rank.

    Ranks and bands are those of `difficulty`: ascending, of equal cosines the later negative the
    harder; bin b of B holds the ranks in (⌊b·n/B⌋, ⌊(b + 1)·n/B⌋].

    Args:
        queries: real [q, d]; scaled to length one.
        negatives: real [n, d]; scaled to length one.
        relations: name to a number for each pair, e.g. whether they share a class.
        bins: percentile bins; at most n are made.
        seed: of the shuffled baseline.

    Raises:
        DataError: vectors that are not finite, zero or of different widths; relations that do not
            fit them.
        UsageError: no bins.
    """
    if bins < 1:
        raise UsageError("at least one bin", str(bins))
    first, second = unit_vectors(queries, negatives)
    relations = dict(relations or {})
    n_queries, n = len(first), len(second)
    for name, relation in relations.items():
        if len(relation.queries) != n_queries or len(relation.negatives) != n:
            raise DataError(
                f"{name} of {n_queries} queries and {n} negatives",
                f"{len(relation.queries)} and {len(relation.negatives)}",
            )
    edges = np.array([b * n // min(bins, n) for b in range(min(bins, n) + 1)])
    bands = {band: band_counts(*band, n) for band in BANDS}
    bands = {band: ends for band, ends in bands.items() if ends[0] < ends[1]}
    names = ["similarity", *relations]
    by_bin = {name: np.empty((n_queries, len(edges) - 1)) for name in names}
    by_band = {name: {band: np.empty(n_queries) for band in bands} for name in names}
    overall = {name: np.empty(n_queries) for name in names}
    hard_from = band_counts(*HARD, n)[0]
    hard_counts, shuffled_counts = np.zeros((2, n), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for rows, similarity in similarity_blocks(first, second):
        order = np.argsort(similarity, axis=1, kind="stable")
        for name in names:
            values = similarity if name == "similarity" else relations[name].values(rows)
            running = np.zeros((len(values), n + 1))
            np.cumsum(np.take_along_axis(values, order, 1), axis=1, out=running[:, 1:])
            by_bin[name][rows] = np.diff(running[:, edges]) / np.diff(edges)
            for band, (low, high) in bands.items():
                by_band[name][band][rows] = (running[:, high] - running[:, low]) / (high - low)
            overall[name][rows] = running[:, -1] / n
        hard_counts += np.bincount(order[:, hard_from:].ravel(), minlength=n)
        shuffled = rng.random(order.shape, dtype=np.float32).argpartition(hard_from, axis=1)
        shuffled_counts += np.bincount(shuffled[:, hard_from:].ravel(), minlength=n)
    return Profile(n, edges, by_bin, by_band, overall, hard_counts, shuffled_counts, n - hard_from)


def unit_vectors(queries: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both scaled to length one, after a look at what they are."""
    rows = []
    for name, values in (("queries", queries), ("negatives", negatives)):
        matrix = check_matrix(values, name)
        check_finite_rows(matrix, name)
        rows.append(unit_rows(matrix))
    if rows[0].shape[1] != rows[1].shape[1]:
        raise DataError(
            "queries and negatives of one width", f"{rows[0].shape[1]} and {rows[1].shape[1]}"
        )
    return rows[0], rows[1]


def similarity_blocks(
    queries: np.ndarray, negatives: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Cosines of a block of queries with all negatives, block after block."""
    for rows in row_blocks(len(queries), 64 * len(negatives)):
        yield rows, queries[rows] @ negatives.T


@dataclass(frozen=True)
class Shape:
    """Means over replicates of one measure by difficulty, with 95 % intervals.

    Attributes:
        percentile: [bins]; where each bin ends.
        mean: [bins].
        low: [bins]; None for one replicate.
        high: [bins]; None for one replicate.
    """

    percentile: np.ndarray
    mean: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def shape_over_difficulty(profiles: Sequence[Profile], measure: str) -> Shape:
    """A measure by percentile of difficulty: mean over queries, interval over replicates."""
    from scipy.special import stdtrit

    means = np.stack([profile.by_bin[measure].mean(axis=0) for profile in profiles])
    percentile = 100 * profiles[0].edges[1:] / profiles[0].n
    if len(means) == 1:
        return Shape(percentile, means[0])
    reach = stdtrit(len(means) - 1, 0.975) * means.std(axis=0, ddof=1) / np.sqrt(len(means))
    middle = means.mean(axis=0)
    return Shape(percentile, middle, middle - reach, middle + reach)
