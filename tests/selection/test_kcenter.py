"""Farthest-first against a naive version, whatever the blocks; and what it prefers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.errors import DataError
from contrasift.selection.baselines import kcenter, nearest
from contrasift.selection.baselines.kcenter import k_center
from contrasift.selection.kernels import nearest_rows


def naive(z, budget, keep=(), eligible=None):
    """Every gap to every centre, one at a time, in float64; the lowest of equal rows wins."""
    z = z.astype(np.float64)
    n = len(z)
    eligible = np.ones(n, dtype=bool) if eligible is None else eligible
    gap = np.full(n, np.inf)
    scores = np.full(n, np.inf)
    chosen = []
    while len(chosen) < budget:
        if len(chosen) < len(keep):
            row = keep[len(chosen)]
        else:
            wish = gap if chosen else -((z - z.mean(axis=0)) ** 2).sum(axis=1)
            free = [i for i in range(n) if eligible[i] and i not in chosen]
            row = max(free, key=lambda i: (wish[i], -i))
        scores[row] = gap[row]
        chosen.append(row)
        gap = np.minimum(gap, ((z - z[row]) ** 2).sum(axis=1))
    rest = [i for i in range(n) if i not in chosen]
    scores[rest] = gap[rest]
    rest.sort(key=lambda i: (not eligible[i], -gap[i], i))
    return chosen + rest, scores


def check(z, budget, keep=None, eligible=None):
    found = k_center(z, budget, keep, eligible)
    order, scores = naive(z, budget, () if keep is None else keep.tolist(), eligible)
    assert found.order.tolist() == order
    np.testing.assert_allclose(found.scores, scores, rtol=1e-9, atol=1e-9)
    assert found.ranked_to == budget
    return found


@pytest.mark.parametrize("n", [1, 3, 17, 150])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_farthest_first_on_random_rows(rng, n, share):
    check(rng.normal(size=(n, 7)).astype(np.float32), round(share * n))


def test_no_rows():
    found = k_center(np.empty((0, 3), dtype=np.float32), 0)
    assert found.order.size == found.scores.size == 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ties_and_duplicates_go_to_the_lowest_row(data):
    """Small whole numbers: every product is exact, so naive and exact gaps tie alike."""
    n, d = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 3))
    entries = data.draw(st.lists(st.integers(-2, 2), min_size=n * d, max_size=n * d))
    z = np.array(entries, dtype=np.float32).reshape(n, d)
    eligible = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    keep = np.flatnonzero(eligible)[: data.draw(st.integers(0, 3))]
    budget = data.draw(st.integers(keep.size, int(eligible.sum())))
    order, _ = naive(z, budget, keep.tolist(), eligible)
    found = k_center(z, budget, keep, eligible)
    if keep.size == 0 and budget > 0 and found.order[0] != order[0]:
        # The mean is rounded otherwise than NumPy's: compare from the same start.
        keep = found.order[:1]
        order, _ = naive(z, budget, keep.tolist(), eligible)
    assert found.order.tolist() == order


def sizes_of_blocks(monkeypatch, candidates, most, rows, group):
    monkeypatch.setattr(kcenter, "_CANDIDATES", candidates)
    monkeypatch.setattr(kcenter, "_MOST_CANDIDATES", most)
    monkeypatch.setattr(nearest_rows, "ROW_BLOCK", rows)
    monkeypatch.setattr(kcenter, "_GROUP", group)


def awkward_rows(rng):
    """Tight groups, exact duplicates, and near ones that float32 products cannot tell apart."""
    groups = rng.normal(size=(30, 24))
    z = groups[rng.integers(0, 30, 400)] + 1e-3 * rng.normal(size=(400, 24))
    z[300:330] = z[:30]
    z[330:360] = z[:30] + 1e-7 * rng.normal(size=(30, 24))
    return z.astype(np.float32)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 5, 7, 2), (64, 100, 33, 7), (999,) * 4])
def test_the_same_for_every_block_size(rng, monkeypatch, sizes):
    z = awkward_rows(rng)
    expected = k_center(z, 120)
    sizes_of_blocks(monkeypatch, *sizes)
    found = k_center(z, 120, threads=2)
    assert np.array_equal(found.order, expected.order)
    assert np.array_equal(found.scores, expected.scores)


def test_lazy_is_exact_where_products_round(rng):
    """Long rows far from the origin: float32 products err by more than most gaps differ."""
    z = (rng.normal(size=(200, 16)) + 30).astype(np.float32)
    check(z, 150)


def test_slack_covers_what_products_err(rng):
    """If it did not, a nearer centre would be overlooked."""
    for d in (1, 5, 128, 1000):
        z = rng.normal(size=(300, d)).astype(np.float32) + np.float32(3)
        exact = z.astype(np.float64) @ z.T.astype(np.float64)
        halves = np.diag(exact) / 2
        found = (z @ z.T) - halves.astype(np.float32)
        assert np.abs(found - (exact - halves)).max() < nearest.product_slack(
            d, float(np.diag(exact).max())
        )


def test_smaller_budgets_are_prefixes(rng):
    z = awkward_rows(rng)
    whole = k_center(z, 400)
    for budget in (1, 2, 50, 399):
        assert np.array_equal(k_center(z, budget).order[:budget], whole.order[:budget])
    gaps = whole.scores[whole.order]
    assert (np.diff(gaps[1:]) <= 1e-12).all()
    assert gaps[0] == np.inf


def test_keeps_what_must_be_kept_and_never_takes_what_may_not_be(rng):
    z = rng.normal(size=(60, 5)).astype(np.float32)
    eligible = rng.random(60) < 0.7
    keep = np.flatnonzero(eligible)[[2, 5, 9]]
    found = check(z, 20, keep, eligible)
    assert found.order[:3].tolist() == keep.tolist()
    assert eligible[found.order[: eligible.sum()]].all()


def test_prefers_outliers_and_every_group():
    """Direction: a dense core, and ten rows far from it and from each other."""
    rng = np.random.default_rng(1)
    z = 0.01 * rng.normal(size=(100, 10))
    z[90:] += 5 * np.eye(10)
    found = k_center(z.astype(np.float32), 11)
    assert set(found.order[1:11].tolist()) == set(range(90, 100))
    assert found.order[0] < 90


def test_refuses_rows_that_are_not_finite():
    z = np.ones((4, 2), dtype=np.float32)
    z[2, 1] = np.nan
    with pytest.raises(DataError, match="finite"):
        k_center(z, 2)
