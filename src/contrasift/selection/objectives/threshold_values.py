"""How good a set is where only similar pairs count: its value, its parts, the mean over random sets, a bound.

F_λτ, R and the table of similarities are those of `threshold`.
"""

from __future__ import annotations

from math import fsum

import numpy as np
from jaxtyping import Float64, Int64

from contrasift.arrays import EmbeddingMatrix, RowMask
from contrasift.selection.checks import check_places, check_redundancy
from contrasift.selection.kernels import dots, linear_form
from contrasift.selection.objectives.threshold import ThresholdTable, checked_sums, product_error


def parts_thresholded(
    values: EmbeddingMatrix,
    chosen: Int64[np.ndarray, " k"],
    *,
    threshold: float,
    redundancy: float,
    row_sums: Float64[np.ndarray, " r"] | None = None,
    threads: int | None = None,
) -> Float64[np.ndarray, " k"]:
    """Each chosen row's part of F_λτ: R_e − λ c_e(S), which sum to it.

    Args:
        values: z, float32 [n, d].
        chosen: S, rows in any order.
        threshold: τ.
        redundancy: λ.
        row_sums: R, if it is known; otherwise only the R of S are made (n·k products).
        threads: None for all processors.

    Raises:
        UsageError: a row that does not exist, τ outside [−1, 1], row sums of another length.
        DataError: NaN, infinity, or rows so long that products overflow.
    """
    sums, penalties = _sums_of_chosen(values, chosen, threshold, row_sums, threads)
    return sums - redundancy * penalties


