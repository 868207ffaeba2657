from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from contrasift.errors import UsageError
from contrasift.selection.kernels import nearest_rows as module
from contrasift.selection.kernels import products
from contrasift.selection.kernels.nearest_rows import nearest_rows
from tests import reference


def rows_of(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(n=st.integers(2, 90), d=st.integers(1, 5), seed=st.integers(0, 999), own=st.booleans())
def test_are_those_of_all_pairs_with_the_lower_row_first(n, d, seed, own):
    # Small integers: many exact ties, and no rounding anywhere.
    rng = np.random.default_rng(seed)
    points = rng.integers(-2, 3, (n, d)).astype(np.float32)
    queries = points if own else rng.integers(-2, 3, (7, d)).astype(np.float32)
    assume(module.Frame.of(points).origin is None)
    k = int(rng.integers(1, n - own + 1))
    found = nearest_rows(queries, points, k, own=np.arange(n) if own else None)
    expected = reference.nearest(queries, points, k, np.arange(n) if own else None)
    assert found.tolist() == expected


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 1), (33, 4096), (500, 1), (700, 128)])
def test_any_shape(n, d):
    # Integers, so that no rounding decides.
    points = np.random.default_rng(n).integers(-9, 10, (n, d)).astype(np.float32)
    k = min(5, n)
    assert nearest_rows(points, points, k).tolist() == reference.nearest(points, points, k, None)


def test_no_queries():
    assert nearest_rows(rows_of(0, 3), rows_of(4, 3), 2).shape == (0, 2)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(("block", "stripe"), [(1, 1 << 30), (12, 4_000), (500, 1 << 30)])
def test_blocks_and_threads_change_nothing(threads, block, stripe, monkeypatch):
    # Pairs of rows that differ in their last bits, and copies: close calls everywhere.
    points = np.repeat(rows_of(75, 24), 4, axis=0)
    points[1::4] = np.nextafter(points[1::4], np.float32(9))
    own = np.arange(300)
    plain = nearest_rows(points, points, 9, own=own, threads=1)
    monkeypatch.setattr(module, "ROW_BLOCK", block)
    monkeypatch.setattr(module, "_STRIPE_BYTES", stripe)
    monkeypatch.setattr(module, "_GROUP_BYTES", 3 * 4 * 24 * products.TILE.columns)
    assert (nearest_rows(points, points, 9, own=own, threads=threads) == plain).all()
    order = np.random.default_rng(0).permutation(300)
    assert (nearest_rows(points[order], points, 9, own=order) == plain[order]).all()


def test_copies_come_in_their_order():
    points = np.tile(rows_of(2, 8), (60, 1))
    found = nearest_rows(points, points, 3, own=np.arange(120))
    assert found[0].tolist() == [2, 4, 6]
    assert found[2].tolist() == [0, 4, 6]
    assert found[119].tolist() == [1, 3, 5]


def test_a_common_mean_costs_no_digits():
    rng = np.random.default_rng(0)
    points = (rng.integers(-4, 5, (200, 6)) + 2.0**17).astype(np.float32)
    found = nearest_rows(points, points, 4, own=np.arange(200))
    expected = reference.nearest(points, points, 4, np.arange(200))
    wide = points.astype(np.float64)
    lengths = [np.linalg.norm(wide[rows] - wide[:, None], axis=2) for rows in (found, expected)]
    assert np.array_equal(*lengths)


@pytest.mark.parametrize("scale", [1e-30, 1e-19, 1e17, 1e19, 1e30])
def test_scale_does_not_matter(scale):
    points = rows_of(80, 7)
    far = (points.astype(np.float64) * 2.0 ** np.round(np.log2(scale))).astype(np.float32)
    assert (nearest_rows(far, far, 5) == nearest_rows(points, points, 5)).all()


def test_says_what_it_compared():
    told = []
    nearest_rows(rows_of(10, 2), rows_of(50, 2), 1, told=told.append)
    assert sum(told) == 50


@pytest.mark.parametrize(
    ("queries", "k", "own", "match"),
    [
        (rows_of(3, 2), 0, None, "1 to 4 neighbours"),
        (rows_of(3, 2), 5, None, "1 to 4 neighbours"),
        (rows_of(3, 2), 4, np.arange(3), "1 to 3 neighbours"),
        (rows_of(3, 3), 1, None, r"as wide as the points \(2\)"),
        (rows_of(3, 2).astype(np.float64), 1, None, "float32"),
    ],
)
def test_bad_arguments(queries, k, own, match):
    with pytest.raises(UsageError, match=match):
        nearest_rows(queries, rows_of(4, 2), k, own=own)
