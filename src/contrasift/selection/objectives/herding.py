"""Herding: rows whose mean stays near the mean of all.

With T = Σ_{i∈V} z_i, M = Σ_{j∈S} z_j, μ = T/n, and t rows taken, the next is

    argmin_e ‖(M + z_e)/(t+1) − μ‖² = argmax_e ⟨z_e, w⟩ − ‖z_e‖²/2,   w = (t+1)μ − M

Welling's herding (2009) takes argmax_e ⟨z_e, w⟩ and then w ← w + μ − z_e from w = μ, which is the same w:
the two differ by ‖z_e‖²/2 alone, and not at all on unit rows. ‖μ − μ_S‖ is what ν_div of (36) bounds.

A step is one pass over the rows: O(k·n·d) in all. Bounds as in `greedy` would not save any: there each row
moves the weight by a small part of it, here by as much as it is long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from contrasift.selection.checks import check_places
from contrasift.selection.kernels import dots, linear_form
from contrasift.selection.kernels.dots import compiled, row_dot


@dataclass(frozen=True)
class HerdingPath:
    """The order in which herding takes rows, and how near their mean is to that of all.

    Attributes:
        order: int64 [k]; rows in the order taken, those of `keep` first, ascending.
        gaps: float64 [k]; ‖μ − μ_S‖ after each.
        final_scores: float64 [n]; ⟨z_e, w⟩ − ‖z_e‖²/2 of every row, were one more to be taken.
        total: T, float64 [d].
        selected_sum: M, float64 [d].
        value: ‖μ − μ_S‖ at the end; ‖μ‖ if nothing is selected.
    """

    order: Int64[np.ndarray, " k"]
    gaps: Float64[np.ndarray, " k"]
    final_scores: Float64[np.ndarray, " n"]
    total: Float64[np.ndarray, " d"]
    selected_sum: Float64[np.ndarray, " d"]
    value: float


def herding(
    values: Float32[np.ndarray, "n d"],
    budget: int,
    *,
    welling: bool = False,
    keep: Int64[np.ndarray, " m"] | None = None,
    eligible: Bool[np.ndarray, " n"] | None = None,
    threads: int | None = None,
) -> HerdingPath:
    """Minimise ‖μ − μ_S‖ greedily: the row that brings the mean nearest, the lowest among equals.

    Nested: the order for a smaller budget is the beginning of this one. The same for every number of
    threads.

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped.
        budget: k, with the rows of `keep` counted in.
        welling: as Welling (2009, "Herding dynamical weights to learn") has it, without −‖z_e‖²/2.
        keep: rows that are in the selection from the start.
        eligible: False for rows that are never taken; they still count in μ.
        threads: None for all processors.

    Raises:
        UsageError: a budget above the rows that may be taken or below those to keep.
        DataError: NaN or infinity.
    """
    rows = dots.embedding_rows(values)
    n, d = rows.shape
    keep, open_rows = check_places(n, budget, keep, eligible)
    scale = dots.fixed_point_scale(rows, threads)
    total = linear_form.fixed_total(rows, scale, threads) / scale
    mean = total / max(1, n)
    halves = np.zeros(n) if welling else 0.5 * linear_form.squared_norms(rows, threads)
    fixed = np.zeros(d, dtype=np.int64)
    order, gaps = np.empty(budget, dtype=np.int64), np.empty(budget)
    for position in range(budget):
        if position < keep.size:
            row = int(keep[position])
        else:
            weight = (position + 1) * mean - fixed / scale
            row = _best_row(rows, weight, halves, open_rows, threads)
        open_rows[row] = False
        fixed += dots.sum_block(rows, row, row + 1, scale)
        order[position] = row
        gaps[position] = _length(mean - fixed / scale / (position + 1))
    selected_sum = fixed / scale
    weight = (budget + 1) * mean - selected_sum
    return HerdingPath(
        order=order,
        gaps=gaps,
        final_scores=linear_form.scores(rows, weight, threads) - halves,
        total=total,
        selected_sum=selected_sum,
        value=float(gaps[-1]) if budget else _length(mean),
    )


def _best_row(
    rows: np.ndarray,
    weight: np.ndarray,
    halves: np.ndarray,
    open_rows: np.ndarray,
    threads: int | None,
) -> int:
    blocks = dots.map_blocks(
        lambda start, stop: best_block(rows, weight, halves, open_rows, start, stop),
        rows.shape[0],
        threads,
    )
    best, best_row = -np.inf, -1
    for score, row in blocks:  # in the order of rows: the first of equals stays
        if row >= 0 and (best_row < 0 or score > best):
            best, best_row = score, row
    return int(best_row)


def _length(vector: np.ndarray) -> float:
    return float(np.sqrt(dots.dot(vector, vector)))


@compiled
def best_block(values, weight, halves, open_rows, start, stop):
    """The largest ⟨z_e, w⟩ − half, and its row, of open rows start ≤ e < stop; −1: none."""
    best = -np.inf
    best_row = -1
    for i in range(start, stop):
        if open_rows[i]:
            score = row_dot(values, i, weight) - halves[i]
            if best_row < 0 or score > best:
                best = score
                best_row = i
    return best, best_row
