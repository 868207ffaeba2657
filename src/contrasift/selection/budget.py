"""How a budget is shared among classes: Webster's divisors, exact in total, never taking back.

Seat j = 0, 1, ... of class c has the quotient

    q_cj = claim_c / (2j + 1),      claim_c = size_c · weight_c  (proportional)  or  weight_c  (equal)

and places go to the largest quotients, equal ones to the lowest class first (Webster 1832,
Sainte-Laguë 1910; Balinski & Young, *Fair Representation*, ch. 3 and 4). The places of a smaller
budget are the first places of a larger one, so no class loses a place when the budget grows.
Quotients are compared in float64: distinct ones stay distinct for classes of up to 47 million.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

import numpy as np
from jaxtyping import Int64, Shaped

from contrasift.arrays import check_budget, check_fraction
from contrasift.errors import UsageError

PerClass = Int64[np.ndarray, " n_classes"]
Weights = Shaped[np.ndarray, " weights"]

# Seats that are sorted at once, in all and for every class: few enough to stay near the processor,
# and so many that looking for the end of a run costs less than sorting it.
_RUN, _RUN_A_CLASS = 1 << 17, 4
_LEAST = float(np.finfo(np.float64).smallest_subnormal)


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
    remedy = "Give exactly one of them"
    if fraction is None:
        if budget is None:
            raise UsageError("fraction= or budget=", "neither", remedy)
        return check_budget(budget, n)
    if budget is not None:
        raise UsageError("fraction= or budget=", "both", remedy)
    exact = Decimal(str(check_fraction(fraction))) * n
    return min(n, max(1, int(exact.to_integral_value(ROUND_HALF_UP))))


@dataclass(frozen=True)
class Shares:
    """What each class claims, must have and can have of a budget.

    Attributes:
        sizes: examples of each class, int64 [K].
        claim: what places are shared by, float64 [K].
        kept: examples of each class that must be selected [K].
        floor: what it gets at least [K].
        first: examples of it that come before any others of any class [K].
        cap: examples of it that may be selected [K].
    """

    sizes: np.ndarray
    claim: np.ndarray
    kept: np.ndarray
    floor: np.ndarray
    first: np.ndarray
    cap: np.ndarray

    @classmethod
    def of(
        cls,
        sizes: PerClass,
        *,
        how: str = "proportional",
        minimum: int = 0,
        weights: Weights | None = None,
        kept: PerClass | None = None,
        available: PerClass | None = None,
        first: PerClass | None = None,
    ) -> Shares:
        """Settle them.

        Args:
            sizes: examples of each class [K].
            how: `proportional` to the sizes, or `equal`.
            minimum: at least this many for every class that has them.
            weights: a factor on the claim of each class [K].
            kept: examples of each class that must be selected [K].
            available: examples of each class that may be selected [K]; default: all.
            first: of these, so many before any others of any class [K]; default: all.

        Raises:
            UsageError: another way to share, numbers out of range, or more to keep than there are.
        """
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
        first = cap if first is None else np.clip(first, kept, cap)
        floor = np.maximum(kept, np.minimum(minimum, first))
        return cls(sizes, claim, kept, floor, first, cap)

    def allocate(self, total: int) -> PerClass:
        """Places for every class: Webster's, between what each must and can have, exact in total.

        Args:
            total: places to give.

        Returns:
            places int64 [K], with sum `total`.

        Raises:
            UsageError: the total lies below what must be given or above what there is.
        """
        least, most = int(self.floor.sum()), int(self.cap.sum())
        if total < least:
            raise UsageError(
                f"a budget of at least {least}, the examples that must be kept and the minimum of every class",
                f"{total}",
                "Raise the budget, or shorten the list must_keep= or lower min_per_class=",
            )
        if total > most:
            raise UsageError(
                f"a budget of at most {most}, the examples that may be selected",
                f"{total}",
                "Lower the budget, or shorten the must-drop list",
            )
        places = np.zeros(self.sizes.size, dtype=np.int64)
        for low, high in _runs(self):
            missing = total - int(low.sum())
            if int((high - low).sum()) > missing:
                last, _ = _by_quotient(self.claim, low, high)
                return low + np.bincount(last[:missing], minlength=self.sizes.size)
            places = high
        return places

    def webster_order(self) -> Int64[np.ndarray, " n"]:
        """The class that receives each place in turn, until every example has one.

        First the examples that must be kept, then the minimum of every class, then Webster's order,
        last the examples that may not be selected. The first b entries hold each class exactly
        `allocate(b)` times, for every b between what must and what can be given.

        Returns:
            class codes int64 [sum of sizes].
        """
        seats = (classes for classes, _ in self.seats_by_quota())
        return np.concatenate([np.empty(0, dtype=np.int64), *seats])

    def seats_by_quota(
        self,
    ) -> Iterator[tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]]:
        """`webster_order` in blocks, so that it need not be held.

        Yields:
            class of each place, and which of the class's places it is, from 0.
        """
        for low, high in _runs(self):
            yield _by_quotient(self.claim, low, high)
        for low, high in _class_by_class(self.cap, self.sizes):
            yield _seats(low, high)


def _checked_weights(weights: np.ndarray, n_classes: int) -> np.ndarray:
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (n_classes,):
        raise UsageError(f"one weight for each of the {n_classes} classes", f"{weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise UsageError("class weights that are finite and not negative", f"{weights.min()}")
    return weights


def _runs(shares: Shares) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All seats that may be given, in runs of falling quotients: from where to where by class."""
    tiers = (shares.kept, shares.floor, shares.first, shares.cap)
    for low, last in pairwise((np.zeros_like(shares.kept), *tiers)):
        while (low < last).any():
            due = np.where(low < last, shares.claim / (2 * low + 1), 0)
            if not due.any():  # no class has a claim to what is left
                yield from _class_by_class(low, last)
                break
            high = _next_run(shares.claim, low, last, due)
            yield low, high
            low = high


