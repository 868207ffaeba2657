"""The curve of a ranking against measuring each of its prefixes on its own."""

from __future__ import annotations

import numpy as np
import pytest

import reference
from contrasift.errors import UsageError
from contrasift.selection.diagnostics.curves import coverage_and_centre_curve

FRACTIONS = (0.05, 0.2, 0.5, 1.0)


def _unit(rng, n, d=6):
    rows = rng.standard_normal((n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _naive(values, kept, codes):
    """The four measures by loops over examples."""
    wide = values.astype(np.float64)
    n = len(values)
    found = np.zeros(4)
    for i in range(n):
        same = [j for j in range(n) if codes[j] == codes[i] and j in kept]
        s = np.array([wide[i] @ wide[j] for j in same])
        d = np.sqrt(np.maximum(0, 2 - 2 * s))
        if not same:
            found += [0, 0, 2 * np.sqrt(2), np.sqrt(2)]
            continue
        found += [s.max(), s.mean(), 0 if i in kept else 2 * d.min(), d.mean()]
    return found / n


def _values(curves, name="value"):
    parts = (curves.coverage, curves.centre, curves.nu_align, curves.nu_div)
    return np.stack([getattr(part, name) for part in parts])


@pytest.mark.parametrize(("n", "n_classes"), [(1, 1), (2, 1), (40, 1), (40, 3), (23, 11)])
def test_every_prefix_is_measured_as_by_loops(rng, n, n_classes):
    values, ranking = _unit(rng, n), rng.permutation(n)
    codes = rng.integers(0, n_classes, n)
    values[: n // 4] = values[0]  # ties, and examples at no distance
    curves = coverage_and_centre_curve(values, ranking, codes, FRACTIONS, sample=None, draws=2)
    assert curves.whole
    assert curves.rows == n
    expected = [_naive(values, set(ranking[:b].tolist()), codes) for b in curves.budgets]
    np.testing.assert_allclose(_values(curves), np.array(expected).T, atol=1e-7)
    np.testing.assert_array_equal(_values(curves, "half_width"), 0)


def test_distances_are_those_of_the_upper_bracket(rng):
    values = 0.9 * _unit(rng, 60)
    ranking, codes = rng.permutation(60), np.arange(60) % 4
    curves = coverage_and_centre_curve(values, ranking, codes, [0.5], sample=None, draws=0)
    kept = np.isin(np.arange(60), ranking[:30])
    _, _, nu_align, nu_div = reference.nu(reference.mean_distances(values)[1], kept, codes)
    assert curves.nu_align.value[0] == pytest.approx(nu_align)
    assert curves.nu_div.value[0] == pytest.approx(nu_div)


def test_blocks_change_nothing(rng, monkeypatch):
    values, ranking, codes = _unit(rng, 90), rng.permutation(90), rng.integers(0, 2, 90)
    whole = coverage_and_centre_curve(values, ranking, codes, FRACTIONS, draws=3)
    monkeypatch.setattr("contrasift.selection.diagnostics.curves._BLOCK_BYTES", 4000)
    cut = coverage_and_centre_curve(values, ranking, codes, FRACTIONS, draws=3)
    for name in ("value", "random", "random_low", "random_high"):
        np.testing.assert_allclose(_values(cut, name), _values(whole, name), atol=1e-12)


def test_random_selections_have_the_ranking_s_class_sizes(rng):
    """Averaged over very many draws, random is the mean over all subsets of these sizes."""
    values, codes = _unit(rng, 8), np.array([0, 0, 0, 0, 0, 1, 1, 1])
    ranking = np.array([0, 5, 1, 2, 6, 3, 4, 7])
    curves = coverage_and_centre_curve(values, ranking, codes, [3 / 8], sample=None, draws=4000)
    from itertools import combinations

    every = [
        _naive(values, {*first, second}, codes)
        for first in combinations(range(5), 2)
        for second in (5, 6, 7)
    ]
    np.testing.assert_allclose(_values(curves, "random")[:, 0], np.mean(every, 0), atol=0.02)
    reach = (_values(curves, "random_high") - _values(curves, "random"))[:, 0]
    np.testing.assert_allclose(reach, 1.96 * np.std(every, 0), rtol=0.05)


def test_a_random_ranking_lies_in_its_own_band(rng):
    values, codes = np.abs(_unit(rng, 2000, 16)), rng.integers(0, 5, 2000)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    ranking = rng.permutation(2000)
    curves = coverage_and_centre_curve(values, ranking, codes, (0.1, 0.3), draws=20)
    inside = (_values(curves, "random_low") <= _values(curves)) & (
        _values(curves) <= _values(curves, "random_high")
    )
    assert inside.mean() >= 0.75


def test_intervals_hold_the_truth_and_shrink(rng):
    values, codes, ranking = _unit(rng, 600), rng.integers(0, 3, 600), rng.permutation(600)
    truth = _values(coverage_and_centre_curve(values, ranking, codes, [0.1], sample=None, draws=0))
    inside = []
    for seed in range(60):
        some = coverage_and_centre_curve(
            values, ranking, codes, [0.1], sample=60, draws=0, seed=seed
        )
        assert not some.whole
        inside.append(np.abs(_values(some) - truth) <= _values(some, "half_width") + 1e-12)
    assert np.mean(inside) == pytest.approx(0.96, abs=0.03)
    more = coverage_and_centre_curve(values, ranking, codes, [0.1], sample=300, draws=0)
    assert (more.coverage.half_width < 0.5 * some.coverage.half_width).all()
    assert np.isnan(more.coverage.random).all()


def test_fractions_with_one_budget_are_one_point(rng):
    curves = coverage_and_centre_curve(
        _unit(rng, 10), np.arange(10), None, (0.5, 0.01, 0.02, 1), draws=1
    )
    assert curves.budgets.tolist() == [1, 5, 10]
    assert curves.fractions.tolist() == [0.1, 0.5, 1.0]
    assert (curves.coverage.random_low == curves.coverage.random).all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ranking": np.zeros(5, np.int64)}, "a ranking of all 5 rows"),
        ({"fractions": ()}, "a fraction"),
        ({"fractions": (1.5,)}, "fraction in"),
        ({"sample": 1}, "at least two rows"),
        ({"draws": -1}, "0 draws"),
    ],
)
def test_what_cannot_be_measured_is_said(rng, change, expected):
    arguments = {"values": _unit(rng, 5), "ranking": np.arange(5), "codes": None, **change}
    with pytest.raises(UsageError, match=expected):
        coverage_and_centre_curve(**arguments)
