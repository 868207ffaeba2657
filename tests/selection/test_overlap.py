"""What two selections share: hand-made cases, naive versions, and what chance gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from contrasift.errors import UsageError
from contrasift.selection.diagnostics.overlap import (
    class_balance,
    overlap,
    rank_correlation,
    rank_correlation_within,
)


def flags(n, *rows):
    mask = np.zeros(n, dtype=bool)
    mask[list(rows)] = True
    return mask


def test_overlap_by_hand():
    found = overlap(flags(10, 0, 1, 2, 3), flags(10, 2, 3, 4, 5, 6))
    assert found.shared == 2
    assert found.share == 2 / 4
    assert found.share_by_chance == 5 / 10
    assert found.jaccard == 2 / 7
    assert found.jaccard_by_chance == pytest.approx(2 / (9 - 2))


def test_overlap_of_nothing_is_nothing():
    for n in (0, 5):
        found = overlap(flags(n), flags(n))
        assert (found.shared, found.share, found.jaccard) == (0, 0, 0)
        assert (found.share_by_chance, found.jaccard_by_chance) == (0, 0)


def test_overlap_by_chance_is_that_of_random_selections(rng):
    found = [
        overlap(flags(60, *rng.permutation(60)[:20]), flags(60, *rng.permutation(60)[:30])).share
        for _ in range(2000)
    ]
    expected = overlap(flags(60, *range(20)), flags(60, *range(30))).share_by_chance
    assert np.mean(found) == pytest.approx(expected, abs=0.01)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_rank_correlation_is_spearmans(n, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.permutation(n), rng.permutation(n)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)
    assert rank_correlation(a, a) == 1
    assert rank_correlation(a, n - 1 - a) == pytest.approx(-1)


def test_rank_correlation_of_too_few_is_unknown():
    for n in (0, 1):
        assert math.isnan(rank_correlation(np.arange(n), np.arange(n)))
        assert math.isnan(rank_correlation_within(np.arange(n), np.arange(n), np.zeros(n, int)))


def test_rank_correlation_within_classes():
    """Classes in turned order, the same order within one and the opposite within the other."""
    codes = np.array([0, 0, 0, 1, 1, 1, 2])
    first = np.array([0, 1, 2, 3, 4, 5, 6])
    second = np.array([4, 5, 6, 2, 1, 0, 3])
    assert rank_correlation_within(first, second, codes) == pytest.approx((1 - 1) / 2)
    assert rank_correlation_within(first, first, codes) == 1


def test_balance_by_hand():
    codes = np.array([0, 0, 0, 0, 0, 0, 1, 1, -1])
    even = class_balance(flags(9, 0, 6), codes, 2)
    assert even.entropy == pytest.approx(1)
    assert even.total_variation == pytest.approx(0.25)
    assert even.pool_entropy == pytest.approx(
        -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    )
    proportional = class_balance(flags(9, 0, 1, 2, 6, 8), codes, 2)
    assert proportional.total_variation == 0
    one_sided = class_balance(flags(9, 6, 7), codes, 2)
    assert (one_sided.entropy, one_sided.total_variation) == (0, 0.75)
    assert class_balance(flags(0), np.zeros(0, int), 0).total_variation == 0
    with pytest.raises(UsageError, match="classes below 1"):
        class_balance(flags(9, 0), codes, 1)
