"""Balanced sampling from hierarchical k-means: every region of the pool gives alike.

Vo et al. 2024, *Automatic data curation for self-supervised learning: a clustering-based approach*
(arXiv 2405.15613). Plain k-means puts most centroids where most rows are. Two things work against
it: after each k-means the centroids are fitted again on as many rows of every cluster, the nearest
to its centroid (resampling), and k-means of the centroids makes the next coarser level, where each
centroid counts once, however many rows it has. A budget then goes down the tree, at every node in
equal parts to its children, as far as these have rows.

The rows of a pool come in one order whose first b entries are the draw for the budget b.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from contrasift.selection.kernels.lloyd import lloyd, spread_start
from contrasift.selection.kernels.nearest_rows import nearest_rows

# Leaves by rule: one for so many rows, as the sources have (743 million images in 10 million), but
# no more than are assigned in minutes; each coarser level has a tenth, while that is at least four.
ROWS_A_LEAF, MOST_LEAVES, NARROWING, LEAST_NODES = 64, 10_000, 10, 4
# k-means of rows is fitted on all up to this many; beyond on a sample of these, or so many a leaf.
FIT_ROWS, FIT_ROWS_A_LEAF = 65_536, 24
_ITERATIONS, _RESAMPLINGS = 8, 2


def levels_for(n: int, levels: Sequence[int] = ()) -> list[int]:
    """Clusters of every level, coarse to fine: as given, or by rule.

    Args:
        n: rows.
        levels: as given, growing; more clusters than rows are as many as rows.
    """
    if len(levels):
        return sorted({min(count, n) for count in levels})
    counts = [min(max(n // ROWS_A_LEAF, 1), MOST_LEAVES)]
    while counts[0] // NARROWING >= LEAST_NODES:
        counts.insert(0, counts[0] // NARROWING)
    return counts


def cluster_tree(
    sample: np.ndarray, counts: Sequence[int], *, seed: int = 0, threads: int | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Hierarchical k-means with resampled centroids, from the finest level up.

    Args:
        sample: float32 [m, d]; rows that stand for the pool, at least one.
        counts: clusters of every level, coarse to fine.
        seed: of the starts.
        threads: None for all processors; the result is the same for every number.

    Returns:
        leaves: float32 [L, d], the centroids of the finest level.
        paths: int64 [L] for every level, coarse to fine: the node of that level above each leaf; the
            last is the leaf itself.
    """
    leaves = _centroids(sample, counts[-1], seed, threads)
    paths, nodes = [np.arange(len(leaves))], leaves
    for turn, count in enumerate(reversed(counts[:-1]), start=1):
        above = _centroids(nodes, count, seed + turn, threads)
        parent = nearest_rows(nodes, above, 1, threads=threads)[:, 0]
        there, parent = np.unique(parent, return_inverse=True)
        paths.insert(0, parent.reshape(-1)[paths[0]])
        nodes = above[there]
    return leaves, paths


def _centroids(points: np.ndarray, count: int, seed: int, threads: int | None) -> np.ndarray:
    """k-means, then again on as many points of every cluster, the nearest to its centroid."""
    count = min(count, points.shape[0])
    centroids = _fitted(points, count, seed, threads)
    for _ in range(_RESAMPLINGS):
        some = _inner_rows(points, centroids, threads)
        if some.size <= count:
            break
        centroids = _fitted(np.ascontiguousarray(points[some]), count, seed, threads)
    own = nearest_rows(points, centroids, 1, threads=threads)[:, 0]
    return np.ascontiguousarray(centroids[np.unique(own)])


def _fitted(points: np.ndarray, count: int, seed: int, threads: int | None) -> np.ndarray:
    return lloyd(points, spread_start(points, count, seed, threads), _ITERATIONS, threads)


def _inner_rows(points: np.ndarray, centroids: np.ndarray, threads: int | None) -> np.ndarray:
    """Of every cluster the same number of points, half the mean size, nearest to the centroid."""
    n, count = points.shape[0], centroids.shape[0]
    own = nearest_rows(points, centroids, 1, threads=threads)[:, 0]
    gaps = np.einsum("ij,ij->i", points - centroids[own], points - centroids[own])
    order = np.lexsort((gaps, own))
    starts = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=count))])
    place = np.arange(n) - starts[own[order]]
    return np.sort(order[place < max(1, n // (2 * count))])


def balanced_order(paths: Sequence[np.ndarray], turn: np.ndarray) -> np.ndarray:
    """Rows in an order every prefix of which is a balanced draw down the tree.

    At each node the children take turns, the lowest number first, and one without rows left is
    passed over. So of b places every child has the same number, but for those that have fewer rows,
    and for one place that the last round does not fill: the budget is filled in like water.

    Args:
        paths: int64 [n] for every level, coarse to fine; the node of each row.
        turn: int64 [n]; when each row's turn is within its leaf: chance.

    Returns:
        int64 [n].
    """
    n = turn.size
    rank = _rank_within(paths[-1], turn, np.zeros(n, dtype=np.int64))
    for child, parent in zip(paths[::-1], [*paths[-2::-1], np.zeros(n, np.int64)], strict=True):
        rank = _rank_within(parent, rank, child)
    order = np.empty(n, dtype=np.int64)
    order[rank] = np.arange(n)
    return order


def _rank_within(group: np.ndarray, first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Place of every row in its group, by two keys."""
    order = np.lexsort((then, first, group))
    starts = np.concatenate([[0], np.cumsum(np.bincount(group))])
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size) - starts[group[order]]
    return rank


def balanced(
    n: int,
    read: Callable[[np.ndarray], np.ndarray],
    blocks: Callable[[], Iterator[tuple[int, np.ndarray]]],
    *,
    levels: Sequence[int] = (),
    keep: np.ndarray | None = None,
    eligible: np.ndarray | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> np.ndarray:
    """The balanced order of a pool that is read in blocks.

    Args:
        n: rows.
        read: some rows, by ascending numbers, as float32.
        blocks: all rows in order: the first number of each block, and the block.
        levels: clusters of every level, coarse to fine; none: by rule (`levels_for`).
        keep: rows that take the first turns of their leaves.
        eligible: bool [n]; other rows take none, and come last.
        seed: of the sample, the starts and the draws.
        threads: None for all processors.

    Returns:
        int64 [n]; row numbers.
    """
    counts = levels_for(n, levels)
    generator = np.random.default_rng([seed, n])
    limit = max(FIT_ROWS, FIT_ROWS_A_LEAF * counts[-1])
    some = np.arange(n) if n <= limit else np.sort(generator.choice(n, limit, replace=False))
    leaves, above = cluster_tree(read(some), counts, seed=seed, threads=threads)
    leaf = np.empty(n, dtype=np.int64)
    for start, rows in blocks():
        near = nearest_rows(rows, leaves, 1, threads=threads)[:, 0]
        leaf[start : start + len(rows)] = near
    turn = generator.permutation(n)
    if keep is not None:
        turn[keep] -= n
    rows = np.arange(n) if eligible is None else np.flatnonzero(eligible)
    drawn = rows[balanced_order([nodes[leaf[rows]] for nodes in above], turn[rows])]
    return np.concatenate([drawn, np.setdiff1d(np.arange(n), rows, assume_unique=True)])
