"""What the published SAS code really ranks by."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from contrasift.arrays import EmbeddingMatrix, IndexVector, row_blocks
from contrasift.selection.kernels.linear_form import scores, total_of
from contrasift.selection.objectives.threshold import row_sums


def published_scores(values: EmbeddingMatrix, threshold: float = 0.0) -> Float64[np.ndarray, " n"]:
    """Thresholded row sums with the diagonal: what the published SAS code ranks a class by.

        score(e) = Σ_{i∈V} s_ie · [s_ie ≥ θ],      s_ie = ⟨z_i, z_e⟩

    (Its redundancy term never takes hold: it clears the rows that it later sums.) Where no
    coordinate is negative and θ ≤ 0, no similarity is below θ, and score(e) = ⟨z_e, T⟩ exactly:
    n·d work. Otherwise half of all n² products are made, in float32 (`threshold.row_sums`).

    Args:
        values: z [n, d].
        threshold: θ; similarities below it count nothing.
    """
    if threshold <= 0 and is_non_negative(values):
        return scores(values, total_of(values))
    return row_sums(values, threshold)


def published_order(scores: Float64[np.ndarray, " n"]) -> IndexVector:
    """Rows by descending (score, row): of equal scores the *larger* row first, as published."""
    return np.argsort(scores, kind="stable")[::-1].astype(np.int64)


def is_non_negative(values: EmbeddingMatrix) -> bool:
    """Whether no coordinate is below zero, so that no similarity is."""
    blocks = row_blocks(values.shape[0], 4 * values.shape[1])
    return all(values[rows].min() >= 0 for rows in blocks)
