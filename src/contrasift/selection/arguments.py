"""What `select` is asked for, checked and brought into one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contrasift.class_names import unique_keys
from contrasift.errors import DataError, UsageError
from contrasift.options import ChoiceOptions
from contrasift.selection.task import SettledOptions


def nested_fractions(fractions: Sequence[float] | None, options: ChoiceOptions) -> list[float]:
    """Several fractions, ascending, if they are asked for and nothing speaks against them."""
    if fractions is None or len(fractions) == 0:
        return []
    one = "budget=" if options.fraction is None else "fraction="
    if options.fraction is not None or options.budget is not None:
        raise UsageError(
            "one of fractions=, fraction= and budget=",
            f"more than one, fractions= and {one}",
            "The largest fraction is selected",
        )
    if not options.greedy or options.refine != "none":
        raise UsageError(
            "optimizer='greedy' and refine='none' for several fractions at once",
            f"optimizer='{options.optimizer}' and refine='{options.refine}'",
            "Only greedy's selections are nested: run once for every fraction",
        )
    return sorted({float(part) for part in fractions})


def checked_scores(scores: Any, n: int, dropped: np.ndarray, keep: str) -> np.ndarray:
    """One score a row as float64; infinite ones may be, and dropped rows need none."""
    values = np.asarray(scores)
    if values.shape != (n,) or values.dtype.kind not in "fiub":
        raise DataError(
            f"one score for each of the {n:,} examples", f"{values.dtype} {values.shape}"
        )
    values = np.array(values, dtype=np.float64)
    nothing = dropped[np.isnan(values[dropped])]
    values[nothing] = -np.inf if keep == "high" else np.inf
    missing = np.flatnonzero(np.isnan(values))
    if missing.size:
        raise DataError(
            "scores that are numbers",
            f"NaN for {missing.size:,} examples, the first in row {missing[0]}",
            "Give every example a score, or put those without one on the list must_drop=",
        )
    return values


def check_relaxable(options: SettledOptions, budget: int, n: int) -> None:
    """The relaxation must stay below the fraction 1/(2λ)."""
    limit = 1 / (2 * options.redundancy) if options.redundancy > 0 else float("inf")
    # The last example may be owed to rounding.
    if options.optimizer == "relaxed" and budget - 1 >= limit * n:
        raise UsageError(
            f"a budget up to the fraction 1/(2λ) = {limit:.4g} for the relaxation at "
            f"λ = {options.redundancy:g}, beyond which it discards the most central examples",
            f"{budget} of {n}",
            "Leave redundancy= at its default, lower it, or use optimizer='greedy'",
        )


def rows_of_indices(index: np.ndarray | None, n: int, wanted: Any, name: str) -> np.ndarray:
    """Rows of the given pool indices, ascending, each once; without an index they are its rows."""
    if wanted is None:
        return np.empty(0, dtype=np.int64)
    numbers = np.asarray(wanted)
    if numbers.size == 0:
        return np.empty(0, dtype=np.int64)
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        raise UsageError(f"{name}= as a list of pool indices", f"{numbers.dtype} {numbers.shape}")
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
            f"{name}= as a list of indices in the pool",
            f"{missing.size} that are not, among them {missing[0]}",
            "Indices count from 0 and are those of the column `index`",
        )
    return np.sort(rows)


def resolved_weights(weights: Any, names: np.ndarray) -> np.ndarray | None:
    """One weight a class, from a mapping by name or from a list."""
    if weights is None:
        return None
    if not isinstance(weights, Mapping):
        listed = np.asarray(weights, dtype=np.float64)
        if listed.shape != (len(names),):
            raise UsageError(
                f"class_weights= with one weight for each of the {len(names)} classes",
                f"shape {listed.shape}",
            )
        return listed
    known = {str(name): code for code, name in enumerate(names.tolist())}
    resolved = np.ones(len(names))
    written = unique_keys(weights, "classes with a weight")
    for name, weight in zip(written, weights.values(), strict=True):
        if name not in known:
            some = ", ".join(list(known)[:5])
            raise UsageError(
                f"class_weights= of classes that exist, such as {some}",
                f"a weight for class {name}",
            )
        resolved[known[name]] = weight
    return resolved
