"""The laws behind the coupon collector: independent draws of every class, and the chance of their total.

Draw each class a random number of times, independently: Poisson(π_c r) with replacement,
Binomial(N_c, p) without. Given that the total is n, this is the law of n draws. So with X_c the numbers
*given that none is zero*,

    υ_n = ∏_c P(class c is drawn) · P(Σ_c X_c = n) / P(the total is n),

for any r (or p). The saddle point E Σ X_c = n makes the middle factor as large as it can be. It is a
Fourier sum over M angles, whose aliases P(Σ X_c = n ± jM) lie 24 standard deviations away; angles with
a negligible term are left out by the majorants |e^z − 1| ≤ |z| (e^x − 1)/x, x = Re z, and
|(1+z)^N − 1| ≤ |z| (m^N − 1)/(m − 1), m = |1 + z|, which fall on the half circle.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from contrasift.theory.urns import Urn

NEGLIGIBLE = 44.0  # e^-44 = 8e-20, against a sum of order one
_ALIAS_SIGMAS, _ALIAS_MARGIN = 24, 65
_BLOCK = 1 << 20  # complex numbers at a time


@dataclass(frozen=True)
class PoissonLaw:
    """Independent Poisson numbers of draws, given that no class has none.

    Attributes:
        rates: λ_c = π_c r; a class is missing with probability e^{−λ_c}.
        multiplicity: classes with each rate.
    """

    rates: np.ndarray
    multiplicity: np.ndarray

    @classmethod
    def at_mean(cls, urn: Urn, n: int) -> PoissonLaw:
        """The r at which E Σ X_c = n; it lies in [n − C, n] since λ_c ≤ E X_c ≤ 1 + λ_c."""

        def excess(r: float) -> float:
            rates = urn.shares * r
            return float(urn.multiplicity @ (rates / -np.expm1(-rates))) - n

        low, high = max(n - urn.n_classes, 1e-3) * (1 - 1e-12), n * (1 + 1e-12)
        r = root(excess, low, high)
        return cls(urn.shares * r, urn.multiplicity)

    @property
    def total(self) -> float:
        """R = Σ_c λ_c."""
        return float(self.multiplicity @ self.rates)

    def variance(self) -> float:
        """Of Σ X_c."""
        mean = self.rates / -np.expm1(-self.rates)
        return float(self.multiplicity @ np.maximum(0.0, mean * (1 + self.rates - mean)))

    def log_total_probability(self, n: int) -> float:
        """The logarithm of P(Poisson(R) = n)."""
        return -_deviance(n, self.total) - _stirling_error(n) - 0.5 * math.log(2 * math.pi * n)

    def log_majorant(self, angle: float) -> float:
        """A bound on ln |E e^{iθ Σ X_c}| that falls with θ."""
        return float(
            self.multiplicity
            @ (_log_mean_exp(self.rates * math.cos(angle)) - _log_mean_exp(self.rates))
        )

    def log_untruncated(self, angles: np.ndarray, n: int) -> np.ndarray:
        """The logarithm of E e^{iθ(Y − n)} for Y ~ Poisson(R), without cancelling R against n."""
        total = self.total
        real = -2 * total * np.sin(angles / 2) ** 2
        return real + 1j * (total * _sine_minus_angle(angles) + (total - n) * angles)

    def log_missing(self, rates: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """The logarithm of each class's share of "none" in its characteristic function, [g, angles]."""
        return -rates[:, None] * np.exp(1j * angles)


