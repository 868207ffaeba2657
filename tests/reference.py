"""Naive versions of the selection algorithms: loops over rows and subsets, nothing clever."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np


def exact_sum(values: np.ndarray, rows: np.ndarray) -> list[Fraction]:
    """Σ z over rows without any rounding."""
    return [sum((Fraction(float(x)) for x in values[rows, j]), Fraction(0))
            for j in range(values.shape[1])]  # fmt: skip


def similarity_value(similarity: np.ndarray, subset: list[int], redundancy: float) -> float:
    """F from the similarity matrix: Σ_{i∈V,j∈S} s_ij − λ Σ_{i,j∈S} s_ij."""
    subset = list(subset)
    return float(
        similarity[:, subset].sum() - redundancy * similarity[np.ix_(subset, subset)].sum()
    )


def value(values: np.ndarray, subset: list[int], redundancy: float) -> float:
    """F_λ by its double sums over pairs, in float64."""
    wide = values.astype(np.float64)
    return similarity_value(wide @ wide.T, subset, redundancy)


def greedy(
    values: np.ndarray,
    budget: int,
    redundancy: float,
    keep: list[int] | None = None,
    eligible: np.ndarray | None = None,
) -> tuple[list[int], list[float]]:
    """Plain argmax of every row's gain at every step; the library's own row kernel computes it."""
    from contrasift.selection.kernels import dots as kernels
    from contrasift.selection.kernels import linear_form as objectives

    scale = kernels.fixed_point_scale(values)
    total = objectives.total_of(values)
    squares = objectives.squared_norms(values)
    order = sorted(keep or [])
    open_rows = np.ones(len(values), bool) if eligible is None else eligible.copy()
    open_rows[order] = False
    found = []
    for step in range(budget):
        selected = objectives.sum_of(values, np.array(order[:step], np.int64), scale)
        gains = objectives.scores(values, total - (2.0 * redundancy) * selected)
        gains -= redundancy * squares
        if step >= len(order):
            order.append(int(np.argmax(np.where(open_rows, gains, -np.inf))))
            open_rows[order[-1]] = False
        found.append(float(gains[order[step]]))
    return order, found


def best_value(
    values: np.ndarray,
    budget: int,
    redundancy: float,
    keep: list[int] | None = None,
    eligible: np.ndarray | None = None,
) -> float:
    """The largest F_λ over all subsets of a size."""
    return max(subset_values(values, budget, redundancy, keep, eligible))


def subset_values(
    values: np.ndarray,
    budget: int,
    redundancy: float,
    keep: list[int] | None = None,
    eligible: np.ndarray | None = None,
) -> list[float]:
    """F_λ of every subset of a size that holds `keep` and else only eligible rows."""
    kept = list(keep or [])
    free = [
        i for i in range(len(values)) if i not in kept and (eligible is None or bool(eligible[i]))
    ]
    return [
        value(values, kept + list(chosen), redundancy)
        for chosen in combinations(free, budget - len(kept))
    ]
