"""The controls: that each prefers what it says it prefers."""

from __future__ import annotations

import numpy as np
import pytest

from contrasift.selection.baselines import (
    is_non_negative,
    published_order,
    published_scores,
    random_order,
    random_per_class_order,
)


def naive_published(gram, threshold):
    """Sort by (row sum of the thresholded matrix with its diagonal, index), descending."""
    kept = np.where(gram >= threshold, gram, 0.0).sum(axis=0).round(9)
    return sorted(range(len(gram)), key=lambda e: (kept[e], e), reverse=True)


def planted(rng, n=60):
    """One tight group around an axis and outliers far from it: the group is what is central."""
    z = np.abs(rng.normal(scale=0.05, size=(n, 6)))
    z[: n - 10, 0] += 1
    z[n - 10 :, 1 + np.arange(10) % 5] += 1
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def test_published_prefers_central_examples(rng):
    z = planted(rng)
    order = published_order(published_scores(z))
    assert set(order[-10:].tolist()) == set(range(50, 60))


@pytest.mark.parametrize("threshold", [0.0, 0.3, -0.2])
@pytest.mark.parametrize("n", [1, 2, 25])
def test_published_is_the_thresholded_row_sum(rng, n, threshold):
    z = rng.normal(size=(n, 5)).astype(np.float32)
    gram = z.astype(np.float64) @ z.T.astype(np.float64)
    order = published_order(published_scores(z, threshold))
    assert order.tolist() == naive_published(gram, threshold)


def test_published_in_several_blocks(rng):
    z = rng.normal(size=(5000, 4)).astype(np.float32)
    gram = z.astype(np.float64) @ z.T.astype(np.float64)
    np.testing.assert_allclose(published_scores(z), np.maximum(gram, 0).sum(axis=0), rtol=1e-6)


def test_published_breaks_ties_by_the_larger_index():
    z = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (5, 1))
    assert published_order(published_scores(z)).tolist() == [4, 3, 2, 1, 0]
    mixed = np.tile(np.array([[0.6, -0.8]], dtype=np.float32), (5, 1))
    assert published_order(published_scores(mixed)).tolist() == [4, 3, 2, 1, 0]


def test_non_negative_features_need_no_products(rng):
    z = np.abs(rng.normal(size=(40, 4))).astype(np.float32)
    assert is_non_negative(z)
    assert not is_non_negative(-z)
    gram = z.astype(np.float64) @ z.T.astype(np.float64)
    np.testing.assert_allclose(published_scores(z), gram.sum(axis=0), rtol=1e-12)


def test_random_orders_are_seeded_permutations():
    assert np.array_equal(random_order(50, 1), random_order(50, 1))
    assert not np.array_equal(random_order(50, 1), random_order(50, 2))
    assert not np.array_equal(random_order(50, 1, 0), random_order(50, 1, 1))
    assert np.array_equal(np.sort(random_order(50, 1)), np.arange(50))


def test_random_per_class_holds_every_class_in_proportion():
    labels = np.repeat(["b", "a"], [30, 10])
    order = random_per_class_order(labels, 0)
    assert np.array_equal(np.sort(order), np.arange(40))
    for budget in (4, 8, 20):
        assert (labels[order[:budget]] == "b").sum() == budget * 3 // 4
