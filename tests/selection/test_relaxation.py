"""The bound is never below what any subset reaches, and the rule gives its selection back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from contrasift.errors import DataError, UsageError
from contrasift.selection.kernels import dots, linear_form, passes
from contrasift.selection.optimizers.greedy import greedy
from contrasift.selection.optimizers.relaxation import relax, upper_bound


def make_rows(n, d, seed, positive=True):
    rows = np.random.default_rng(seed).standard_normal((n, d))
    rows = np.abs(rows) if positive else rows
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_bound_is_above_the_best_subset_and_every_optimiser(data):
    n = data.draw(st.integers(1, 9))
    d = data.draw(st.sampled_from([1, 2, 5]))
    seed = data.draw(st.integers(0, 10**6))
    rows = make_rows(n, d, seed, positive=data.draw(st.booleans()))
    if data.draw(st.booleans()):
        rows = rows[np.random.default_rng(seed).integers(0, n, n)]
    redundancy = data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    eligible = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=np.bool_)
    keep = sorted(data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=3)))
    free = int(np.count_nonzero(np.delete(eligible, keep)))
    budget = data.draw(st.integers(len(keep), len(keep) + free))
    steps = data.draw(st.integers(1, 12))
    options = {"redundancy": redundancy, "keep": np.array(keep, np.int64), "eligible": eligible}

    best = reference.best_value(rows, budget, redundancy, keep, eligible)
    path = greedy(rows, budget, **options)
    bound = upper_bound(rows, path.selected_sum, budget, steps=steps, **options)
    assert bound >= best - 1e-12
    assert bound >= path.value
    if not (budget and 2 * redundancy * (budget - 1) >= n):
        relaxed = relax(rows, budget, steps=steps, **options)
        assert relaxed.upper_bound >= best - 1e-12
        assert relaxed.upper_bound >= relaxed.value
        assert relaxed.selected.size == budget
        assert set(keep) <= set(relaxed.selected.tolist())
        assert relaxed.value == pytest.approx(
            reference.value(rows, relaxed.selected.tolist(), redundancy), abs=1e-6
        )


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_certificates_are_tight_where_rows_are_many(positive, share):
    rows = make_rows(4000, 16, 0, positive)
    if not positive:
        rows = make_rows(4000, 16, 0, positive) + np.float32(0.25)
    budget = int(share * len(rows))
    path = greedy(rows, budget, redundancy=1.0)
    bound = upper_bound(rows, path.selected_sum, budget, redundancy=1.0, total=path.total)
    relaxed = relax(rows, budget, redundancy=1.0)
    assert bound >= relaxed.value
    assert relaxed.upper_bound >= path.value
    assert path.value >= 0.9999 * bound
    assert relaxed.value >= 0.9999 * relaxed.upper_bound
    random = linear_form.random_value(
        path.total, float(linear_form.squared_norms(rows).sum()), len(rows), budget, 1.0
    )
    assert (path.value - random) / (bound - random) > 0.999
    assert (relaxed.value - random) / (relaxed.upper_bound - random) > 0.999


def test_more_steps_never_loosen_the_bound():
    rows = make_rows(300, 10, 1)
    path = greedy(rows, 120, redundancy=1.0)
    bounds = [
        upper_bound(rows, path.selected_sum, 120, redundancy=1.0, steps=steps, target_share=1.0)
        for steps in (1, 2, 5, 10, 40)
    ]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] < bounds[0]


def test_search_stops_once_the_share_is_proved():
    rows = make_rows(2000, 8, 2)
    quick = relax(rows, 400, redundancy=1.0, target_share=0.9, steps=30)
    thorough = relax(rows, 400, redundancy=1.0, target_share=1.0, steps=30)
    assert quick.steps < thorough.steps <= 30
    assert thorough.value >= quick.value


@pytest.mark.parametrize("duplicated", [False, True])
@pytest.mark.parametrize("budget", [1, 17, 60, 100])
def test_the_rule_gives_the_selection_back(duplicated, budget):
    rows = make_rows(200, 6, 3)
    if duplicated:
        rows = np.repeat(rows[:20], 10, axis=0)
    relaxed = relax(rows, budget, redundancy=1.0)
    judged = linear_form.scores(rows, relaxed.direction) >= relaxed.threshold
    again = np.flatnonzero(judged & (relaxed.scores > relaxed.threshold))
    assert np.array_equal(np.union1d(again, relaxed.tie_rows), relaxed.selected)
    assert (relaxed.scores[relaxed.tie_rows] == relaxed.threshold).all()
    # Ties go to the lowest rows.
    ties = np.flatnonzero(relaxed.scores == relaxed.threshold)
    assert np.array_equal(relaxed.tie_rows, ties[: relaxed.tie_rows.size])
    if not duplicated:
        assert np.array_equal(np.flatnonzero(judged), relaxed.selected)
        one_by_one = [
            bool(linear_form.scores(rows[i : i + 1], relaxed.direction)[0] >= relaxed.threshold)
            for i in range(len(rows))
        ]
        assert one_by_one == judged.tolist()
    assert np.array_equal(relaxed.selected_sum, linear_form.sum_of(rows, relaxed.selected))


def test_keep_and_eligible_lie_outside_the_rule():
    rows = make_rows(100, 5, 4)
    eligible = np.ones(100, np.bool_)
    eligible[::3] = False
    keep = np.array([0, 50])
    relaxed = relax(rows, 20, redundancy=1.0, keep=keep, eligible=eligible)
    judged = (linear_form.scores(rows, relaxed.direction) >= relaxed.threshold) & eligible
    judged[keep] = True
    assert np.array_equal(np.flatnonzero(judged), relaxed.selected)
    only_kept = relax(rows, 2, redundancy=1.0, keep=keep)
    assert only_kept.selected.tolist() == [0, 50]
    assert only_kept.threshold == np.inf


def test_same_for_every_number_of_threads(monkeypatch):
    monkeypatch.setattr(dots, "_ROWS_WORTH_A_THREAD", 10)
    rows = make_rows(500, 7, 5)
    first, second = (relax(rows, 100, redundancy=1.0, threads=threads) for threads in (1, 3))
    assert np.array_equal(first.selected, second.selected)
    assert first.value == second.value
    assert first.upper_bound == second.upper_bound
    assert np.array_equal(first.direction, second.direction)


def test_permuting_the_rows_permutes_the_selection():
    rows = make_rows(300, 9, 6)
    shuffle = np.random.default_rng(0).permutation(300)
    first = relax(rows, 70, redundancy=1.0)
    second = relax(np.ascontiguousarray(rows[shuffle]), 70, redundancy=1.0)
    assert np.array_equal(np.sort(shuffle[second.selected]), first.selected)
    assert first.upper_bound == second.upper_bound


def test_memory_map(tmp_path):
    rows = make_rows(100, 9, 7)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert np.array_equal(
        relax(mapped, 30, redundancy=1.0).selected, relax(rows, 30, redundancy=1.0).selected
    )


def test_without_redundancy_it_ranks_by_similarity_to_the_class():
    rows = make_rows(50, 4, 8)
    relaxed = relax(rows, 10, redundancy=0.0)
    centrality = linear_form.scores(rows, relaxed.total)
    assert np.array_equal(relaxed.selected, np.sort(np.argsort(-centrality)[:10]))
    assert relaxed.value == pytest.approx(relaxed.upper_bound, rel=1e-9)
    assert relaxed.steps == 1


@pytest.mark.parametrize(
    ("n", "budget", "redundancy"), [(10, 9, 1.0), (10, 6, 1.0), (100, 80, 1.0)]
)
def test_refuses_budgets_beyond_the_turn(n, budget, redundancy):
    with pytest.raises(UsageError, match="at most 1/\\(2λ\\)"):
        relax(make_rows(n, 3, 9), budget, redundancy=redundancy)


@pytest.mark.parametrize(("n", "budget", "redundancy"), [(1, 1, 1.0), (7, 6, 0.625), (10, 5, 1.0)])
def test_a_rounded_budget_at_the_turn_is_no_reason_to_refuse(n, budget, redundancy):
    assert relax(make_rows(n, 3, 9), budget, redundancy=redundancy).selected.size == budget


@pytest.mark.parametrize("budget", [90, 96, 99, 100])
def test_it_never_turns_away_from_the_most_central(budget):
    rows = np.maximum(np.random.default_rng(1).standard_normal((200, 12)), 0).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    relaxed = relax(rows, budget, redundancy=1.0)
    central = np.argsort(-linear_form.scores(rows, relaxed.total))[:20]
    assert np.isin(central, relaxed.selected).mean() > 0.9
    assert relaxed.upper_bound >= relaxed.value


def test_none_one_and_all():
    rows = make_rows(6, 3, 10)
    none = relax(rows, 0, redundancy=1.0)
    assert none.selected.size == 0
    assert none.upper_bound == pytest.approx(0.0, abs=1e-12)
    one = relax(rows, 1, redundancy=1.0)
    assert one.value == pytest.approx(reference.best_value(rows, 1, 1.0))
    everything = relax(rows, 6, redundancy=0.5)
    assert everything.selected.tolist() == list(range(6))
    assert everything.upper_bound == pytest.approx(everything.value)


def test_zero_rows():
    relaxed = relax(np.zeros((5, 2), np.float32), 2, redundancy=1.0)
    assert relaxed.selected.tolist() == [0, 1]
    assert relaxed.upper_bound == relaxed.value == 0.0


def test_numbers_that_are_not_finite_are_refused():
    rows = make_rows(5, 3, 0)
    rows[3, 1] = np.inf
    with pytest.raises(DataError, match="NaN or infinity"):
        relax(rows, 2, redundancy=1.0)


@pytest.mark.parametrize("deviations", [0.0, 5.0])  # no bracket at all: the sample is off
@pytest.mark.parametrize("kind", ["positive", "ties", "equal"])
def test_best_rows_are_those_of_a_sort(kind, deviations, monkeypatch):
    monkeypatch.setattr(passes, "_SAMPLE_ROWS", 40)
    monkeypatch.setattr(passes, "_DEVIATIONS", deviations)
    rng = np.random.default_rng(3)
    rows = make_rows(500, 6, 1)
    if kind == "ties":
        rows = np.ascontiguousarray(rows[rng.integers(0, 30, 500)])
    if kind == "equal":
        rows[:] = rows[0]
    held, direction = passes.HeldRows(rows), rng.standard_normal(6)
    scores = reference.dots(rows, direction)
    for free in (np.ones(500, np.bool_), rng.random(500) < 0.3):
        ranked = sorted(np.flatnonzero(free), key=lambda row: (-scores[row], row))
        for places in (1, 7, len(ranked) // 2, len(ranked)):
            found = held.best(direction, free, places)
            taken = ranked[:places]
            theta = scores[taken[-1]]
            assert found.theta == theta
            assert found.last_tie == max(row for row in taken if scores[row] == theta)
            exact = np.rint(rows[taken].astype(np.float64) * held.scale).astype(np.int64)
            assert found.fixed.tolist() == exact.sum(axis=0).tolist()
            assert np.array_equal(held.scores(direction), scores)  # known by now
            held.scores(-direction)
            assert held.best(direction, free, places)[1:] == found[1:]


def test_gains_of_an_order_in_parts_are_those_of_one(monkeypatch):
    rows, rng = make_rows(200, 6, 2), np.random.default_rng(0)
    held, order, total = passes.HeldRows(rows, 3), rng.permutation(200)[:77], rng.random(6)
    whole = held.replay(order, total, 0.5)
    monkeypatch.setattr(passes, "_WORTH_PARTS", 1)
    assert held.replay(order, total, 0.5).tobytes() == whole.tobytes()
    assert held.replay(order[:2], total, 0.5).tobytes() == whole[:2].tobytes()
    assert held.replay(order[:0], total, 0.5).size == 0


def test_squares_and_peak_of_one_pass():
    rows = np.array([[1.0, -3.0], [0.5, 2.0]], np.float32)
    held = passes.HeldRows(rows)
    assert held.squares().tolist() == [10.0, 4.25]
    assert held.scale == dots.fixed_point_scale(rows)
    assert passes.HeldRows(np.zeros((0, 2), np.float32)).scale == 1.0
    assert passes.HeldRows(np.zeros((3, 0), np.float32)).squares().tolist() == [0.0] * 3
