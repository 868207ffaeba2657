"""Passes over parts of a class give the answers of one matrix, bit for bit; rules travel to Ray's data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import contrasift as cs
from contrasift.engines.files import SharedMatrix, shared_rows
from contrasift.engines.spread import SpreadRows
from contrasift.selection.kernels.passes import HeldRows


def both(values, folder, part_rows):
    path = folder / "values.npy"
    np.save(path, values)
    rows = np.arange(0, len(values), 2)
    shared = shared_rows(np.concatenate([[7], rows]), folder).part(1, 1 + rows.size)
    spread = SpreadRows(SharedMatrix(path), shared, scale=False, part_rows=part_rows, cpus=2)
    return HeldRows(np.ascontiguousarray(values[rows])), spread


@pytest.mark.parametrize("part_rows", [2, 7, 1000])
def test_every_pass(cluster, rng, tmp_path, part_rows):
    values = rng.standard_normal((40, 5)).astype(np.float32)
    values[10:30] = values[8]
    held, spread = both(values, tmp_path, part_rows)
    direction = rng.standard_normal(5)
    order = rng.permutation(held.n)[:17]
    assert (held.n, held.width, held.scale) == (spread.n, spread.width, spread.scale)
    for name, arguments in [
        ("fixed_total", ()),
        ("fixed_sum", (order,)),
        ("fixed_sum", (order[:0],)),
        ("squares", ()),
        ("scores", (direction,)),
        ("replay", (order, direction, 0.7)),
        ("replay", (order[:0], direction, 0.7)),
    ]:
        expected = getattr(held, name)(*arguments)
        assert np.array_equal(getattr(spread, name)(*arguments), expected), name
    free = rng.random(held.n) < 0.8
    for mask in (np.ones(held.n, dtype=bool), free):
        for places in (1, 4, 9, int(mask.sum())):
            expected = held.best(direction, mask, places)
            found = spread.best(direction, mask, places)
            assert np.array_equal(found.fixed, expected.fixed)
            assert found[1:] == expected[1:]


def test_scores_that_crowd_into_one_bin(cluster, rng, tmp_path):
    """One row far away leaves all others in a single bin, more than are sent at once."""
    values = rng.standard_normal((180_000, 1)).astype(np.float32)
    values[0] = 1e6
    held, spread = both(values, tmp_path, 90_000)
    free = np.ones(held.n, dtype=bool)
    direction = np.ones(1)
    for places in (1, 2, 40_000):
        expected = held.best(direction, free, places)
        found = spread.best(direction, free, places)
        assert np.array_equal(found.fixed, expected.fixed)
        assert found[1:] == expected[1:]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_data_takes_a_sifter(cluster, rng):
    data = pytest.importorskip("ray.data")
    values = np.abs(rng.standard_normal((30, 6))).astype(np.float32)
    np.savez("rule.npz", **cs.select(values, fraction=0.3, optimizer="relaxed").rule)
    stage = data.from_items([{"index": n, "z": row} for n, row in enumerate(values)]).map_batches(
        cs.Sifter,
        fn_constructor_args=[str(Path("rule.npz").absolute())],
        fn_constructor_kwargs={"column": "z"},
        batch_size=8,
        concurrency=1,
    )
    found = sorted(stage.take_all(), key=lambda row: row["index"])
    judged = cs.Sifter("rule.npz", column="z")({"z": values})
    assert [row["keep"] for row in found] == judged["keep"].tolist()
    assert np.allclose([row["score"] for row in found], judged["score"], rtol=1e-5)
