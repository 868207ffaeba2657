from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from contrasift.embedding import embed as embedding
from contrasift.evaluation import softmax
from reproduce.cell import Cell
from reproduce.metrics.pairs import PAIRS_METRICS, measure_pairs


def test_the_loss_of_pairs_and_its_gradient(rng):
    n = 1500  # two blocks, the second one short
    features = rng.normal(size=(n, 4)).astype(np.float32)
    codes = rng.integers(0, 3, n)
    weights, bias = rng.normal(size=(4, 3)), rng.normal(size=3)

    def naive(weights, bias):
        scores = features.astype(np.float64) @ weights + bias
        return np.mean([
            0.0 if j == codes[i] else np.log1p(np.exp(scores[i, j] - scores[i, codes[i]]))
            for i in range(n) for j in range(3)
        ])  # fmt: skip

    loss, gradient = softmax.mean_pair_loss(features, codes, weights, bias)
    assert loss == pytest.approx(naive(weights, bias), rel=1e-5)
    step = 1e-5
    for row, column in ((0, 0), (3, 2)):
        moved = weights.copy()
        moved[row, column] += step
        slope = (naive(moved, bias) - naive(weights, bias)) / step
        assert gradient[row, column] == pytest.approx(slope, abs=1e-5)
    moved = bias + step * np.eye(3)[1]
    slope = (naive(weights, moved) - naive(weights, bias)) / step
    assert gradient[4, 1] == pytest.approx(slope, abs=1e-5)


def test_large_scores_do_not_overflow():
    features, weights = np.ones((2, 1), np.float32), np.array([[1e4, 0.0]])
    loss, gradient = softmax.mean_pair_loss(features, np.array([0, 1]), weights, np.zeros(2))
    assert loss == pytest.approx(1e4 / 4)
    assert np.isfinite(gradient).all()


def test_pairs_of_even_classes_find_what_all_of_them_do(rng):
    # Every function of four points is linear in their indicators: the theorem holds exactly.
    counts = rng.permuted(np.tile([60, 25, 10, 5], (3, 1)), axis=1)  # [class, point], even classes
    codes, points = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices((3, 4)))
    features = np.eye(4, dtype=np.float32)[points]
    for weight, pairs in ((1e-6, False), (1e-6 / 3, True)):
        fit = softmax.fit_softmax(features, codes, 3, weight, tolerance=1e-7, pairs=pairs)
        scores = fit.scores(np.eye(4, dtype=np.float32))
        centred = scores - scores.mean(axis=1, keepdims=True)
        wanted = np.log(counts.T)
        np.testing.assert_allclose(centred, wanted - wanted.mean(axis=1, keepdims=True), atol=0.02)


def test_both_classifiers_of_one_encoder(monkeypatch):
    rng = np.random.default_rng(1)
    labels = np.repeat([4, 7, 9], 60)
    rows = (2 * np.eye(3)[np.searchsorted([4, 7, 9], labels)] + rng.normal(size=(180, 3))).astype(
        np.float32
    )
    pool, test = SimpleNamespace(), SimpleNamespace()
    pool.test = test
    own = {id(pool): rows[::2], id(test): rows[1::2]}
    monkeypatch.setattr(
        embedding, "features", lambda pool, positions, *_, **__: own[id(pool)][positions]
    )
    found = measure_pairs(
        SimpleNamespace(
            cell=Cell.of({"pool.pool": "digits", "measure.regularisation": 1e-5}, 3),
            pool=pool,
            labelled=lambda held_out: (np.arange(90), labels[1::2] if held_out else labels[::2]),
            encoder=None,
            artifacts=SimpleNamespace(device="cpu"),
        )
    )
    assert set(found) == set(PAIRS_METRICS)
    assert found["all"] > 0.75
    assert abs(found["pairs_less_all"]) < 0.05
    assert found["pairs_less_all"] == pytest.approx(found["pairs"] - found["all"])
    assert 0.9 < found["same_guess"] < 1  # they are two classifiers
