"""How many neighbours the ends of an edge share."""

from __future__ import annotations

import numpy as np

from contrasift.selection.kernels.dots import compiled, map_blocks


def edge_weights(neighbours: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """w_ij = |N(i) ∩ N(j)| / |N(i) ∪ N(j)|, N(i) the neighbours of i and i itself.

    Args:
        neighbours: int64 [n, k]; −1 where there is none.
        first: int64 [e]; i of each edge.
        second: int64 [e]; j of each edge.

    Returns:
        float64 [e].
    """
    each = np.arange(neighbours.shape[0])[:, None]
    near = np.sort(np.concatenate([neighbours, each], axis=1), axis=1)
    weight = np.empty(first.size)
    map_blocks(lambda start, stop: _jaccard(near, first, second, start, stop, weight), first.size)
    return weight


@compiled
def _jaccard(near, first, second, start, stop, weight):
    """w_ij of the edges start..stop; a row's neighbours and itself ascend, what is missing first."""
    width = near.shape[1]
    for e in range(start, stop):
        i, j = first[e], second[e]
        a, b, shared = 0, 0, 0
        while near[i, a] < 0:
            a += 1
        while near[j, b] < 0:
            b += 1
        both = 2 * width - a - b
        while a < width and b < width:
            left, right = near[i, a], near[j, b]
            shared += left == right
            a += left <= right
            b += right <= left
        weight[e] = shared / (both - shared)
