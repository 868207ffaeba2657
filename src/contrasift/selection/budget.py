"""How a budget is shared among classes: Webster's divisors, exact in total, never taking back.

Seat j = 0, 1, ... of class c has the quotient

    q_cj = claim_c / (2j + 1),      claim_c = size_c · weight_c  (proportional)  or  weight_c  (equal)

and places go to the largest quotients, equal ones to the lowest class first (Webster 1832,
Sainte-Laguë 1910; Balinski & Young, *Fair Representation*, ch. 3 and 4). The places of a smaller
budget are the first places of a larger one, so no class loses a place when the budget grows.
Quotients are compared in float64: distinct ones stay distinct for classes of up to 47 million.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import numpy as np
from jaxtyping import Int64, Shaped

from contrasift.arrays import check_budget, check_fraction
from contrasift.errors import UsageError

PerClass = Int64[np.ndarray, " n_classes"]
Weights = Shaped[np.ndarray, " weights"]


def resolve_budget(n: int, *, fraction: float | None = None, budget: int | None = None) -> int:
    """The number of examples to keep out of n.

    A fraction is taken as it is written in decimals and rounded half up, to at least one example:
    0.285 of 100 is 29, and 0.01 of 10 is 1. It is the only place where anything is rounded.

    Args:
        n: examples in the pool.
        fraction: share in (0, 1].
        budget: a count in 0..n, instead of the fraction.

    Raises:
        UsageError: both, neither, or one out of range.
    """
    remedy = "Give exactly one of --fraction and --budget"
    if fraction is None:
        if budget is None:
            raise UsageError("a fraction or a budget", "neither", remedy)
        return check_budget(budget, n)
    if budget is not None:
        raise UsageError("a fraction or a budget", "both", remedy)
    exact = Decimal(str(check_fraction(fraction))) * n
    return min(n, max(1, int(exact.to_integral_value(ROUND_HALF_UP))))


def allocate(
    sizes: PerClass,
    total: int,
    *,
    how: str = "proportional",
    minimum: int = 0,
    weights: Weights | None = None,
    kept: PerClass | None = None,
    available: PerClass | None = None,
) -> PerClass:
    """Places for every class: Webster's, between what each must and can have, exact in total.

    Args:
        sizes: examples of each class [K].
        total: places to give.
        how: `proportional` to the sizes, or `equal`.
        minimum: at least this many for every class that has them.
        weights: a factor on the claim of each class [K].
        kept: examples of each class that must be selected [K].
        available: examples of each class that may be selected [K]; default: all.

    Returns:
        places int64 [K], with sum `total`.

    Raises:
        UsageError: the total lies below what must be given or above what there is.
    """
    limits = _limits(sizes, how, minimum, weights, kept, available)
    least, most = int(limits.floor.sum()), int(limits.cap.sum())
    if total < least:
        raise UsageError(
            f"a budget of at least {least}, the examples that must be kept and the minimum of every class",
            f"{total}",
            "Raise the budget, or shorten the must-keep list or --min-per-class",
        )
    if total > most:
        raise UsageError(
            f"a budget of at most {most}, the examples that may be selected",
            f"{total}",
            "Lower the budget, or shorten the must-drop list",
        )
    return np.bincount(_places(limits, total), minlength=sizes.size).astype(np.int64)


def webster_order(
    sizes: PerClass,
    *,
    how: str = "proportional",
    minimum: int = 0,
    weights: Weights | None = None,
    kept: PerClass | None = None,
    available: PerClass | None = None,
) -> Int64[np.ndarray, " n"]:
    """The class that receives each place in turn, until every example has one.

    First the examples that must be kept, then the minimum of every class, then Webster's order,
    last the examples that may not be selected. The first b entries hold each class exactly
    `allocate(sizes, b, ...)` times, for every b between what must and what can be given.

    Args:
        sizes: examples of each class [K].
        how: as in `allocate`.
        minimum: as in `allocate`.
        weights: as in `allocate`.
        kept: as in `allocate`.
        available: as in `allocate`.

    Returns:
        class codes int64 [sum of sizes].

    Raises:
        UsageError: an argument that `allocate` refuses.
    """
    limits = _limits(sizes, how, minimum, weights, kept, available)
    given = _places(limits, int(limits.cap.sum()))
    dropped = np.repeat(np.arange(sizes.size), sizes - limits.cap)
    return np.concatenate([given, dropped])


class _Limits:
    """What each class claims, must have and can have."""

    def __init__(self, claim: np.ndarray, kept: np.ndarray, floor: np.ndarray, cap: np.ndarray):
        self.claim, self.kept, self.floor, self.cap = claim, kept, floor, cap


def _limits(
    sizes: np.ndarray,
    how: str,
    minimum: int,
    weights: np.ndarray | None,
    kept: np.ndarray | None,
    available: np.ndarray | None,
) -> _Limits:
    if how not in ("proportional", "equal"):
        raise UsageError("proportional or equal", how)
    if minimum < 0:
        raise UsageError("a minimum per class of at least 0", f"{minimum}")
    kept = np.zeros_like(sizes) if kept is None else kept
    cap = sizes if available is None else available
    if (kept > cap).any():
        worst = int(np.argmax(kept - cap))
        raise UsageError(
            f"at most {cap[worst]} examples to keep in class number {worst}", f"{kept[worst]}"
        )
    claim = sizes.astype(np.float64) if how == "proportional" else np.ones(sizes.size)
    if weights is not None:
        claim = claim * _checked_weights(weights, sizes.size)
    return _Limits(claim, kept, np.maximum(kept, np.minimum(minimum, cap)), cap)


def _checked_weights(weights: np.ndarray, n_classes: int) -> np.ndarray:
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (n_classes,):
        raise UsageError(f"one weight for each of the {n_classes} classes", f"{weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise UsageError("class weights that are finite and not negative", f"{weights.min()}")
    return weights


def _places(limits: _Limits, total: int) -> np.ndarray:
    """Classes in the order in which they receive the first `total` places."""
    upto = _seats_that_matter(limits, total)
    classes = np.repeat(np.arange(upto.size), upto)
    starts = np.cumsum(upto) - upto
    seat = np.arange(classes.size) - starts[classes]
    quotient = limits.claim[classes] / (2 * seat + 1)
    # Seats lie class by class, so a stable sort gives equal quotients to the lowest class.
    if not limits.floor.any():
        return classes[np.argsort(-quotient, kind="stable")[:total]]
    tier = (seat >= limits.kept[classes]).astype(np.int8) + (seat >= limits.floor[classes])
    return classes[np.lexsort((-quotient, tier))[:total]]


def _seats_that_matter(limits: _Limits, total: int) -> np.ndarray:
    """A number of seats per class that surely covers the first `total` places.

    Bisects the quotient above which at least `total` seats lie; keeps the whole of a small pool.
    """
    claim, cap = limits.claim, limits.cap
    if total >= int(cap.sum()) // 2 or not (claim > 0).all():
        return cap

    def seats_above(quotient: float) -> np.ndarray:
        # One seat to spare: a rounding error here must not cost a class its place.
        free = np.minimum(claim / quotient / 2 + 1.5, cap).astype(np.int64)
        return np.maximum(free, limits.floor)

    high = float(claim.max())
    low = float((claim / (2 * np.maximum(cap, 1) + 1)).min())
    for _ in range(60):
        middle = np.sqrt(low * high)
        # Places that the floors hold beyond the divisor do not count towards the total.
        enough = np.minimum(claim / middle / 2 - 0.5, cap).clip(0).astype(np.int64)
        if int(np.maximum(enough, limits.floor).sum()) >= total:
            low = middle
        else:
            high = middle
    return seats_above(low)
