"""What may follow greedy: the paper's double greedy over its output, and swaps at fixed size.

All in the linear form F_λ(S) = ⟨M, T⟩ − λ‖M‖², M = Σ_{j∈S} z_j, T = Σ_{i∈V} z_i.
Numbers to check against: docs/mathematics.md#double-greedy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from contrasift.arrays import EmbeddingMatrix, RowMask
from contrasift.selection.kernels.dots import compiled, embedding_rows
from contrasift.selection.kernels.linear_form import scores, sum_of, value
from contrasift.selection.kernels.passes import HeldRows

_CANDIDATES = 256
_SWEEPS = 100


def double_greedy(
    values: EmbeddingMatrix,
    order: Int64[np.ndarray, " k"],
    *,
    total: Float64[np.ndarray, " d"],
    redundancy: float,
    generator: np.random.Generator | None = None,
    keep: Int64[np.ndarray, " kept"] | None = None,
) -> Bool[np.ndarray, " k"]:
    """Double greedy of Buchbinder et al. over the output of greedy, as SAS uses it (Algorithm 1).

    X = ∅, Y = order. For every e in turn

        a = F(X ∪ e) − F(X) = ⟨z_e, T⟩ − λ‖z_e‖² − 2λ⟨z_e, M_X⟩
        b = F(Y ∖ e) − F(Y) = −⟨z_e, T⟩ − λ‖z_e‖² + 2λ⟨z_e, M_Y⟩

    Deterministic: keep e iff a ≥ b. Randomised: keep with probability a⁺ / (a⁺ + b⁺), one if both
    are 0. At λ = 1 the first rule reads s(e, X) ≤ s(e, V∖Y). It reaches a third, the second half
    in expectation, of the best *subset of the given order*; it may shrink the set.

    Args:
        values: z [n, d].
        order: the ground set, in greedy order.
        total: T over the whole class [d].
        redundancy: λ.
        generator: source of the coins; None for the deterministic rule.
        keep: rows that stay whatever the rule says.

    Returns:
        For each entry of `order`, whether it stays.
    """
    coins = np.empty(0) if generator is None else generator.random(order.size)
    forced = np.zeros(order.size, dtype=bool) if keep is None else np.isin(order, keep)
    upper = sum_of(values, order)
    return _double_greedy(
        embedding_rows(values), order, total, upper, float(redundancy), coins, forced
    )


@dataclass(frozen=True)
class Swapped:
    """A set that was improved by swaps.

    Attributes:
        selected: int64 [k]; rows, ascending.
        value: F of the new set.
        swaps: how many were made.
        sweeps: passes over the class.
        exhausted: no single swap whatever would raise F further; if False, none among the
            candidates looked at does, or the limit of sweeps was reached.
    """

    selected: np.ndarray
    value: float
    swaps: int
    sweeps: int
    exhausted: bool


def swap(
    values: EmbeddingMatrix,
    selected: Int64[np.ndarray, " k"],
    *,
    total: Float64[np.ndarray, " d"],
    redundancy: float,
    keep: Int64[np.ndarray, " kept"] | None = None,
    eligible: RowMask | None = None,
    candidates: int = _CANDIDATES,
    sweeps: int = _SWEEPS,
) -> Swapped:
    """Exchange selected for unselected rows while that raises F at the same size.

        F(S − e + f) − F(S) = ⟨z_f − z_e, g⟩ − λ‖z_f − z_e‖²,      g = T − 2λM

    The last term is never positive, so only pairs with ⟨z_f, g⟩ > ⟨z_e, g⟩ can gain. A sweep scores
    all rows (n·d), takes the worst selected and the best unselected ones as candidates, and makes
    the best swap among them until none gains (candidates·d each). Ties: lowest row e, then f.

    Args:
        values: z [n, d].
        selected: S, rows in any order.
        total: T [d].
        redundancy: λ.
        keep: rows that must stay.
        eligible: rows that may come in; default: all.
        candidates: how many of each side a sweep looks at.
        sweeps: at most so many.

    Returns:
        The improved set with what was done.
    """
    inside = np.zeros(values.shape[0], dtype=bool)
    inside[selected] = True
    swaps, exhausted, sweep = 0, False, 0
    while sweep < sweeps:
        sweep += 1
        chosen_sum = sum_of(values, np.flatnonzero(inside))
        central = scores(values, total - 2 * redundancy * chosen_sum)
        leaving, entering, complete = _candidates(central, inside, keep, eligible, candidates)
        made = 0
        if leaving.size and entering.size:
            rows = np.concatenate([leaving, entering])
            within = inside[rows]
            near = np.ascontiguousarray(values[rows], dtype=np.float64)
            # Rounding must not make two rows change places for ever.
            least = 1e-12 * max(1.0, float(np.abs(central[rows]).max()))
            made = _swap_among(near, central[rows], within, float(redundancy), least)
            inside[rows] = within
        swaps += made
        if made == 0:
            exhausted = complete
            break
    rows = np.flatnonzero(inside)
    return Swapped(rows, value(total, sum_of(values, rows), redundancy), swaps, sweep, exhausted)


def replay(
    values: EmbeddingMatrix,
    order: Int64[np.ndarray, " k"],
    *,
    total: Float64[np.ndarray, " d"],
    redundancy: float,
) -> Float64[np.ndarray, " k"]:
    """The gain of every row when rows are added in this order; they sum to F of the set.

        gain(e | S) = ⟨z_e, T⟩ − λ‖z_e‖² − 2λ⟨z_e, M⟩

    Args:
        values: z [n, d].
        order: rows.
        total: T [d].
        redundancy: λ.
    """
    return HeldRows(values).replay(order, total, float(redundancy))


def _candidates(
    scores: np.ndarray,
    inside: np.ndarray,
    keep: np.ndarray | None,
    eligible: np.ndarray | None,
    limit: int,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Rows that could leave and rows that could enter with a gain, and whether these are all."""
    may_leave = inside.copy()
    if keep is not None:
        may_leave[keep] = False
    may_enter = ~inside if eligible is None else ~inside & eligible
    if not (may_leave.any() and may_enter.any()):
        return np.empty(0, np.int64), np.empty(0, np.int64), True
    lowest, highest = scores[may_leave].min(), scores[may_enter].max()
    leaving = np.flatnonzero(may_leave & (scores < highest))
    entering = np.flatnonzero(may_enter & (scores > lowest))
    complete = leaving.size <= limit and entering.size <= limit
    leaving = np.sort(leaving[np.argsort(scores[leaving], kind="stable")[:limit]])
    entering = np.sort(entering[np.argsort(-scores[entering], kind="stable")[:limit]])
    return leaving, entering, complete


