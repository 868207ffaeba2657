"""Rows and scores that are no numbers, and a must-drop list that names them (the kind of fault 13)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import contrasift as cs
from contrasift.catalogue import OBJECTIVES
from contrasift.cli import app
from contrasift.engines.files import shared_matrix
from contrasift.errors import DataError, UsageError
from contrasift.selection.rule import LinearRule
from contrasift.selection.unusable import KeptRows

N, BAD = 24, [3, 10, 17, 23]


def pool(rng: np.random.Generator, kind: float) -> tuple[np.ndarray, np.ndarray]:
    values = rng.normal(size=(N, 5)).astype(np.float32)
    values[BAD] = kind
    return values, np.arange(N) % 3


def same(left: cs.Selection, right: cs.Selection, usable: np.ndarray) -> None:
    """`left` is `right`, of the usable rows alone, with the others put behind."""
    there = ~np.isin(left.index, BAD)
    assert np.array_equal(left.index[there], usable[right.index])
    assert np.array_equal(left.gain[there], right.gain, equal_nan=True)
    assert np.array_equal(left.selected[there], right.selected)
    assert not left.selected[~there].any()
    assert np.array_equal(left.ranking[: len(usable)], usable[right.ranking])
    assert sorted(left.ranking[len(usable) :]) == BAD
    assert left.value == right.value
    assert sorted(left.index) == list(range(N))
    for part in np.unique(left.latent_class):
        own = left.index[left.latent_class == part]
        n_bad = np.isin(own, BAD).sum()
        assert np.isin(own[len(own) - n_bad :], BAD).all()


@pytest.mark.parametrize("kind", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_dropped_rows_that_are_no_numbers_are_as_if_not_there(rng, kind, objective):
    values, classes = pool(rng, kind)
    usable = np.setdiff1d(np.arange(N), BAD)
    how = {"objective": objective, "budget": 7}
    scores = {"scores": np.arange(N, dtype=float)} if objective == "scores" else {}
    aim = {"target": np.ones((1, values.shape[1]))} if objective == "target" else {}
    how |= aim
    if not objective.startswith("random"):
        with pytest.raises(DataError, match="must_drop="):
            cs.select(values, classes, **how, **scores)
    dropped = cs.select(values, classes, **how, **scores, must_drop=BAD)
    fewer = {name: part[usable] for name, part in scores.items()}
    same(dropped, cs.select(values[usable], classes[usable], **how, **fewer), usable)
    assert "4 dropped examples" in dropped.notes[-1]


@pytest.mark.parametrize(
    "how",
    [
        {"allocate": "global"},
        {"fractions": [0.2, 0.5]},
        {"class_weights": {0: 3.0}},
        {"must_keep": [0, 1]},
        {"fraction": 0.3},
        {"optimizer": "relaxed"},
    ],
)
def test_with_every_way_of_sharing(rng, how):
    values, classes = pool(rng, np.nan)
    usable = np.setdiff1d(np.arange(N), BAD)
    size = {} if {"fractions", "fraction"} & set(how) else {"budget": 6}
    dropped = cs.select(values, classes, **how, **size, must_drop=BAD)
    same(dropped, cs.select(values[usable], classes[usable], **how, **size), usable)


def test_the_rule_speaks_of_the_whole_pool(rng):
    values, classes = pool(rng, np.nan)
    values = np.repeat(values, 2, axis=0)  # ties make exceptions
    bad = np.flatnonzero(np.isnan(values[:, 0]))
    classes = np.repeat(classes, 2)
    chosen = cs.select(values, classes, budget=11, optimizer="relaxed", must_drop=bad)
    rule = LinearRule.from_arrays(chosen.rule)
    assert rule.pool_shape == values.shape
    usable = np.setdiff1d(np.arange(len(values)), bad)
    assert np.isin(rule.exception_rows, usable).all()
    picked = np.isin(rule.exception_rows, chosen.indices)
    assert np.array_equal(picked, rule.exception_keep)


def test_a_class_of_such_rows_alone(rng):
    values, _ = pool(rng, np.nan)
    classes = np.isin(np.arange(N), BAD).astype(int)
    chosen = cs.select(values, classes, budget=5, must_drop=BAD, class_weights={1: 2.0})
    assert [(part.name, part.size, part.budget) for part in chosen.classes] == [
        (0, 20, 5),
        (1, 4, 0),
    ]


def test_all_rows_dropped_or_kept(rng):
    values, _ = pool(rng, np.nan)
    with pytest.raises(DataError, match="NaN or infinity in 4"):
        cs.select(values, budget=3, must_drop=[0])
    with pytest.raises(UsageError, match="in the pool|common"):
        cs.select(values, budget=3, must_drop=BAD, must_keep=BAD[:1])
    with pytest.raises(DataError, match="at least one row of finite numbers"):
        cs.select(np.full((4, 2), np.nan), budget=0, must_drop=[0, 1, 2, 3])


class Elsewhere:
    """A matrix that is read by rows, without names."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.file = values, values.shape, values.dtype, None
        self.ndim = values.ndim

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        return self.values[rows]


