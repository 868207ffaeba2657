"""Value, gain and the mean over random subsets, against double sums over pairs."""

from __future__ import annotations

import numpy as np
import pytest

import reference
from contrasift.errors import UsageError
from contrasift.selection.kernels import linear_form


def rows_of(n, d, seed=0, positive=False):
    rows = np.random.default_rng(seed).standard_normal((n, d))
    rows = np.abs(rows) if positive else rows
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def value_of(rows, subset, redundancy):
    total = linear_form.total_of(rows)
    return linear_form.value(
        total, linear_form.sum_of(rows, np.array(subset, np.int64)), redundancy
    )


@pytest.mark.parametrize("redundancy", [0.0, 0.5, 0.8, 1.0, 2.0])
@pytest.mark.parametrize("size", [0, 1, 4, 11, 12])
def test_value_is_the_double_sum(redundancy, size):
    rows = rows_of(12, 5)
    subset = list(np.random.default_rng(size).permutation(12)[:size])
    assert value_of(rows, subset, redundancy) == pytest.approx(
        reference.value(rows, subset, redundancy), abs=1e-9
    )


@pytest.mark.parametrize("redundancy", [0.0, 0.5, 1.0, 2.0])
def test_gain_is_the_difference_of_values_and_they_add_up(redundancy):
    rows = rows_of(15, 6)
    total = linear_form.total_of(rows)
    subset: list[int] = []
    running = 0.0
    for row in np.random.default_rng(3).permutation(15):
        selected = linear_form.sum_of(rows, np.array(subset, np.int64))
        direction = total - 2.0 * redundancy * selected
        gains = linear_form.scores(rows, direction) - redundancy * linear_form.squared_norms(rows)
        assert gains.tolist() == reference.gains(rows, subset, redundancy).tolist()
        for other in set(range(15)) - set(subset):
            difference = reference.value(rows, [*subset, other], redundancy) - reference.value(
                rows, subset, redundancy
            )
            assert gains[other] == pytest.approx(difference, abs=1e-9)
        running += gains[row]
        subset.append(int(row))
        assert running == pytest.approx(value_of(rows, subset, redundancy), abs=1e-9)


def test_value_of_a_set_and_of_the_rest_agree_at_redundancy_one():
    # docs/mathematics.md#the-objective: F(S) = F(V∖S), F(∅) = F(V) = 0 (graph cut).
    rows = rows_of(20, 4)
    subset = [1, 5, 6, 19]
    rest = [i for i in range(20) if i not in subset]
    assert value_of(rows, subset, 1.0) == pytest.approx(value_of(rows, rest, 1.0), abs=1e-9)
    assert value_of(rows, [], 1.0) == value_of(rows, list(range(20)), 1.0) == 0.0


@pytest.mark.parametrize("redundancy", [0.0, 0.6, 1.0, 1.7])
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_random_value_is_the_mean_over_all_subsets(n, redundancy):
    rows = rows_of(n, 3, seed=n) * np.linspace(0.5, 1.5, n, dtype=np.float32)[:, None]
    total = linear_form.total_of(rows)
    squares = float(linear_form.squared_norms(rows).sum())
    for budget in range(n + 1):
        mean = np.mean(reference.subset_values(rows, budget, redundancy))
        expected = linear_form.random_value(total, squares, n, budget, redundancy)
        assert expected == pytest.approx(mean, abs=1e-9)


def test_random_value_of_nothing():
    assert linear_form.random_value(np.zeros(2), 0.0, 0, 0, 1.0) == 0.0


def test_mean_of_views_gives_the_mean_cosine():
    # docs/mathematics.md#means-of-views: {0°, 60°} against {30°, 120°}: .4330, ‖z̄‖² = .75.
    def circle(*degrees):
        angles = np.deg2rad(degrees)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    first, second = circle(0, 60), circle(30, 120)
    means = np.stack([first.mean(axis=0), second.mean(axis=0)]).astype(np.float32)
    cross = linear_form.scores(means, means[1].astype(np.float64))[0]
    assert cross == pytest.approx((first @ second.T).mean(), abs=1e-7)
    assert cross == pytest.approx(0.4330, abs=5e-5)
    assert linear_form.squared_norms(means)[0] == pytest.approx(0.75, abs=1e-7)
    # Without a = b: (m²‖z̄‖² − m)/(m² − m) = .5.
    assert pytest.approx(first[0] @ first[1]) == (4 * 0.75 - 2) / 2
    # E‖z − z'‖² = 2 − 2⟨z̄, z̄'⟩ = 1.1340 = ‖z̄ − z̄'‖² + (1 − ‖z̄‖²) + (1 − ‖z̄'‖²).
    squared = np.mean([np.sum((a - b) ** 2) for a in first for b in second])
    assert squared == pytest.approx(2 - 2 * cross, abs=1e-6)
    assert squared == pytest.approx(1.1340, abs=5e-5)


@pytest.mark.parametrize(
    ("fraction", "redundancy"),
    [(0.1, 1.0), (0.25, 1.0), (0.4, 0.625), (0.5, 0.5), (0.8, 0.3125), (1.0, 0.25)],
)
def test_default_redundancy(fraction, redundancy):
    assert linear_form.default_redundancy(fraction) == pytest.approx(redundancy)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_default_redundancy_needs_a_fraction(fraction):
    with pytest.raises(UsageError, match="fraction"):
        linear_form.default_redundancy(fraction)


@pytest.mark.parametrize("row", [-1, 3])
def test_rows_that_do_not_exist_are_refused(row):
    with pytest.raises(UsageError, match="rows between 0 and 2"):
        linear_form.sum_of(rows_of(3, 2), np.array([0, row]))
