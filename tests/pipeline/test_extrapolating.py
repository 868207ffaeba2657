"""The law of accuracy against the fraction: recovered where it holds, doubted where it is noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from contrasift.pipeline.studies.extrapolate import (
    advise_fraction,
    fit_law,
    losses,
    smallest_fraction,
)

FRACTIONS = np.array([0.1, 0.25, 0.6])


def _law(f, a, b, c):
    return a - b * (f**-c - 1) / c


def _accuracies(rng, noise, seeds=3, law=(84.0, 0.84, 0.7), seed_effect=1.0):
    common = seed_effect * rng.standard_normal(seeds)
    return _law(FRACTIONS, *law)[:, None] + common + noise * rng.standard_normal((3, seeds))


@pytest.mark.parametrize("exponent", [-0.8, -0.1, 0.6, 2.0])
def test_the_fit_is_that_of_an_optimiser(rng, exponent):
    fractions = np.array([0.05, 0.1, 0.2, 0.5, 1.0])
    observed = _law(fractions, 80, 1.5, exponent) + 0.01 * rng.standard_normal(5)
    (a, b, c), _ = curve_fit(_law, fractions, observed, p0=(80, 1, exponent))
    found = fit_law(fractions, observed[None])[0]
    np.testing.assert_allclose(found, [a, b, c], atol=0.06)
    assert losses(found[None], fractions)[0] == pytest.approx(a - _law(fractions, a, b, c), abs=0.1)


@pytest.mark.parametrize("loss", [0.3, 1.0, 4.0])
def test_the_smallest_fraction_costs_just_the_loss(loss):
    laws = np.array([[80.0, 1.2, 0.7], [80.0, 3.0, -0.2], [80.0, 5.0, -1.0]])
    for law, fraction in zip(laws, smallest_fraction(laws, loss, 0.001), strict=True):
        assert losses(law[None], np.array([fraction]))[0, 0] == pytest.approx(loss)
    assert smallest_fraction(laws, loss, 0.99).tolist() == [0.99] * 3
    never = np.array([[80.0, 0.0, 1.0], [80.0, 0.1, -1.0], [80.0, 0.0, -1.0]])
    assert smallest_fraction(never, loss, 0.05).tolist() == [0.05] * 3


def test_a_clear_law_gives_the_fraction(rng):
    truth = (1 + 0.7 / 0.84) ** (-1 / 0.7)
    advice = advise_fraction(FRACTIONS, _accuracies(rng, 0.02), 1.0)
    assert advice.tells
    assert advice.reason == ""
    assert advice.fraction == pytest.approx(truth, abs=0.04)
    assert advice.fraction_low < truth < advice.fraction_high
    assert advice.loss_low < advice.loss < advice.loss_high
    assert advice.loss <= 1.0
    assert advice.freedom == 4
    assert advice.grid_loss[-1] == 0


def test_what_seeds_have_in_common_is_no_noise(rng):
    calm = _accuracies(np.random.default_rng(1), 0.02, seed_effect=0.0)
    stirred = calm + np.array([-3.0, 0.0, 3.0])
    first, second = (advise_fraction(FRACTIONS, each, 1.0) for each in (calm, stirred))
    assert first.standard_error == pytest.approx(second.standard_error)
    assert first.fraction == second.fraction


def test_noise_as_large_as_the_loss_cannot_tell(rng):
    advice = advise_fraction(FRACTIONS, _accuracies(rng, 0.8), 0.5)
    assert not advice.tells
    assert "wider than the 0.5 allowed" in advice.reason
    assert "seeds would narrow it" in advice.reason
    assert advice.fraction is not None  # the guess is kept beside the doubt


def test_intervals_hold_the_true_loss_at_the_suggestion(monkeypatch):
    monkeypatch.setattr("contrasift.pipeline.studies.extrapolate._DRAWS", 400)
    inside = []
    for number in range(120):
        rng = np.random.default_rng(number)
        advice = advise_fraction(FRACTIONS, _accuracies(rng, 0.1), 1.0)
        true = 84 - _law(advice.fraction, 84, 0.84, 0.7)
        inside.append(advice.loss_low <= true <= advice.loss_high)
    assert np.mean(inside) >= 0.9


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_accuracies_that_do_not_rise_suggest_the_smallest_fraction_tried(slope):
    level = 70 + slope * np.arange(3)[:, None] + np.array([0.0, 0.1])
    advice = advise_fraction(FRACTIONS, level, 0.5)
    assert advice.tells
    assert advice.fraction == 0.1
    assert advice.loss == 0


@pytest.mark.parametrize(
    ("fractions", "shape", "reason"),
    [([0.1, 0.5], (2, 3), "three fractions"), ([0.1, 0.2, 0.5], (3, 1), "two seeds")],
)
def test_too_little_cannot_tell(fractions, shape, reason):
    advice = advise_fraction(np.array(fractions), np.ones(shape), 0.5)
    assert not advice.tells
    assert reason in advice.reason
    assert advice.fraction is None
