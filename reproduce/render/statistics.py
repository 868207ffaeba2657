"""Differences between arms over equal seeds, what they decide, and how many pairs would settle more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contrasift.errors import UsageError
from contrasift.evaluation import Interval, mean_and_interval

HOLDS, FAILS, OPEN = "holds", "fails", "not significant"


def contrast(
    values: Mapping[str, Mapping[int, float]], weights: Mapping[str, float | int]
) -> Interval | None:
    """A weighted sum of arms over the seeds that all of them have, with its 95 % t-interval.

    c_s = Σ_a w_a · v_{a,s},   mean(c) ± t_{0.975, n−1} · sd(c)/√n

    Args:
        values: v, by arm, then seed.
        weights: w, by arm.

    Returns:
        The interval; None where no seed has all arms.
    """
    series = [values.get(arm, {}) for arm in weights]
    seeds = sorted(set.intersection(*(set(one) for one in series))) if series else []
    if not seeds:
        return None
    factors = list(weights.values())
    return mean_and_interval(
        [sum(w * one[seed] for w, one in zip(factors, series, strict=True)) for seed in seeds]
    )


def pairs_needed(deviation: float, half_width: float, most: int = 100_000) -> int:
    """The fewest pairs whose 95 % interval reaches no further than `half_width` to either side.

    min n ≥ 2 with t_{0.975, n−1} · deviation/√n ≤ half_width

    Args:
        deviation: of the differences of pairs.
        half_width: in the same unit.
        most: where to give up.

    Raises:
        UsageError: a half-width that is not above 0.
    """
    from scipy.special import stdtrit

    if not half_width > 0:
        raise UsageError("a half-width above 0", f"{half_width}")

    def enough(n: int) -> bool:
        return float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n) <= half_width

    low, high = 2, 2
    while not enough(high) and high < most:
        low, high = high, 2 * high
    while low < high:  # the half-width falls with n
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def deviation_of(interval: Interval) -> float | None:
    """The standard deviation of the single values behind an interval; None for one value."""
    if interval.standard_error is None:
        return None
    return interval.standard_error * math.sqrt(interval.n)


@dataclass(frozen=True)
class Verdict:
    """What an interval says of a claim.

    Attributes:
        word: `holds`, `fails` or `not significant`.
        interval: of the contrast; None where there is nothing to judge by.
    """

    word: str
    interval: Interval | None


def decide(interval: Interval | None, rule: str, margin: float | int) -> Verdict:
    """Hold a contrast's interval against a margin; both in the same unit.

    Args:
        interval: of the contrast.
        rule: `above`: the interval lies above the margin (holds) or below it (fails); `within`:
            it lies inside ±margin (holds) or outside (fails).
        margin: the margin.

    Raises:
        UsageError: another rule.
    """
    if rule not in ("above", "within"):
        raise UsageError("a rule: above or within", rule)
    if interval is None or interval.low is None or interval.high is None:
        return Verdict(OPEN, interval)
    if rule == "above":
        holds, fails = interval.low > margin, interval.high <= margin
    else:
        holds = -margin <= interval.low and interval.high <= margin
        fails = interval.low > margin or interval.high < -margin
    return Verdict(HOLDS if holds else FAILS if fails else OPEN, interval)


def in_points(values: Sequence[float] | np.ndarray) -> list[float]:
    """Accuracies in [0, 1] as points, 0 to 100."""
    return [100 * float(value) for value in values]
