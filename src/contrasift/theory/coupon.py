"""Coupon collector: how many draws see every class, and how many of them collide with the anchor.

A batch of K+1 draws has one anchor and K negatives (Nozawa & Sato 2021, arXiv 2102.06866). Everything
here is exact up to rounding: no quantity is a difference of large numbers, and what is below the float
range is given as a logarithm. Relative errors are about 1e-11 at 1,000 classes and 1e-9 at 100,000.

Both ways to draw are the same computation. Draw each class a random number of times, independently:
Poisson(π_c r) with replacement, Binomial(N_c, p) without. Given that the total is n, this is the law
of n draws. So with X_c the numbers *given that none is zero*,

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

from contrasift.errors import DataError, UsageError

_SUM_TOLERANCE = 1e-6
_NEGLIGIBLE = 44.0  # e^-44 = 8e-20, against a sum of order one
_ALIAS_SIGMAS, _ALIAS_MARGIN = 24, 65
_BLOCK = 1 << 20  # complex numbers at a time


@dataclass(frozen=True)
class Urn:
    """What is drawn from: classes, grouped where they are equally likely.

    Attributes:
        shares: float64 [g]; the different class probabilities, ascending.
        multiplicity: int64 [g]; how many classes have each of them.
        counts: int64 [g]; examples in each such class, when draws are not put back; else None.
    """

    shares: np.ndarray
    multiplicity: np.ndarray
    counts: np.ndarray | None = None

    @property
    def n_classes(self) -> int:
        """C, the number of classes."""
        return int(self.multiplicity.sum())

    @property
    def size(self) -> int | None:
        """Examples in the urn; None when draws are put back."""
        return None if self.counts is None else int(self.counts @ self.multiplicity)

    @property
    def uniform(self) -> bool:
        """Whether all classes are equally likely."""
        return self.shares.size == 1


def uniform_urn(n_classes: int) -> Urn:
    """C equally likely classes, drawn with replacement.

    Raises:
        UsageError: no class.
    """
    if n_classes < 1:
        raise UsageError("at least one class", str(n_classes))
    return Urn(np.array([1.0 / n_classes]), np.array([n_classes], dtype=np.int64))


def urn_from_priors(priors: object) -> Urn:
    """Classes with these probabilities, drawn with replacement.

    Args:
        priors: [C]; each above 0, together 1 (up to 1e-6, then scaled to 1).

    Returns:
        The urn.

    Raises:
        DataError: not numbers, none, zeros or negatives among them, or another sum.
    """
    values = _vector(priors, "priors")
    bad = np.flatnonzero(~(values > 0))
    if bad.size:
        raise DataError(
            "priors above 0",
            f"{values[bad[0]]} for class {bad[0]}",
            "A class that is never drawn is never seen: leave it out",
        )
    total = math.fsum(values)
    if abs(total - 1) > _SUM_TOLERANCE:
        raise DataError(
            "priors that sum to one", f"a sum of {total:.9g}", "Divide each of them by this sum"
        )
    shares, multiplicity = np.unique(values / total, return_counts=True)
    return Urn(shares, multiplicity.astype(np.int64))


def urn_from_counts(counts: object) -> Urn:
    """A finite pool with so many examples of each class, drawn without replacement.

    Args:
        counts: [C]; whole numbers of at least 1.

    Returns:
        The urn.

    Raises:
        DataError: not whole numbers, none, or a class without examples.
    """
    values = _vector(counts, "class counts")
    bad = np.flatnonzero((values < 1) | (values != np.round(values)))
    if bad.size:
        raise DataError(
            "class counts that are whole numbers of at least 1",
            f"{values[bad[0]]:g} for class {bad[0]}",
            "A class without examples is never seen: leave it out",
        )
    unique, multiplicity = np.unique(values.astype(np.int64), return_counts=True)
    multiplicity = multiplicity.astype(np.int64)
    return Urn(unique / (unique @ multiplicity), multiplicity, unique)


def _vector(values: object, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "fiu":
        raise DataError(
            f"{name} as a list of numbers, one a class",
            f"an array of shape {array.shape} and dtype {array.dtype}",
        )
    wide = array.astype(np.float64)
    if not np.isfinite(wide).all():
        raise DataError(f"finite {name}", "NaN or infinity among them")
    return wide


def log_coverage_probability(urn: Urn, draws: int) -> float:
    """The logarithm of υ_n, the probability that n draws see every class.

    With replacement υ_n = Σ_{T ⊆ [C]} (−1)^{|T|} (1 − π_T)^n = n! [z^n] ∏_c (e^{π_c z} − 1); without,
    υ_n = [z^n] ∏_c ((1+z)^{N_c} − 1) / binom(N, n). Computed as the module says.

    Args:
        urn: what is drawn from.
        draws: n ≥ 0.

    Returns:
        ln υ_n ≤ 0; −inf when there are fewer draws than classes.

    Raises:
        UsageError: n < 0, or more draws than the urn holds.
    """
    n = _check_draws(urn, draws)
    if n < urn.n_classes:
        return -math.inf
    if urn.size is not None and n > urn.size - int(urn.counts.min()):  # type: ignore[union-attr]
        return 0.0  # not even the smallest class can be missing
    if n == urn.n_classes:
        return _log_one_of_each(urn)
    law = _BinomialLaw.at_mean(urn, n) if urn.counts is not None else _PoissonLaw.at_mean(urn, n)
    log_all_drawn = float(urn.multiplicity @ _log_drawn(law.rates))
    return min(0.0, log_all_drawn + _log_hit_probability(law, n) - law.log_total_probability(n))


def coverage_probability(urn: Urn, draws: int) -> float:
    """υ_n, the probability that n draws see every class: exp of `log_coverage_probability`."""
    return math.exp(log_coverage_probability(urn, draws))


def draws_to_cover(urn: Urn, probability: float) -> int:
    """The smallest n with υ_n ≥ p.

    Args:
        urn: what is drawn from.
        probability: p in (0, 1).

    Returns:
        Draws, anchor included.

    Raises:
        UsageError: p is not inside (0, 1).
    """
    if not 0 < probability < 1:
        raise UsageError("a probability inside (0, 1)", f"{probability}")
    target = math.log(probability)
    too_few, enough = urn.n_classes - 1, urn.size
    n = max(urn.n_classes, min(_poisson_draws(urn, target), urn.size or 2**62))
    steps = 0
    while enough is None or enough - too_few > 1:
        value = log_coverage_probability(urn, n)
        too_few, enough = (n, enough) if value < target else (too_few, n)
        steps += 1
        guess = _newton_draws(urn, n, value, target)
        if enough is None:
            n = max(guess, too_few + 1 + too_few // 1000)
        else:
            # Newton's method; halving, should it ever crawl.
            guess = guess if steps % 8 else (too_few + enough) // 2
            n = min(max(guess, too_few + 1), enough - 1)
    return enough


def expected_draws(urn: Urn) -> float:
    """E[K+1]: the mean number of draws until every class has been seen.

    Uniform: C·H_C. General: ∫_0^∞ (1 − ∏_c (1 − e^{−π_c s})) ds. Without replacement:
    (N+1) ∫_0^1 (1 − ∏_c (1 − (1−t)^{N_c})) dt, by giving every example a uniform arrival time.

    Args:
        urn: what is drawn from.

    Returns:
        Draws, anchor included.
    """
    if urn.counts is None and urn.uniform:
        return urn.n_classes * float(np.sum(1.0 / np.arange(urn.n_classes, 0, -1)))
    from scipy.integrate import quad

    # With a = −ln(1−t) the second integral is that of e^{−a} times the first's kind of integrand.
    finite = urn.counts is not None
    rate = urn.shares if urn.counts is None else urn.counts.astype(np.float64)

    def missing(log_time: float) -> float:
        """P(some class is still missing at this time), times the time element."""
        time = math.exp(log_time)
        seen = float(urn.multiplicity @ _log_drawn(rate * time))
        return -math.expm1(seen) * time * (math.exp(-time) if finite else 1.0)

    # Before `early` all classes are never seen (a chance below e^-44); after `late` they always are.
    slowest = float(rate.min())
    early = math.log(_time_of_coverage(rate, urn.multiplicity, -_NEGLIGIBLE))
    late = math.log((_NEGLIGIBLE + math.log(urn.n_classes)) / slowest)
    before = -math.expm1(-math.exp(early)) if finite else math.exp(early)
    between, _ = quad(missing, early, late, epsabs=0, epsrel=1e-11, limit=2000)
    return (before + between) * (urn.size + 1 if urn.size is not None else 1)


def collision_probability(urn: Urn, negatives: int) -> float:
    """τ_K: the probability that at least one of K negatives has the anchor's class.

    τ_K = 1 − Σ_c π_c (1−π_c)^K; without replacement (1−π_c)^K is ∏_{j<N_c−1} (1 − K/(N−1−j)).

    Args:
        urn: what is drawn from.
        negatives: K ≥ 1.

    Returns:
        τ_K.

    Raises:
        UsageError: K < 1, or more negatives than the urn holds beside the anchor.
    """
    weights = urn.shares * urn.multiplicity
    return float(weights @ -np.expm1(_log_no_collision(urn, negatives)))


def log_no_collision_probability(urn: Urn, negatives: int) -> float:
    """ln(1 − τ_K), also where τ_K rounds to one; see `collision_probability`."""
    logs = _log_no_collision(urn, negatives)
    top = float(logs.max())
    if top == -math.inf:
        return top
    return top + math.log(float((urn.shares * urn.multiplicity) @ np.exp(logs - top)))


def expected_collisions(urn: Urn, negatives: int) -> float:
    """E Col = K Σ_c π_c²: how many of K negatives have the anchor's class, on average.

    Without replacement K Σ_c π_c (N_c − 1)/(N − 1).

    Args:
        urn: what is drawn from.
        negatives: K ≥ 1.

    Returns:
        A number of negatives.

    Raises:
        UsageError: K < 1, or more negatives than the urn holds beside the anchor.
    """
    negatives = _check_negatives(urn, negatives)
    same = urn.shares
    if urn.counts is not None and urn.size is not None:
        same = (urn.counts - 1) / (urn.size - 1)
    return negatives * float((urn.shares * urn.multiplicity) @ same)


def expected_log_collisions(urn: Urn, negatives: int) -> float:
    """E ln(Col + 1), the collision term of both bounds.

    With replacement Col ~ Bin(K, π_c) given the anchor's class c, and
    E ln(1 + Col) = ∫_0^∞ (1 − (1 − π_c (1 − e^{−t}))^K) e^{−t}/t dt; the trapezoidal rule in ln t
    converges geometrically (the integrand is analytic for |Im ln t| < π/2). Without replacement Col is
    hypergeometric and the sum is taken over its values.

    Args:
        urn: what is drawn from.
        negatives: K ≥ 1.

    Returns:
        A number between 0 and ln(1 + E Col).

    Raises:
        UsageError: K < 1, or more negatives than the urn holds beside the anchor.
    """
    negatives = _check_negatives(urn, negatives)
    weights = urn.shares * urn.multiplicity
    if urn.counts is not None and urn.size is not None:
        each = [_mean_log_hypergeometric(int(c) - 1, urn.size - 1, negatives) for c in urn.counts]
        return float(weights @ np.array(each))
    step = 0.2
    lowest = -38.0 - math.log1p(negatives * float(urn.shares.max()))
    times = np.exp(np.arange(lowest, math.log(50.0), step))
    falls = -np.expm1(-times)
    total = 0.0
    for shares, weight in _in_blocks(times.size, urn.shares, weights):
        # A share may be exactly one: then log1p is −inf at the far end, which is right.
        with np.errstate(divide="ignore"):
            stays = negatives * np.log1p(-shares[:, None] * falls)
        total += float(weight @ (-np.expm1(stays) @ np.exp(-times)))
    return total * step


def expected_log_collisions_bound(urn: Urn, negatives: int) -> float:
    """ln(1 + E Col) ≥ E ln(Col + 1), by Jensen's inequality."""
    return math.log1p(expected_collisions(urn, negatives))


