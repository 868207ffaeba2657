"""Prototypes, de-duplication, typicality and given scores: naive versions, ties, and direction."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.errors import DataError, UsageError
from contrasift.selection.baselines import dedup
from contrasift.selection.baselines import typicality as typicality_order
from contrasift.selection.baselines.dedup import semantic_dedup
from contrasift.selection.baselines.scored import prototype_order, scores_order

SIZES = [0, 1, 2, 3, 40]
EVERY = {
    "prototype-near": prototype_order,
    "prototype-far": lambda z: prototype_order(z, "far"),
    "semantic-dedup": semantic_dedup,
    "typicality": typicality_order,
}


def unit(z):
    z = np.asarray(z, dtype=np.float64)
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-300)


def naive_dedup(z, keep="far"):
    """For every row, one by one, the largest cosine to any row before it in the keep order."""
    cosines = unit(z) @ unit(z).T
    towards = unit(z) @ unit(z).sum(axis=0)
    order = np.argsort(towards if keep == "far" else -towards, kind="stable")
    stays = np.full(len(z), np.inf)
    for place, row in enumerate(order[1:], start=1):
        stays[row] = 1 - cosines[row, order[:place]].max()
    return stays


def naive_typicality(z, neighbours):
    z = z.astype(np.float64)
    gaps = np.sqrt(((z[:, None] - z[None]) ** 2).sum(axis=2))
    result = []
    for i in range(len(z)):
        others = np.sort(np.delete(gaps[i], i))[:neighbours]
        result.append(1 / others.mean())
    return np.array(result)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("n", SIZES)
def test_every_ranking_is_a_permutation_by_falling_score(rng, name, n):
    z = rng.normal(size=(n, 6)).astype(np.float32)
    found = EVERY[name](z)
    assert np.array_equal(np.sort(found.order), np.arange(n))
    assert found.ranked_to == n
    listed = found.scores[found.order]
    assert (listed[:-1] >= listed[1:]).all()


@pytest.mark.parametrize("name", EVERY)
def test_equal_rows_come_in_their_order(name):
    z = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (9, 1))
    assert EVERY[name](z).order.tolist() == list(range(9))


@pytest.mark.parametrize("name", EVERY)
def test_rows_that_are_not_finite_are_refused(name):
    z = np.ones((5, 3), dtype=np.float32)
    z[3, 1] = np.inf
    with pytest.raises(DataError, match="finite"):
        EVERY[name](z)


# --- prototypes -----------------------------------------------------------------------------------


def test_prototype_is_the_cosine_to_the_mean(rng):
    z = rng.normal(size=(50, 8)).astype(np.float32)
    cosines = unit(z) @ unit(z.astype(np.float64).mean(axis=0, keepdims=True))[0]
    np.testing.assert_allclose(prototype_order(z).scores, cosines, atol=1e-9)
    near, far = prototype_order(z).order, prototype_order(z, "far").order
    assert np.array_equal(near, far[::-1])


def test_prototype_near_keeps_the_core_and_far_the_outliers(rng):
    z = 0.1 * rng.normal(size=(60, 6))
    z[:50, 0] += 1
    z[50:, 1 + np.arange(10) % 5] += 1
    z = z.astype(np.float32)
    assert set(prototype_order(z, "near").order[:50].tolist()) == set(range(50))
    assert set(prototype_order(z, "far").order[:10].tolist()) == set(range(50, 60))


def test_prototype_without_a_direction():
    z = np.array([[1, 0], [-1, 0], [0, 0]], dtype=np.float32)
    assert prototype_order(z).scores.tolist() == [0, 0, 0]
    with pytest.raises(UsageError, match="near or far"):
        prototype_order(z, "middle")


# --- semantic de-duplication ----------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["far", "near"])
@pytest.mark.parametrize("tile", [1, 7, 2048])
def test_dedup_is_the_largest_cosine_to_an_earlier_row(rng, monkeypatch, keep, tile):
    monkeypatch.setattr(dedup, "_TILE", tile)
    z = rng.normal(size=(60, 5)).astype(np.float32)
    z[40:] = z[:20] + 0.05 * rng.normal(size=(20, 5)).astype(np.float32)
    np.testing.assert_allclose(
        semantic_dedup(z, keep=keep).scores, naive_dedup(z, keep), rtol=1e-4, atol=1e-7
    )


def test_dedup_does_not_depend_on_its_blocks(rng, monkeypatch):
    z = np.repeat(rng.normal(size=(50, 9)), 4, axis=0).astype(np.float32)
    z += np.float32(1e-6) * rng.normal(size=z.shape).astype(np.float32)
    expected = semantic_dedup(z)
    for tile in (1, 13, 64):
        monkeypatch.setattr(dedup, "_TILE", tile)
        assert np.array_equal(semantic_dedup(z).scores, expected.scores)


def test_dedup_keeps_one_of_every_group_the_farthest_from_the_centre():
    """Direction: pairs of near duplicates, the second of each a little nearer to the mean."""
    angles = np.linspace(0.2, 1.2, 10)
    z = np.stack([np.cos(angles), np.sin(angles), np.zeros(10)], axis=1)
    z = np.concatenate([z, z * [1, 1, 0] + [0, 0, -0.05]])  # all tilted away from the mean ...
    z[:, 2] += 0.1  # ... whose third coordinate is above theirs
    z = z.astype(np.float32)
    towards = unit(z) @ unit(z).sum(axis=0)
    farther = np.where(towards[:10] < towards[10:], np.arange(10), np.arange(10, 20))
    nearer = (farther + 10) % 20
    assert set(semantic_dedup(z).order[:10].tolist()) == set(farther.tolist())
    assert set(semantic_dedup(z, keep="near").order[:10].tolist()) == set(nearer.tolist())


def test_dedup_counts_what_stays_at_epsilon(rng):
    z = rng.normal(size=(30, 4)).astype(np.float32)
    z[20:] = 2 * z[:10]  # lengths do not count
    assert semantic_dedup(z, epsilon=1e-6).facts["distinct"] == 20
    assert semantic_dedup(z, epsilon=0.0).facts["distinct"] == 30
    assert semantic_dedup(z, epsilon=2.0).facts["distinct"] <= 2
    assert set(semantic_dedup(z).order[20:].tolist()) <= set(range(10)) | set(range(20, 30))
    with pytest.raises(UsageError, match="ε in"):
        semantic_dedup(z, epsilon=-0.1)
    with pytest.raises(UsageError, match="near or far"):
        semantic_dedup(z, keep="first")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=1, max_size=30))
def test_what_stays_at_a_smaller_epsilon_contains_what_stays_at_a_larger_one(rows):
    scores = semantic_dedup(np.array(rows, dtype=np.float32)).scores
    assert (scores >= 0).all()
    assert np.isinf(scores).sum() == 1


# --- typicality -----------------------------------------------------------------------------------


@pytest.mark.parametrize("neighbours", [1, 5, 20, 100])
@pytest.mark.parametrize("n", [2, 10, 120])
def test_typicality_is_one_over_the_mean_distance(rng, n, neighbours):
    z = rng.normal(size=(n, 6)).astype(np.float32)
    np.testing.assert_allclose(
        typicality_order(z, neighbours).scores, naive_typicality(z, neighbours), rtol=1e-9
    )


def test_typicality_in_several_blocks_and_threads(rng, monkeypatch):
    # The function of the package has the name of its module.
    module = sys.modules["contrasift.selection.baselines.typicality"]
    z = rng.normal(size=(300, 6)).astype(np.float32)
    expected = typicality_order(z)
    monkeypatch.setattr(module, "row_blocks", lambda n, _: [slice(0, 7), slice(7, n)])
    assert np.array_equal(typicality_order(z, threads=2).scores, expected.scores)


def test_typicality_prefers_the_dense_core(rng):
    z = rng.normal(size=(80, 4))
    z[50:] = 6 + 0.01 * rng.normal(size=(30, 4))
    z = z.astype(np.float32)
    assert set(typicality_order(z).order[:30].tolist()) == set(range(50, 80))


def test_typicality_of_more_duplicates_than_neighbours():
    z = np.concatenate([np.ones((50, 3)), 9 * np.eye(3)]).astype(np.float32)
    found = typicality_order(z, 5)
    assert np.isinf(found.scores[:50]).all()
    assert np.isfinite(found.scores[50:]).all()
    assert found.order[:50].tolist() == list(range(50))
    with pytest.raises(UsageError, match="one neighbour"):
        typicality_order(z, 0)


# --- given scores ---------------------------------------------------------------------------------


def test_given_scores_high_and_low():
    """Direction: what was forgotten most, and what was never learned, is the hardest."""
    forgotten = np.array([0.0, 3.0, np.inf, 1.0, 3.0])
    assert scores_order(forgotten).order.tolist() == [2, 1, 4, 3, 0]
    assert scores_order(forgotten, "low").order.tolist() == [0, 3, 1, 4, 2]
    assert scores_order(np.empty(0)).order.size == 0


def test_given_scores_are_checked():
    with pytest.raises(DataError, match="NaN for 1 of them, the first in row 1"):
        scores_order(np.array([0.0, np.nan]))
    with pytest.raises(UsageError, match="high or low"):
        scores_order(np.zeros(2), "most")
