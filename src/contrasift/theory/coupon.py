"""Coupon collector: how many draws see every class, and how many of them collide with the anchor.

A batch of K+1 draws has one anchor and K negatives (Nozawa & Sato 2021, arXiv 2102.06866). Everything
here is exact up to rounding: no quantity is a difference of large numbers, and what is below the float
range is given as a logarithm. Relative errors are about 1e-11 at 1,000 classes and 1e-9 at 100,000.
Drawing with replacement and without are the same computation: see `coupon_laws`.
Numbers to check against: docs/mathematics.md#seeing-all-classes.
"""

from __future__ import annotations

import math

import numpy as np

from contrasift.errors import UsageError
from contrasift.theory.coupon_laws import (
    NEGLIGIBLE,
    BinomialLaw,
    PoissonLaw,
    in_blocks,
    log_drawn,
    log_hit_probability,
    root,
)
from contrasift.theory.urns import Urn


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
    law = BinomialLaw.at_mean(urn, n) if urn.counts is not None else PoissonLaw.at_mean(urn, n)
    log_all_drawn = float(urn.multiplicity @ log_drawn(law.rates))
    return min(0.0, log_all_drawn + log_hit_probability(law, n) - law.log_total_probability(n))


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
        seen = float(urn.multiplicity @ log_drawn(rate * time))
        return -math.expm1(seen) * time * (math.exp(-time) if finite else 1.0)

    # Before `early` all classes are never seen (a chance below e^-44); after `late` they always are.
    slowest = float(rate.min())
    early = math.log(_time_of_coverage(rate, urn.multiplicity, -NEGLIGIBLE))
    late = math.log((NEGLIGIBLE + math.log(urn.n_classes)) / slowest)
    before = -math.expm1(-math.exp(early)) if finite else math.exp(early)
    between, _ = quad(missing, early, late, epsabs=0, epsrel=1e-11, limit=2000)
    return (before + between) * (urn.size + 1 if urn.size is not None else 1)


def collision_probability(urn: Urn, negatives: int) -> float:
    """τ_K: the probability that at least one of K negatives has the anchor's class.

    τ_K = 1 − Σ_c π_c (1−π_c)^K; without replacement (1−π_c)^K is ∏_{j<N_c−1} (1 − K/(N−1−j)).

    Args:
        urn: what is drawn from.
        negatives: K ≥ 1.

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
    for shares, weight in in_blocks(times.size, urn.shares, weights):
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


def _time_of_coverage(rate: np.ndarray, multiplicity: np.ndarray, target: float) -> float:
    """The time s at which Σ_c ln(1 − e^{−rate_c s}) is the target."""

    def excess(log_time: float) -> float:
        return float(multiplicity @ log_drawn(rate * math.exp(log_time))) - target

    classes = float(multiplicity.sum())
    # −e^{−x}/(1 − e^{−x}) ≤ ln(1 − e^{−x}) ≤ ln x
    low = target / classes - math.log(float(rate.max())) - 1e-6
    high = math.log(math.log1p(classes / -target) / float(rate.min())) + 1e-6
    return math.exp(root(excess, low, high))


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