def _next_run(claim: np.ndarray, low: np.ndarray, last: np.ndarray, due: np.ndarray) -> np.ndarray:
    """Where the next run ends: half as many seats as may be or more, and more if they are equal."""
    claiming, most = due > 0, max(_RUN, _RUN_A_CLASS * claim.size)
    above = float(due.max())
    below = max(float((claim / (2 * last - 1))[claiming].min()), _LEAST)
    if int((last - low)[claiming].sum()) <= most:
        return _seats_from(below, claim, low, last)
    high = _seats_from(above, claim, low, last)
    for _ in range(60):
        if 2 * int((high - low).sum()) >= most:
            break
        middle = float(np.sqrt(above) * np.sqrt(below))
        more = _seats_from(middle, claim, low, last)
        if int((more - low).sum()) > most:
            below = middle
        else:
            above, high = middle, more
    return high


def _seats_from(
    quotient: float, claim: np.ndarray, low: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Up to where in low … last the seats of each class have this quotient or a larger one."""
    with np.errstate(over="ignore"):
        seats = (claim / quotient / 2 + 0.5).clip(low, last).astype(np.int64)
    while True:  # until quotients as they are compared, which are rounded, say the same
        more = (seats < last) & (claim / (2 * seats + 1) >= quotient)
        less = (seats > low) & (claim / (2 * seats - 1) < quotient)
        if not (more.any() or less.any()):
            return seats
        seats += more
        seats -= less


def _by_quotient(
    claim: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Class and number of the seats low … high, the largest quotient first."""
    classes, seats = _seats(low, high)
    # Seats lie class by class, so a stable sort gives equal quotients to the lowest class.
    order = np.argsort(-(claim[classes] / (2 * seats + 1)), kind="stable")
    return classes[order], seats[order]


def _class_by_class(low: np.ndarray, last: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Runs of the seats low … last in the order of classes."""
    while (left := last - low).any():
        high = low + np.minimum(left, (_RUN - (np.cumsum(left) - left)).clip(0))
        yield low, high
        low = high


def _seats(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class and number of the seats low … high, class by class."""
    counts = high - low
    classes = np.repeat(np.arange(counts.size), counts)
    ahead = low - (np.cumsum(counts) - counts)
    return classes, np.arange(classes.size) + ahead[classes]
