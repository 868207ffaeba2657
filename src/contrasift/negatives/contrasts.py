"""Whether hard negatives differ from the rest: a t-test, a bootstrap, and Cochran's Q (arXiv 2010.06682, §4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contrasift.errors import UsageError
from contrasift.evaluation import Interval, mean_and_interval
from contrasift.negatives.profiles import HARD, REST, Number, Profile


@dataclass(frozen=True)
class Contrast:
    """Whether a measure differs between the hardest 5 % and the rest.

    Attributes:
        hard: mean over the hardest 5 %, over replicates.
        rest: mean over the rest.
        t: of an unpaired t-test between the replicates' means; None for one replicate.
        p: its two-sided p-value; None for one replicate.
        difference: hard − rest, its mean over all queries.
        low: lower end of its 95 % bootstrap interval over queries.
        high: upper end.
        bootstrap_p: two-sided; at least 2/(draws + 1), as few draws can tell no more.
    """

    hard: Interval
    rest: Interval
    t: float | None
    p: float | None
    difference: float
    low: float
    high: float
    bootstrap_p: float


def contrast(
    profiles: Sequence[Profile], measure: str, *, draws: int = 2000, seed: int = 0
) -> Contrast:
    """Compare the hardest 5 % with the rest: the paper's t-test, and a bootstrap over queries.

    The unit of the t-test is a replicate (the paper does not say what its was): the mean of all
    its queries. The bootstrap draws queries with replacement from all replicates and takes the
    mean of each query's own difference.

    Args:
        profiles: one a replicate.
        measure: `similarity` or the name of a relation.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        UsageError: no replicates.
    """
    if not profiles:
        raise UsageError("at least one replicate", "none")
    hard = [profile.by_band[measure][HARD] for profile in profiles]
    rest = [profile.by_band[measure][REST] for profile in profiles]
    t = p = None
    if len(profiles) > 1:
        t, p = unpaired_t_test([part.mean() for part in hard], [part.mean() for part in rest])
    differences = np.concatenate(hard) - np.concatenate(rest)
    rng = np.random.default_rng(seed)
    means = np.array([
        differences[rng.integers(0, differences.size, differences.size)].mean()
        for _ in range(draws)
    ])  # fmt: skip
    low, high = np.quantile(means, [0.025, 0.975])
    tail = min((means <= 0).sum(), (means >= 0).sum())
    return Contrast(
        mean_and_interval([part.mean() for part in hard]),
        mean_and_interval([part.mean() for part in rest]),
        t,
        p,
        float(differences.mean()),
        float(low),
        float(high),
        float(min(1.0, 2 * (tail + 1) / (draws + 1))),
    )


def unpaired_t_test(
    first: Sequence[Number] | np.ndarray, second: Sequence[Number] | np.ndarray
) -> tuple[float | None, float | None]:
    """Student's t and its two-sided p for two samples of equal variance, as the paper uses it.

    Returns:
        t and p; None and None where neither sample varies.
    """
    from scipy.special import stdtr

    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    freedom = a.size + b.size - 2
    pooled = (((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / freedom
    if pooled == 0:
        return None, None
    t = float((a.mean() - b.mean()) / np.sqrt(pooled * (1 / a.size + 1 / b.size)))
    return t, float(2 * stdtr(freedom, -abs(t)))


@dataclass(frozen=True)
class Consistency:
    """Whether some negatives are hard for more queries than chance would have it.

    Attributes:
        shares: [n]; share of the queries for which each negative is among the hardest 5 %. Their
            mean is 5 % by construction.
        shuffled: [n]; the same after permuting the negatives for every query.
        sd: standard deviation of `shares`.
        shuffled_sd: that of `shuffled`.
        expected_sd: of the baseline, √(p(1 − p)/q) for a share p of each of q queries.
        q: Cochran's Q.
        log10_p: logarithm of its p-value, which may be too small for a number.
        never: share of the negatives that are hard for no query.
    """

    shares: np.ndarray
    shuffled: np.ndarray
    sd: float
    shuffled_sd: float
    expected_sd: float
    q: float
    log10_p: float
    never: float


def consistency(profile: Profile) -> Consistency:
    """Test whether negatives differ in how often they are hard: Cochran's Q.

    Each of q queries marks m of n negatives as hard. With G_k the marks of negative k,
    Q = (n − 1)·Σ_k (G_k − Ḡ)² / (q·m·(n − m)/n) follows χ² with n − 1 degrees of freedom when
    every query marks at random.
    """
    from scipy.special import gammaincc

    n_queries = len(profile.overall["similarity"])
    n, m = profile.n, profile.n_hard
    counts = profile.hard_counts.astype(np.float64)
    if n == 1 or m == n:
        raise UsageError("more negatives than are among the hardest 5 %", f"{n}")
    q = float((n - 1) * ((counts - counts.mean()) ** 2).sum() / (n_queries * m * (n - m) / n))
    p = float(gammaincc((n - 1) / 2, q / 2))
    shares, shuffled = counts / n_queries, profile.shuffled_counts / n_queries
    share = m / n
    return Consistency(
        shares,
        shuffled,
        float(shares.std()),
        float(shuffled.std()),
        float(np.sqrt(share * (1 - share) / n_queries)),
        q,
        float(np.log10(p)) if p > 1e-300 else _log10_chi2_tail(n - 1, q),
        float((counts == 0).mean()),
    )


def _log10_chi2_tail(freedom: int, value: float) -> float:
    """Far tail of χ²: x^{a−1} e^{−x} / (Γ(a)·(1 − (a − 1)/x)), a = freedom/2, x = value/2."""
    from scipy.special import gammaln

    a, x = freedom / 2, value / 2
    log_tail = (a - 1) * np.log(x) - x - gammaln(a) - np.log1p(-(a - 1) / x)
    return float(log_tail / np.log(10))
