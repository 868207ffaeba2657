"""The nearest other rows of every row of a pool: exact up to a size."""

from __future__ import annotations

from typing import Any

import numpy as np

from contrasift.arrays import row_blocks

# Every pair of rows is compared up to this many; beyond, neighbours come from an inverted file.
EXACT_ROWS = 131_072


def nearest_neighbours(points: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """The k nearest other rows of each row by Euclidean length, nearest first.

    Exact up to 131,072 rows, the lower row first among equals (`nearest_rows`); beyond, an inverted
    file of 4·√n lists of which 32 are searched (faiss).

    Args:
        points: float32 [n, d].
        k: below n.
        seed: of the inverted file.

    Returns:
        int64 [n, k].
    """
    if points.shape[0] <= EXACT_ROWS:
        from contrasift.selection.nearest_rows import nearest_rows

        return nearest_rows(points, points, k, own=np.arange(points.shape[0]))
    import faiss

    n, d = points.shape
    lists = int(4 * n**0.5)
    index: Any = faiss.IndexIVFFlat(faiss.IndexFlatL2(d), d, lists)
    index.cp.seed = seed % (1 << 31)
    index.nprobe = 32
    index.train(points)
    index.add(points)
    found = np.empty((n, k), dtype=np.int64)
    for block in row_blocks(n, 16 * (k + 1) + 4 * d):
        _, nearest = index.search(points[block], k + 1)
        itself = nearest == np.arange(block.start, block.stop)[:, None]
        # Among more than k equal rows a row may not find itself: then the last one goes.
        itself[~itself.any(axis=1), -1] = True
        found[block] = nearest[~itself].reshape(-1, k)
    return found
