"""A mean over seeds, and how well it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contrasift.errors import DataError


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and how well it is known.

    Attributes:
        mean: of the values.
        standard_error: sample standard deviation / √n; None for one value.
        low: lower end of the 95 % interval by Student's t; None for one value.
        high: its upper end; None for one value.
        n: number of values.
    """

    mean: float
    standard_error: float | None
    low: float | None
    high: float | None
    n: int


def mean_and_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Mean, standard error and 95 % interval: mean ± t_{0.975, n−1} · s/√n.

    Args:
        values: one number a seed.

    Returns:
        The interval; without ends when there is one value.

    Raises:
        DataError: no value, or one that is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if numbers.size == 0 or not np.isfinite(numbers).all():
        raise DataError("at least one value, all finite", f"{numbers.tolist()}")
    mean = float(numbers.mean())
    if numbers.size == 1:
        return Interval(mean, None, None, None, 1)
    from scipy.special import stdtrit

    error = float(numbers.std(ddof=1) / np.sqrt(numbers.size))
    reach = float(stdtrit(numbers.size - 1, 0.975)) * error
    return Interval(mean, error, mean - reach, mean + reach, numbers.size)


def paired_difference(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray
) -> Interval:
    """Mean of first − second over the same seeds, with its interval.

    Pairing removes what the seeds have in common, so the interval is narrower than that of two
    separate means.

    Args:
        first: one number a seed.
        second: one number a seed, in the same order.

    Raises:
        DataError: different lengths, no value, or one that is not finite.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.shape != right.shape:
        raise DataError("two values for every seed", f"{left.size} and {right.size} values")
    return mean_and_interval(left - right)