@dataclass(frozen=True)
class BinomialLaw:
    """Independent binomial numbers of draws, given that no class has none.

    Attributes:
        rates: λ_c = −N_c ln(1−p); a class is missing with probability e^{−λ_c}.
        multiplicity: classes with each rate.
        counts: N_c.
        decay: a = −ln(1−p).
    """

    rates: np.ndarray
    multiplicity: np.ndarray
    counts: np.ndarray
    decay: float

    @classmethod
    def at_mean(cls, urn: Urn, n: int) -> BinomialLaw:
        """The p at which E Σ X_c = n; it lies in [(n−C)/(N−C), n/N] since 1 ≤ E X_c ≤ 1 + (N_c−1)p."""
        counts, size = urn.counts, urn.size
        assert counts is not None  # the caller's branch
        assert size is not None

        def excess(decay: float) -> float:
            ratio = math.expm1(-decay) / np.expm1(-decay * counts)
            return float(urn.multiplicity @ (counts * ratio)) - n

        low = -math.log1p(-(n - urn.n_classes) / (size - urn.n_classes)) * (1 - 1e-12)
        high = -math.log1p(-n / size) * (1 + 1e-12)
        decay = root(excess, low, high)
        return cls(decay * counts, urn.multiplicity, counts, decay)

    @property
    def size(self) -> int:
        """N, the number of examples."""
        return int(self.counts @ self.multiplicity)

    def variance(self) -> float:
        """Of Σ X_c."""
        p = -math.expm1(-self.decay)
        mean = self.counts * p / -np.expm1(-self.rates)
        each = mean * (1 - p + self.counts * p - mean)
        return float(self.multiplicity @ np.maximum(0.0, each))

    def log_total_probability(self, n: int) -> float:
        """The logarithm of P(Binomial(N, p) = n), by Loader's split."""
        size, rest = self.size, self.size - n
        p, q = -math.expm1(-self.decay), math.exp(-self.decay)
        errors = _stirling_error(size) - _stirling_error(n) - _stirling_error(rest)
        scale = 0.5 * (math.log(size / n) - math.log(2 * math.pi * rest))
        return errors - _deviance(n, size * p) - _deviance(rest, size * q) + scale

    def log_majorant(self, angle: float) -> float:
        """A bound on ln |E e^{iθ Σ X_c}| that falls with θ."""
        odds = math.expm1(self.decay)
        growth = 0.5 * math.log1p(odds * (odds + 2 * math.cos(angle))) if odds < 1e8 else self.decay
        return float(
            self.multiplicity
            @ (
                _log_geometric_sum(self.counts, growth)
                - _log_geometric_sum(self.counts, self.decay)
            )
        )

    def log_untruncated(self, angles: np.ndarray, n: int) -> np.ndarray:
        """The logarithm of E e^{iθ(Y − n)} for Y ~ Binomial(N, p)."""
        return self.size * self._log_factor(angles) - 1j * n * angles

    def log_missing(self, rates: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """The logarithm of each class's share of "none" in its characteristic function, [g, angles]."""
        counts = rates / self.decay
        return -rates[:, None] - counts[:, None] * self._log_factor(angles)

    def _log_factor(self, angles: np.ndarray) -> np.ndarray:
        """ln(1 − p + p e^{iθ})."""
        p = -math.expm1(-self.decay)
        return np.log1p(p * (-2 * np.sin(angles / 2) ** 2 + 1j * np.sin(angles)))


def log_hit_probability(law: PoissonLaw | BinomialLaw, n: int) -> float:
    """The logarithm of P(Σ_c X_c = n): (1/M) Σ_j E e^{iθ_j (Σ X_c − n)}, θ_j = 2πj/M, without negligible terms."""
    sigma = math.sqrt(law.variance())
    half = int(_ALIAS_SIGMAS * sigma + _ALIAS_MARGIN) // 2  # M = 2·half + 1: no angle is π
    step = 2 * math.pi / (2 * half + 1)
    reach = min(math.pi, math.sqrt(2 * NEGLIGIBLE) / max(sigma, 1e-3))
    while reach < math.pi and law.log_majorant(reach) > -NEGLIGIBLE:
        reach = min(math.pi, 1.2 * reach)
    angles = step * np.arange(1, min(half, math.ceil(reach / step)) + 1)
    exponent = law.log_untruncated(angles, n)
    # A class that is missing with a chance below e^-44 counts as surely drawn, at every angle kept.
    rare = law.rates * max(0.0, math.cos(float(angles[-1]))) < NEGLIGIBLE
    for rates, multiplicity in in_blocks(angles.size, law.rates[rare], law.multiplicity[rare]):
        drawn = np.expm1(law.log_missing(rates, angles)) / np.expm1(-rates)[:, None]
        exponent = exponent + multiplicity @ np.log(drawn)
    terms = np.real(np.exp(exponent))
    return math.log((1.0 + 2.0 * math.fsum(terms)) * step / (2 * math.pi))


def in_blocks(width: int, *columns: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """The columns cut so that a block times `width` stays small."""
    rows = max(1, _BLOCK // max(1, width))
    return [
        tuple(column[start : start + rows] for column in columns)
        for start in range(0, columns[0].size, rows)
    ]


def log_drawn(rates: np.ndarray) -> np.ndarray:
    """ln(1 − e^{−λ}), to full precision for small and for large λ."""
    small = rates < 0.7
    rare = np.log(-np.expm1(-np.where(small, rates, 1.0)))
    return np.where(small, rare, np.log1p(-np.exp(-np.where(small, 1.0, rates))))


def _log_mean_exp(x: np.ndarray) -> np.ndarray:
    """ln((e^x − 1)/x), for any sign of x."""
    small = np.abs(x) < 1e-4
    safe = np.where(small, 1.0, x)
    size = np.abs(safe)
    exact = np.maximum(safe, 0.0) + np.log(-np.expm1(-size) / size)
    return np.where(small, x / 2 + x * x / 24, exact)


def _log_geometric_sum(counts: np.ndarray, growth: float) -> np.ndarray:
    """The logarithm of Σ_{j<N} e^{jg}."""
    if abs(growth) < 1e-12:
        return np.log(counts)
    top = max(0.0, growth) * (counts - 1)
    size = abs(growth)
    return top + np.log(np.expm1(-size * counts) / math.expm1(-size))


def _sine_minus_angle(angles: np.ndarray) -> np.ndarray:
    """The difference sin θ − θ, by its series where the difference would lose digits."""
    small = np.where(angles < 0.5, angles, 0.0)
    squared, series = small**2, np.ones_like(angles)
    for k in (15, 13, 11, 9, 7, 5):
        series = 1 - squared / (k * (k - 1)) * series
    return np.where(angles < 0.5, -small * squared / 6 * series, np.sin(angles) - angles)


def _stirling_error(n: int) -> float:
    """The logarithm of n! − ((n + ½) ln n − n + ½ ln 2π)."""
    if n == 0:
        return 0.0
    if n < 16:
        return math.lgamma(n + 1) - (n + 0.5) * math.log(n) + n - 0.5 * math.log(2 * math.pi)
    square = 1.0 / (float(n) * n)
    series = 1 / 1260 - square * (1 / 1680 - square * (1 / 1188))
    return (1 / 12 - square * (1 / 360 - square * series)) / n


def _deviance(x: int, mean: float) -> float:
    """The deviance x ln(x/m) + m − x, without cancelling."""
    relative = (x - mean) / mean
    return mean * ((1 + relative) * math.log1p(relative) - relative)


def root(excess: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses zero."""
    from scipy.optimize import brentq

    return float(brentq(excess, low, high, xtol=1e-15, rtol=1e-12))  # type: ignore[arg-type]
