"""Near-copies: each is near the one that stays, whatever the size; against a naive version."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from contrasift.selection import near_copies as module
from contrasift.selection.near_copies import near_copies


def unit(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def groups(n, copies, d=12, noise=0.02, seed=0):
    """n directions, each with some rows around it."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n, d))
    return unit(np.repeat(centres, copies, 0) + noise * rng.normal(size=(n * copies, d)))


def of_one_class(values, epsilon, **how):
    return near_copies([(np.arange(len(values)), values)], len(values), epsilon, **how)


def half_gaps(values, left, right):
    wide = values.astype(np.float64)
    return ((wide[left] - wide[right]) ** 2).sum(axis=1) / 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.sampled_from([0.0, 0.01, 0.3, 2.0]))
def test_rows_are_dropped_for_the_leaders_of_the_naive_version(seed, n, epsilon):
    rng = np.random.default_rng(seed)
    values = unit(rng.integers(-2, 3, (n, 3)) + np.array([0.1, 0, 0]))
    scores, keep = rng.integers(0, 3, n).astype(float), np.flatnonzero(rng.random(n) < 0.2)
    fixed = np.isin(np.arange(n), keep)
    order = np.lexsort((-scores, ~fixed))
    found = of_one_class(values, epsilon, scores=scores, keep=keep)
    assert found.copy_of.tolist() == reference.leaders(values, order, fixed, epsilon)
    assert found.recall is None


def test_pools_without_rows_have_no_copies():
    found = near_copies([], 0, 0.1)
    assert found.copy_of.size == found.having_another(1.0) == 0


def test_a_chain_does_not_join_its_ends():
    angles = np.linspace(0, 1.2, 13)  # neighbours at 0.1 rad, the ends at 1.2
    values = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    found = of_one_class(values, 0.03)
    dropped = np.flatnonzero(found.copy_of >= 0)
    assert (half_gaps(values, dropped, found.copy_of[dropped]) < 0.03).all()
    stays = np.flatnonzero(found.copy_of < 0)
    assert 3 <= stays.size <= 6


def test_the_most_central_stays_or_the_best():
    values = unit([[1, 0.02, 0], [1, 0, 0], [1, -0.02, 0], [0.9, 0, 0.5]])
    central = of_one_class(values, 0.01)
    assert central.copy_of.tolist() == [1, -1, 1, -1]
    best = of_one_class(values, 0.01, scores=np.array([0.0, 1, 5, 2]))
    assert best.copy_of.tolist() == [2, 2, -1, -1]


def test_in_large_classes_nothing_is_dropped_wrongly_and_little_is_missed(monkeypatch):
    monkeypatch.setattr(module, "EXACT_ROWS", 300)
    monkeypatch.setattr(module, "ROWS_A_CELL", 100)
    monkeypatch.setattr(module, "_TILE", 37)
    values = groups(500, 3)
    found = of_one_class(values, 0.02)
    dropped = np.flatnonzero(found.copy_of >= 0)
    assert (found.copy_of[found.copy_of[dropped]] < 0).all()
    assert (half_gaps(values, dropped, found.copy_of[dropped]) < 0.02).all()
    gaps = 1 - values.astype(np.float64) @ values.T.astype(np.float64)
    near = np.triu(gaps < 0.02, 1)
    stays = found.copy_of < 0
    left = near & stays[:, None] & stays[None, :]
    assert left.sum() / near.sum() < 0.02
    assert found.recall == pytest.approx(1 - left.sum() / near.sum(), abs=0.02)
    another = int(((gaps < 0.02).sum(axis=1) > 1).sum())
    assert found.having_another(0.02) == pytest.approx(another, rel=0.1)


def test_threads_and_tiles_do_not_change_what_is_dropped(monkeypatch):
    monkeypatch.setattr(module, "EXACT_ROWS", 100)
    monkeypatch.setattr(module, "ROWS_A_CELL", 64)
    values = groups(150, 3, noise=0.2)
    one = of_one_class(values, 0.05, threads=1)
    monkeypatch.setattr(module, "_TILE", 11)
    two = of_one_class(values, 0.05, threads=2)
    assert np.array_equal(one.copy_of, two.copy_of)


def test_classes_do_not_see_each_other():
    values = groups(20, 2, noise=0.001)
    codes = np.arange(40) % 2
    parts = [(np.flatnonzero(codes == c), values[codes == c]) for c in (0, 1)]
    assert (near_copies(parts, 40, 0.01).copy_of < 0).all()
    assert (of_one_class(values, 0.01).copy_of >= 0).sum() == 20
