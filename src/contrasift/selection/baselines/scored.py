"""Rankings by one score of each row: chance, the published code's, nearness to the mean, given ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64

from contrasift.arrays import EmbeddingMatrix, IndexVector, class_codes, row_blocks
from contrasift.errors import DataError, UsageError
from contrasift.selection.baselines.ranked import Ranked, ranked_by
from contrasift.selection.budget import Shares
from contrasift.selection.gather import ClassRows, positions_by_quota
from contrasift.selection.kernels import linear_form
from contrasift.selection.objectives.threshold import row_sums


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
    turns = positions_by_quota(Shares.of(partition.sizes).webster_order(), len(names))
    return np.concatenate(ranked)[turns]


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
        return linear_form.scores(values, linear_form.total_of(values))
    return row_sums(values, threshold)


def published_order(scores: Float64[np.ndarray, " n"]) -> IndexVector:
    """Rows by descending (score, row): of equal scores the *larger* row first, as published."""
    return np.argsort(scores, kind="stable")[::-1].astype(np.int64)


def is_non_negative(values: EmbeddingMatrix) -> bool:
    """Whether no coordinate is below zero, so that no similarity is."""
    blocks = row_blocks(values.shape[0], 4 * values.shape[1])
    return all(values[rows].min() >= 0 for rows in blocks)


_TIE_DECIMALS = 12  # duplicates of different length divide to cosines that differ in the last bits


def prototype_order(values: EmbeddingMatrix, keep: str = "near") -> Ranked:
    """By the cosine to the class mean, the prototype (Sorscher et al. 2022, section 6).

        cos_i = ⟨z_i, T⟩ / (‖z_i‖ ‖T‖),   T = Σ_i z_i

    There the prototypes are k-means centroids: our latent classes. `near` keeps the easy, better
    where examples are few; `far` keeps the hard, better where they abound.

    Args:
        values: z [n, d], the rows of one class.
        keep: `near` or `far`.

    Returns:
        the ranking; scores are cos_i for `near` and −cos_i for `far`; 0 where a length is 0.

    Raises:
        UsageError: another `keep`.
        DataError: NaN or infinity.
    """
    if keep not in ("near", "far"):
        raise UsageError("near or far for what is kept", keep)
    total = linear_form.total_of(values)
    lengths = np.sqrt(linear_form.squared_norms(values) * float(total @ total))
    products = linear_form.scores(values, total)
    cosine = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    cosine = cosine.round(_TIE_DECIMALS)
    return ranked_by(cosine if keep == "near" else -cosine)


def scores_order(scores: Float64[np.ndarray, " n"], keep: str = "high") -> Ranked:
    """By a score that is known of every example, `high` or `low` first.

    Which way to keep the hard, as the sources do:

    - forgetting events (Toneva et al. 2019): `high`; an example that was never learned counts +inf
    - EL2N and GraNd (Paul et al. 2021): `high`
    - confidence, the mean probability of the label (Swayamdipta et al. 2020): `low`; its `high`
      are the easy ones

    Args:
        scores: one a row; ±inf is a score like others.
        keep: `high` or `low`.

    Returns:
        the ranking; its scores are the given ones, negated for `low`.

    Raises:
        UsageError: another `keep`.
        DataError: NaN.
    """
    if keep not in ("high", "low"):
        raise UsageError("high or low for the scores that are kept", keep)
    missing = np.flatnonzero(np.isnan(scores))
    if missing.size:
        raise DataError(
            "a score for every example",
            f"NaN for {missing.size} of them, the first in row {missing[0]}",
        )
    return ranked_by(scores if keep == "high" else -scores)
