"""k-means by the one chain of products: the same centroids for every number of threads."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from contrasift.selection.kernels.nearest_rows import nearest_rows

_ROUNDS, _TRIES = 8, 4


def lloyd(
    points: np.ndarray, centroids: np.ndarray, iterations: int, threads: int | None = None
) -> np.ndarray:
    """Centroids that lower Σ_i min_c ‖x_i − c‖² (Lloyd 1982); one that nothing is nearest to stays.

    Args:
        points: float32 [n, d].
        centroids: float32 [K, d]; where to begin.
        iterations: steps.
        threads: None for all processors.

    Returns:
        float32 [K, d].
    """
    n, count = points.shape[0], centroids.shape[0]
    for _ in range(iterations):
        nearest = nearest_rows(points, centroids, 1, threads=threads)[:, 0]
        sums = csr_matrix((np.ones(n, np.float32), (nearest, np.arange(n))), (count, n)) @ points
        sizes = np.bincount(nearest, minlength=count)[:, None]
        centroids = np.where(sizes > 0, sums / np.maximum(sizes, 1), centroids).astype(np.float32)
    return centroids


def spread_start(
    points: np.ndarray, count: int, seed: int, threads: int | None = None
) -> np.ndarray:
    """Rows to begin with: drawn by their squared distance to those before, in at most 8 rounds.

    k-means++ (Arthur and Vassilvitskii 2007), for up to 8 centroids the best of four draws each; of more,
    whole rounds are drawn at once, as k-means|| does it (Bahmani et al. 2012): one step of Lloyd's.

    Args:
        points: float32 [n, d].
        count: at most n.
        seed: of the draws.
        threads: None for all processors.

    Returns:
        float32 [count, d].
    """
    n = points.shape[0]
    generator = np.random.default_rng(seed)
    chosen, gaps = np.empty(0, dtype=np.int64), np.full(n, np.inf)
    for size in np.diff(np.linspace(0, count, min(count, _ROUNDS) + 1).round().astype(int)):
        drawn = [
            _drawn(gaps, chosen, int(size), generator) for _ in range(_TRIES if size == 1 else 1)
        ]
        left = [np.minimum(gaps, _gaps_to(points, points[new], threads)) for new in drawn]
        best = min(range(len(drawn)), key=lambda turn: float(left[turn].sum()))
        chosen, gaps = np.append(chosen, drawn[best]), left[best]
    return np.ascontiguousarray(points[np.sort(chosen)])


def _gaps_to(points: np.ndarray, starts: np.ndarray, threads: int | None) -> np.ndarray:
    """Squared distance of every point to the nearest start, float64."""
    near = starts[nearest_rows(points, starts, 1, threads=threads)[:, 0]]
    return np.square(points - near, dtype=np.float64).sum(axis=1)


def _drawn(
    gaps: np.ndarray, chosen: np.ndarray, size: int, generator: np.random.Generator
) -> np.ndarray:
    """Rows in proportion to their gaps, then any: the first round, and where too few differ."""
    if not chosen.size:
        return generator.choice(gaps.size, size=size, replace=False)
    apart = int(np.count_nonzero(gaps))
    first = np.empty(0, dtype=np.int64)
    if apart:
        chance = gaps / gaps.sum()
        first = generator.choice(gaps.size, size=min(size, apart), replace=False, p=chance)
    free = np.setdiff1d(np.arange(gaps.size), np.append(chosen, first))
    rest = generator.choice(free, size=size - first.size, replace=False)
    return np.append(first, rest)
