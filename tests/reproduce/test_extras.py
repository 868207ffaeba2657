from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.store.tables import write_table
from reproduce.cell import Cell
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.metrics import extras
from reproduce.metrics.alignment import measure_alignment
from reproduce.metrics.extras import EXTRAS, METRICS, Extra, measure_extras
from reproduce.metrics.subject import Subject
from reproduce.metrics.subset_difficulty import SUBSET_DIFFICULTY_METRICS, measure_subset_difficulty

BASE = {"pool.pool": "digits", "select.fraction": 0.2}


def looked_at(views, labels):
    """An encoder whose views are given."""
    return SimpleNamespace(
        labelled=lambda: (np.arange(len(labels)), np.asarray(labels)),
        views=lambda rows: views[rows],
    )


def test_alignment_is_what_its_formulas_say():
    rng = np.random.default_rng(0)
    views = rng.normal(size=(12, 3, 4)).astype(np.float32)
    views /= np.linalg.norm(views, axis=2, keepdims=True)
    labels = [5, 9, 9, 7, 5, 9, 9, 7, 5, 5, 9, 7]
    found = measure_alignment(looked_at(views, labels))
    own = [np.linalg.norm(a - b) for one in views for a in one for b in one]
    assert found["views"] == pytest.approx(np.mean(own), rel=1e-5)
    by_label = [views[np.array(labels) == k].reshape(-1, 4) for k in (5, 7, 9)]
    squared = [np.mean([((a - b) ** 2).sum() for a in one for b in one]) for one in by_label]
    assert found["labels"] == pytest.approx(
        (4 * squared[0] + 3 * squared[1] + 5 * squared[2]) / 12, rel=1e-5
    )
    means = [one.mean(axis=0) for one in by_label]
    pairs = [[float(a @ b) for b in means if b is not a] for a in means]
    assert found["product"] == pytest.approx(np.mean(pairs), rel=1e-5)
    assert found["nearest"] == pytest.approx(np.mean([max(row) for row in pairs]), rel=1e-5)
    assert set(found) == set(EXTRAS["alignment"].metrics)


def test_one_label_has_no_other():
    with pytest.raises(DataError, match="two labels"):
        measure_alignment(looked_at(np.ones((2, 1, 1)), [3, 3]))


def test_what_is_picked_is_averaged_and_the_rest_is_not(tmp_path):
    n = 6
    scores = {name: np.arange(n) * (k + 1.0) for k, name in enumerate(SUBSET_DIFFICULTY_METRICS)}
    write_table(tmp_path / "scores.parquet", {"index": 10 + np.arange(n), **scores})
    picked = np.array([1, 5])
    subject = SimpleNamespace(
        cell=None,
        pool=SimpleNamespace(index=10 + np.arange(n)),
        artifacts=SimpleNamespace(
            dynamics=lambda cell: tmp_path / "scores.parquet", positions=lambda cell: picked
        ),
    )
    assert measure_subset_difficulty(subject) == {
        name: 3.0 * (k + 1) for k, name in enumerate(SUBSET_DIFFICULTY_METRICS)
    }
    picked = np.array([], dtype=np.int64)
    with pytest.raises(DataError, match="labelled examples"):
        measure_subset_difficulty(subject)


def test_readings_are_asked_for_by_name_and_make_another_cell():
    plain, asked = Cell.of(BASE, 0), Cell.of({**BASE, "measure.extras": "alignment"}, 0)
    assert plain.key != asked.key
    spelled = Cell.of({**BASE, "measure.extras": " alignment ,"}, 0)
    assert spelled.key == asked.key
    unknown = Cell.of({**BASE, "measure.extras": "alinement"}, 0)
    with pytest.raises(UsageError, match="Did you mean alignment"):
        measure_extras(Subject(unknown, None, None))
    with pytest.raises(UsageError, match="Did you mean alignment"):
        EXPERIMENTS["goal"].plan("cpu", changes={"measure.extras": "bounds,alinement"})


def test_readings_go_by_their_names_and_numbers_must_be_numbers(monkeypatch):
    found = {"a": 1.0}
    made_up = Extra("made up", lambda subject: found, {})
    monkeypatch.setitem(extras.EXTRAS, "made_up", made_up)
    cell = Cell.of({**BASE, "measure.extras": "made_up"}, 0)
    assert measure_extras(Subject(cell, None, None)) == {"made_up": {"a": 1.0}}
    assert measure_extras(Subject(Cell.of(BASE, 0), None, None)) == {}
    for wrong, place in (
        (float("nan"), r"made_up\.a; got nan"),
        ({"b": [1, float("inf")], "c": ["a name", 1.0]}, r"made_up\.a\.b\[1\]; got inf"),
    ):
        found["a"] = wrong
        with pytest.raises(ContrasiftError, match=place):
            measure_extras(Subject(cell, None, None))


def test_every_number_that_may_be_shown_has_a_name_and_a_unit():
    for name, extra in EXTRAS.items():
        assert extra.description
        for key in extra.metrics:
            assert METRICS[f"{name}.{key}"].name
    assert METRICS["knn"].in_points
    assert METRICS["head.knn"].in_points
    assert not METRICS["alignment.labels"].in_points


def test_supervised_trainings_count_only_where_they_choose_or_are_read():
    options = {**BASE, "dynamics.epochs": 3}
    assert Cell.of(options, 0).key == Cell.of(BASE, 0).key
    scores = {"select.objective": "scores", "select.scores": "dynamics",
              "select.scores_column": "el2n"}  # fmt: skip
    chosen = Cell.of({**options, **scores}, 0)
    assert chosen.chooses_by_dynamics
    assert chosen.key != Cell.of({**BASE, **scores}, 0).key
    read = Cell.of({**options, "measure.extras": "subset_difficulty"}, 0)
    assert (read.needs_dynamics, read.chooses_by_dynamics) == (True, False)
    assert read.dynamics.epochs == 3
    of_a_file = Cell.of({**options, **scores, "select.scores": str(Path("a.npy"))}, 0)
    assert not of_a_file.needs_dynamics
