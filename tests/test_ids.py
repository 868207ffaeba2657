"""Ids against plain dictionaries."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from contrasift.errors import DataError, UsageError
from contrasift.ids import as_ids, check_unique, rows_of_ids, uid_halves

TEXT = some.lists(some.text(max_size=3), unique=True, min_size=1, max_size=30)
NUMBERS = some.lists(some.integers(-(2**63), 2**63 - 1), unique=True, min_size=1, max_size=30)


@settings(deadline=None)
@given(ids=some.one_of(TEXT, NUMBERS), data=some.data())
def test_rows_are_those_of_a_dictionary(ids, data):
    wanted = data.draw(some.lists(some.sampled_from(ids), max_size=40))
    known = {one: row for row, one in enumerate(ids)}
    found = rows_of_ids(as_ids(ids, "x"), as_ids(wanted, "y").cast(as_ids(ids, "x").type), "list")
    assert found.tolist() == [known[one] for one in wanted]


def test_chunks_do_not_matter():
    ids = pa.chunked_array([["a", "b"], [], ["c"]])
    assert rows_of_ids(as_ids(ids, "x"), ["c", "a", "c"], "list").tolist() == [2, 0, 2]


def test_absent_ids_are_shown():
    ids = as_ids(["a", "b"], "x")
    with pytest.raises(
        UsageError, match=r"must_keep= with ids.*'a'; got 6.*: '0', '1', '2', '3', '4', …"
    ):
        rows_of_ids(ids, [*"012345", "a"], "must_keep=")
    with pytest.raises(UsageError, match="text, such as 'a'; got whole numbers, such as 3"):
        rows_of_ids(ids, [3], "must_keep=")


@settings(deadline=None)
@given(values=some.lists(some.integers(0, 5), max_size=8))
def test_twice_is_refused(values):
    for ids in (values, [str(one) for one in values]):
        made = as_ids(ids, "x")
        if len(set(values)) == len(values):
            check_unique(made, "x")
        else:
            with pytest.raises(DataError, match="more than once"):
                check_unique(made, "x")


def test_forms_of_ids():
    assert as_ids(np.array([3, 1], dtype=np.int16), "x").type == pa.int64()
    assert as_ids(np.array([2**63], dtype=np.uint64), "x").to_pylist() == [2**63]
    assert as_ids(np.array(["ä", "b"]), "x").type == pa.large_string()
    assert as_ids(np.array([b"a"]), "x").to_pylist() == ["a"]
    assert as_ids(pa.array(["a"]).dictionary_encode(), "x").to_pylist() == ["a"]
    assert len(as_ids([], "x")) == 0
    for bad in ([1.5], [True], np.zeros((2, 2), dtype=np.int64), [["a"]]):
        with pytest.raises(DataError, match="ids"):
            as_ids(bad, "x")
    with pytest.raises(DataError, match="the first of them row 1"):
        as_ids(["a", None], "x")


def test_uids_of_datacomp_there_and_back():
    halves = np.array([(2**64 - 1, 0), (0, 7), (5, 2**63)], dtype="u8,u8")
    ids = as_ids(halves, "x")
    assert ids.to_pylist()[1] == "0" * 31 + "7"
    back = uid_halves(ids)
    assert back.dtype == np.dtype("u8,u8")
    assert back.tolist() == [(0, 7), (5, 2**63), (2**64 - 1, 0)]
    with pytest.raises(DataError, match="32 hexadecimal digits"):
        uid_halves(as_ids(["abc"], "x"))