def log_coverage_by_anchor(urn: Urn, negatives: int) -> tuple[np.ndarray, np.ndarray]:
    """The logarithm of P(K negatives complete the anchor's class to all classes), for an anchor of each group.

    With an anchor of class c and K negatives, all classes are drawn without a collision with
    probability (1−π_c)^K υ_K(the other classes), and in all with υ_K more.

    Args:
        urn: what is drawn from, with replacement.
        negatives: K ≥ 1.

    Returns:
        Two logarithms for each of the urn's groups: of all classes being drawn, and of that without
        a collision; −inf when K < C − 1.

    Raises:
        UsageError: K < 1, or an urn without replacement.
    """
    negatives = _check_negatives(urn, negatives)
    if urn.counts is not None:
        raise UsageError("draws with replacement", "an urn of counts", "Use its shares as priors")
    free = _log_no_collision(urn, negatives)
    for group, share in enumerate(urn.shares):
        multiplicity = urn.multiplicity.copy()
        multiplicity[group] -= 1
        kept = multiplicity > 0
        if kept.any():
            others = Urn(urn.shares[kept] / (1 - share), multiplicity[kept])
            free[group] += log_coverage_probability(others, negatives)
    return np.logaddexp(free, log_coverage_probability(urn, negatives)), free


def _check_draws(urn: Urn, draws: int) -> int:
    if draws < 0:
        raise UsageError("a number of draws of at least 0", str(draws))
    if urn.size is not None and draws > urn.size:
        raise UsageError(
            f"at most the {urn.size} draws that the pool holds",
            str(draws),
            "Give the classes as priors to draw with replacement",
        )
    return int(draws)


