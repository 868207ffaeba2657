"""Scores of examples from a file: every form, and every way in which one can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contrasift.errors import DataError, UsageError
from contrasift.store.scores import read_scores

INDEX = np.array([3, 7, 5], dtype=np.int64)


def table(name="scores.parquet", **columns):
    pq.write_table(pa.table(columns), name)
    return Path(name)


def text(content, name="scores.csv"):
    Path(name).write_text(content, encoding="utf-8")
    return Path(name)


def test_every_form_says_the_same():
    np.save("scores.npy", np.array([1, 0, 2]))
    paths = [
        table(index=[5, 3, 7], forgotten=[2, 1, 0]),
        text("index,forgotten\n5,2\n3,1\n7,0\n"),
        Path("scores.npy"),
        text("1\n0\n2\n\n", "scores.txt"),
    ]
    for path in paths:
        found = read_scores(path, INDEX)
        assert found.dtype == np.float64
        assert found.tolist() == [1, 0, 2]


def test_infinity_is_a_score():
    path = text("index,forgotten\n5,inf\n3,1\n7,0\n")
    assert read_scores(path, INDEX).tolist() == [1, 0, np.inf]
    assert read_scores(text("inf\n-inf\n0", "s.txt"), INDEX).tolist() == [np.inf, -np.inf, 0]


def test_the_column_is_named_where_there_are_several():
    path = table(index=[3, 7, 5], el2n=[0.1, 0.2, 0.3], forgotten=[1, 2, 3])
    assert read_scores(path, INDEX, "forgotten").tolist() == [1, 2, 3]
    with pytest.raises(UsageError, match="el2n, forgotten; got none"):
        read_scores(path, INDEX)
    with pytest.raises(UsageError, match="el2n, forgotten; got grand"):
        read_scores(path, INDEX, "grand")
    np.save("scores.npy", np.zeros(3))
    with pytest.raises(UsageError, match="no column"):
        read_scores(Path("scores.npy"), INDEX, "el2n")


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"index": [3, 7], "s": [0.0, 1.0]}, "1 examples without a score, among them 5"),
        ({"index": [3, 7, 5, 9], "s": [0.0] * 4}, "not in the pool, among them 9"),
        ({"index": [3, 7, 7], "s": [0.0] * 3}, "every example once .* got 7"),
        ({"id": [3, 7, 5], "s": [0.0] * 3}, "column `index`"),
        ({"index": ["3", "7", "5"], "s": [0.0] * 3}, "whole numbers"),
        ({"index": [3, 7, 5], "s": ["low", "high", "low"]}, "a number for every example"),
        ({"index": [3, 7, 5], "s": [0.0, None, 1.0]}, "NaN for 1 of them, the first 7"),
        ({"index": [3, 7, 5], "s": [0.0, 1.0, float("nan")]}, "NaN for 1 of them, the first 5"),
    ],
)
def test_tables_that_do_not_fit(columns, match):
    with pytest.raises(DataError, match=match):
        read_scores(table(**columns), INDEX)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros(4), "each of the 3 examples; got .* with 4"),
        (np.zeros((3, 1)), "a number for every example"),
        (np.zeros(3, dtype=complex), "a number for every example"),
        (np.array([0, np.nan, 1]), "NaN for 1 of them, the first 7"),
    ],
)
def test_arrays_that_do_not_fit(array, match):
    np.save("scores.npy", array)
    with pytest.raises(DataError, match=match):
        read_scores(Path("scores.npy"), INDEX)


def test_files_that_cannot_be_read():
    for name in ("none.npy", "none.csv", "none.parquet", "none.txt"):
        with pytest.raises(DataError, match="none"):
            read_scores(Path(name), INDEX)
    with pytest.raises(DataError, match="a number for every example"):
        read_scores(text("one\ntwo\nthree", "s.txt"), INDEX)
    with pytest.raises(DataError, match="comma-separated"):
        read_scores(text("index,s\n1\n1,2,3\n"), INDEX)
    with pytest.raises(DataError, match="whole Parquet"):
        read_scores(text("no table", "s.parquet"), INDEX)
