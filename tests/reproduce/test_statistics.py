from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from contrasift.errors import UsageError
from contrasift.evaluation import Interval, mean_and_interval
from reproduce.render.statistics import (
    contrast,
    decide,
    deviation_of,
    pairs_needed,
)


def test_a_contrast_is_paired_by_seed():
    values = {"a": {0: 3.0, 1: 5.0, 2: 9.0}, "b": {1: 4.0, 0: 1.0, 7: 100.0}, "c": {0: 1.0, 1: 1.0}}
    found = contrast(values, {"a": 1, "b": -0.5, "c": -0.5})
    own = np.array([3 - 0.5 - 0.5, 5 - 2 - 0.5])
    assert found.n == 2
    assert found.mean == pytest.approx(own.mean())
    low, high = stats.t.interval(0.95, 1, own.mean(), stats.sem(own))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_no_seed_in_common():
    assert contrast({"a": {0: 1.0}, "b": {1: 1.0}}, {"a": 1, "b": -1}) is None
    assert contrast({"a": {0: 1.0}}, {"a": 1, "b": -1}) is None
    assert contrast({}, {}) is None


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 10), st.sampled_from([0.5, 1.0, 3.0]))
def test_pairs_needed_is_the_first_that_is_enough(deviation, reach):
    n = 2
    while stats.t.ppf(0.975, n - 1) * deviation / n**0.5 > reach:
        n += 1
    assert pairs_needed(deviation, reach) == n


def test_pairs_needed_at_the_ends():
    assert pairs_needed(0.0, 0.5) == 2
    assert pairs_needed(1e9, 0.5, most=100) >= 100
    with pytest.raises(UsageError, match="half-width above 0"):
        pairs_needed(1.0, 0.0)


def test_the_deviation_behind_an_interval():
    values = [1.0, 4.0, 2.0]
    assert deviation_of(mean_and_interval(values)) == pytest.approx(np.std(values, ddof=1))
    assert deviation_of(mean_and_interval([1.0])) is None


def interval(low, high):
    return Interval((low + high) / 2, 1.0, low, high, 3)


@pytest.mark.parametrize(
    ("ends", "rule", "margin", "word"),
    [
        ((0.1, 2.0), "above", 0, "holds"),
        ((-0.1, 2.0), "above", 0, "not significant"),
        ((-3.0, -0.1), "above", 0, "fails"),
        ((-0.9, -0.1), "above", -1, "holds"),
        ((-0.9, 0.9), "within", 1, "holds"),
        ((-1.1, 0.9), "within", 1, "not significant"),
        ((1.1, 2.0), "within", 1, "fails"),
        ((-2.0, -1.1), "within", 1, "fails"),
    ],
)
def test_what_an_interval_decides(ends, rule, margin, word):
    assert decide(interval(*ends), rule, margin).word == word


def test_one_seed_decides_nothing():
    assert decide(mean_and_interval([5.0]), "above", 0).word == "not significant"
    assert decide(None, "above", 0).word == "not significant"
    with pytest.raises(UsageError, match="a rule"):
        decide(interval(1.0, 2.0), "beyond", 0)