def _check_negatives(urn: Urn, negatives: int) -> int:
    if negatives < 1:
        raise UsageError(
            "at least one negative (K of 1)", str(negatives), "A batch of b has K = b − 1"
        )
    _check_draws(urn, negatives + 1)
    return int(negatives)


def _log_no_collision(urn: Urn, negatives: int) -> np.ndarray:
    """The logarithm of P(no negative has the anchor's class), for an anchor of each group's classes."""
    negatives = _check_negatives(urn, negatives)
    with np.errstate(divide="ignore"):  # one class: every negative collides, −inf
        if urn.counts is None or urn.size is None:
            return negatives * np.log1p(-np.minimum(urn.shares, 1.0))
        others = urn.size - 1 - np.arange(int(urn.counts.max()) - 1, dtype=np.float64)
        factors = np.log(np.maximum(0.0, (others - negatives) / others))
    return np.concatenate([[0.0], np.cumsum(factors)])[urn.counts - 1]


def _log_one_of_each(urn: Urn) -> float:
    """The logarithm of υ_C: every draw another class."""
    from scipy.special import gammaln

    c = urn.n_classes
    if urn.counts is None:
        return float(gammaln(c + 1) + urn.multiplicity @ np.log(urn.shares))
    ways = urn.multiplicity @ np.log(urn.counts)
    size = float(urn.size or 0)
    return float(ways + gammaln(c + 1) - np.sum(np.log(size - np.arange(c))))