def _sums_of_chosen(
    values: np.ndarray,
    chosen: np.ndarray,
    threshold: float,
    row_sums: np.ndarray | None,
    threads: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """R_e and c_e(S) of every e in S."""
    rows = dots.embedding_rows(values)
    picked = linear_form.checked_rows(chosen, rows.shape[0], "chosen rows")
    table = ThresholdTable.of(rows, threshold, threads)
    if row_sums is None:
        sums = table.penalties(rows[picked], rows) / table.scale
    else:
        sums = checked_sums(rows, row_sums, table)[picked]
    return sums, table.penalties(rows[picked], rows[picked]) / table.scale


def mean_thresholded(
    values: EmbeddingMatrix,
    budget: int,
    *,
    threshold: float,
    redundancy: float,
    row_sums: Float64[np.ndarray, " r"] | None = None,
    keep: Int64[np.ndarray, " m"] | None = None,
    eligible: RowMask | None = None,
    threads: int | None = None,
) -> float:
    """The exact mean of F_λτ over all sets of a size that hold `keep` and else eligible rows.

    With k' of the n' free rows N drawn, W(A, B) = Σ_{i∈A, j∈B} s'_ij and Q = Σ_{e∈N} s'_ee,

        E F = Σ_keep R + (k'/n') Σ_N R − λ[W(keep, keep) + 2 (k'/n') W(N, keep)
              + (k'/n') Q + k'(k'−1)/(n'(n'−1)) (W(N, N) − Q)]

    Without limits W(N, N) = Σ R, and nothing but R is needed.

    Args:
        values: z, float32 [n, d].
        budget: k, with the rows of `keep` counted in.
        threshold: τ.
        redundancy: λ.
        row_sums: R, if it is known.
        keep: rows in every set.
        eligible: False for rows in no set, unless they are to be kept.
        threads: None for all processors.

    Raises:
        UsageError: a budget that cannot be met, a bad λ or τ, row sums of another length.
        DataError: NaN, infinity, or rows so long that products overflow.
    """
    rows = dots.embedding_rows(values)
    kept, free = check_places(rows.shape[0], budget, keep, eligible)
    check_redundancy(redundancy)
    table = ThresholdTable.of(rows, threshold, threads)
    sums = checked_sums(rows, row_sums, table)
    count, drawn = int(np.count_nonzero(free)), budget - kept.size
    near = table.penalties(rows, rows[kept]) / table.scale
    own = fsum(table.own(rows)[free] / table.scale)
    within = fsum(sums[free])
    if kept.size or count < rows.shape[0]:
        shut = np.flatnonzero(~free)
        if count < 2 * shut.size:
            within = fsum(table.row_sums(dots.embedding_rows(rows[free])) / table.scale)
        else:
            within -= fsum((table.penalties(rows, rows[shut]) / table.scale)[free])
    share = drawn / max(count, 1)
    both = drawn * (drawn - 1) / max(count * (count - 1), 1)
    overlap = fsum(near[kept]) + 2.0 * share * fsum(near[free]) + share * own
    overlap += both * (within - own)
    return fsum(sums[kept]) + share * fsum(sums[free]) - redundancy * overlap


def upper_bound_thresholded(
    values: EmbeddingMatrix,
    chosen: Int64[np.ndarray, " k"],
    *,
    threshold: float,
    redundancy: float,
    row_sums: Float64[np.ndarray, " r"] | None = None,
    keep: Int64[np.ndarray, " m"] | None = None,
    eligible: RowMask | None = None,
    steps: int = 6,
    threads: int | None = None,
) -> float:
    """A number that F_λτ exceeds for no set of |S| rows that holds `keep` and else eligible ones.

    F_λτ is not concave in M = Σ_{j∈S} z_j, but lies below functions that are. For 0 ≤ a and every
    similarity s ≤ B = max‖z‖²,

        s·[s ≥ τ] ≥ a·s − b,      b = max(a τ, (a − 1) τ, (a − 1) B)

    (below τ the left is 0 and a·s < aτ; from τ on a·s − s is largest at an end of [τ, B]). Summed
    over the pairs i ≠ j of S, with k = |S|, and the tangent −‖M‖² ≤ ‖P‖² − 2⟨M, P⟩ at any point P,

        F(S) ≤ Σ_{e∈S} g_e + λ a ‖P‖² + λ b k(k−1),
        g_e = R_e − λ s'_ee + λ a ‖z_e‖² − 2λ a ⟨z_e, P⟩

    of which the k largest g are the most. a = 0 is the modular bound Σ (R_e − λ s'_ee), for τ ≥ 0;
    a = B/(B − τ) weighs the similarities most without counting too much at the top. P starts at
    the M of the given set and takes Frank–Wolfe steps; the least bound found is returned. Where
    a > 0, an allowance for the rounding of s is added, λ(a + 3)(d + 8) 2⁻²⁴ B k(k−1).

    Args:
        values: z, float32 [n, d].
        chosen: a good set of the size in question.
        threshold: τ.
        redundancy: λ ≥ 0.
        row_sums: R, if it is known.
        keep: rows in every set; they must be chosen.
        eligible: False for rows in no set, unless they are to be kept.
        steps: passes over the rows for each a.
        threads: None for all processors.

    Raises:
        UsageError: rows that do not exist, a bad λ or τ, row sums of another length.
        DataError: NaN, infinity, or rows so long that products overflow.
    """
    rows = dots.embedding_rows(values)
    picked = linear_form.checked_rows(chosen, rows.shape[0], "chosen rows")
    kept, free = check_places(rows.shape[0], picked.size, keep, eligible)
    check_redundancy(redundancy)
    table = ThresholdTable.of(rows, threshold, threads)
    modular = checked_sums(rows, row_sums, table)
    modular = modular - redundancy * (table.own(rows) / table.scale)
    squares = linear_form.squared_norms(rows, threads)
    pairs = picked.size * (picked.size - 1)
    tau, largest = float(threshold), table.largest
    steepest = largest / (largest - tau) if 0 < tau < 0.9 * largest else 1.0
    least = np.inf
    for weight in (0.0, 0.5 * steepest, steepest):
        offset = max(weight * tau, (weight - 1) * tau, (weight - 1) * largest)
        if weight > 0:
            offset += (weight + 3.0) * product_error(rows.shape[1], largest)
        constant = redundancy * offset * pairs
        point = linear_form.sum_of(rows, picked, threads=threads)
        pull = redundancy * weight
        fixed = modular + pull * squares
        linear = fsum(fixed[picked])
        for _ in range(steps if pull > 0 else 1):
            gains = fixed - 2.0 * pull * linear_form.scores(rows, point, threads)
            best = _largest_places(gains, free, picked.size - kept.size)
            best = np.concatenate([kept, best])
            bound = fsum(gains[best]) + pull * float(dots.dot(point, point)) + constant
            least = min(least, bound)
            target = linear_form.sum_of(rows, best, threads=threads)
            # The best point between P and the M of these rows: the bound is a parabola there.
            ahead = target - point
            linear_ahead = fsum(fixed[best])
            rise = linear_ahead - linear - 2.0 * pull * float(dots.dot(point, ahead))
            bend = 2.0 * pull * float(dots.dot(ahead, ahead))
            if rise <= 0 or bend == 0:
                break
            share = min(1.0, rise / bend)
            point = point + share * ahead
            linear += share * (linear_ahead - linear)
    return float(least)


def _largest_places(gains: np.ndarray, free: np.ndarray, count: int) -> np.ndarray:
    """Places of the largest gains among the free rows."""
    if count == 0:
        return np.empty(0, np.int64)
    among = np.where(free, gains, -np.inf)
    return np.argpartition(among, among.size - count)[among.size - count :]
