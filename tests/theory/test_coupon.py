"""Coupon collector against 50-digit arithmetic, exact fractions, other algorithms and simulation."""

from __future__ import annotations

import itertools
import math
import time
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.errors import DataError, UsageError
from contrasift.theory import coupon
from contrasift.theory.coupon import (
    collision_probability,
    coverage_probability,
    draws_to_cover,
    expected_collisions,
    expected_draws,
    expected_log_collisions,
    expected_log_collisions_bound,
    log_coverage_by_anchor,
    log_coverage_probability,
    log_no_collision_probability,
)
from contrasift.theory.urns import uniform_urn, urn_from_counts, urn_from_priors

TOY = urn_from_priors([0.5, 0.3, 0.2])


def exact_log_coverage(n_classes: int, draws: int) -> mpmath.mpf:
    """ln Σ_m (−1)^m binom(C, m) (1 − m/C)^n with as many digits as cancel, and 50 more."""
    # υ itself is at least about 10^size; what the alternating terms reach beyond it cancels.
    size = log_coverage_probability(uniform_urn(n_classes), draws) / math.log(10)
    biggest = max(
        mpmath.log10(mpmath.binomial(n_classes, m)) + draws * mpmath.log10(1 - m / n_classes)
        for m in range(0, n_classes, max(1, n_classes // 50))
    )
    with mpmath.workdps(int(70 + max(0, biggest) - size)):
        total, factor = mpmath.mpf(0), mpmath.mpf(1)
        for m in range(n_classes):
            term = factor * mpmath.power(1 - mpmath.mpf(m) / n_classes, draws)
            total += term
            if m > 5 and abs(term) < abs(total) * mpmath.mpf(10) ** -60:
                break
            factor = -factor * (n_classes - m) / (m + 1)
        return mpmath.log(total)


def subset_coverage(priors: list[float], draws: int) -> float:
    """Σ_{T ⊆ [C]} (−1)^{|T|} (1 − π_T)^n in 50 digits."""
    with mpmath.workdps(50):
        values = [mpmath.mpf(p) for p in priors]
        total = mpmath.mpf(0)
        for size in range(len(values) + 1):
            for subset in itertools.combinations(values, size):
                total += (-1) ** size * mpmath.power(1 - mpmath.fsum(subset), draws)
        return float(total)


def dynamic_coverage(priors: np.ndarray, draws: int) -> float:
    """Positive dynamic programme: q_c(N) = Σ_{j≥1} Bin(j; N, π_c/P_c) q_{c−1}(N−j)."""
    from scipy.stats import binom

    seen = np.zeros(draws + 1)
    seen[0] = 1.0
    for c, share in enumerate(priors):
        ratio = min(1.0, share / priors[: c + 1].sum())
        seen = np.array(
            [
                sum(binom.pmf(np.arange(1, n + 1), n, ratio) * seen[n - 1 :: -1][:n]) if n else 0.0
                for n in range(draws + 1)
            ]
        )
    return float(seen[draws])


def recursion_coverage(n_classes: int, draws: int) -> float:
    """p_{n+1}(i) = p_n(i) i/C + p_n(i−1) (C−i+1)/C; υ_n = p_n(C)."""
    i = np.arange(n_classes + 1)
    p = np.zeros(n_classes + 1)
    p[0] = 1.0
    for _ in range(draws):
        p = p * i / n_classes + np.concatenate(
            [[0.0], p[:-1] * (n_classes - i[1:] + 1) / n_classes]
        )
    return float(p[n_classes])


def exact_pool_coverage(counts: list[int], draws: int) -> Fraction:
    """[z^n] ∏_c ((1+z)^{N_c} − 1) / binom(N, n) in whole numbers."""
    polynomial = [1]
    for count in counts:
        factor = [math.comb(count, j) for j in range(count + 1)]
        factor[0] = 0
        product = [0] * (len(polynomial) + count)
        for i, a in enumerate(polynomial):
            for j, b in enumerate(factor):
                product[i + j] += a * b
        polynomial = product
    return Fraction(polynomial[draws], math.comb(sum(counts), draws))


@pytest.mark.parametrize(
    ("n_classes", "draws"),
    [
        *[(1, 1), (1, 7), (2, 2), (2, 3), (2, 500), (10, 10), (10, 11), (10, 32), (10, 4000)],
        *[(100, 100), (100, 101), (100, 128), (100, 256), (100, 512), (100, 1024), (100, 65536)],
        *[(1000, 1000), (1000, 1001), (1000, 1024), (1000, 4096), (1000, 8192), (1000, 65536)],
    ],
)
def test_uniform_coverage_against_fifty_digits(n_classes: int, draws: int) -> None:
    exact = exact_log_coverage(n_classes, draws)
    got = log_coverage_probability(uniform_urn(n_classes), draws)
    assert abs(got - float(exact)) < 1e-10


@pytest.mark.parametrize("draws", [1_000_000, 1_500_000, 3_000_000])
def test_a_hundred_thousand_classes_against_fifty_digits(draws: int) -> None:
    exact = exact_log_coverage(100_000, draws)
    assert abs(log_coverage_probability(uniform_urn(100_000), draws) - float(exact)) < 1e-8


def test_a_hundred_thousand_classes_one_draw_each() -> None:
    # C!/C^C; and one draw more: C! binom(C+1, 2)/C^(C+1) (Stirling numbers of the second kind).
    with mpmath.workdps(50):
        log_ways = mpmath.loggamma(100_001) - 100_000 * mpmath.log(100_000)
        one_more = float(log_ways + mpmath.log(mpmath.binomial(100_001, 2)) - mpmath.log(100_000))
    urn = uniform_urn(100_000)
    assert abs(log_coverage_probability(urn, 100_000) - float(log_ways)) < 1e-8
    assert abs(log_coverage_probability(urn, 100_001) - one_more) < 1e-8


def test_reference_values_of_the_papers() -> None:
    # coupon.ipynb of Nozawa & Sato without float cancellation: docs/mathematics.md#seeing-all-classes
    hundred = uniform_urn(100)
    assert coverage_probability(hundred, 128) == pytest.approx(1.5036e-22, rel=1e-4)
    assert coverage_probability(hundred, 256) == pytest.approx(1.2329e-4, rel=1e-4)
    assert coverage_probability(hundred, 512) == pytest.approx(0.55268, abs=5e-6)
    assert coverage_probability(uniform_urn(10), 32) == pytest.approx(0.6909756, abs=5e-8)
    assert coverage_probability(uniform_urn(10), 63) == pytest.approx(0.9869351, abs=5e-8)
    assert log_coverage_probability(uniform_urn(1000), 1000) / math.log(10) == pytest.approx(
        -432.3954, abs=1e-4
    )
    for n_classes, draws in ((2, 3), (4, 9), (10, 30), (100, 519), (3029, 26030), (1000, 7486)):
        assert math.ceil(expected_draws(uniform_urn(n_classes))) == draws
    assert expected_draws(uniform_urn(1000)) == pytest.approx(7485.47, abs=5e-3)
    # An epoch of CIFAR-100's 10,000 test images, batches of 512 without replacement.
    assert coverage_probability(urn_from_counts([100] * 100), 512) == pytest.approx(0.597, abs=5e-4)


def test_the_three_class_example() -> None:
    # Priors (.5, .3, .2): docs/mathematics.md#seeing-all-classes, docs/mathematics.md#collisions
    assert coverage_probability(TOY, 5) == pytest.approx(0.507, rel=1e-13)
    assert expected_draws(TOY) == pytest.approx(6.654762, abs=5e-7)
    assert collision_probability(TOY, 3) == pytest.approx(0.7322, rel=1e-13)
    assert expected_log_collisions(TOY, 3) == pytest.approx(0.664367, abs=5e-7)
    assert expected_log_collisions_bound(TOY, 3) == pytest.approx(0.760806, abs=5e-7)


def test_no_sum_over_subsets_of_a_few_skewed_classes() -> None:
    rng = np.random.default_rng(0)
    for n_classes in (2, 3, 5, 9):
        priors = rng.dirichlet(np.full(n_classes, 0.3)) + 1e-6
        priors /= priors.sum()
        for draws in (n_classes, n_classes + 1, 3 * n_classes, 40 * n_classes, 10_000):
            exact = subset_coverage(priors.tolist(), draws)
            got = coverage_probability(urn_from_priors(priors), draws)
            assert got == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("draws", [12, 13, 20, 60])
def test_many_different_classes_against_the_dynamic_programme(draws: int) -> None:
    priors = np.random.default_rng(1).dirichlet(np.ones(12))
    got = coverage_probability(urn_from_priors(priors), draws)
    assert got == pytest.approx(dynamic_coverage(priors, draws), rel=1e-9)


@pytest.mark.parametrize(("n_classes", "draws"), [(1, 1), (5, 5), (5, 40), (60, 90), (60, 400)])
def test_recursion_agrees(n_classes: int, draws: int) -> None:
    got = coverage_probability(uniform_urn(n_classes), draws)
    assert got == pytest.approx(recursion_coverage(n_classes, draws), rel=1e-11)


@pytest.mark.parametrize("draws", [1003, 3000, 10_000])
def test_different_classes_meet_the_uniform_limit(draws: int) -> None:
    # A thousand different priors, all within 1e-13 of uniform: no shortcut by groups is possible.
    noise = 1 + 1e-10 * np.random.default_rng(2).uniform(-1, 1, 1000)
    urn = urn_from_priors(noise / noise.sum())
    assert urn.shares.size > 900
    exact = float(exact_log_coverage(1000, draws))
    assert log_coverage_probability(urn, draws) == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("counts", [[5], [1, 1, 1], [3, 2, 1], [4, 4, 4, 4], [1, 2, 3, 30, 7]])
def test_without_replacement_against_fractions(counts: list[int]) -> None:
    urn, size = urn_from_counts(counts), sum(counts)
    exact = [exact_pool_coverage(counts, n) for n in range(size + 1)]
    for n in range(size + 1):
        assert coverage_probability(urn, n) == pytest.approx(float(exact[n]), rel=1e-11, abs=0)
    # E = Σ_n P(not all seen after n).
    assert expected_draws(urn) == pytest.approx(float(sum(1 - p for p in exact)), rel=1e-10)
    for p in (0.01, 0.5, 0.95, 0.999):
        assert draws_to_cover(urn, p) == next(n for n in range(size + 1) if float(exact[n]) >= p)


@pytest.mark.parametrize("counts", [[1, 1, 1], [3, 2, 1], [4, 4, 4, 4], [1, 2, 3, 30, 7]])
def test_collisions_without_replacement_against_counting(counts: list[int]) -> None:
    urn, size = urn_from_counts(counts), sum(counts)
    for negatives in {1, 2, size // 2, size - 1}:
        miss, log_mean, mean = 0.0, 0.0, 0.0
        for count in counts:
            for col in range(min(count - 1, negatives) + 1):
                ways = math.comb(count - 1, col) * math.comb(size - count, negatives - col)
                chance = count / size * ways / math.comb(size - 1, negatives)
                miss += chance * (col == 0)
                mean += chance * col
                log_mean += chance * math.log1p(col)
        assert 1 - collision_probability(urn, negatives) == pytest.approx(miss, abs=1e-12)
        assert expected_collisions(urn, negatives) == pytest.approx(mean, rel=1e-12)
        assert expected_log_collisions(urn, negatives) == pytest.approx(log_mean, rel=1e-11)


@pytest.mark.parametrize("negatives", [1, 2, 3, 31, 511, 65_535])
def test_log_collisions_against_fifty_digits(negatives: int) -> None:
    for urn in (uniform_urn(1), uniform_urn(2), uniform_urn(10), uniform_urn(1000), TOY):
        with mpmath.workdps(50):
            total = mpmath.mpf(0)
            for share, multiplicity in zip(urn.shares, urn.multiplicity, strict=True):
                pi = mpmath.mpf(float(share))
                middle = int(negatives * float(share))
                width = int(14 * math.sqrt(middle + 1)) + 60
                low, high = max(0, middle - width), min(negatives, middle + width)
                for m in range(low, high + 1):
                    chance = mpmath.binomial(negatives, m) * pi**m * (1 - pi) ** (negatives - m)
                    total += int(multiplicity) * pi * chance * mpmath.log(1 + m)
                exact = float(total)
        assert expected_log_collisions(urn, negatives) == pytest.approx(exact, rel=1e-11)
        assert expected_log_collisions_bound(urn, negatives) >= exact * (1 - 1e-12)


def test_expected_draws_against_subset_sums() -> None:
    rng = np.random.default_rng(3)
    for concentration in (0.1, 1.0, 50.0):
        priors = rng.dirichlet(np.full(9, concentration)) + 1e-9
        priors /= priors.sum()
        with mpmath.workdps(50):
            exact = mpmath.mpf(0)
            for size in range(1, 10):
                for subset in itertools.combinations(priors.tolist(), size):
                    exact += (-1) ** (size + 1) / mpmath.fsum(subset)
            exact = float(exact / mpmath.fsum(priors.tolist()) ** -1)
        assert expected_draws(urn_from_priors(priors)) == pytest.approx(exact, rel=1e-9)


def test_expected_draws_of_nearly_uniform_classes() -> None:
    noise = 1 + 1e-12 * np.random.default_rng(2).uniform(-1, 1, 1000)
    got = expected_draws(urn_from_priors(noise / noise.sum()))
    assert got == pytest.approx(expected_draws(uniform_urn(1000)), rel=1e-10)


@pytest.mark.parametrize("urn", [uniform_urn(1), uniform_urn(2), uniform_urn(40), TOY])
@pytest.mark.parametrize("probability", [1e-9, 0.05, 0.5, 0.95, 0.99, 1 - 1e-9])
def test_inverse_is_the_smallest(urn: coupon.Urn, probability: float) -> None:
    n = draws_to_cover(urn, probability)
    assert coverage_probability(urn, n) >= probability
    assert coverage_probability(urn, n - 1) < probability


def test_coverage_by_anchor() -> None:
    # Uniform: (1 − 1/C)^K υ of the other C − 1 classes: docs/mathematics.md#the-bounds
    log_chance = 127 * math.log(0.99) + float(exact_log_coverage(99, 127))
    full, free = log_coverage_by_anchor(uniform_urn(100), 127)
    assert free[0] == pytest.approx(log_chance, abs=1e-9)
    assert full[0] == pytest.approx(float(exact_log_coverage(100, 128)), abs=1e-9)
    # By enumeration; the groups are ascending: .2, .3, .5.
    full, free = log_coverage_by_anchor(TOY, 4)
    for anchor, shares in enumerate([[0.3, 0.5, 0.2], [0.2, 0.5, 0.3], [0.2, 0.3, 0.5]]):
        covered = clean = 0.0
        for draw in itertools.product(range(3), repeat=4):
            chance = math.prod(shares[c] for c in draw)
            covered += chance * ({0, 1} <= set(draw))
            clean += chance * (set(draw) == {0, 1})
        assert math.exp(full[anchor]) == pytest.approx(covered, rel=1e-12)
        assert math.exp(free[anchor]) == pytest.approx(clean, rel=1e-12)
    assert log_coverage_by_anchor(TOY, 1)[0].tolist() == [-math.inf] * 3
    full, free = log_coverage_by_anchor(uniform_urn(1), 3)
    assert (full[0], free[0]) == (0.0, -math.inf)


def test_simulation_agrees() -> None:
    rng = np.random.default_rng(5)
    priors, negatives, n = np.array([0.4, 0.3, 0.15, 0.1, 0.05]), 11, 40_000
    draws = rng.choice(5, size=(n, negatives + 1), p=priors)
    covered = np.all([(draws == c).any(axis=1) for c in range(5)], axis=0)
    collisions = (draws[:, 1:] == draws[:, :1]).sum(axis=1)
    urn = urn_from_priors(priors)
    for values, exact in (
        (covered, coverage_probability(urn, negatives + 1)),
        (collisions > 0, collision_probability(urn, negatives)),
        (collisions, expected_collisions(urn, negatives)),
        (np.log1p(collisions), expected_log_collisions(urn, negatives)),
    ):
        assert abs(values.mean() - exact) < 4.5 * values.std() / math.sqrt(n)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=12),
    st.integers(0, 300),
)
def test_properties(counts: list[int], extra: int) -> None:
    priors = np.array(counts) / sum(counts)
    urn = urn_from_priors(priors)
    n = len(counts) + extra
    here, next_ = coverage_probability(urn, n), coverage_probability(urn, n + 1)
    assert 0 <= here <= next_ + 1e-12 <= 1 + 1e-12
    assert coverage_probability(urn, len(counts) - 1) == 0
    # No law covers more than the uniform one, and not putting back never hurts.
    assert here <= coverage_probability(uniform_urn(len(counts)), n) + 1e-12
    pool = urn_from_counts(counts)
    if n <= sum(counts):
        assert coverage_probability(pool, n) >= here - 1e-12
    log_mean = expected_log_collisions(urn, n)
    assert 0 <= log_mean <= expected_log_collisions_bound(urn, n) * (1 + 1e-12)
    no_collision = math.exp(log_no_collision_probability(urn, n))
    assert no_collision == pytest.approx(1 - collision_probability(urn, n), abs=1e-12)


def test_far_below_the_float_range() -> None:
    assert coverage_probability(uniform_urn(1000), 1000) == 0.0
    assert log_no_collision_probability(uniform_urn(2), 65_536) == pytest.approx(
        65_536 * math.log(0.5), rel=1e-12
    )
    assert collision_probability(uniform_urn(1), 5) == 1.0
    assert log_no_collision_probability(uniform_urn(1), 5) == -math.inf


def test_huge_numbers_of_draws() -> None:
    # ln υ ≈ −C e^{−n/C} there; ln n! alone would lose all digits.
    assert coverage_probability(uniform_urn(1000), 10**10) == pytest.approx(1.0, abs=1e-10)
    assert coverage_probability(uniform_urn(10**7), 2 * 10**8) == pytest.approx(
        math.exp(-(10**7) * math.exp(-20.0)), rel=1e-6
    )


def test_speed_at_a_thousand_classes() -> None:
    priors = np.random.default_rng(0).dirichlet(np.ones(1000))
    urn = urn_from_priors(priors)
    begun = time.perf_counter()
    log_coverage_probability(urn, 1100)
    log_coverage_probability(urn, 65_536)
    expected_log_collisions(urn, 65_535)
    assert time.perf_counter() - begun < 5  # the benchmark holds each to 0.5 s on a quiet machine


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ([0.5, 0.4], "sum to one"),
        ([1.0, 0.0], "above 0"),
        ([1.5, -0.5], "above 0"),
        ([math.nan, 1.0], "finite"),
        ([], "list of numbers"),
        (["a"], "list of numbers"),
        ([[0.5, 0.5]], "list of numbers"),
    ],
)
def test_bad_priors(priors: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        urn_from_priors(priors)


@pytest.mark.parametrize("counts", [[1, 0], [1.5, 2], [-1]])
def test_bad_counts(counts: list) -> None:
    with pytest.raises(DataError, match="whole numbers"):
        urn_from_counts(counts)


def test_bad_arguments() -> None:
    with pytest.raises(UsageError, match="at least one class"):
        uniform_urn(0)
    with pytest.raises(UsageError, match="at least one negative"):
        collision_probability(TOY, 0)
    with pytest.raises(UsageError, match="at least 0"):
        coverage_probability(TOY, -1)
    with pytest.raises(UsageError, match="at most the 6 draws"):
        coverage_probability(urn_from_counts([3, 3]), 7)
    with pytest.raises(UsageError, match="inside"):
        draws_to_cover(TOY, 1.0)
    with pytest.raises(UsageError, match="with replacement"):
        log_coverage_by_anchor(urn_from_counts([3, 3]), 2)