@compiled
def _double_greedy(values, order, total, upper, redundancy, coins, forced):
    d = values.shape[1]
    lower = np.zeros(d)
    upper = upper.copy()
    stays = np.zeros(order.size, dtype=np.bool_)
    for i in range(order.size):
        row = order[i]
        central = square = to_lower = to_upper = 0.0
        for j in range(d):
            entry = np.float64(values[row, j])
            central += entry * total[j]
            square += entry * entry
            to_lower += entry * lower[j]
            to_upper += entry * upper[j]
        add = central - redundancy * square - 2 * redundancy * to_lower
        remove = -central - redundancy * square + 2 * redundancy * to_upper
        if forced[i]:
            stays[i] = True
        elif coins.size == 0:
            stays[i] = add >= remove
        else:
            add, remove = max(add, 0.0), max(remove, 0.0)
            stays[i] = add + remove == 0 or coins[i] * (add + remove) < add
        for j in range(d):
            if stays[i]:
                lower[j] += values[row, j]
            else:
                upper[j] -= values[row, j]
    return stays


@compiled
def _swap_among(near, scores, within, redundancy, least):
    """Make the best swap among the given rows until none gains more than `least`."""
    m, d = near.shape
    gram = np.empty((m, m))
    for i in range(m):
        for j in range(i + 1):
            dot = 0.0
            for c in range(d):
                dot += near[i, c] * near[j, c]
            gram[i, j] = gram[j, i] = dot
    scores = scores.copy()
    made = 0
    while made < 10 * m:
        best, leave, enter = least, -1, -1
        for e in range(m):
            if not within[e]:
                continue
            for f in range(m):
                if within[f]:
                    continue
                apart = gram[e, e] + gram[f, f] - 2 * gram[e, f]
                gain = scores[f] - scores[e] - redundancy * apart
                if gain > best:
                    best, leave, enter = gain, e, f
        if leave < 0:
            break
        within[leave], within[enter] = False, True
        for i in range(m):
            scores[i] -= 2 * redundancy * (gram[i, enter] - gram[i, leave])
        made += 1
    return made
