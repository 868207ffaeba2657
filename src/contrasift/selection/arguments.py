"""What `select` is asked for, checked and brought into one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contrasift.catalogue import OBJECTIVES
from contrasift.class_names import unique_keys
from contrasift.errors import DataError, UsageError
from contrasift.selection import objectives
from contrasift.selection.checks import check_redundancy
from contrasift.selection.task import Method


def check_combination(
    objective: str, optimizer: str, refine: str, allocate: str, minimum: int, weights: object
) -> None:
    """Budgets by class must go with the objective and the allocation, refinements with greedy."""
    if optimizer != "greedy" and refine != "none":
        raise UsageError("the optimizer greedy where a refinement is chosen", optimizer)
    by_class = allocate == "equal" or minimum > 0 or weights is not None
    if OBJECTIVES[objective].blind and by_class:
        raise UsageError(
            f"no budgets by class for the objective {objective}, which is blind to classes",
            "an equal allocation, a minimum per class, or class weights",
            "Use random-per-class",
        )
    if allocate == "global" and (minimum > 0 or weights is not None):
        raise UsageError(
            "no budgets by class where the allocation is global",
            "a minimum per class or class weights",
            "Use the allocation proportional or equal",
        )


def checked_fractions(
    fractions: Sequence[float] | None,
    fraction: float | None,
    budget: int | None,
    optimizer: str,
    refine: str,
) -> list[float]:
    """Several fractions, ascending, if they are asked for and nothing speaks against them."""
    if fractions is None or len(fractions) == 0:
        return []
    if fraction is not None or budget is not None:
        raise UsageError(
            "fractions, a fraction or a budget", "more than one", "The largest fraction is selected"
        )
    if optimizer != "greedy" or refine != "none":
        raise UsageError(
            "the optimizer greedy without refinement for several fractions at once",
            f"{optimizer} with refinement {refine}",
            "Only greedy's selections are nested: run once for every fraction",
        )
    return sorted({float(part) for part in fractions})


def resolved_redundancy(redundancy: float | None, share: float) -> float:
    """λ, or the default of a share of the pool."""
    if redundancy is None:
        return objectives.default_redundancy(share) if share > 0 else 1.0
    check_redundancy(redundancy)
    return float(redundancy)


def checked_threshold(threshold: float | None) -> float | None:
    """τ as a number in [−1, 1], or None."""
    if threshold is None:
        return None
    if not -1 <= threshold <= 1:
        raise UsageError("a threshold τ in [-1, 1], a cosine", f"{threshold}")
    return float(threshold)


def checked_scores(scores: Any, n: int) -> np.ndarray:
    """One score a row as float64; infinite ones may be."""
    values = np.asarray(scores)
    if values.shape != (n,) or values.dtype.kind not in "fiub":
        raise DataError(
            f"one score for each of the {n:,} examples", f"{values.dtype} {values.shape}"
        )
    values = values.astype(np.float64)
    missing = np.flatnonzero(np.isnan(values))
    if missing.size:
        raise DataError(
            "scores that are numbers",
            f"NaN for {missing.size:,} examples, the first in row {missing[0]}",
            "Give every example a score, or put those without one on a must-drop list",
        )
    return values


def check_relaxable(method: Method, budget: int, n: int) -> None:
    """The relaxation must stay below the fraction 1/(2λ)."""
    limit = 1 / (2 * method.redundancy) if method.redundancy > 0 else float("inf")
    # The last example may be owed to rounding.
    if method.optimizer == "relaxed" and budget - 1 >= limit * n:
        raise UsageError(
            f"a budget up to the fraction 1/(2λ) = {limit:.4g} for the relaxation at "
            f"λ = {method.redundancy:g}, beyond which it discards the most central examples",
            f"{budget} of {n}",
            "Leave --redundancy at its default, lower it, or use --optimizer greedy",
        )


def rows_of_indices(index: np.ndarray | None, n: int, wanted: Any, name: str) -> np.ndarray:
    """Rows of the given pool indices, ascending, each once; without an index they are its rows."""
    if wanted is None:
        return np.empty(0, dtype=np.int64)
    numbers = np.asarray(wanted)
    if numbers.size == 0:
        return np.empty(0, dtype=np.int64)
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        raise UsageError(f"a {name} list of pool indices", f"{numbers.dtype} {numbers.shape}")
    numbers = np.unique(numbers)
    if index is None:
        rows = numbers.astype(np.int64)
        missing = numbers[(numbers < 0) | (numbers >= n)]
    else:
        by_index = np.argsort(index, kind="stable")
        place = np.minimum(np.searchsorted(index, numbers, sorter=by_index), n - 1)
        rows = by_index[place]
        missing = numbers[index[rows] != numbers]
    if missing.size:
        raise UsageError(
            f"a {name} list of indices in the pool",
            f"{missing.size} that are not, among them {missing[0]}",
            "Indices count from 0 and are those of the column `index`",
        )
    return np.sort(rows)


def resolved_weights(weights: Any, names: np.ndarray) -> np.ndarray | None:
    """One weight a class, from a mapping by name or from a list."""
    if weights is None:
        return None
    if not isinstance(weights, Mapping):
        return np.asarray(weights, dtype=np.float64)
    known = {str(name): code for code, name in enumerate(names.tolist())}
    resolved = np.ones(len(names))
    written = unique_keys(weights, "classes with a weight")
    for name, weight in zip(written, weights.values(), strict=True):
        if name not in known:
            some = ", ".join(list(known)[:5])
            raise UsageError(
                f"weights of classes that exist, such as {some}", f"a weight for class {name}"
            )
        resolved[known[name]] = weight
    return resolved
