from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from contrasift.embedding.projection import project, telling_pairs
from contrasift.errors import DataError, UsageError


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def naive_pairs(rows, classes, count, sign):
    """Every pair of a class, best first; each example once."""
    pairs = sorted(
        (sign * (2 - 2 * float(rows[i] @ rows[j])), i, j)
        for i, j in combinations(range(len(rows)), 2)
        if classes[i] == classes[j]
    )
    taken: set[int] = set()
    out = []
    for value, i, j in pairs:
        if len(out) < count and not {i, j} & taken:
            taken |= {i, j}
            out.append((i, j, sign * value))
    return out


class TestProject:
    @pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 20])
    @pytest.mark.parametrize("d", [1, 2, 60])
    @pytest.mark.parametrize("method", ["tsne", "pca"])
    def test_any_size_gives_finite_coordinates(self, n, d, method):
        rows, xy = project(np.random.default_rng(n).normal(size=(n, d)), method=method)
        assert rows.tolist() == list(range(n))
        assert xy.shape == (n, 2)
        assert xy.dtype == np.float32
        assert np.isfinite(xy).all()
        np.testing.assert_allclose(xy.mean(axis=0), 0, atol=1e-5)
        assert xy.std(axis=0).max() == pytest.approx(0.0 if n == 1 else 1.0, abs=1e-5)

    def test_identical_rows_lie_on_one_point(self):
        assert (project(np.ones((30, 4)))[1] == 0).all()

    def test_is_repeatable_and_samples_by_seed(self):
        rows = np.random.default_rng(0).normal(size=(200, 8))
        first, again = (project(rows, sample=50, seed=4) for _ in range(2))
        assert (first[0] == again[0]).all()
        assert (first[1] == again[1]).all()
        assert first[0].size == 50
        assert (np.diff(first[0]) > 0).all()
        assert (project(rows, sample=50, seed=5)[0] != first[0]).any()

    def test_groups_stay_together(self):
        rng = np.random.default_rng(1)
        labels = np.arange(120) % 3
        rows = 5 * np.eye(3)[labels] @ rng.normal(size=(3, 20)) + 0.1 * rng.normal(size=(120, 20))
        _, xy = project(rows)
        distance = np.linalg.norm(xy[:, None] - xy[None], axis=2) + 1e9 * np.eye(120)
        assert (labels[distance.argmin(axis=1)] == labels).all()

    def test_principal_components_match_numpy_eigenvectors(self):
        rows = np.random.default_rng(2).normal(size=(40, 6)) * [5, 3, 1, 1, 1, 1]
        _, xy = project(rows, method="pca")
        centred = rows - rows.mean(axis=0)
        _, vectors = np.linalg.eigh(centred.T @ centred)
        expected = centred @ vectors[:, [-1, -2]]
        expected /= expected.std(axis=0).max()
        np.testing.assert_allclose(np.abs(xy), np.abs(expected), atol=1e-5)

    def test_bad_input(self):
        with pytest.raises(UsageError, match="tsne, pca"):
            project(np.eye(3), method="umap")
        with pytest.raises(UsageError, match="at least 1 row"):
            project(np.eye(3), sample=0)
        with pytest.raises(DataError, match="NaN"):
            project(np.full((6, 2), np.nan))


class TestTellingPairs:
    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize("count", [0, 1, 3, 100])
    def test_match_a_naive_loop(self, seed, count):
        rng = np.random.default_rng(seed)
        rows, classes = unit(rng.normal(size=(30, 4))), rng.integers(0, 4, 30)
        for found, sign in zip(telling_pairs(rows, classes, count=count), (1, -1), strict=True):
            expected = naive_pairs(rows, classes, count, sign)
            assert found.first.tolist() == [i for i, _, _ in expected]
            assert found.second.tolist() == [j for _, j, _ in expected]
            np.testing.assert_allclose(found.distance, [v for _, _, v in expected], atol=1e-12)

    def test_distance_is_the_mean_over_views(self):
        rng = np.random.default_rng(0)
        views = rng.normal(size=(2, 5, 6))
        views /= np.linalg.norm(views, axis=2, keepdims=True)
        near, far = telling_pairs(views.mean(axis=1))
        by_views = np.mean([((a - b) ** 2).sum() for a in views[0] for b in views[1]])
        assert near.distance.tolist() == far.distance.tolist() == pytest.approx([by_views])

    def test_equal_distances_take_the_lowest_rows(self):
        near, far = telling_pairs(np.tile(np.eye(2), (3, 1)), count=2)
        assert list(zip(near.first, near.second, strict=True)) == [(0, 2), (1, 3)]
        assert list(zip(far.first, far.second, strict=True)) == [(0, 1), (2, 3)]

    def test_lone_examples_make_no_pairs(self):
        near, far = telling_pairs(np.eye(3), ["a", "b", "c"])
        assert near.first.size == far.first.size == 0
        assert telling_pairs(np.ones((1, 2)))[0].distance.size == 0

    def test_a_sample_is_taken_by_seed(self):
        rows = unit(np.random.default_rng(0).normal(size=(300, 4)))
        first, again, other = (telling_pairs(rows, sample=40, seed=s)[0] for s in (1, 1, 2))
        assert first.first.tolist() == again.first.tolist()
        assert first.first.tolist() != other.first.tolist()

    def test_bad_input(self):
        with pytest.raises(UsageError, match="at least 0"):
            telling_pairs(np.eye(3), count=-1)
        with pytest.raises(DataError, match="one class for each"):
            telling_pairs(np.eye(3), [0, 1])
