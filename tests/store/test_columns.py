"""Columns in mapped files, and selections that are put together in them, block by block."""

from __future__ import annotations

import errno
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from contrasift import arrays
from contrasift.errors import ContrasiftError
from contrasift.results import Embeddings
from contrasift.selection import budget
from contrasift.selection.local import LocalEngine
from contrasift.selection.select import select
from contrasift.selection.task import Outcome
from contrasift.store import columns
from contrasift.store.columns import MappedColumns
from contrasift.store.selections import read_selection, write_selection

N = 500


def mapped_engine() -> LocalEngine:
    """Solves here, as ever, but keeps columns on the disk."""
    return LocalEngine(columns=MappedColumns(Path("work")))


@pytest.fixture
def pool(rng):
    """Equal rows, classes of one row and of many, as text, and pool indices with gaps."""
    values = rng.standard_normal((N, 6)).astype(np.float32) + 0.5
    values[40:80] = values[3]
    names = np.array(["a", "bb", "ccc", "d d"])[np.minimum(rng.integers(0, 7, N), 3)]
    names[17] = "one"
    index = np.sort(rng.choice(10 * N, N, replace=False))
    return Embeddings(values, index), names


OPTIONS = [
    {"fraction": 0.3},
    {"budget": 2},
    {"fraction": 0.3, "allocate": "global"},
    {"fraction": 0.2, "allocate": "global", "optimizer": "relaxed"},
    {"fractions": [0.1, 0.4], "min_per_class": 3},
    {"fraction": 0.4, "refine": "double-greedy-random", "redundancy": 1.0},
    {"fraction": 0.3, "objective": "random"},
    {"fraction": 0.3, "class_weights": {"a": 0.0, "bb": 5.0}, "allocate": "equal"},
    {"fraction": 0.2, "optimizer": "relaxed"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
def test_mapped_columns_give_the_same_bytes(pool, options):
    write_selection(Path("held"), select(*pool, **options))
    write_selection(Path("mapped"), select(*pool, **options, engine=mapped_engine()))
    for file in ("selection.parquet", "ranking.npy", "rule.npz"):
        held, mapped = Path("held", file), Path("mapped", file)
        assert held.exists() == mapped.exists() == (file != "rule.npz" or "optimizer" in options)
        assert not held.exists() or held.read_bytes() == mapped.read_bytes()
    assert not list(Path("work").iterdir())


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
def test_blocks_do_not_show(pool, options, monkeypatch):
    whole = select(*pool, **options)
    monkeypatch.setattr(arrays, "_BLOCK_ENTRIES", 7)
    monkeypatch.setattr(budget, "_RUN", 5)
    monkeypatch.setattr(budget, "_RUN_A_CLASS", 0)
    pieces = select(*pool, **options, engine=mapped_engine())
    write_selection(Path("pieces"), pieces)
    for found in (pieces, read_selection(Path("pieces"))):
        for name in ("index", "latent_class", "rank", "gain", "selected", "order"):
            assert np.array_equal(
                getattr(found, name), getattr(whole, name), equal_nan=name == "gain"
            ), name
        assert found.classes == whole.classes
        assert found.facts["first_negative_gain"] == whole.facts["first_negative_gain"]
        assert found.marks.keys() == whole.marks.keys()
        assert all(np.array_equal(found.marks[name], whole.marks[name]) for name in whole.marks)
        assert (found.rule is None) == (whole.rule is None)
        for name, part in (whole.rule or {}).items():
            assert np.array_equal((found.rule or {})[name], part), name
    assert np.array_equal(np.load("pieces/ranking.npy"), whole.ranking)


class RanksNothing(LocalEngine):
    """Takes every class as it comes."""

    def solve_classes(self, plan, ranked, progress, announce):
        for block in arrays.column_blocks(plan.pool.n):
            ranked.rows[block] = plan.partition.rows[block]
        facts = dict.fromkeys(("upper_bound", "random_value", "first_negative_gain"))
        return [
            Outcome(budget=places, value=0.0, ranked_to=0, total=np.empty(0), **facts)
            for places in plan.places.places.tolist()
        ], {}


def test_whoever_puts_it_together_holds_nothing_of_the_size_of_the_pool(rng, monkeypatch):
    n, block = 100_000, 1_000
    np.save("values.npy", np.ones((n, 1), dtype=np.float32))
    np.save("classes.npy", rng.integers(0, 20, n))
    monkeypatch.setattr(arrays, "_BLOCK_ENTRIES", block)
    monkeypatch.setattr(budget, "_RUN", block)
    tracemalloc.start()
    try:
        chosen = select(
            np.load("values.npy", mmap_mode="r"),
            np.load("classes.npy", mmap_mode="r"),
            fractions=[0.1, 0.2],
            engine=RanksNothing(columns=MappedColumns(Path("work"))),
            copies="keep",  # to tell copies takes a digest of every row
        )
        write_selection(Path("chosen"), chosen)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert chosen.budget == n // 5
    assert peak < 300 * block + 2 * n  # 17 bytes a row would be the ranking and its gains alone


def test_columns_are_zeros_without_a_name(tmp_path):
    place = MappedColumns(tmp_path / "new")
    for kind in (np.int64, np.float64, np.bool_, "<U3"):
        column = place.new(5, kind)
        assert column.dtype == np.dtype(kind)
        assert np.array_equal(column, np.zeros(5, dtype=kind))
    column[:] = "abc"
    arrays.forget_pages(column)
    assert column.tolist() == ["abc"] * 5
    assert place.new(0, np.int64).shape == (0,)
    assert not list((tmp_path / "new").iterdir())


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(columns, "reserve", full)
    with pytest.raises(ContrasiftError, match=r"room for 8 MB in .*No space left"):
        MappedColumns(tmp_path).new(1_000_000, np.int64)
