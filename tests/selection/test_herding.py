"""Herding takes the row that brings the mean nearest, as a naive search over all rows does."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from contrasift.errors import DataError, UsageError
from contrasift.selection.kernels import dots
from contrasift.selection.objectives.herding import herding


def make_rows(n, d, seed, unit=True):
    rows = np.random.default_rng(seed).standard_normal((n, d)) + 0.5
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) if unit else 2.0
    return rows.astype(np.float32)


def naive(rows, budget, keep=(), eligible=None):
    """argmin_e ‖mean(S ∪ e) − μ‖ by trying every row."""
    wide = rows.astype(np.float64)
    mean = wide.mean(axis=0) if len(rows) else 0
    order, gaps = [], []
    for step in range(budget):
        best, best_gap = None, np.inf
        for e in range(len(rows)):
            if e in order or (eligible is not None and not eligible[e] and e not in keep):
                continue
            if step < len(keep) and e != sorted(keep)[step]:
                continue
            gap = np.linalg.norm(wide[[*order, e]].mean(axis=0) - mean)
            if gap < best_gap - 1e-12:
                best, best_gap = e, gap
        order.append(best)
        gaps.append(best_gap)
    return order, gaps


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 3), (30, 1), (40, 6)])
@pytest.mark.parametrize("unit", [True, False])
def test_takes_the_rows_of_a_naive_search(n, d, unit):
    rows = make_rows(n, d, seed=n, unit=unit) if d > 1 or not unit else np.ones((n, d), np.float32)
    for budget in sorted({0, 1, n // 2, n}):
        order, gaps = naive(rows, budget)
        path = herding(rows, budget)
        assert path.order.tolist() == order
        np.testing.assert_allclose(path.gaps, gaps, atol=1e-7)


def test_rows_to_keep_and_to_leave():
    rows = make_rows(20, 3, seed=2)
    eligible = np.arange(20) % 3 != 0
    path = herding(rows, 8, keep=np.array([9, 4]), eligible=eligible)
    assert path.order.tolist() == naive(rows, 8, [4, 9], eligible)[0]


def test_welling_is_the_same_on_unit_rows_and_its_recursion_on_others():
    rows = make_rows(50, 4, seed=5)
    assert herding(rows, 20, welling=True).order.tolist() == herding(rows, 20).order.tolist()
    rows = make_rows(50, 4, seed=6, unit=False)
    wide = rows.astype(np.float64)
    weight, order = wide.mean(axis=0), []
    for _ in range(20):
        scores = wide @ weight
        scores[order] = -np.inf
        order.append(int(scores.argmax()))
        weight = weight + wide.mean(axis=0) - wide[order[-1]]
    assert herding(rows, 20, welling=True).order.tolist() == order
    assert herding(rows, 20).order.tolist() != order


def test_equal_rows_go_by_number_and_orders_are_nested():
    rows = np.repeat(make_rows(4, 3, seed=1), 5, axis=0)
    order = herding(rows, 20).order
    assert order.tolist() == naive(rows, 20)[0]
    for budget in (1, 7, 13):
        assert herding(rows, budget).order.tolist() == order[:budget].tolist()


def test_sums_scores_and_value():
    rows = make_rows(30, 4, seed=8, unit=False)
    path = herding(rows, 9)
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(path.total, wide.sum(axis=0), atol=1e-9)
    np.testing.assert_allclose(path.selected_sum, wide[path.order].sum(axis=0), atol=1e-9)
    assert path.value == path.gaps[-1]
    left = np.setdiff1d(np.arange(30), path.order)
    assert left[path.final_scores[left].argmax()] == herding(rows, 10).order[9]
    assert herding(rows, 0).value == pytest.approx(np.linalg.norm(wide.mean(axis=0)))
    assert herding(rows, 30).value == pytest.approx(0.0, abs=1e-12)


def test_is_no_better_than_the_best_and_far_below_chance():
    rows = make_rows(12, 2, seed=3)
    wide = rows.astype(np.float64)
    gaps = [
        np.linalg.norm(wide[list(some)].mean(axis=0) - wide.mean(axis=0))
        for some in combinations(range(12), 4)
    ]
    assert min(gaps) - 1e-7 <= herding(rows, 4).value < np.mean(gaps)
    rows = make_rows(300, 4, seed=3)
    wide, rng = rows.astype(np.float64), np.random.default_rng(0)
    chance = [
        np.linalg.norm(wide[rng.permutation(300)[:30]].mean(axis=0) - wide.mean(axis=0))
        for _ in range(20)
    ]
    assert herding(rows, 30).value < 0.2 * np.mean(chance)


def test_any_number_of_threads(monkeypatch):
    rows = make_rows(500, 5, seed=4)
    alone = herding(rows, 40, threads=1)
    monkeypatch.setattr(dots, "_ROWS_WORTH_A_THREAD", 16)
    for threads in (2, 3):
        path = herding(rows, 40, threads=threads)
        assert path.order.tolist() == alone.order.tolist()
        assert path.gaps.tolist() == alone.gaps.tolist()


def test_bad_input():
    rows = make_rows(6, 2, seed=0)
    with pytest.raises(UsageError, match="budget"):
        herding(rows, 7)
    rows[2, 0] = np.inf
    with pytest.raises(DataError, match="NaN or infinity"):
        herding(rows, 2)
    assert herding(np.empty((0, 2), np.float32), 0).order.size == 0
