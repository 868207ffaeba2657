"""Lazy greedy takes exactly the rows that naive greedy takes, in its order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from contrasift.errors import DataError, UsageError
from contrasift.selection.checks import check_places
from contrasift.selection.kernels import dots, linear_form
from contrasift.selection.optimizers.greedy import greedy

KINDS = [
    "positive", "mixed", "relu", "tight", "duplicates", "clusters", "binary", "opposite", "axes",
]  # fmt: skip


def make_rows(kind, n, d, seed):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d))
    few = max(1, n // 8)
    if kind == "positive":
        rows = np.abs(rows)
    elif kind == "relu":
        rows = np.maximum(rows, 0)
    elif kind == "tight":
        rows = 1 + 1e-4 * rows
    elif kind == "duplicates":
        rows = np.abs(rows)[rng.integers(0, few, n)]
    elif kind == "clusters":
        rows = 3 * rng.standard_normal((few, d))[rng.integers(0, few, n)] + 0.1 * rows
    elif kind == "binary":
        rows = (rows > 0).astype(float)
    elif kind == "opposite":
        rows[n // 2 :] = -rows[: n - n // 2]
    elif kind == "axes":
        rows = np.eye(d)[rng.integers(0, d, n)] * np.where(rng.random((n, 1)) < 0.5, -1, 1)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows.astype(np.float32)


def assert_same_as_naive(rows, budget, redundancy, keep=None, eligible=None, **options):
    order, gains = reference.greedy(rows, budget, redundancy, keep, eligible)
    path = greedy(
        rows,
        budget,
        redundancy=redundancy,
        keep=None if keep is None else np.array(keep, np.int64),
        eligible=eligible,
        **options,
    )
    assert path.order.tolist() == order
    assert path.gains.tolist() == gains


def test_published_example_of_four():
    # docs/mathematics.md#example-four-examples
    # s12=.8, s13=.6, s14=.1, s23=.4, s24=.2, s34=.3. Greedy: 1 (F = 1.5), 4 (1.9),
    # 3 (1.4), 2 (0). s_ee never enters at λ = 1, so a large diagonal makes a Gram matrix of s.
    similarity = np.array(
        [[2, 0.8, 0.6, 0.1], [0.8, 2, 0.4, 0.2], [0.6, 0.4, 2, 0.3], [0.1, 0.2, 0.3, 2]]
    )
    rows = np.linalg.cholesky(similarity).astype(np.float32)
    path = greedy(rows, 4, redundancy=1.0)
    assert (path.order + 1).tolist() == [1, 4, 3, 2]
    assert np.cumsum(path.gains) == pytest.approx([1.5, 1.9, 1.4, 0.0], abs=1e-6)
    assert path.value == pytest.approx(0.0, abs=1e-6)
    assert path.first_negative_gain == 2
    assert greedy(rows, 2, redundancy=1.0).value == pytest.approx(1.9, abs=1e-6)
    # The same book: F{1,2} = 1.3, the row-sum ranking's choice.
    assert reference.similarity_value(similarity, [0, 1], 1.0) == pytest.approx(1.3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("redundancy", [0.0, 0.4, 1.0, 2.0])
@pytest.mark.parametrize(("n", "d"), [(1, 3), (2, 1), (40, 1), (60, 2), (150, 9), (120, 64)])
def test_same_order_as_naive(kind, redundancy, n, d):
    rows = make_rows(kind, n, d, seed=n + d)
    assert_same_as_naive(rows, n, redundancy, _smallest_level=4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [1, 2, 7, 50, 1000])
@pytest.mark.parametrize("smallest", [1, 5, 16])
def test_same_for_every_window_and_level_size(kind, window, smallest):
    rows = make_rows(kind, 130, 6, seed=window)
    assert_same_as_naive(rows, 110, 1.0, _window_rows=window, _smallest_level=smallest)


@pytest.mark.parametrize("kind", KINDS)
def test_same_for_every_number_of_threads(kind, monkeypatch):
    monkeypatch.setattr(dots, "_ROWS_WORTH_A_THREAD", 10)
    rows = make_rows(kind, 200, 5, seed=1)
    paths = [
        greedy(rows, 40, redundancy=0.8, threads=threads, _window_rows=window)
        for threads in (1, 2, 3)
        for window in (20, 64)
    ]
    for path in paths[1:]:
        assert np.array_equal(path.order, paths[0].order)
        assert np.array_equal(path.gains, paths[0].gains)
        assert np.array_equal(path.final_gains, paths[0].final_gains)
        assert np.array_equal(path.selected_sum, paths[0].selected_sum)
        assert path.value == paths[0].value


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_same_as_naive_for_any_input(data):
    n = data.draw(st.integers(1, 60))
    d = data.draw(st.sampled_from([1, 2, 3, 8, 11]))
    rows = make_rows(data.draw(st.sampled_from(KINDS)), n, d, data.draw(st.integers(0, 10**6)))
    if data.draw(st.booleans()):  # lengths of their own, zero among them
        factors = data.draw(st.lists(st.sampled_from([0, 0.5, 1, 30]), min_size=n, max_size=n))
        rows = rows * np.array(factors, np.float32)[:, None]
    eligible = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=np.bool_)
    keep = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n))
    free = int(np.count_nonzero(np.delete(eligible, keep)))
    assert_same_as_naive(
        rows,
        data.draw(st.integers(len(keep), len(keep) + free)),
        data.draw(st.sampled_from([0.0, 0.5, 1.0, 3.0])),
        keep=sorted(keep),
        eligible=eligible,
        _window_rows=data.draw(st.sampled_from([None, 1, 3, 10, 100])),
        _smallest_level=data.draw(st.sampled_from([1, 3, 16])),
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_same_as_naive_at_length(kind):
    assert_same_as_naive(make_rows(kind, 3000, 32, seed=9), 1500, 1.0, _window_rows=300)


def test_lowest_row_wins_among_equals():
    row = np.array([[0.6, 0.8]], np.float32)
    rows = np.concatenate([row, row, -row, row])
    assert greedy(rows, 3, redundancy=0.1).order.tolist() == [0, 1, 3]
    ties = np.eye(5, dtype=np.float32)
    assert greedy(ties, 5, redundancy=1.0).order.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("length", [0.0, 1.0])
def test_rows_that_differ_but_all_tie(length):
    # More rows tie than a window holds.
    rows = np.eye(40, dtype=np.float32) * np.float32(length)
    assert_same_as_naive(rows, 30, 1.0, _window_rows=3, _smallest_level=1)
    # Once the first eight are taken, every gain is 0 at λ = 0.
    longer = rows[:1] * np.arange(1, 9, dtype=np.float32)[:, None]
    opposite = np.concatenate([longer, rows[1:], -rows[1:]])
    assert_same_as_naive(opposite, 30, 0.0, _window_rows=3, _smallest_level=1)


def test_many_equal_rows_cost_no_more_than_few():
    rows = make_rows("positive", 40, 16, seed=0)
    many = np.repeat(rows, 100, axis=0)
    path = greedy(many, 400, redundancy=1.0, _window_rows=16)
    assert path.evaluations < 400 * len(many) / 50
    assert_same_as_naive(many, 400, 1.0, _window_rows=16)


@pytest.mark.parametrize("kind", KINDS)
def test_permuting_the_rows_permutes_the_order(kind):
    # Distinct rows, so that no two rows are told apart by their number alone.
    rows = np.unique(make_rows(kind, 100, 7, seed=2), axis=0)
    shuffle = np.random.default_rng(0).permutation(len(rows))
    shuffled = np.ascontiguousarray(rows[shuffle])
    path = greedy(rows, len(rows) // 2, redundancy=1.0)
    other = greedy(shuffled, len(rows) // 2, redundancy=1.0)
    assert np.array_equal(np.sort(path.gains), np.sort(other.gains))
    if kind not in ("opposite", "binary", "axes"):  # there different rows tie
        assert np.array_equal(shuffle[other.order], path.order)
    assert np.array_equal(path.total, other.total)


def test_path_is_consistent():
    rows = make_rows("positive", 200, 20, seed=4)
    path = greedy(rows, 120, redundancy=1.0)
    assert sorted(set(path.order.tolist())) == sorted(path.order.tolist())
    assert np.array_equal(path.selected_sum, linear_form.sum_of(rows, path.order))
    assert np.array_equal(path.total, linear_form.total_of(rows))
    assert path.value == pytest.approx(path.gains.sum(), rel=1e-12)
    assert path.value == pytest.approx(reference.value(rows, path.order.tolist(), 1.0), rel=1e-9)
    expected = reference.gains(rows, path.order.tolist(), 1.0)
    assert np.array_equal(path.final_gains, expected)
    assert path.first_negative_gain is not None
    assert (path.gains[: path.first_negative_gain] >= 0).all()
    assert path.gains[path.first_negative_gain] < 0
    assert greedy(rows, 20, redundancy=1.0).first_negative_gain is None


def test_every_prefix_is_the_selection_for_that_budget():
    rows = make_rows("clusters", 90, 8, seed=5)
    whole = greedy(rows, 90, redundancy=0.7)
    for budget in (0, 1, 30, 89):
        part = greedy(rows, budget, redundancy=0.7)
        assert np.array_equal(part.order, whole.order[:budget])
        assert np.array_equal(part.gains, whole.gains[:budget])


def test_few_gains_are_evaluated():
    rows = make_rows("positive", 5000, 16, seed=6)
    path = greedy(rows, 1000, redundancy=1.0)
    assert path.evaluations < 0.05 * 1000 * 5000


def test_nothing_to_select():
    path = greedy(np.zeros((0, 3), np.float32), 0, redundancy=1.0)
    assert path.order.shape == path.gains.shape == path.final_gains.shape == (0,)
    path = greedy(make_rows("mixed", 5, 3, 0), 0, redundancy=1.0)
    assert path.order.shape == (0,)
    assert path.value == 0.0
    assert path.first_negative_gain is None


@pytest.mark.parametrize("size", [1e-30, 1e15])
def test_extreme_lengths(size):
    rows = (make_rows("mixed", 60, 5, seed=3) * size).astype(np.float32)
    assert_same_as_naive(rows, 40, 1.0, _window_rows=10, _smallest_level=2)


def test_keep_and_eligible():
    rows = make_rows("positive", 30, 4, seed=8)
    eligible = np.ones(30, np.bool_)
    eligible[[0, 1, 2]] = False
    keep = np.array([9, 2, 4])
    path = greedy(rows, 30 - 2, redundancy=1.0, keep=keep, eligible=eligible)
    assert path.order[:3].tolist() == [2, 4, 9]
    assert sorted(path.order.tolist()) == sorted(set(range(30)) - {0, 1})
    assert np.array_equal(path.total, linear_form.total_of(rows))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 6}, "a budget between 0 and the 5"),
        ({"budget": -1}, "a budget between 0 and the 5"),
        ({"budget": 1, "keep": np.array([0, 1])}, "at most 1 rows to keep"),
        ({"budget": 1, "keep": np.array([5])}, "rows to keep between 0 and 4"),
        ({"budget": 3, "eligible": np.array([1, 1, 0, 0, 0], np.bool_)}, "3 rows that may be"),
        ({"budget": 1, "redundancy": -1.0}, "redundancy λ"),
        ({"budget": 1, "redundancy": float("nan")}, "redundancy λ"),
    ],
)
def test_bad_arguments_are_explained(options, message):
    rows = make_rows("mixed", 5, 3, 0)
    options = {"redundancy": 1.0, **options}
    with pytest.raises(UsageError, match=message):
        greedy(rows, options.pop("budget"), **options)


def test_eligible_needs_one_flag_a_row():
    with pytest.raises(UsageError, match="one flag for each of the 5 rows"):
        check_places(5, 1, None, np.ones(4, np.bool_))


def test_numbers_that_are_not_finite_are_refused():
    rows = make_rows("mixed", 5, 3, 0)
    rows[3, 1] = np.nan
    with pytest.raises(DataError, match="NaN or infinity"):
        greedy(rows, 2, redundancy=1.0)
