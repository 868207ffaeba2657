"""Thresholded selection: one table of similarities, and greedy on it, however it is cut up."""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import lru_cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from contrasift.errors import DataError, UsageError
from contrasift.selection.kernels import dots, linear_form, products
from contrasift.selection.objectives import threshold
from contrasift.selection.objectives.threshold import greedy_thresholded, is_no_op, row_sums
from contrasift.selection.objectives.threshold_values import (
    mean_thresholded,
    parts_thresholded,
    upper_bound_thresholded,
)
from contrasift.selection.optimizers.greedy import greedy

THRESHOLDS = [-1.0, -0.2, 0.0, 0.3, 0.5, 1.0]
KINDS = ["positive", "mixed", "duplicates", "clusters", "dyadic", "opposite", "lengths"]

_libm = ctypes.CDLL(ctypes.util.find_library("m"))
_libm.fmaf.argtypes = [ctypes.c_float] * 3
_libm.fmaf.restype = ctypes.c_float


def make_rows(kind, n, d, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d))
    few = max(1, n // 6)
    if kind == "dyadic":  # similarities are multiples of 1/16, exactly: many are at τ = 0, .5 or 1
        return rng.choice([-0.5, -0.25, 0, 0.25, 0.5], (n, d)).astype(np.float32)
    if kind == "positive":
        rows = np.abs(rows)
    elif kind == "duplicates":
        rows = rows[rng.integers(0, few, n)]
    elif kind == "clusters":
        rows = 3 * rows[rng.integers(0, few, n)] + 0.5 * rng.standard_normal((n, d))
    elif kind == "opposite":
        rows[n // 2 :] = -rows[: n - n // 2]
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    if kind == "lengths":
        rows *= rng.choice([0, 0.3, 1, 5], (n, 1))
    return rows.astype(np.float32)


def chains(rows):
    """s_ij by the C library's fmaf, one coordinate after the other."""
    return _chains(rows.tobytes(), rows.shape)


@lru_cache(maxsize=64)
def _chains(content, shape):
    n, d = shape
    rows = np.frombuffer(content, np.float32).reshape(shape).tolist()
    similar = np.zeros((n, n), np.float32)
    for i in range(n):
        for j in range(n):
            total = 0.0
            for coordinate in range(d):
                total = _libm.fmaf(rows[i][coordinate], rows[j][coordinate], total)
            similar[i, j] = total
    return similar


def naive_table(rows, tau):
    """s'_ij as exact multiples of 1/scale, float64, from the chains and their definition."""
    n = rows.shape[0]
    similar = chains(rows).astype(np.float64)
    scale = threshold.ThresholdTable.of(dots.embedding_rows(rows), tau, 1).scale
    assert scale >= 2.0 ** (40 - n.bit_length())  # finer than float32 for these lengths
    return np.where(similar >= tau, np.rint(similar * scale) / scale, 0.0)


def naive_greedy(table, budget, redundancy, keep=(), eligible=None):
    """Every row's gain from scratch at every step; the lowest row among equals."""
    n = table.shape[0]
    sums, own = table.sum(axis=0), np.diag(table)
    open_rows = np.ones(n, bool) if eligible is None else eligible.copy()
    order, found = sorted(keep), []
    open_rows[order] = False
    for step in range(budget + 1):
        taken = order[:step]
        gains = (sums - redundancy * own) - (2 * redundancy) * table[:, taken].sum(axis=1)
        if step == budget:
            return order, found, gains
        if step >= len(order):
            order.append(int(np.argmax(np.where(open_rows, gains, -np.inf))))
            open_rows[order[-1]] = False
        found.append(gains[order[step]])
    raise AssertionError


def naive_value(table, subset, redundancy):
    subset = list(subset)
    return table[:, subset].sum() - redundancy * table[np.ix_(subset, subset)].sum()


def assert_same(path, expected):
    order, gains, final = expected
    assert path.order.tolist() == order
    assert path.gains.tolist() == gains
    assert path.final_gains.tolist() == final.tolist()


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 3), (13, 5), (45, 4), (37, 33)])
def test_row_sums_are_those_of_the_naive_table(kind, n, d):
    rows = make_rows(kind, n, d, seed=n)
    for tau in THRESHOLDS:
        table = naive_table(rows, tau)
        assert row_sums(rows, tau, 1).tolist() == table.sum(axis=0).tolist()
        wide = rows.astype(np.float64) @ rows.astype(np.float64).T
        near = np.abs(wide - tau).min() < 1e-5
        if not near:  # and, where none is at the threshold, those of true similarities
            true = np.where(wide >= tau, wide, 0).sum(axis=0)
            assert row_sums(rows, tau, 1) == pytest.approx(true, rel=1e-6, abs=1e-5)


