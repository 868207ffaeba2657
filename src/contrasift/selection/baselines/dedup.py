"""Semantic de-duplication: what repeats no other comes first."""

from __future__ import annotations

import numpy as np

from contrasift.arrays import EmbeddingMatrix
from contrasift.errors import UsageError
from contrasift.selection.baselines.nearest import improve, product_slack, with_offsets
from contrasift.selection.baselines.ranked import Ranked, ranked_by
from contrasift.selection.kernels import dots, linear_form

_TILE = 2048


def semantic_dedup(
    values: EmbeddingMatrix, epsilon: float | None = None, keep: str = "far"
) -> Ranked:
    """By the largest ε at which SemDeDup would still keep an example (Abbas et al. 2023).

        ε_i = 1 − max over j before i of cos(z_i, z_j)

    SemDeDup removes an example of a class if its cosine with another exceeds 1 − ε. Of a group of
    duplicates the paper keeps the one *least* similar to the centroid; the published code offers
    that (its `hard`) and the opposite (`easy`). Here as there: examples stand in that order, and
    each is compared with *every* one before it, removed or not, so that what stays at a smaller ε
    contains what stays at a larger one. So one ranking serves every ε and every budget.

    Half of all n² products, in blocks; memory O(n·d).

    Args:
        values: z [n, d], the rows of one class; only their directions matter.
        epsilon: ε; `facts["distinct"]` then says how many examples stay at it.
        keep: `far` as in the paper, or `near`: which of a group of duplicates stays.

    Returns:
        the ranking; scores are ε_i, +inf of the first row in the order.

    Raises:
        UsageError: ε outside [0, 2], or another `keep`.
        DataError: NaN or infinity.
    """
    if keep not in ("near", "far"):
        raise UsageError("near or far for what is kept", keep)
    if epsilon is not None and not 0 <= epsilon <= 2:
        raise UsageError("an ε in [0, 2], the range of 1 − cosine", f"{epsilon}")
    unit = _directions(dots.embedding_rows(values))
    towards = linear_form.scores(unit, linear_form.total_of(unit))
    order = np.argsort(towards if keep == "far" else -towards, kind="stable")
    scores = np.empty(order.size)
    scores[order] = _stays_up_to(unit[order])
    facts = {} if epsilon is None else {"distinct": int((scores >= epsilon).sum())}
    return ranked_by(scores, **facts)


def _directions(values: np.ndarray) -> np.ndarray:
    """Rows of length one; rows of zeros stay zero."""
    dots.fixed_point_scale(values)  # refuses NaN and infinity
    lengths = np.sqrt(linear_form.squared_norms(values))
    return (values / np.where(lengths > 0, lengths, 1.0)[:, None]).astype(np.float32)


def _stays_up_to(unit: np.ndarray) -> np.ndarray:
    """Half the smallest squared gap of each row to an earlier one, which is 1 − cos; +inf of none.

    As a gap it is exactly 0 of equal rows, whatever rounding made of their length.
    """
    n, d = unit.shape
    z = dots.embedding_rows(unit)
    halves = linear_form.squared_norms(z) / 2
    slack = product_slack(d, float(2 * halves.max(initial=0.0)))
    closest = np.full(n, -np.inf)
    rows = np.arange(n)
    for start in range(0, n, _TILE):
        tile = rows[start : start + _TILE]
        for first in range(0, start + tile.size, _TILE):
            others = rows[first : min(first + _TILE, start + tile.size)]
            products = with_offsets(z[tile]) @ with_offsets(z[others], halves[others]).T
            widths = np.minimum(tile - first, others.size)
            improve(products, tile, z, others, halves, slack, closest, widths)
    return np.maximum(halves - closest, 0.0)