@pytest.mark.parametrize("how", [{}, {"optimizer": "relaxed"}, {"allocate": "global"}])
def test_of_a_matrix_that_lies_elsewhere_too(rng, how, tmp_path):
    values, classes = pool(rng, np.nan)
    here = cs.select(values, classes, budget=6, must_drop=BAD, **how)
    there = cs.select(Elsewhere(values), classes, budget=6, must_drop=BAD, **how)
    assert np.array_equal(here.index, there.index)
    assert np.array_equal(here.gain, there.gain, equal_nan=True)
    assert np.array_equal(here.selected, there.selected)
    usable = np.setdiff1d(np.arange(N), BAD)
    shared = shared_matrix(KeptRows(Elsewhere(values), usable), tmp_path)  # what workers open
    assert np.array_equal(shared.open(), values[usable])


def test_rows_that_can_be_used_are_dropped_as_before(rng):
    values = rng.normal(size=(N, 5))
    chosen = cs.select(values, budget=5, must_drop=BAD)
    assert "unusable" not in chosen.facts
    assert sorted(chosen.ranking[-4:]) == BAD


@pytest.mark.parametrize("keep", ["high", "low"])
def test_dropped_examples_need_no_score(rng, keep):
    values = rng.normal(size=(N, 5))
    scores = rng.normal(size=N)
    scores[BAD] = np.nan
    how = {"objective": "scores", "budget": 5, "scores_keep": keep}
    with pytest.raises(DataError, match="must_drop="):
        cs.select(values, scores=scores, **how)
    chosen = cs.select(values, scores=scores, must_drop=BAD, **how)
    order = np.argsort(scores, kind="stable")
    order = order[~np.isin(order, BAD)]
    assert set(chosen.indices) == set(order[-5:] if keep == "high" else order[:5])
    assert sorted(chosen.ranking[-4:]) == BAD


@pytest.mark.parametrize("form", ["npy", "txt", "csv", "parquet-without"])
def test_the_command(rng, form):
    import pyarrow as pa
    import pyarrow.parquet as pq

    values, _ = pool(rng, np.nan)
    scores = np.arange(N, dtype=float)
    scores[BAD] = np.nan
    np.save("z.npy", values)
    Path("drop.txt").write_text("\n".join(map(str, BAD)))
    if form == "npy":
        np.save("s.npy", scores)
    elif form == "txt":
        Path("s.txt").write_text("\n".join(map(str, scores)))
    elif form == "csv":
        lines = [f"{row},{score}" for row, score in enumerate(scores)]
        Path("s.csv").write_text("\n".join(["index,s", *lines]))
    else:
        there = np.setdiff1d(np.arange(N), BAD)
        pq.write_table(pa.table({"index": there, "s": scores[there]}), "s.parquet")
    path = f"s.{form.removesuffix('-without')}"
    words = ["select", "z.npy", "--budget", "5", "--objective", "scores", "--scores", path]
    refused = CliRunner().invoke(app, [*words, "--out", "o"])
    assert refused.exit_code == 1
    done = CliRunner().invoke(app, [*words, "--must-drop", "drop.txt", "--out", "o", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["unusable"] == 4


def test_zero_rows_may_be_taken_as_they_are(rng):
    values, _ = pool(rng, 0.0)
    assert cs.select(values, budget=5, normalize="none").budget == 5


@pytest.mark.parametrize("weights", [[1.0], [1.0, 2.0, 3.0], np.ones((1, 2))])
def test_weights_of_other_classes_are_refused_where_rows_are_left_out(weights):
    rows = np.vstack([np.zeros((1, 3)), np.eye(3)]).astype(np.float32)
    how = {"budget": 1, "must_drop": [0], "allocate": "density-quota"}
    with pytest.raises(UsageError, match="one weight for each of the 2 classes"):
        cs.select(rows, [0, 0, 1, 1], class_weights=weights, **how)
