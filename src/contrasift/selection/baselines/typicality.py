"""Density: what has near neighbours comes first."""

from __future__ import annotations

import numpy as np

from contrasift.arrays import EmbeddingMatrix, row_blocks
from contrasift.errors import UsageError
from contrasift.selection.baselines.ranked import Ranked, ranked_by
from contrasift.selection.kernels import dots, linear_form
from contrasift.selection.kernels.dots import compiled, map_blocks, row_dot
from contrasift.selection.kernels.nearest_rows import nearest_rows

# Neighbours are found in float32: so many more are asked for, and the nearest of all are taken in
# float64.
_SPARE = 12


def typicality(values: EmbeddingMatrix, neighbours: int = 20, threads: int | None = None) -> Ranked:
    """By the density around an example (Hacohen et al. 2022, equation 1).

        typicality_i = 1 / ((1/K) Σ_{j ∈ KNN(i)} ‖z_i − z_j‖)

    Their TypiClust takes the most typical of each cluster; the clusters are our latent classes.

    Args:
        values: z [n, d], the rows of one class.
        neighbours: K; 20 in the paper; all others in a class of no more than K rows.
        threads: None for all processors.

    Returns:
        the ranking; scores are typicalities, +inf where all neighbours coincide with the row.

    Raises:
        UsageError: K below 1.
        DataError: NaN or infinity.
    """
    if neighbours < 1:
        raise UsageError("at least one neighbour", f"{neighbours}")
    z = dots.embedding_rows(values)
    n = z.shape[0]
    dots.fixed_point_scale(z, threads)  # refuses NaN and infinity
    count = min(neighbours, n - 1)
    if count < 1:
        return ranked_by(np.full(n, np.inf))
    squares = linear_form.squared_norms(z, threads)
    mean_gap = np.empty(n)
    for block in row_blocks(n, 12 * (count + _SPARE)):
        itself = np.arange(block.start, block.stop)
        found = nearest_rows(z[block], z, min(count + _SPARE, n - 1), own=itself, threads=threads)

        def measure(start: int, stop: int, block: slice = block, found: np.ndarray = found) -> None:
            _mean_gap_block(z, squares, found, block.start, start, stop, count, mean_gap)

        map_blocks(measure, found.shape[0], threads)
    with np.errstate(divide="ignore"):
        return ranked_by(1 / mean_gap)


@compiled
def _mean_gap_block(values, squares, found, origin, start, stop, count, mean_gap):
    """Mean of the smallest `count` distances to what was found."""
    d = values.shape[1]
    wide = np.empty(d)
    gaps = np.empty(found.shape[1])
    for r in range(start, stop):
        i = origin + r
        for t in range(d):
            wide[t] = values[i, t]
        for c in range(found.shape[1]):
            j = found[r, c]
            square = squares[i] + squares[j] - 2 * row_dot(values, j, wide)
            gaps[c] = np.sqrt(max(square, 0.0))
        gaps.sort()
        total = 0.0
        for c in range(count):
            total += gaps[c]
        mean_gap[i] = total / count
