"""Budgets: Webster's divisors against a heap that hands out one place at a time."""

from __future__ import annotations

import heapq
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contrasift.errors import UsageError
from contrasift.selection import budget
from contrasift.selection.budget import Shares, resolve_budget


def allocate(sizes, total, **limits):
    return Shares.of(sizes, **limits).allocate(total)


def webster_order(sizes, **limits):
    return Shares.of(sizes, **limits).webster_order()


def seats_by_quota(sizes, **limits):
    return Shares.of(sizes, **limits).seats_by_quota()


def naive_order(sizes, how="proportional", minimum=0, kept=None, available=None):
    """One place at a time, in exact fractions."""
    kept = [0] * len(sizes) if kept is None else kept
    cap = list(sizes) if available is None else available
    floor = [max(k, min(minimum, a)) for k, a in zip(kept, cap, strict=True)]
    claim = sizes if how == "proportional" else [1] * len(sizes)
    heap = []
    for c, limit in enumerate(cap):
        for seat in range(limit):
            tier = 0 if seat < kept[c] else 1 if seat < floor[c] else 2
            heapq.heappush(heap, (tier, -Fraction(int(claim[c]), 2 * seat + 1), c, seat))
    order = [heapq.heappop(heap)[2] for _ in range(len(heap))]
    return order + [c for c, size in enumerate(sizes) for _ in range(size - cap[c])]


@pytest.fixture(params=[2, 1 << 20], ids=["few-at-once", "all-at-once"])
def _seats_at_once(request, monkeypatch):
    monkeypatch.setattr(budget, "_RUN", request.param)
    monkeypatch.setattr(budget, "_RUN_A_CLASS", 0)


SIZES = st.lists(st.integers(0, 12), min_size=1, max_size=6)


@pytest.mark.usefixtures("_seats_at_once")
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(SIZES, st.sampled_from(["proportional", "equal"]), st.integers(0, 3), st.randoms())
def test_order_is_the_naive_one_and_every_prefix_is_the_allocation(sizes, how, minimum, random):
    available = [random.randint(0, size) for size in sizes]
    kept = [random.randint(0, limit) for limit in available]
    limits = {
        "how": how,
        "minimum": minimum,
        "kept": np.array(kept),
        "available": np.array(available),
    }
    order = webster_order(np.array(sizes), **limits)
    assert order.tolist() == naive_order(sizes, how, minimum, kept, available)
    least = sum(max(k, min(minimum, a)) for k, a in zip(kept, available, strict=True))
    for total in range(least, sum(available) + 1):
        places = allocate(np.array(sizes), total, **limits)
        assert places.sum() == total
        assert np.array_equal(places, np.bincount(order[:total], minlength=len(sizes)))
        assert (places <= available).all()
        assert (places >= kept).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200), st.floats(0, 1))
def test_large_pools_keep_their_quota_and_never_take_back(sizes, share):
    sizes = np.array(sizes)
    total = int(share * sizes.sum() / 20)
    places = allocate(sizes, total)
    more = allocate(sizes, total + 1)
    assert places.sum() == total
    assert (more >= places).all()
    # No class would deserve another's last place: the mark of a divisor method.
    given_last = np.where(places > 0, sizes / (2 * places - 1.0), np.inf)
    next_due = np.where(places < sizes, sizes / (2 * places + 1.0), 0)
    assert given_last.min() >= next_due.max()


def test_known_apportionment():
    # Webster by hand: quotients 53 24 23, 17.67 8 7.67, 10.6 4.8 ... -> 5, 2, 2 of 9 places.
    assert allocate(np.array([53, 24, 23]), 9).tolist() == [5, 2, 2]


def test_ties_go_to_the_lowest_class():
    assert allocate(np.array([5, 5, 5]), 4).tolist() == [2, 1, 1]
    assert webster_order(np.array([2, 2])).tolist() == [0, 1, 0, 1]


def test_equal_fills_what_small_classes_cannot_take():
    assert allocate(np.array([1, 10, 10]), 12, how="equal").tolist() == [1, 6, 5]


