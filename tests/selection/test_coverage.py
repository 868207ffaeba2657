"""Lazy coverage takes exactly the rows that naive greedy takes, and bounds what any set reaches."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.errors import DataError, UsageError
from contrasift.selection.kernels import dots
from contrasift.selection.kernels.dots import scores_block
from contrasift.selection.objectives import coverage
from contrasift.selection.objectives.coverage import centre_gains, greedy_coverage

KINDS = ["positive", "mixed", "tight", "duplicates", "clusters", "binary", "axes", "short", "zero"]


def make_rows(kind, n, d, seed):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d))
    few = max(1, n // 6)
    if kind == "positive":
        rows = np.abs(rows)
    elif kind == "tight":
        rows = 1 + 1e-4 * rows
    elif kind == "duplicates":
        rows = rows[rng.integers(0, few, n)]
    elif kind == "clusters":
        rows = 3 * rng.standard_normal((few, d))[rng.integers(0, few, n)] + 0.1 * rows
    elif kind == "binary":
        rows = (rows > 0).astype(float)
    elif kind == "axes":
        rows = np.eye(d)[rng.integers(0, d, n)] * np.where(rng.random((n, 1)) < 0.5, -1, 1)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    if kind == "short":
        rows *= rng.random((n, 1))
    elif kind == "zero":
        rows[::2] = 0
    return rows.astype(np.float32)


def similarities(rows, own=None):
    """All s_ij as the module defines them, in integers, and their unit."""
    n = rows.shape[0]
    exact = np.empty((n, n))
    for j in range(n):
        scores_block(rows, 0, n, rows[j].astype(np.float64), exact[j])
    square = max(np.diag(exact).max(initial=0.0), abs(own or 0.0))
    scale = 2.0 ** (30 - int(np.frexp(square * (1 + 1e-9))[1]))
    whole = np.rint(exact * scale).astype(np.int64)
    if own is not None:
        np.fill_diagonal(whole, round(own * scale))
    return whole, 1.0 / scale


def naive(rows, budget, keep=(), eligible=None, a=1.0, b=0.0, own=None):
    """Greedy by evaluating every open row at every step."""
    n = rows.shape[0]
    s, unit = similarities(rows, own)
    modular = centre_gains(rows) * (b / max(1, budget))
    cover, order, gains = None, [], []
    open_rows = np.ones(n, bool) if eligible is None else eligible.copy()
    open_rows[list(keep)] = False
    for step in range(budget):
        new = s.sum(axis=0) if cover is None else np.maximum(0, s - cover[:, None]).sum(axis=0)
        gain = a * (new * unit) + modular
        best = int(np.where(open_rows, gain, -np.inf).argmax())
        if step < len(keep):
            best = sorted(keep)[step]
        order.append(best)
        gains.append(gain[best])
        open_rows[best] = False
        cover = s[:, best] if cover is None else np.maximum(cover, s[:, best])
    return order, gains


def value_of(rows, chosen, a=1.0, b=0.0, own=None):
    """F in plain float64."""
    s = rows.astype(np.float64) @ rows.astype(np.float64).T
    if own is not None:
        np.fill_diagonal(s, own)
    chosen = list(chosen)
    centre = (rows.astype(np.float64) @ rows.astype(np.float64).T)[:, chosen].mean()
    return a * s[:, chosen].max(axis=1).sum() + b * centre


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 3), (7, 2), (60, 5), (150, 33)])
def test_takes_the_rows_of_naive_greedy(kind, n, d):
    rows = make_rows(kind, n, d, seed=n + d)
    for budget in sorted({0, 1, n // 3, n}):
        order, gains = naive(rows, budget)
        for block, entries in ((1, 3 * n), (5, 0), (64, None)):
            path = greedy_coverage(rows, budget, block=block, _pool_entries=entries)
            assert path.order.tolist() == order
            assert path.gains.tolist() == gains


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_with_limits_weights_and_any_block(data):
    n = data.draw(st.integers(1, 40))
    rows = make_rows(
        data.draw(st.sampled_from(KINDS)),
        n,
        data.draw(st.integers(1, 9)),
        data.draw(st.integers(0, 99)),
    )
    eligible = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    keep = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=min(n, 4)))
    most = len(set(np.flatnonzero(eligible)) | set(keep))
    budget = data.draw(st.integers(len(keep), most))
    a, b = data.draw(st.sampled_from([(1.0, 0.0), (0.3, 2.0), (1.0, 1000.0)]))
    own = data.draw(st.sampled_from([None, 1.0, -2.0]))
    order, gains = naive(rows, budget, keep, eligible, a, b, own)
    path = greedy_coverage(
        rows,
        budget,
        coverage_weight=a,
        centre_weight=b,
        self_similarity=own,
        keep=np.array(keep, np.int64),
        eligible=eligible,
        block=data.draw(st.integers(1, 50)),
        _pool_entries=data.draw(st.integers(0, n * n)),
    )
    assert path.order.tolist() == order
    np.testing.assert_allclose(path.gains, gains, rtol=1e-12, atol=1e-12)
    if budget:
        assert path.value == pytest.approx(value_of(rows, order, a, b, own), abs=1e-6 * n * (a + b))
        assert path.value == pytest.approx(path.gains.sum(), abs=1e-9 * n)
    assert path.upper_bound >= path.value


@pytest.mark.parametrize("block", [7, 64])
def test_any_number_of_threads(monkeypatch, block):
    rows = make_rows("clusters", 300, 6, seed=1)
    order, gains = naive(rows, 40)
    monkeypatch.setattr(dots, "_ROWS_WORTH_A_THREAD", 16)
    monkeypatch.setattr(coverage, "_ENTRIES_WORTH_A_THREAD", 16)
    bounds = set()
    for threads in (1, 2, 3):
        path = greedy_coverage(rows, 40, threads=threads, block=block)
        assert path.order.tolist() == order
        assert path.gains.tolist() == gains
        bounds.add(path.upper_bound)
    assert len(bounds) == 1


def test_lists_that_do_not_fit_are_packed_or_left_out():
    rows = make_rows("mixed", 300, 4, seed=5)
    order, gains = naive(rows, 150)
    for entries in (1, 100, 900, 3000, 20_000):
        path = greedy_coverage(rows, 150, block=8, _pool_entries=entries)
        assert path.order.tolist() == order
        assert path.gains.tolist() == gains


def test_lists_save_products():
    rows = make_rows("clusters", 2000, 8, seed=2)
    path = greedy_coverage(rows, 400)
    assert path.products < 3 * 2000
    assert path.evaluations < 400 * 2000 / 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.5, 9.0)])
def test_no_set_exceeds_the_bound_and_greedy_is_near_the_best(kind, a, b):
    rows = make_rows(kind, 9, 3, seed=4)
    for budget in range(1, 10):
        path = greedy_coverage(rows, budget, coverage_weight=a, centre_weight=b)
        values = [value_of(rows, chosen, a, b) for chosen in combinations(range(9), budget)]
        assert max(values) <= path.upper_bound + 1e-6
        assert path.value <= max(values) + 1e-6
        if kind == "positive" and b == 0:
            assert path.value >= (1 - 1 / np.e) * max(values)
    assert path.upper_bound == pytest.approx(path.value)  # of all rows there is only one set


def test_bound_with_rows_to_keep_and_to_leave():
    rows = make_rows("mixed", 9, 3, seed=8)
    eligible = np.array([True] * 6 + [False] * 3)
    path = greedy_coverage(rows, 4, keep=np.array([7]), eligible=eligible, centre_weight=5.0)
    best = max(value_of(rows, [7, *more], 1.0, 5.0) for more in combinations(range(6), 3))
    assert path.order[0] == 7
    assert path.value <= best + 1e-6 <= path.upper_bound + 2e-6
    assert np.isneginf(path.final_gains[8])


@pytest.mark.parametrize("kind", ["mixed", "clusters", "short"])
def test_final_gains_are_upper_bounds_and_the_largest_are_exact(kind):
    rows = make_rows(kind, 80, 6, seed=3)
    path = greedy_coverage(rows, 12, block=3, _pool_entries=700)
    s, unit = similarities(rows)
    cover = s[:, path.order].max(axis=1)
    np.testing.assert_array_equal(path.covered, cover * unit)
    now = np.maximum(0, s - cover[:, None]).sum(axis=0) * unit
    assert (path.final_gains >= now).all()
    np.testing.assert_array_equal(path.final_gains[path.final_exact], now[path.final_exact])
    assert set(np.argsort(-now, kind="stable")[:12]) <= set(np.flatnonzero(path.final_exact))
    quick = greedy_coverage(rows, 12, rank_rest=False)
    assert quick.order.tolist() == path.order.tolist()
    assert (quick.final_gains >= now).all()
    assert quick.upper_bound >= path.upper_bound


@given(st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_gains_fall_and_are_not_negative(seed):
    rng = np.random.default_rng(seed)
    rows = make_rows(KINDS[seed % len(KINDS)], 25, 4, seed)
    path = greedy_coverage(rows, 25)
    assert (path.gains[1:] >= 0).all()
    assert (np.diff(path.gains[1:]) <= 0).all()  # submodular
    few = rng.permutation(25)[:5]  # monotone, and gains fall with more rows
    more, row = rng.permutation(25)[:8], int(rng.integers(25))
    both = np.union1d(few, more)
    assert value_of(rows, both) >= value_of(rows, few)
    late = value_of(rows, np.union1d(both, [row])) - value_of(rows, both)
    assert late <= value_of(rows, np.union1d(few, [row])) - value_of(rows, few) + 1e-12


def test_orders_are_nested_without_centre():
    rows = make_rows("mixed", 50, 4, seed=6)
    longest = greedy_coverage(rows, 50).order
    for budget in (1, 10, 33):
        assert greedy_coverage(rows, budget).order.tolist() == longest[:budget].tolist()


def test_is_equation_37_in_similarities():
    # Mean views shorter than one: (37) sums over rows that are not selected, so own similarity is 1.
    rows = make_rows("short", 12, 3, seed=2)
    s = rows.astype(np.float64) @ rows.astype(np.float64).T
    for weights in ((1.0, 1.0), (1.0, 300.0)):
        path = greedy_coverage(
            rows, 4, coverage_weight=weights[0], centre_weight=weights[1], self_similarity=1.0
        )
        chosen = path.order
        others = np.setdiff1d(np.arange(12), chosen)
        printed = weights[0] * (1 - s)[np.ix_(others, chosen)].min(axis=1).sum()
        printed += weights[1] * (1 - s)[:, chosen].mean()
        assert printed == pytest.approx(weights[0] * 12 + weights[1] - path.value, abs=1e-6)


def test_centre_alone_is_a_sort_by_mean_similarity():
    rows = make_rows("mixed", 12, 3, seed=7)
    s = rows.astype(np.float64) @ rows.astype(np.float64).T
    gains = centre_gains(rows)
    np.testing.assert_allclose(gains, s.mean(axis=0), atol=1e-12)
    chosen = np.argsort(-gains, kind="stable")[:4]
    best = max(s[:, list(some)].mean() for some in combinations(range(12), 4))
    assert s[:, chosen].mean() == pytest.approx(best)
    heavy = greedy_coverage(rows, 4, centre_weight=1e9)  # the limit of the weighted sum
    assert set(heavy.order) == set(chosen)


def test_samples_of_all_rows_are_exact_and_small_ones_near():
    rows = make_rows("clusters", 200, 5, seed=9)
    exact = greedy_coverage(rows, 30)
    assert greedy_coverage(rows, 30, epsilon=1e-14).order.tolist() == exact.order.tolist()
    sampled = greedy_coverage(rows, 30, epsilon=0.2, seed=1)
    again = greedy_coverage(rows, 30, epsilon=0.2, seed=1, block=3, _pool_entries=50)
    assert sampled.order.tolist() == again.order.tolist()
    assert np.unique(sampled.order).size == 30
    assert sampled.order.tolist() != greedy_coverage(rows, 30, epsilon=0.2, seed=2).order.tolist()
    floor = rows @ rows.T
    least = floor.min(axis=1).sum()
    assert sampled.value - least >= (1 - 1 / np.e - 0.2) * (exact.value - least)
    assert sampled.value <= exact.upper_bound
    kept = greedy_coverage(rows, 30, epsilon=0.2, keep=np.array([5, 3]))
    assert kept.order[:2].tolist() == [3, 5]


def test_memory_mapped_rows(tmp_path):
    rows = make_rows("mixed", 100, 7, seed=1)
    np.save(tmp_path / "z.npy", rows)
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r", allow_pickle=False)
    assert greedy_coverage(mapped, 20).order.tolist() == greedy_coverage(rows, 20).order.tolist()


def test_nothing_selected():
    path = greedy_coverage(make_rows("mixed", 5, 2, seed=0), 0)
    assert path.order.size == path.value == path.upper_bound == 0
    assert np.isneginf(path.covered).all()
    empty = greedy_coverage(np.empty((0, 3), np.float32), 0)
    assert empty.order.size == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"coverage_weight": 0.0}, "centre_gains"),
        ({"coverage_weight": float("nan")}, "coverage weight"),
        ({"centre_weight": -1.0}, "centre weight"),
        ({"self_similarity": float("inf")}, "self-similarity"),
        ({"epsilon": 1.0}, "between 0 and 1"),
        ({"block": 0}, "at least one candidate"),
        ({"keep": np.array([1, 2, 3, 4])}, "rows to keep"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(UsageError, match=match):
        greedy_coverage(make_rows("mixed", 6, 2, seed=0), 3, **options)


def test_bad_rows():
    rows = make_rows("mixed", 6, 2, seed=0)
    with pytest.raises(DataError, match="squared length"):
        greedy_coverage(rows * np.float32(1e19), 2)
    rows[3, 1] = np.nan
    with pytest.raises(DataError, match="NaN"):
        greedy_coverage(rows, 2)
    with pytest.raises(UsageError, match="budget"):
        greedy_coverage(make_rows("mixed", 6, 2, seed=0), 7)


@pytest.mark.parametrize("factor", [1e-25, 1e-12, 3e7])
def test_scale_of_rows_does_not_matter(factor):
    rows = make_rows("mixed", 60, 5, seed=3) * np.float32(factor)
    order, gains = naive(rows, 20)
    path = greedy_coverage(rows, 20, block=4)
    assert path.order.tolist() == order
    assert path.gains.tolist() == gains