def test_no_rows_and_no_columns():
    assert row_sums(np.zeros((0, 3), np.float32), 0.5).shape == (0,)
    assert row_sums(np.zeros((3, 0), np.float32), 0.5).tolist() == [0, 0, 0]
    path = greedy_thresholded(np.zeros((0, 3), np.float32), 0, threshold=0.5, redundancy=1.0)
    assert path.order.size == 0
    assert path.value == 0
    assert path.first_negative_gain is None


@pytest.mark.parametrize("kind", ["mixed", "dyadic", "duplicates"])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("panel_bytes", [1, 20_000, 1 << 20])
def test_row_sums_do_not_depend_on_blocks_or_threads(monkeypatch, kind, threads, panel_bytes):
    rows = make_rows(kind, 230, 12)
    expected = row_sums(rows, 0.5, 1)
    monkeypatch.setattr(threshold, "_PANEL_BYTES", panel_bytes)
    monkeypatch.setattr(threshold, "_ROW_BLOCK_BYTES", panel_bytes // 3)
    assert row_sums(rows, 0.5, threads).tolist() == expected.tolist()


@pytest.mark.parametrize("tile", [products.RegisterTile(6, 2, 8), products.RegisterTile(6, 4, 4)])
def test_every_tile_makes_the_same_bits(tile):
    rows = dots.embedding_rows(make_rows("mixed", tile.rows * 3, 37))
    columns = np.concatenate([rows, rows, rows])[: tile.columns]
    packed = np.ascontiguousarray(columns.T)[None]
    store = products.make_tile_store(tile)

    @njit
    def run(rows, packed, result):
        for i in range(0, rows.shape[0], tile.rows):
            store(rows, i, packed, 0, np.float32(-9), result)

    result = np.empty((rows.shape[0], tile.columns), np.float32)
    run(rows, packed, result)
    other = products.packed_rows(columns)
    ours = np.empty((rows.shape[0], other.shape[0] * other.shape[2]), np.float32)
    products.store_products(rows, other, np.float32(-9), ours)
    assert np.array_equal(result.view(np.int32), ours[:, : tile.columns].view(np.int32))


def test_own_similarity_is_the_diagonal_of_the_table():
    rows = make_rows("lengths", 70, 19)
    table = threshold.ThresholdTable.of(dots.embedding_rows(rows), 0.5, 1)
    own = table.own(dots.embedding_rows(rows)) / table.scale
    assert own.tolist() == np.diag(naive_table(rows, 0.5)).tolist()


@pytest.mark.parametrize("tau", [0.5, 0.25, -0.5])
def test_pairs_exactly_at_the_threshold_count(tau):
    # ⟨z_0, z_1⟩ = τ exactly; ⟨z_0, z_2⟩ is the next number below.
    below = np.nextafter(np.float32(tau), np.float32(-2))
    rows = np.array([[1, 0], [tau, 1], [below, -1]], np.float32)
    assert row_sums(rows, tau)[0] == pytest.approx(1 + tau, abs=1e-9)
    # In double precision τ may lie between two float32 numbers.
    between = (float(np.float32(tau)) + float(below)) / 2
    assert row_sums(rows, between)[0] == pytest.approx(1 + tau, abs=1e-9)


def test_the_threshold_comes_after_averaging():
    # docs/mathematics.md#means-of-views
    # {0°, 60°} vs {30°, 120°}: mean cosine .4330; under .6 it counts nothing, where
    # thresholding the four pairs would leave .4330; ‖z̄‖² = .75 of each stays.
    angles = np.radians([[0, 60], [30, 120]])
    views = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    rows = views.mean(axis=1).astype(np.float32)
    assert row_sums(rows, 0.3) == pytest.approx([0.75 + 0.4330127, 0.5 + 0.4330127], abs=1e-6)
    assert row_sums(rows, 0.6) == pytest.approx([0.75, 0.0], abs=1e-6)


# --- no-ops ---------------------------------------------------------------------------------------


def test_reasons_of_no_ops():
    positive = make_rows("positive", 30, 5)
    assert "negative" in str(is_no_op(positive, 0.0))
    mixed = make_rows("mixed", 30, 5)
    assert is_no_op(mixed, 0.0) is None
    assert "below" in str(is_no_op(mixed, -1.0))
    assert "mean" in str(is_no_op((1 + 0.01 * mixed) / np.sqrt(np.float32(5)), 0.9))
    assert is_no_op((1 + 0.01 * mixed) / np.sqrt(np.float32(5)), 1.0) is None
    assert is_no_op(np.zeros((0, 2), np.float32), 1.0) is not None
    assert is_no_op(np.zeros((2, 2), np.float32), 0.1) is None


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_no_op_leaves_every_similarity(data):
    n, d = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    rows = make_rows(data.draw(st.sampled_from(KINDS)), n, d, data.draw(st.integers(0, 10**6)))
    rows = rows + np.float32(data.draw(st.sampled_from([0, 0.2, 1, 3, -2])))
    if data.draw(st.booleans()):
        rows = rows / np.float32(2 * max(1e-3, np.linalg.norm(rows, axis=1).max()))
    tau = data.draw(st.floats(-1, 1))
    if is_no_op(rows, tau) is not None:
        wide = rows.astype(np.float64) @ rows.astype(np.float64).T
        assert wide.min() >= tau - 2.0**-19


@pytest.mark.parametrize("kind", ["positive", "mixed", "clusters"])
def test_without_effect_it_is_the_linear_objective(kind):
    rows = make_rows(kind, 120, 16, seed=3)
    linear = greedy(rows, 60, redundancy=0.8)
    path = greedy_thresholded(rows, 60, threshold=-1.0, redundancy=0.8)
    assert path.order.tolist() == linear.order.tolist()
    assert path.gains == pytest.approx(linear.gains, rel=1e-6, abs=1e-5)
    assert path.value == pytest.approx(linear.value, rel=1e-6)
    total = linear_form.total_of(rows)
    mean = linear_form.random_value(
        total, float(linear_form.squared_norms(rows).sum()), 120, 60, 0.8
    )
    assert mean_thresholded(rows, 60, threshold=-1.0, redundancy=0.8) == pytest.approx(
        mean, rel=1e-6, abs=1e-5
    )


# --- greedy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tau", THRESHOLDS)
@pytest.mark.parametrize(("n", "d"), [(1, 2), (2, 1), (22, 5)])
def test_same_as_naive(kind, tau, n, d):
    rows = make_rows(kind, n, d, seed=n + d)
    table = naive_table(rows, tau)
    for redundancy in (0.0, 1.0):
        expected = naive_greedy(table, n, redundancy)
        for pool, candidates in [(1, 1), (7, 3), (1000, 1000)]:
            path = greedy_thresholded(
                rows, n, threshold=tau, redundancy=redundancy, _pool_rows=pool,
                _candidates=candidates,
            )  # fmt: skip
            assert_same(path, expected)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_same_as_naive_for_any_input_with_limits(data):
    n = data.draw(st.integers(1, 30))
    d = data.draw(st.sampled_from([1, 2, 3, 9]))
    rows = make_rows(data.draw(st.sampled_from(KINDS)), n, d, data.draw(st.integers(0, 10**6)))
    tau = data.draw(st.one_of(st.sampled_from(THRESHOLDS), st.floats(-1, 1)))
    redundancy = data.draw(st.sampled_from([0.0, 0.3, 1.0, 2.5]))
    eligible = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=np.bool_)
    keep = sorted(data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n)))
    free = int(np.count_nonzero(np.delete(eligible, keep)))
    budget = data.draw(st.integers(len(keep), len(keep) + free))
    table = naive_table(rows, tau)
    path = greedy_thresholded(
        rows,
        budget,
        threshold=tau,
        redundancy=redundancy,
        keep=np.array(keep, np.int64),
        eligible=eligible,
        row_sums=data.draw(st.sampled_from([None, row_sums(rows, tau)])),
        _pool_rows=data.draw(st.sampled_from([1, 4, 12, 100])),
        _candidates=data.draw(st.sampled_from([1, 3, 100])),
    )
    expected = naive_greedy(table, budget, redundancy, keep, eligible)
    assert_same(path, expected)
    assert path.value == pytest.approx(
        naive_value(table, path.order, redundancy), rel=1e-12, abs=1e-9
    )
    assert path.value == pytest.approx(path.gains.sum(), rel=1e-9, abs=1e-9)
    negative = [i for i, gain in enumerate(path.gains) if gain < 0]
    assert path.first_negative_gain == (negative[0] if negative else None)


