"""Near-copies at any size: each is dropped for one that stays, and is itself near that one.

Joining near pairs into components chains: a component of pairs at 0.97 may hold two rows at 0.82.
Here rows come one after the other, the most central first, and one is dropped only for a *leader*:
an earlier row that stays. So every dropped row is nearer than ε to the row that stands for it, and
no two leaders that were compared are nearer than ε.

Rows are compared within their class (as SemDeDup does it); in a class of more than 8,192 rows only
with the leaders that lie near their cell of k-means. How many near pairs that misses is measured
against every pair of a sample of rows.

    gap_ij = ‖z_i − z_j‖² / 2 = 1 − cos(z_i, z_j)      of rows of length one

Time: 4·2,048·n·d multiply-adds at most. Memory: the rows of the largest class, and 32 bytes a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from contrasift.selection.baselines.nearest import product_slack
from contrasift.selection.kernels import linear_form
from contrasift.selection.kernels.dots import compiled
from contrasift.selection.kernels.lloyd import lloyd
from contrasift.selection.kernels.nearest_rows import nearest_rows

# Every pair is compared in classes of at most so many rows; larger ones are cut into cells.
EXACT_ROWS, ROWS_A_CELL, CELLS_A_ROW = 8192, 2048, 4
_FIT_ROWS_A_CELL, _ITERATIONS = 32, 8
SAMPLE = 512
_TILE = 2048


@dataclass(frozen=True)
class NearCopies:
    """What was found.

    Attributes:
        copy_of: int64 [n]; the row that stands for each, −1 of one that stays.
        within: rows of the sample, float64 [m]: the gap of each to the nearest other of its class.
        pairs: near pairs of the sample in classes that were cut into cells.
        found: those of which not both stay.
    """

    copy_of: np.ndarray
    within: np.ndarray
    pairs: int
    found: int

    def having_another(self, epsilon: float) -> int:
        """Rows that have another of their class within ε: of the sample, in proportion to all."""
        share = np.count_nonzero(self.within < epsilon) / max(self.within.size, 1)
        return round(share * self.copy_of.size)

    @property
    def recall(self) -> float | None:
        """Share of near pairs of which not both stay; None where all pairs were compared."""
        return self.found / self.pairs if self.pairs else None


def near_copies(
    classes: Iterable[tuple[np.ndarray, np.ndarray]],
    n: int,
    epsilon: float,
    *,
    keep: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    seed: int = 0,
    threads: int | None = None,
    told: Callable[[int], None] | None = None,
) -> NearCopies:
    """Find near-copies class by class.

    Args:
        classes: row numbers of each class, ascending, and its rows, float32 [m, d] of length one.
        n: rows of the pool.
        epsilon: ε; a row is dropped for one with a gap below it.
        keep: rows that are not dropped.
        scores: float64 [n]; those with the highest stay; default: the most central of their class.
        seed: of cells and sample.
        threads: None for all processors.
        told: is told how many rows are done.
    """
    copy_of, fixed, sampled = np.full(n, -1), np.zeros(n, bool), np.zeros(n, bool)
    if keep is not None:
        fixed[keep] = True
    drawn = np.random.default_rng(seed).choice(n, min(n, SAMPLE), replace=False)
    sampled[drawn] = True
    within, pairs, found, done = [np.empty(0)], 0, 0, 0
    for rows, values in classes:
        first = -(_centrality(values, threads) if scores is None else scores[rows])
        order = np.lexsort((first, ~fixed[rows]))
        owner = _leaders(values, order, fixed[rows], epsilon, seed, threads)
        copy_of[rows] = np.where(owner < 0, -1, rows[owner])
        some = np.flatnonzero(sampled[rows])
        within.append(_nearest_gaps(values, some, threads))
        if rows.size > EXACT_ROWS:
            there, left = _near_pairs(values, some, owner < 0, epsilon)
            pairs, found = pairs + there, found + there - left
        done += rows.size
        if told is not None:
            told(done)
    return NearCopies(copy_of, np.concatenate(within), pairs, found)


def _centrality(values: np.ndarray, threads: int | None) -> np.ndarray:
    return linear_form.scores(values, linear_form.total_of(values, threads), threads)


def _leaders(
    values: np.ndarray,
    order: np.ndarray,
    fixed: np.ndarray,
    epsilon: float,
    seed: int,
    threads: int | None,
) -> np.ndarray:
    """The leader that each row of a class is dropped for, −1 of leaders."""
    owner = np.full(order.size, -1)
    near = _cells(values, seed, threads)
    cells = int(near.max(initial=0)) + 1
    known: list[list[np.ndarray]] = [[] for _ in range(cells)]
    by_cell = np.argsort(near[order, 0], kind="stable")
    ends = np.cumsum(np.bincount(near[:, 0], minlength=cells))
    for cell, rows in enumerate(np.split(order[by_cell], ends[:-1])):
        for start in range(0, rows.size, _TILE):
            block = rows[start : start + _TILE]
            for leaders in _tiles(known[cell]):
                _drop(values, block, leaders, fixed, epsilon, owner)
            _drop(values, block, block, fixed, epsilon, owner)
            new = block[owner[block] < 0]
            for turn in range(near.shape[1]):
                for other in np.unique(near[new, turn]):
                    known[other].append(new[near[new, turn] == other])
    return owner


def _cells(values: np.ndarray, seed: int, threads: int | None) -> np.ndarray:
    """The cells near every row, nearest first, int64 [n, at most 4]."""
    n = len(values)
    if n <= EXACT_ROWS:
        return np.zeros((n, 1), dtype=np.int64)
    count = -(-n // ROWS_A_CELL)
    generator = np.random.default_rng(seed)
    some = np.sort(generator.choice(n, min(n, _FIT_ROWS_A_CELL * count), replace=False))
    sample = np.ascontiguousarray(values[some])
    start = np.sort(generator.choice(some.size, count, replace=False))
    centroids = lloyd(sample, sample[start], _ITERATIONS, threads)
    return nearest_rows(values, centroids, min(CELLS_A_ROW, count), threads=threads)


def _tiles(parts: Sequence[np.ndarray]) -> Iterable[np.ndarray]:
    """Rows that came in parts, some thousands at a time."""
    rows = np.concatenate([np.empty(0, np.int64), *parts])
    return (rows[start : start + _TILE] for start in range(0, rows.size, _TILE))


def _drop(
    values: np.ndarray,
    block: np.ndarray,
    leaders: np.ndarray,
    fixed: np.ndarray,
    epsilon: float,
    owner: np.ndarray,
) -> None:
    """Drop rows of a block for leaders; within the block, for those that stay and come before."""
    similar = values[block] @ values[leaders].T
    # A float32 product errs by less than this: what is nearer to the threshold is computed again.
    slack = product_slack(values.shape[1], 1.01)
    _drop_rows(similar, values, block, leaders, fixed, epsilon, slack, owner, leaders is block)


@compiled
def _drop_rows(similar, values, block, leaders, fixed, epsilon, slack, owner, within):
    for a in range(block.size):
        i = block[a]
        if fixed[i] or owner[i] >= 0:
            continue
        for b in range(a if within else leaders.size):
            if similar[a, b] < 1 - epsilon - slack or owner[leaders[b]] >= 0:
                continue
            if _half_square(values, i, leaders[b]) < epsilon:
                owner[i] = leaders[b]
                break


@compiled
def _half_square(values, i, j):
    """‖z_i − z_j‖²/2 in float64, always in the same order; exactly 0 of equal rows."""
    total = 0.0
    for t in range(values.shape[1]):
        gap = np.float64(values[i, t]) - np.float64(values[j, t])
        total += gap * gap
    return total / 2


def _nearest_gaps(values: np.ndarray, some: np.ndarray, threads: int | None) -> np.ndarray:
    """The gap of some rows to the nearest other; +∞ of the only row."""
    if len(values) < 2 or not some.size:
        return np.full(some.size, np.inf)
    queries = np.ascontiguousarray(values[some])
    near = values[nearest_rows(queries, values, 1, own=some, threads=threads)[:, 0]]
    return np.square(queries - near, dtype=np.float64).sum(axis=1) / 2


def _near_pairs(
    values: np.ndarray, some: np.ndarray, stays: np.ndarray, epsilon: float
) -> tuple[int, int]:
    """Pairs of a sampled row and any other that are near, and those of which both stay."""
    there = left = 0
    slack = product_slack(values.shape[1], 1.01)
    for start in range(0, len(values), 1 << 16):
        part = values[start : start + (1 << 16)]
        a, b = np.nonzero(values[some] @ part.T >= 1 - epsilon - slack)
        gaps = np.square(values[some[a]] - part[b], dtype=np.float64).sum(axis=1) / 2
        near = (gaps < epsilon) & (some[a] != b + start)
        there += int(near.sum())
        left += int((near & stays[some[a]] & stays[b + start]).sum())
    return there, left
