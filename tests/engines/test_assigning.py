"""k-means with its assignments on Ray."""

from __future__ import annotations

import numpy as np
import pytest

from contrasift.arrays import row_blocks
from contrasift.classes import kmeans, latent_classes
from contrasift.engines.assigning import RayAssigning


@pytest.mark.parametrize("options", [{"whiten": 4}, {"whiten": 0, "metric": "euclidean"}])
def test_the_same_classes_as_in_one_process(cluster, rng, tmp_path, monkeypatch, options):
    values = rng.standard_normal((3_000, 6)) + rng.integers(0, 3, (3_000, 1))
    # Small blocks, so that there are several tasks.
    blocks = lambda n, row_bytes: row_blocks(n, row_bytes, 1 << 16)  # noqa: E731
    monkeypatch.setattr(kmeans, "row_blocks", blocks)
    options |= {"method": "kmeans", "n_classes": 9}
    alone = latent_classes(values, **options)
    spread = latent_classes(values, **options, assigning=RayAssigning(cluster, tmp_path / "work"))
    assert np.array_equal(spread.codes, alone.codes)
    assert np.array_equal(spread.score, alone.score)
    assert spread.facts == alone.facts
    assert not (tmp_path / "work").exists()