@dataclass(frozen=True)
class _PoissonLaw:
    """Independent Poisson numbers of draws, given that no class has none.

    Attributes:
        rates: λ_c = π_c r; a class is missing with probability e^{−λ_c}.
        multiplicity: classes with each rate.
    """

    rates: np.ndarray
    multiplicity: np.ndarray

    @classmethod
    def at_mean(cls, urn: Urn, n: int) -> _PoissonLaw:
        """The r at which E Σ X_c = n; it lies in [n − C, n] since λ_c ≤ E X_c ≤ 1 + λ_c."""

        def excess(r: float) -> float:
            rates = urn.shares * r
            return float(urn.multiplicity @ (rates / -np.expm1(-rates))) - n

        low, high = max(n - urn.n_classes, 1e-3) * (1 - 1e-12), n * (1 + 1e-12)
        r = _root(excess, low, high)
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
class _BinomialLaw:
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
    def at_mean(cls, urn: Urn, n: int) -> _BinomialLaw:
        """The p at which E Σ X_c = n; it lies in [(n−C)/(N−C), n/N] since 1 ≤ E X_c ≤ 1 + (N_c−1)p."""
        counts, size = urn.counts, urn.size
        assert counts is not None  # the caller's branch
        assert size is not None

        def excess(decay: float) -> float:
            ratio = math.expm1(-decay) / np.expm1(-decay * counts)
            return float(urn.multiplicity @ (counts * ratio)) - n

        low = -math.log1p(-(n - urn.n_classes) / (size - urn.n_classes)) * (1 - 1e-12)
        high = -math.log1p(-n / size) * (1 + 1e-12)
        decay = _root(excess, low, high)
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


