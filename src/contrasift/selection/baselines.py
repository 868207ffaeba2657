"""Rankings to hold a selection against: what the SAS code really ranks by, and chance."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64

from contrasift.arrays import EmbeddingMatrix, IndexVector, class_codes, row_blocks
from contrasift.selection.budget import webster_order
from contrasift.selection.gather import ClassRows, positions_in_turn
from contrasift.selection.objectives import scores, total_of

_TIE_DECIMALS = 10  # scores of blocked products that agree so far are equal


def published_scores(values: EmbeddingMatrix, threshold: float = 0.0) -> Float64[np.ndarray, " n"]:
    """Thresholded row sums with the diagonal: what the published SAS code ranks a class by.

        score(e) = Σ_{i∈V} s_ie · [s_ie ≥ θ],      s_ie = ⟨z_i, z_e⟩

    (Its redundancy term never takes hold: it clears the rows that it later sums.) Where no
    coordinate is negative and θ ≤ 0, no similarity is below θ, and score(e) = ⟨z_e, T⟩ exactly:
    n·d work. Otherwise half of all n² products are made, in blocks.

    Args:
        values: z [n, d].
        threshold: θ; similarities below it count nothing.
    """
    if threshold <= 0 and is_non_negative(values):
        return scores(values, total_of(values))
    n, d = values.shape
    score = np.zeros(n)
    blocks = row_blocks(n, 8 * max(d, 2048), 32 << 20)
    for i, rows in enumerate(blocks):
        left = np.asarray(values[rows], dtype=np.float64)
        for columns in blocks[i:]:
            similar = left @ np.asarray(values[columns], dtype=np.float64).T
            similar[similar < threshold] = 0
            score[rows] += similar.sum(axis=1)
            if columns != rows:
                score[columns] += similar.sum(axis=0)
    # The last bits of a product depend on its place in a block: they must not break ties.
    return score.round(_TIE_DECIMALS)


def published_order(scores: Float64[np.ndarray, " n"]) -> IndexVector:
    """Rows by descending (score, row): of equal scores the *larger* row first, as published."""
    return np.argsort(scores, kind="stable")[::-1].astype(np.int64)


def random_order(n: int, seed: int, class_code: int | None = None) -> IndexVector:
    """A random order of n rows: of the whole pool, or of one class.

    Every prefix is a uniformly random subset, so smaller budgets are nested in larger ones.

    Args:
        n: how many rows.
        seed: of the run.
        class_code: makes each class's order its own.
    """
    seeds = [seed] if class_code is None else [seed, class_code]
    return np.random.default_rng(seeds).permutation(n).astype(np.int64)


def random_per_class_order(classes: Any, seed: int) -> IndexVector:
    """A random order of the whole pool whose prefixes hold every class in proportion.

    Webster's divisors say which class comes next, chance which of its rows: the order of
    `select(..., objective="random-per-class")`.

    Args:
        classes: one label an example.
        seed: of the run.
    """
    codes, names = class_codes(classes, len(classes))
    partition = ClassRows.of(codes, len(names))
    ranked = [
        partition.of_class(code)[random_order(int(size), seed, code)]
        for code, size in enumerate(partition.sizes)
    ]
    turns = positions_in_turn(webster_order(partition.sizes), len(names))
    return np.concatenate(ranked)[turns]


def is_non_negative(values: EmbeddingMatrix) -> bool:
    """Whether no coordinate is below zero, so that no similarity is."""
    blocks = row_blocks(values.shape[0], 4 * values.shape[1])
    return all(values[rows].min() >= 0 for rows in blocks)
