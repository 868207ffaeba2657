"""Rows of two bytes an entry: selected, put into classes and mined as if they were float32."""

from __future__ import annotations

import numpy as np
import pytest

import contrasift as cs


@pytest.fixture
def half(rng):
    kinds = np.abs(rng.normal(size=(4, 8)))
    return (kinds[np.arange(160) % 4] + 0.3 * rng.random((160, 8))).astype(np.float16)


@pytest.mark.parametrize("optimizer", ["greedy", "relaxed"])
@pytest.mark.parametrize("classes", [None, np.arange(160) % 4])
def test_selections(half, classes, optimizer, tmp_path):
    np.save(tmp_path / "half.npy", half)
    mapped = np.load(tmp_path / "half.npy", mmap_mode="r")
    how = {"fraction": 0.2, "optimizer": optimizer, "normalize": "none"}
    wide = cs.select(half.astype(np.float32), classes, **how)
    for rows in (half, mapped, cs.open_embeddings(tmp_path / "half.npy")):
        found = cs.select(rows, classes, **how)
        assert found.ranking.tolist() == wide.ranking.tolist()
        assert found.gain.tolist() == wide.gain.tolist()
        assert found.value == wide.value


@pytest.mark.parametrize("method", ["graph", "kmeans"])
def test_latent_classes(half, method):
    wide = cs.latent_classes(half.astype(np.float32), method=method)
    assert cs.latent_classes(half, method=method).codes.tolist() == wide.codes.tolist()


@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_negatives(half, search):
    pairs = np.roll(np.arange(160), 4)
    wide = cs.mine(half.astype(np.float32), None, pairs, per_query=3, search=search)
    found = cs.mine(half, None, pairs, per_query=3, search=search)
    assert found.negatives.tolist() == wide.negatives.tolist()
    assert found.similarity.tolist() == wide.similarity.tolist()