@pytest.mark.parametrize("kind", ["mixed", "duplicates", "dyadic", "clusters"])
@pytest.mark.parametrize("tau", [-0.2, 0.0, 0.5])
def test_same_for_every_block_size_and_thread_count(monkeypatch, kind, tau):
    monkeypatch.setattr(dots, "_ROWS_WORTH_A_THREAD", 50)
    rows = make_rows(kind, 200, 8, seed=5)
    keep = np.array([3, 77, 150], np.int64)
    first = None
    for threads in (1, 2, 3):
        for pool, candidates, block in [(9, 4, 1), (64, 16, 2), (200, 200, 512)]:
            monkeypatch.setattr(threshold, "_KEPT_BLOCK", block)
            monkeypatch.setattr(threshold, "_PENDING_BLOCK", 4 * block)
            path = greedy_thresholded(
                rows, 40, threshold=tau, redundancy=1.0, keep=keep, threads=threads,
                _pool_rows=pool, _candidates=candidates,
            )  # fmt: skip
            first = first or path
            assert path.order.tolist() == first.order.tolist()
            assert path.gains.tolist() == first.gains.tolist()
            assert path.final_gains.tolist() == first.final_gains.tolist()
            assert path.value == first.value


def test_golden_example_under_a_threshold():
    # docs/mathematics.md#example-four-examples
    # s12=.8, s13=.6, s14=.1, s23=.4, s24=.2, s34=.3. Under τ = .35 only .8, .6 and
    # .4 count: R = 1.4, 1.2, 1.0, 0. Greedy at λ = 1: 1 (F = 1.4), then gains 1.2 − 1.6, 1 − 1.2,
    # 0: row 4 (1.4), 3 (1.2), 2 (0).
    similarity = np.array(
        [[2, 0.8, 0.6, 0.1], [0.8, 2, 0.4, 0.2], [0.6, 0.4, 2, 0.3], [0.1, 0.2, 0.3, 2]]
    )
    rows = np.linalg.cholesky(similarity).astype(np.float32)
    path = greedy_thresholded(rows, 4, threshold=0.35, redundancy=1.0)
    assert (path.order + 1).tolist() == [1, 4, 3, 2]
    assert np.cumsum(path.gains) == pytest.approx([1.4, 1.4, 1.2, 0.0], abs=1e-6)
    assert path.first_negative_gain == 2
    # Below every similarity it is the example as printed: 1.5, 1.9, 1.4, 0.
    path = greedy_thresholded(rows, 4, threshold=0.05, redundancy=1.0)
    assert np.cumsum(path.gains) == pytest.approx([1.5, 1.9, 1.4, 0.0], abs=1e-6)


