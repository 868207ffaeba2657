"""The relaxation over rows of any type that are read in every pass answers as over converted ones."""

import numpy as np
import pytest

import contrasift as cs
from contrasift.errors import DataError, DegenerateObjectiveWarning
from contrasift.selection import local, read_rows, task
from contrasift.selection.gather import converted
from contrasift.selection.kernels import dots
from contrasift.selection.kernels.passes import HeldRows
from contrasift.selection.local import LocalEngine
from contrasift.selection.read_rows import ReadRows
from contrasift.store.columns import MappedColumns


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(read_rows, "_READ_BYTES", 60 * 24)
    monkeypatch.setattr(read_rows, "_PART_BYTES", 20 * 24)
    monkeypatch.setattr(dots, "_ROWS_WORTH_A_THREAD", 10)


def rows_of(kind, n=257, d=6, seed=0):
    rows = np.abs(np.random.default_rng(seed).standard_normal((n, d)))
    return (rows * 50).astype(kind) if np.dtype(kind).kind == "i" else rows.astype(kind)


@pytest.mark.parametrize(
    ("kind", "normalize", "threads"),
    [("float16", "rows", 1), ("float16", "none", 3), ("float64", "rows", 3), ("int16", "none", 1)],
)
def test_a_selection_is_that_of_the_converted_rows(kind, normalize, threads, monkeypatch):
    rows = rows_of(kind)
    rows[40] = rows[3]
    how = {"budget": 60, "optimizer": "relaxed", "normalize": normalize, "must_keep": [7, 200],
           "must_drop": [9], "threads": threads}  # fmt: skip
    held = cs.select(np.asfortranarray(rows), **how)
    monkeypatch.setattr(local, "HELD_BYTES", 0)
    read = cs.select(np.asfortranarray(rows), **how)
    for name in ("index", "gain", "selected", "order", "copy_of"):
        assert np.array_equal(getattr(held, name), getattr(read, name)), name
    assert held.certificate == read.certificate
    assert all(np.array_equal(held.rule[name], read.rule[name]) for name in held.rule)


def test_passes_are_those_of_held_rows(monkeypatch):
    rows = rows_of("float16")
    read, held = ReadRows(rows, scale=False, threads=2), HeldRows(rows.astype(np.float32))
    direction, free = np.arange(6.0) - 2, np.arange(257) % 3 > 0
    assert read.scale == held.scale
    assert read.fixed_total().tolist() == held.fixed_total().tolist()
    assert read.squares().tobytes() == held.squares().tobytes()
    assert read.scores(direction).tobytes() == held.scores(direction).tobytes()
    for places in (1, 50, int(free.sum())):
        one, other = (it.best(direction, free, places) for it in (read, held))
        assert one.fixed.tolist() == other.fixed.tolist()
        assert one[1:] == other[1:]
    order = np.random.default_rng(0).permutation(257)[:100]
    assert read.fixed_sum(order).tolist() == held.fixed_sum(order).tolist()
    monkeypatch.setattr("contrasift.selection.kernels.passes._REPLAYED", 30)
    again = [it.replay(order, direction, 0.5) for it in (read, held)]
    assert again[0].tobytes() == again[1].tobytes()


def test_rows_that_cannot_be_used_are_counted_over_all_parts():
    rows = rows_of("float16")
    rows[[30, 200]] = np.inf
    with pytest.raises(DataError, match=r"infinity in 2 row\(s\), the first of them row 30"):
        ReadRows(rows, scale=True)
    rows[[30, 200]] = 0
    with pytest.raises(DataError, match=r"2 row\(s\) of zeros, the first of them row 30"):
        ReadRows(rows, scale=True)
    assert ReadRows(rows, scale=False).squares()[30] == 0


def test_what_is_worse_than_chance_is_chosen_as_from_converted_rows(monkeypatch):
    rows = rows_of("float64", 400)
    rows -= rows.mean(axis=0)
    how = {"budget": 80, "optimizer": "relaxed", "redundancy": 1.0, "normalize": "none"}
    with pytest.warns(DegenerateObjectiveWarning):
        held = cs.select(rows, **how)
    monkeypatch.setattr(local, "HELD_BYTES", 0)
    with pytest.warns(DegenerateObjectiveWarning):
        read = cs.select(rows, **how)
    assert np.array_equal(held.ranking, read.ranking)


def test_a_limit_that_a_copy_exceeds_and_columns_on_the_disk(tmp_path, monkeypatch):
    rows = rows_of("float16", 2000, 64)
    how = {"fraction": 0.2, "optimizer": "relaxed"}
    plain = cs.select(rows, **how)
    sizes = {"copied": False, "resident_bytes": rows.nbytes, "mapped_columns": True}
    limit = local.estimate_memory(2000, 64, **sizes) + 1000
    engine = LocalEngine(2, limit, columns=MappedColumns(tmp_path))
    read = cs.select(rows, engine=engine, **how)
    assert np.array_equal(plain.ranking, read.ranking)
    assert isinstance(read.gain, np.memmap)


@pytest.mark.parametrize("at_once", [7, 50, 10_000])
def test_the_rest_is_in_order_however_much_is_sorted_at_once(at_once, monkeypatch):
    rng = np.random.default_rng(at_once)
    final = np.round(rng.standard_normal(300), 1)
    chosen, eligible = np.array([5, 2]), rng.random(300) < 0.8
    wanted = task.Task(0, 2, eligible=eligible)
    monkeypatch.setattr(task, "SORTED_AT_ONCE", at_once)
    order, gains = task.with_the_rest(chosen, final[chosen], final, wanted)
    rest = [row for row in range(300) if row not in (5, 2)]
    expected = sorted(rest, key=lambda row: (not eligible[row], -final[row], row))
    assert order.tolist() == [5, 2, *expected]
    assert gains.tolist() == final[order].tolist()


def test_every_half_is_widened_as_numpy_does_it():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(-1, 64)
    expected = halves.astype(np.float32)
    assert np.array_equal(converted(halves, scale=False), expected, equal_nan=True)
    assert np.array_equal(np.signbit(converted(halves, scale=False)), np.signbit(expected))
    odd = converted(np.asfortranarray(halves[:, :3]), scale=False)
    assert np.array_equal(odd, expected[:, :3], equal_nan=True)
