from __future__ import annotations

import numpy as np
import pytest

from contrasift.classes import latent_classes
from contrasift.classes import rows as rows_module
from contrasift.classes import whitening as module
from contrasift.classes.rows import Rows, prepare_rows
from contrasift.classes.whitening import fit_whitening
from contrasift.errors import DataError


def naive_whitening(rows: np.ndarray, width: int) -> np.ndarray:
    """By singular values of the centred matrix, where the module takes a covariance's eigenvectors."""
    rows = rows.astype(np.float64)
    left, values, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    rank = min(width, int((values > 1e-8 * values[0]).sum()))
    white = left[:, :rank]
    return white / np.linalg.norm(white, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("n", "d", "width"), [(40, 5, 3), (40, 5, 5), (40, 5, 9), (4, 9, 9), (2, 3, 2)]
)
def test_matches_singular_vectors_up_to_signs(n, d, width):
    rng = np.random.default_rng(n + d)
    rows = (rng.normal(size=(n, d)) * np.arange(1, d + 1) + 7).astype(np.float32)
    white = fit_whitening(rows, width).apply(rows)
    naive = naive_whitening(rows, width)
    assert white.shape == naive.shape
    # Signs of directions are free: Gram matrices are not.
    np.testing.assert_allclose(white @ white.T, naive @ naive.T, atol=2e-5)


def test_before_scaling_rows_the_covariance_is_the_identity():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3
    whitening = fit_whitening(rows, 6)
    white = (rows - whitening.mean) @ whitening.projection
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-9)
    assert whitening.explained == pytest.approx(1.0)
    assert 0.5 < fit_whitening(rows, 3).explained < 1


def test_columns_that_repeat_add_nothing():
    rows = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    assert fit_whitening(np.hstack([rows, rows, rows[:, :1]]), 7).width == 3


@pytest.mark.parametrize(
    "rows", [np.ones((1, 3)), np.full((9, 4), 0.1, np.float32), np.zeros((3, 2))]
)
def test_rows_that_do_not_vary_become_zeros_in_one_class(rows):
    whitening = fit_whitening(rows, 2)
    assert whitening.apply(rows).tolist() == [[0.0]] * len(rows)
    for method in ("kmeans", "graph"):
        found = latent_classes(rows, method=method, whiten=2)
        assert found.codes.tolist() == [0] * len(rows)


def test_a_row_at_the_mean_stays_zero():
    rows = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1], [0, 0]])
    white = fit_whitening(rows, 2).apply(rows)
    assert white[4].tolist() == [0, 0]
    np.testing.assert_allclose(np.linalg.norm(white[:4], axis=1), 1, atol=1e-6)


def test_blocks_change_nothing(monkeypatch):
    rows = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
    whole = fit_whitening(rows, 3).apply(rows)
    monkeypatch.setattr(
        module, "row_blocks", lambda n, size: [slice(i, min(i + 7, n)) for i in range(0, n, 7)]
    )
    np.testing.assert_allclose(fit_whitening(rows, 3).apply(rows), whole, atol=1e-6)


def test_many_rows_are_whitened_by_a_sample(monkeypatch):
    rows = np.random.default_rng(2).normal(size=(900, 4)).astype(np.float32)
    monkeypatch.setattr(rows_module, "_WHITENING_ROWS", 300)
    first, again, other = (
        prepare_rows(rows, whiten=3, metric="spherical", seed=seed).gather() for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()
    full = Rows(rows, fit_whitening(rows, 3)).gather()
    assert np.abs((first * full).sum(axis=1)).mean() > 0.5


def test_nan_names_the_row():
    rows = np.ones((5, 3))
    rows[3, 1] = np.nan
    with pytest.raises(DataError, match="row 3"):
        fit_whitening(rows, 2)


def test_whitening_finds_groups_that_a_loud_direction_hides():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    quiet = np.eye(3)[labels] + 0.05 * rng.normal(size=(300, 3))
    loud = 50 * rng.normal(size=(300, 2))
    rows = np.hstack([quiet, loud])
    plain = latent_classes(rows, n_classes=3, whiten=0, metric="euclidean", labels=labels)
    white = latent_classes(rows, n_classes=3, whiten=4, labels=labels)
    assert plain.facts["agreement"]["ari"] < 0.1
    assert white.facts["agreement"]["ari"] > 2 * abs(plain.facts["agreement"]["ari"]) + 0.2
    assert white.facts["whiten"]["components"] == 4