def test_lowest_row_wins_among_equals():
    rows = np.eye(40, dtype=np.float32)
    path = greedy_thresholded(rows, 30, threshold=0.5, redundancy=0.5, _pool_rows=5, _candidates=2)
    assert path.order.tolist() == list(range(30))


def test_lowest_row_wins_when_a_candidate_falls_to_the_gain_of_a_row_outside():
    for seed in range(60):  # in some of these it happens
        rows = np.random.default_rng(seed).choice([-0.5, -0.25, 0, 0.25, 0.5], (40, 3))
        rows = rows.astype(np.float32)
        settled = {"threshold": 0.25, "redundancy": 1.0, "threads": 1}
        whole = greedy_thresholded(rows, 40, **settled)
        lazy = greedy_thresholded(rows, 40, **settled, _pool_rows=9, _candidates=4)
        assert lazy.order.tolist() == whole.order.tolist()


# --- how good it is -------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_value_mean_and_bound_against_all_subsets(data):
    n = data.draw(st.integers(1, 8))
    d = data.draw(st.sampled_from([1, 2, 4]))
    rows = make_rows(data.draw(st.sampled_from(KINDS)), n, d, data.draw(st.integers(0, 10**6)))
    tau = data.draw(st.one_of(st.sampled_from(THRESHOLDS), st.floats(-1, 1)))
    redundancy = data.draw(st.sampled_from([0.0, 0.4, 1.0, 2.0]))
    eligible = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=np.bool_)
    if data.draw(st.booleans()):
        eligible[:] = True
    keep = sorted(data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=2)))
    free = [i for i in range(n) if eligible[i] and i not in keep]
    budget = data.draw(st.integers(len(keep), len(keep) + len(free)))
    table = naive_table(rows, tau)
    subsets = [[*keep, *rest] for rest in combinations(free, budget - len(keep))]
    values = [naive_value(table, subset, redundancy) for subset in subsets]
    limits = {"keep": np.array(keep, np.int64), "eligible": eligible}
    settled = {"threshold": tau, "redundancy": redundancy}
    mean = mean_thresholded(rows, budget, **settled, **limits)
    assert mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-8)
    chosen = np.array(subsets[data.draw(st.integers(0, len(subsets) - 1))], np.int64)
    bound = upper_bound_thresholded(rows, chosen, **settled, **limits)
    assert bound >= max(values) - 1e-9 * (1 + abs(max(values)))
    value = naive_value(table, chosen, redundancy)
    for sums in (None, row_sums(rows, tau)):
        parts = parts_thresholded(rows, chosen, **settled, row_sums=sums)
        assert parts.sum() == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_bound_is_no_worse_than_the_modular_one_and_often_better():
    rows = make_rows("positive", 200, 8, seed=1)
    path = greedy_thresholded(rows, 60, threshold=0.3, redundancy=0.5)
    bound = upper_bound_thresholded(
        rows, path.order, threshold=0.3, redundancy=0.5, row_sums=path.row_sums
    )
    modular = float(np.sort(path.row_sums - 0.5 * np.square(rows).sum(axis=1))[-60:].sum())
    assert path.value <= bound < path.value + 0.2 * (modular - path.value)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.5])
