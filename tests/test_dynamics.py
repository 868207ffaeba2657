from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrasift.errors import DataError, UsageError
from contrasift.evaluation.difficulty_scores import (
    confidence_and_variability,
    error_norm,
    forgetting_events,
    last_layer_gradient_norm,
    rank_correlation,
)


class TestForgetting:
    def test_golden(self):
        # The project's formula sheet, section E: 0,1,1,0,1,0 has two events.
        assert forgetting_events([[0], [1], [1], [0], [1], [0]]).tolist() == [2.0]

    def test_never_learned_is_hardest(self):
        assert forgetting_events([[0, 1], [0, 1]]).tolist() == [math.inf, 0.0]

    @given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=9))
    def test_matches_a_naive_count(self, history):
        found = forgetting_events(history)
        for i in range(3):
            column = [row[i] for row in history]
            count = sum(a and not b for a, b in itertools.pairwise(column))
            assert found[i] == (count if any(column) else math.inf)

    @pytest.mark.parametrize("bad", [[], [0, 1], [[0, 2]], np.zeros((0, 3))])
    def test_bad_records(self, bad):
        with pytest.raises(DataError, match="matrix of 0 and 1"):
            forgetting_events(bad)


class TestConfidence:
    def test_by_hand(self):
        # (0.2, 0.4, 0.9): mean 0.5; deviations −0.3, −0.1, 0.4, their mean square 0.26/3.
        mean, deviation = confidence_and_variability([[0.2], [0.4], [0.9]])
        assert mean[0] == pytest.approx(0.5)
        assert deviation[0] == pytest.approx(math.sqrt(0.26 / 3))

    @pytest.mark.parametrize("bad", [[[1.2]], [[math.nan]], [0.5], np.zeros((0, 2))])
    def test_bad_records(self, bad):
        with pytest.raises(DataError, match=r"numbers in \[0, 1\]"):
            confidence_and_variability(bad)


class TestNorms:
    def test_golden(self):
        # The project's formula sheet, section E: p = (.7, .2, .1), y the first, ‖h‖ = 2.
        p, y = [[0.7, 0.2, 0.1]], [0]
        assert error_norm(p, y)[0] == pytest.approx(0.374166, abs=1e-6)
        found = last_layer_gradient_norm(p, y, [[0.0, 2.0]])
        assert found[0] == pytest.approx(0.836660, abs=1e-6)

    def test_is_the_gradient_that_torch_finds(self):
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        layer, hidden = torch.nn.Linear(5, 4), torch.randn(6, 5)
        labels = torch.tensor([0, 1, 2, 3, 0, 1])
        expected = []
        for h, y in zip(hidden, labels, strict=True):
            layer.zero_grad()
            torch.nn.functional.cross_entropy(layer(h[None]), y[None]).backward()
            expected.append(math.hypot(layer.weight.grad.norm(), layer.bias.grad.norm()))
        p = layer(hidden).softmax(dim=1).detach().numpy()
        found = last_layer_gradient_norm(p, labels.numpy(), hidden.numpy())
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_bad_labels(self):
        with pytest.raises(DataError, match="labels between 0 and 1"):
            error_norm([[0.5, 0.5]], [2])
        with pytest.raises(DataError, match="n labels"):
            error_norm([[0.5, 0.5]], [0, 1])
        with pytest.raises(DataError, match="row of features"):
            last_layer_gradient_norm([[0.5, 0.5]], [0], [[1.0], [2.0]])


class TestRankCorrelation:
    @pytest.mark.parametrize("n", [2, 3, 4, 10, 200])
    def test_matches_scipy_with_ties(self, n, rng):
        from scipy.stats import spearmanr

        first, second = rng.integers(0, 5, n), rng.integers(0, 5, n)
        first[0], second[-1] = 7, 9
        found = rank_correlation(first, second)
        assert found.value == pytest.approx(spearmanr(first, second).statistic)
        assert (found.low is None) == (n < 4)

    def test_interval(self):
        # ρ = 0.5, n = 103: artanh ½ = .549306, √(1.125/100) = .106066, ± 1.959964 × it = .207886.
        n = 103
        rng = np.random.default_rng(0)
        first = rng.normal(size=n)
        found = rank_correlation(first, first + rng.normal(size=n))
        assert found.value is not None
        reach = 1.959964 * math.sqrt((1 + found.value**2 / 2) / 100)
        assert found.low == pytest.approx(math.tanh(math.atanh(found.value) - reach))
        assert found.high == pytest.approx(math.tanh(math.atanh(found.value) + reach))

    def test_infinity_is_largest_and_constants_have_none(self):
        assert rank_correlation([1, 2, math.inf, 5], [1, 2, 9, 3]).value == 1.0
        assert rank_correlation([1, 1, 1], [1, 2, 3]).value is None

    def test_bad_scores(self):
        with pytest.raises(UsageError, match="two scores"):
            rank_correlation([1, 2], [1])
        with pytest.raises(UsageError, match="without NaN"):
            rank_correlation([1, math.nan], [1, 2])