@pytest.mark.parametrize("weights", [None, [0.0, 1e-310, 3.0, 0.0, 1e300]])
def test_runs_of_seats_are_short_unless_they_are_equal(weights, monkeypatch):
    sizes = np.array([30, 40, 50, 50, 1])
    weights = None if weights is None else np.array(weights)
    whole = webster_order(sizes, weights=weights)
    monkeypatch.setattr(budget, "_RUN", 8)
    monkeypatch.setattr(budget, "_RUN_A_CLASS", 1)
    runs = list(seats_by_quota(sizes, weights=weights))
    assert 5 < max(classes.size for classes, _ in runs) <= 8
    assert np.array_equal(np.concatenate([classes for classes, _ in runs]), whole)
    seats = np.concatenate([seats for _, seats in runs])
    for code, size in enumerate(sizes.tolist()):
        assert np.array_equal(seats[whole == code], np.arange(size))
    # A thousand equal claims are one run, in the order of classes.
    first, _ = next(seats_by_quota(np.full(1000, 2)))
    assert np.array_equal(first, np.arange(1000))


def test_a_run_ends_where_compared_quotients_say(rng):
    """Also where the quotient is that of a seat, or a rounding error beside it."""
    claim = np.array([1.0, 3.0, 10.0, *(rng.random(40) * 100)])
    low, last = np.full(claim.size, 2), np.full(claim.size, 60)
    quotients = claim[:, None] / (2 * np.arange(60) + 1)
    some = quotients[:, ::7].ravel()
    for quotient in (*some, *np.nextafter(some, 0), *np.nextafter(some, np.inf)):
        found = budget._seats_from(float(quotient), claim, low, last)
        assert np.array_equal(found, (quotients >= quotient).sum(axis=1).clip(2, 60))


def test_weights_multiply_claims():
    sizes = np.array([10, 10])
    assert allocate(sizes, 8, weights=np.array([3, 1])).tolist() == [6, 2]
    assert allocate(sizes, 8, weights=np.array([0, 1])).tolist() == [0, 8]
    # A class without a claim still fills what nobody else can.
    assert allocate(sizes, 15, weights=np.array([0, 1])).tolist() == [5, 10]


@pytest.mark.parametrize("sizes", [[1], [0, 1], [3, 0]])
def test_edges(sizes):
    sizes = np.array(sizes)
    assert allocate(sizes, 0).sum() == 0
    assert np.array_equal(allocate(sizes, int(sizes.sum())), sizes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"total": 21}, "at most 20"),
        ({"total": 1, "minimum": 1}, "at least 2"),
        ({"total": 1, "kept": np.array([2, 0])}, "at least 2"),
        ({"total": 20, "available": np.array([10, 9])}, "at most 19"),
        ({"total": 5, "kept": np.array([2, 0]), "available": np.array([1, 9])}, "at most 1 "),
        ({"total": 5, "weights": np.array([1.0, np.nan])}, "finite"),
        ({"total": 5, "weights": np.array([1.0])}, "one weight"),
        ({"total": 5, "how": "fair"}, "proportional or equal"),
        ({"total": 5, "minimum": -1}, "at least 0"),
    ],
)
def test_impossible_budgets_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        allocate(np.array([10, 10]), **arguments)


def test_two_million_places_in_a_thousand_classes_in_a_second():
    sizes = np.random.default_rng(0).multinomial(10_000_000, np.full(1000, 0.001))
    begun = time.perf_counter()
    places = allocate(sizes, 2_000_000)
    assert time.perf_counter() - begun < 3  # 0.3 s alone on one core
    assert places.sum() == 2_000_000
    assert np.abs(places - sizes / 5).max() <= 1


@pytest.mark.parametrize(
    ("n", "fraction", "budget"),
    [(100, 0.285, 29), (10, 0.01, 1), (1, 0.5, 1), (3, 0.5, 2), (10, 1.0, 10), (7, 1e-9, 1)],
)
def test_fractions_round_half_up_as_written(n, fraction, budget):
    assert resolve_budget(n, fraction=fraction) == budget


def test_budget_is_taken_as_it_is():
    assert resolve_budget(10, budget=0) == 0
    assert resolve_budget(10, budget=10) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither"),
        ({"fraction": 0.5, "budget": 3}, "both"),
        ({"budget": 11}, "between 0 and the 10"),
        ({"budget": -1}, "between 0"),
        ({"fraction": 0.0}, "fraction in"),
        ({"fraction": 1.5}, "fraction in"),
        ({"fraction": float("nan")}, "fraction in"),
    ],
)
def test_bad_budgets_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        resolve_budget(10, **arguments)