def _log_hit_probability(law: _PoissonLaw | _BinomialLaw, n: int) -> float:
    """The logarithm of P(Σ_c X_c = n): (1/M) Σ_j E e^{iθ_j (Σ X_c − n)}, θ_j = 2πj/M, without negligible terms."""
    sigma = math.sqrt(law.variance())
    half = int(_ALIAS_SIGMAS * sigma + _ALIAS_MARGIN) // 2  # M = 2·half + 1: no angle is π
    step = 2 * math.pi / (2 * half + 1)
    reach = min(math.pi, math.sqrt(2 * _NEGLIGIBLE) / max(sigma, 1e-3))
    while reach < math.pi and law.log_majorant(reach) > -_NEGLIGIBLE:
        reach = min(math.pi, 1.2 * reach)
    angles = step * np.arange(1, min(half, math.ceil(reach / step)) + 1)
    exponent = law.log_untruncated(angles, n)
    # A class that is missing with a chance below e^-44 counts as surely drawn, at every angle kept.
    rare = law.rates * max(0.0, math.cos(float(angles[-1]))) < _NEGLIGIBLE
    for rates, multiplicity in _in_blocks(angles.size, law.rates[rare], law.multiplicity[rare]):
        drawn = np.expm1(law.log_missing(rates, angles)) / np.expm1(-rates)[:, None]
        exponent = exponent + multiplicity @ np.log(drawn)
    terms = np.real(np.exp(exponent))
    return math.log((1.0 + 2.0 * math.fsum(terms)) * step / (2 * math.pi))


def _in_blocks(width: int, *columns: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """The columns cut so that a block times `width` stays small."""
    rows = max(1, _BLOCK // max(1, width))
    return [
        tuple(column[start : start + rows] for column in columns)
        for start in range(0, columns[0].size, rows)
    ]


def _log_drawn(rates: np.ndarray) -> np.ndarray:
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


def _mean_log_hypergeometric(good: int, size: int, draws: int) -> float:
    """E ln(1 + X), X the number of good ones in `draws` from `size` without replacement."""
    low, high = max(0, draws - (size - good)), min(good, draws)
    mean = draws * good / size
    spread = math.sqrt(mean * (1 - good / size) + 1)
    low = max(low, math.floor(mean - 12 * spread - 60))
    high = min(high, math.ceil(mean + 12 * spread + 60))
    values = np.arange(low, high, dtype=np.float64)
    ups = (good - values) * (draws - values)
    downs = (values + 1) * (size - good - draws + values + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(ups) - np.log(downs))])
    weights = np.exp(logs - logs.max())
    return float(weights @ np.log1p(np.arange(low, high + 1)) / weights.sum())


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses zero."""
    from scipy.optimize import brentq

    return float(brentq(excess, low, high, xtol=1e-15, rtol=1e-12))  # type: ignore[arg-type]


def _time_of_coverage(rate: np.ndarray, multiplicity: np.ndarray, target: float) -> float:
    """The time s at which Σ_c ln(1 − e^{−rate_c s}) is the target."""

    def excess(log_time: float) -> float:
        return float(multiplicity @ _log_drawn(rate * math.exp(log_time))) - target

    classes = float(multiplicity.sum())
    # −e^{−x}/(1 − e^{−x}) ≤ ln(1 − e^{−x}) ≤ ln x
    low = target / classes - math.log(float(rate.max())) - 1e-6
    high = math.log(math.log1p(classes / -target) / float(rate.min())) + 1e-6
    return math.exp(_root(excess, low, high))


def _poisson_draws(urn: Urn, target: float) -> int:
    """About how many draws make ln υ_n the target: those at whose Poisson time it is."""
    if urn.counts is None:
        return math.ceil(_time_of_coverage(urn.shares, urn.multiplicity, target))
    decay = _time_of_coverage(urn.counts.astype(np.float64), urn.multiplicity, target)
    return math.ceil((urn.size or 0) * -math.expm1(-decay))


def _newton_draws(urn: Urn, n: int, value: float, target: float) -> int:
    """Where ln(−ln υ) would meet its target, with the slope of the Poisson approximation."""
    if value >= 0 or value == -math.inf:
        return n - 1 if value >= 0 else n + 1
    size = urn.size
    time = float(n) if size is None else -math.log1p(-min(n, size - 0.5) / size)
    rate = urn.shares if urn.counts is None else urn.counts.astype(np.float64)
    speed = 1.0 if size is None else 1 / (size - min(n, size - 0.5))
    slope = speed * float(urn.multiplicity @ (rate / np.expm1(np.minimum(rate * time, 700.0))))
    if slope <= 0:
        return n - 1 if value >= target else n + 1
    step = math.log(value / target) * -value / slope
    return math.ceil(n + max(-n, min(n, step)))
