"""Of equal rows one stands for all: whatever the objective, within every limit."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift import select
from contrasift.catalogue import OBJECTIVES
from contrasift.selection import copies as module
from contrasift.selection.budget import Shares
from contrasift.selection.copies import distinct_rows
from contrasift.store.selections import read_selection, write_selection

N, DIFFERENT = 36, 24


def pool(seed=0, d=5):
    """24 rows, the first 12 of them twice, in any order; which are equal; classes."""
    rng = np.random.default_rng(seed)
    kind = rng.permutation(np.append(np.arange(DIFFERENT), np.arange(N - DIFFERENT)))
    rows = rng.normal(size=(DIFFERENT, d)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[kind], kind, np.arange(N) % 3


def later_ones(kind):
    """Rows that an earlier one equals, and the row that does."""
    first = {}
    for row, name in enumerate(kind.tolist()):
        first.setdefault(name, row)
    return {row: first[name] for row, name in enumerate(kind.tolist()) if first[name] != row}


def given_to(name, values):
    needs = OBJECTIVES[name].needs
    return ({"scores": np.arange(N) % 5} if "scores" in needs else {}) | (
        {"target": values[:1]} if "target" in needs else {}
    )


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("allocate", ["proportional", "global"])
def test_copies_rank_behind_all_others(name, allocate):
    values, kind, codes = pool()
    for budget in (0, 7, DIFFERENT, DIFFERENT + 5, N):
        chosen = select(values, codes, objective=name, budget=budget, copies="one",
                        allocate=allocate, **given_to(name, values))  # fmt: skip
        assert chosen.indices.size == budget
        assert np.array_equal(np.sort(chosen.ranking), np.arange(N))
        assert np.array_equal(np.sort(chosen.ranking[:budget]), chosen.indices)
        assert np.unique(kind[chosen.indices]).size == min(budget, DIFFERENT)
        assert np.unique(kind[chosen.ranking[:DIFFERENT]]).size == DIFFERENT
        whose = dict(zip(chosen.index.tolist(), chosen.copy_of.tolist(), strict=True))
        assert {row: one for row, one in whose.items() if one >= 0} == later_ones(kind)
        assert chosen.facts["copies"] == {"n": 12, "selected": max(0, budget - DIFFERENT)}


@pytest.mark.parametrize("how", [{}, {"optimizer": "relaxed"}, {"refine": "swaps"},
                                 {"objective": "coverage"}, {"objective": "herding"}])  # fmt: skip
def test_what_is_chosen_is_what_is_chosen_without_the_copies(how):
    values, kind, codes = pool(1)
    one = select(values, codes, budget=9, copies="one", **how)
    dropped = select(values, codes, budget=9, must_drop=list(later_ones(kind)), **how)
    assert np.array_equal(one.indices, dropped.indices)
    assert one.value == dropped.value
    assert one.certificate == dropped.certificate


def test_the_copies_that_must_be_selected_are_measured_with_the_others():
    values, _, codes = pool(2)
    chosen = select(values, codes, budget=30, copies="one", redundancy=0.5)
    value = 0.0
    for part in range(3):
        inside = np.flatnonzero(codes == part)
        kept = np.intersect1d(inside, chosen.indices)
        total, own = values[inside].sum(0, dtype=float), values[kept].sum(0, dtype=float)
        value += own @ total - 0.5 * own @ own
    assert chosen.value == pytest.approx(value, rel=1e-6)
    assert chosen.certificate.upper_bound == pytest.approx(chosen.value)


def test_what_must_be_kept_stands_for_its_copies_and_what_is_dropped_for_none():
    values = np.eye(3)[[0, 0, 0, 1, 1, 2]]
    chosen = select(values, budget=3, copies="one", must_keep=[2], must_drop=[3])
    assert chosen.indices.tolist() == [2, 4, 5]
    by_index = chosen.copy_of[np.argsort(chosen.index)]
    assert by_index.tolist() == [2, 2, -1, -1, -1, -1]
    both = select(values, budget=3, copies="one", must_keep=[0, 2])
    assert both.copy_of[np.argsort(both.index)].tolist() == [-1, 0, -1, -1, 3, -1]


def test_nested_fractions_have_no_copies_before_they_must():
    values, kind, codes = pool(3)
    chosen = select(values, codes, fractions=[0.3, 1.0], copies="one")
    small = chosen.index[chosen.marks["0.3"]]
    assert np.unique(kind[small]).size == small.size == 11


def test_a_minimum_a_class_is_not_filled_with_copies():
    values = np.concatenate([np.ones((9, 3)), np.eye(3)[np.arange(30) % 3]]).astype(np.float32)
    values[9:] += 0.1 * np.random.default_rng(0).random((30, 3)).astype(np.float32)
    codes = np.repeat([0, 1], [9, 30])
    chosen = select(values, codes, budget=20, copies="one", min_per_class=5)
    assert [part.budget for part in chosen.classes] == [1, 19]


def test_nothing_is_said_of_copies_where_there_are_none(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 4))
    one, keep = (select(values, budget=5, copies=how) for how in ("one", "keep"))
    assert one.copy_of is None
    assert np.array_equal(one.ranking, keep.ranking)
    write_selection(tmp_path, one)
    assert "copy_of" not in pq.read_schema(tmp_path / "selection.parquet").names


def test_rows_that_cannot_be_compared_are_nobodys_copies(tmp_path):
    values = np.eye(4, dtype=np.float32)[[0, 0, 1, 2, 3, 3]]
    values[[2, 3]] = np.nan
    chosen = select(values, budget=2, copies="one", must_drop=[2, 3])
    assert chosen.indices.tolist() == [0, 4]
    assert chosen.copy_of[np.argsort(chosen.index)].tolist() == [-1, 0, -1, -1, -1, 4]
    write_selection(tmp_path, chosen)
    again = read_selection(tmp_path)
    assert np.array_equal(again.copy_of, chosen.copy_of)
    assert again.to_arrow()["copy_of"].to_pylist() == chosen.copy_of.tolist()


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int8", "uint16", ">f4"])
def test_rows_of_every_type_are_told_apart_by_their_numbers(kind):
    rows = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 2], [-0.0, 1, 2], [1, 1, 2]]).astype(kind)
    found = distinct_rows(rows, threads=1)
    assert found.kind.tolist() == [0, 1, 0, 0, 2]
    assert distinct_rows(rows[[0, 1, 4]]) is None
    assert distinct_rows(np.asfortranarray(rows)).kind.tolist() == [0, 1, 0, 0, 2]


def test_equal_digests_of_other_rows_are_found_out(monkeypatch):
    values = np.array([[1.0], [2.0], [1.0], [3.0]])
    honest = module.row_digests
    monkeypatch.setattr(
        module, "row_digests", lambda *it: honest(*it) if it[1] else np.zeros((4, 2), np.uint64)
    )
    assert distinct_rows(values).first.tolist() == [0, 1, 3]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from(["proportional", "equal"]))
def test_places_go_to_what_comes_first(seed, n_classes, how):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 8, n_classes)
    available = rng.integers(0, sizes + 1)
    first = rng.integers(0, available + 1)
    limits = {"how": how, "available": available}
    order = Shares.of(sizes, first=first, **limits).webster_order()
    for total in range(int(available.sum()) + 1):
        places = Shares.of(sizes, first=first, **limits).allocate(total)
        assert places.sum() == total
        assert np.array_equal(np.bincount(order[:total], minlength=n_classes), places)
        if total <= first.sum():
            expected = Shares.of(sizes, how=how, available=first).allocate(total)
            assert np.array_equal(places, expected)
        else:
            assert (places >= first).all()
