"""New examples in old classes."""

from __future__ import annotations

import numpy as np
import pytest

from contrasift.classes import latent_classes
from contrasift.classes.assign import fit_assigner
from contrasift.classes.rows import prepare_rows
from contrasift.errors import DataError, UsageError


def blobs(rng, n, centres):
    codes = rng.integers(0, len(centres), n)
    return (centres[codes] + rng.normal(0, 0.3, (n, centres.shape[1]))).astype(np.float32), codes


def naive_means(old, codes, k, new, spherical):
    def as_seen(rows):
        rows = rows.astype(np.float64)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if spherical else rows

    found = []
    for row in as_seen(new):
        lengths = []
        for code in range(k):
            mean = as_seen(old)[codes == code].mean(axis=0)
            mean = mean / np.linalg.norm(mean) if spherical else mean
            lengths.append(np.linalg.norm(row - mean))
        found.append(int(np.argmin(lengths)))
    return np.array(found)


@pytest.mark.parametrize("metric", ["spherical", "euclidean"])
@pytest.mark.parametrize("n", [1, 2, 40])
def test_the_nearest_mean_as_by_its_definition(rng, metric, n):
    old, codes = blobs(rng, 60, rng.normal(size=(4, 6)))
    new = rng.normal(size=(n, 6)).astype(np.float32)
    assigner = fit_assigner(old, codes, 4, whiten=0, metric=metric)
    found, score = assigner.classes_of(new)
    assert np.array_equal(found, naive_means(old, codes, 4, new, metric == "spherical"))
    assert score.shape == (n,)
    assert ((score >= 0) & (score <= 1)).all()


def test_neighbours_vote_and_the_nearest_breaks_a_tie(rng):
    old = np.array([[0.0], [0.1], [1.0], [1.1], [5.0]], dtype=np.float32)
    codes = np.array([0, 0, 1, 1, 2])
    assigner = fit_assigner(
        old, codes, 3, way="neighbours", neighbours=4, whiten=0, metric="euclidean"
    )
    new = np.array([[0.2], [0.9], [5.0]], dtype=np.float32)
    found, score = assigner.classes_of(new)  # two votes against two: the nearest decides
    assert found.tolist() == [0, 1, 1]
    assert score.tolist() == [0.5, 0.5, 0.5]
    every = fit_assigner(
        old, codes, 3, way="neighbours", neighbours=99, whiten=0, metric="euclidean"
    )
    assert every.classes_of(new)[1].tolist() == pytest.approx([0.4, 0.4, 0.4])


def test_whitening_is_that_of_the_pool(rng):
    old, codes = blobs(rng, 200, rng.normal(size=(3, 8)))
    assigner = fit_assigner(old, codes, 3, whiten=4, seed=3)
    rows = prepare_rows(old, whiten=4, metric="spherical", seed=3).gather()
    means = np.stack([rows[codes == code].mean(axis=0) for code in range(3)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    expected = ((rows[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert np.array_equal(assigner.classes_of(old)[0], expected)


@pytest.mark.parametrize(("method", "way"), [("kmeans", "means"), ("graph", "neighbours")])
def test_old_examples_come_back_to_their_classes(rng, method, way):
    old, _ = blobs(rng, 300, 4 * rng.normal(size=(5, 8)))
    found = latent_classes(old, method=method, n_classes=5 if method == "kmeans" else None)
    assigner = fit_assigner(old, found.codes, len(found.names), way=way)
    assert assigner.agreement() > 0.9
    again, _ = assigner.classes_of(old)
    assert (again == found.codes).mean() > 0.9


def test_an_old_row_has_no_vote_on_itself(rng):
    old = rng.normal(size=(40, 3)).astype(np.float32)
    codes = np.arange(40)
    assigner = fit_assigner(old, codes, 40, way="neighbours", neighbours=1, whiten=0)
    assert assigner.agreement() == 0
    assert np.array_equal(assigner.classes_of(old)[0], codes)


def test_what_cannot_be_assigned_is_refused(rng):
    old, codes = blobs(rng, 20, rng.normal(size=(2, 4)))
    with pytest.raises(UsageError, match="a way among"):
        fit_assigner(old, codes, 2, way="guess")
    with pytest.raises(UsageError, match="at least 1 neighbour"):
        fit_assigner(old, codes, 2, neighbours=0)
    with pytest.raises(UsageError, match="one class for each of the 20"):
        fit_assigner(old, codes[1:], 2)
    assigner = fit_assigner(old, codes, 2)
    with pytest.raises(UsageError, match="width 4"):
        assigner.classes_of(old[:, :3])
    with pytest.raises(DataError, match="row 1"):
        assigner.classes_of(np.where(np.arange(20)[:, None] == 1, np.nan, old))