def test_no_bound_of_this_form_is_below_what_it_loses_at_the_selection(tau):
    for kind in ("clusters", "signed"):
        rows = np.random.default_rng(1).standard_normal((60, 6))
        rows = np.abs(rows) if kind == "clusters" else rows + 0.5
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        chosen = greedy_thresholded(rows, 12, threshold=tau, redundancy=1.0).order
        bound = upper_bound_thresholded(rows, chosen, threshold=tau, redundancy=1.0)
        wide = rows.astype(np.float64)
        similar = wide @ wide.T
        cut = np.where(similar >= tau, similar, 0.0)
        inside = np.ix_(chosen, chosen)
        value = cut[:, chosen].sum() - cut[inside].sum()
        largest, others = (wide**2).sum(axis=1).max(), ~np.eye(12, dtype=bool)

        def loses(a, cut=cut[inside][others], similar=similar[inside][others], largest=largest):
            return (cut - a * similar + max(a * tau, (a - 1) * largest)).sum()

        least = value + min(loses(a) for a in np.linspace(0, 4, 401))
        corners = value + min(loses(a) for a in (0.0, largest / (largest - tau)))
        assert corners <= least + 1e-9
        assert bound >= corners - 1e-4


@pytest.mark.parametrize("tau", [1.01, -1.5, float("nan"), float("inf")])
def test_a_threshold_that_no_cosine_has(tau):
    rows = make_rows("mixed", 4, 2)
    with pytest.raises(UsageError, match="threshold between"):
        row_sums(rows, tau)
    with pytest.raises(UsageError, match="threshold between"):
        is_no_op(rows, tau)
    with pytest.raises(UsageError, match="threshold between"):
        greedy_thresholded(rows, 2, threshold=tau, redundancy=1.0)


def test_bad_arguments():
    rows = make_rows("mixed", 4, 2)
    with pytest.raises(UsageError, match="budget"):
        greedy_thresholded(rows, 5, threshold=0.5, redundancy=1.0)
    with pytest.raises(UsageError, match="redundancy"):
        greedy_thresholded(rows, 2, threshold=0.5, redundancy=-1.0)
    with pytest.raises(UsageError, match="row sums of the 4 rows"):
        greedy_thresholded(rows, 2, threshold=0.5, redundancy=1.0, row_sums=np.zeros(3))
    with pytest.raises(UsageError, match="chosen rows"):
        parts_thresholded(rows, np.array([4]), threshold=0.5, redundancy=1.0)
    with pytest.raises(DataError, match="finite"):
        row_sums(np.array([[np.nan, 1]], np.float32), 0.5)
    with pytest.raises(DataError, match="rows shorter"):
        row_sums(np.array([[1e19, 1]], np.float32), 0.5)
