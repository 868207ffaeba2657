"""Names of classes: two that differ are never one, whatever they come from (the kind of fault 4)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import contrasift as cs
from contrasift.arrays import class_codes
from contrasift.errors import ContrasiftError
from contrasift.pools.labels import encode_labels
from contrasift.store.inputs import load_classes_file, load_weights_file

NUMBER_LIKE = ["1", "01", "001", "+1", "-1", "-0", "0", "1_0", "10", "1.0", "1e0", " 1", "٣", "²"]
NUMBER_LIKE += ["000", "1_23", "12_3", "9223372036854775807", "9223372036854775808", "٠١"]
NUMBER_LIKE += [
    "nan",
    "None",
    "none",
    "true",
    "é",
    "e\u0301",
    "a\u200bb",
    "ab",
    "\ufeff1",
    "#",
    "-",
]
texts = st.one_of(
    st.sampled_from(NUMBER_LIKE),
    st.integers(-(2**70), 2**70).map(str),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)


def partition(codes) -> list[int]:
    """Which entries are alike, as the number of the first of them."""
    seen: dict[object, int] = {}
    return [seen.setdefault(code, place) for place, code in enumerate(codes)]


@given(st.lists(texts, min_size=1, max_size=8))
@settings(deadline=None)  # the first imports pandas
@example(["1_23", "12_3"])
@example(["01", "1"])
@example(["000", "0"])
@example(["9223372036854775808", "9223372036854775807"])
def test_text_is_never_merged_by_any_door_for_arrays(names):
    wanted = partition(names)
    for door in (list, lambda part: np.array(part, dtype=object), lambda part: pa.array(part)):
        try:
            codes, found = class_codes(door(names), len(names))
        except ContrasiftError:
            assert any(name.endswith("\0") for name in names)
            return
        assert partition(codes.tolist()) == wanted
        assert [str(name) for name in found[codes]] == names
        assert found.dtype.kind == "U" or all(str(int(name)) == name for name in names)
    if all(name.strip() for name in names) and found.dtype.kind == "U":
        codes, spelled = encode_labels(names)
        assert partition(codes.tolist()) == wanted
        assert [spelled[code] for code in codes] == names


@given(st.lists(texts.map(str.strip).filter(bool), min_size=1, max_size=8))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(["1_23", "12_3"])
@example(["01", "1"])
@example(["9223372036854775808"])
def test_text_is_never_merged_by_any_file(tmp_path, names):
    names = [name for name in names if not set(name) & set("\n\r\0\ufeff")] or ["a"]
    index = np.arange(len(names))
    lines, table = tmp_path / "c.txt", tmp_path / "c.parquet"
    lines.write_text("\n".join(names), encoding="utf-8")
    pq.write_table(pa.table({"index": index, "latent_class": names}), table)
    named = tmp_path / "c.csv"
    quoted = [name.replace('"', '""') for name in names]
    rows = [f'{row},"{name}"' for row, name in enumerate(quoted)]
    named.write_text("\n".join(["index,latent_class", *rows]), encoding="utf-8")
    for path in (lines, table, named):
        codes, found = class_codes(load_classes_file(path, index), len(names))
        assert partition(codes.tolist()) == partition(names), path
        assert [str(name) for name in found[codes]] == names


@given(
    st.lists(
        st.one_of(
            st.integers(-(2**65), 2**65),
            st.floats(),
            st.sampled_from([2**53, 2**53 + 1, 2.0**53, 2**63, -(2**63), 2.0**52, True]),
        ),
        min_size=1,
        max_size=6,
    )
)
@example([2**63, 1])
@example([-1, 2**63])
@example([2.0**53, 2.0**53 + 1])
def test_numbers_are_kept_apart_or_refused(values):
    try:
        codes, names = class_codes(values, len(values))
    except ContrasiftError:
        assert any(
            value != value or abs(value) >= 2**53 or value != int(value) or value >= 2**63
            for value in values
        )
        return
    assert partition(codes.tolist()) == partition([int(value) for value in values])
    assert names[codes].tolist() == [int(value) for value in values]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([2**63, 0], dtype=np.uint64), "within int64; got 9223372036854775808"),
        (np.array([2.0**53, 2.0**53 + 2]), "below 9007199254740992"),
        (np.array([2.0**24], dtype=np.float32), "float32 skips integers"),
        (np.array([np.nan, 1.0]), "fractions, infinities or NaN"),
        ([1, "1"], "all integers or all text"),
        (["a", None], "none for 1 of them, the first in row 1"),
        (["a", "a\0"], "NUL"),
        (np.ma.masked_array([1, 2], [True, False]), "masked"),
        ([b"\xff", b"a"], "UTF-8"),
        (["\ud800"], "half a character"),
    ],
)
def test_what_cannot_be_kept_apart_is_refused(labels, words):
    with pytest.raises(ContrasiftError, match=words):
        class_codes(labels, len(labels))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int64(), [1, None, 3]),
        (pa.string(), ["a", None, "b"]),
        (pa.dictionary(pa.int8(), pa.string()), ["a", None, "b"]),
        (pa.bool_(), [True, None, False]),
    ],
)
def test_a_null_is_no_class(tmp_path, kind, values):
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"index": [0, 1, 2], "latent_class": pa.array(values, kind)}), path)
    with pytest.raises(ContrasiftError, match="row 1"):
        load_classes_file(path, np.arange(3))


def test_dictionaries_are_text(tmp_path):
    path = tmp_path / "c.parquet"
    column = pa.array(["01", "1", "01"]).dictionary_encode()
    pq.write_table(pa.table({"index": [0, 1, 2], "latent_class": column}), path)
    codes, _ = class_codes(load_classes_file(path, np.arange(3)), 3)
    assert codes.tolist() == [0, 1, 0]


def rows(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)


def test_weights_find_names_as_they_are_written(tmp_path):
    Path(tmp_path / "c.txt").write_text("000\n1_23\n12_3\n01\n1\n" * 4)
    Path(tmp_path / "w.json").write_text('{"000": 0, "1_23": 2}')
    classes = load_classes_file(tmp_path / "c.txt", np.arange(20))
    weights = load_weights_file(tmp_path / "w.json")
    chosen = cs.select(rows(20), classes, fraction=0.4, class_weights=weights)
    shares = {part.name: part.budget for part in chosen.classes}
    assert set(shares) == {"000", "1_23", "12_3", "01", "1"}
    assert shares["000"] == 0
    assert shares["1_23"] > shares["12_3"]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"01": 2.0}, "a weight for class 01"),
        ({1: 2.0, "1": 3.0}, "'1' more than once"),
        ({1.5: 2.0}, "fractions"),
        ({None: 1.0}, "for every example|none"),
        ({"\ufeff1": 1.0}, r"\\ufeff1"),
    ],
)
def test_weights_of_names_that_are_not(weights, words):
    with pytest.raises(ContrasiftError, match=words):
        cs.select(rows(8), [0, 1] * 4, fraction=0.5, class_weights=weights)


def test_weights_by_numbers_of_any_type():
    by = [{1: 5.0}, {"1": 5.0}, {np.int64(1): 5.0}, {1.0: 5.0}]
    found = [cs.select(rows(8), [0, 1] * 4, fraction=0.5, class_weights=part) for part in by]
    assert all(np.array_equal(found[0].selected, other.selected) for other in found)


def test_a_weight_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "w.json").write_text('{"a": 1, "a": 2}')
    with pytest.raises(ContrasiftError, match="'a' more than once"):
        load_weights_file(tmp_path / "w.json")
    (tmp_path / "w.json").write_text(json.dumps({"a": 10**400}))
    with pytest.raises(ContrasiftError, match="a number for every class"):
        load_weights_file(tmp_path / "w.json")


@pytest.mark.parametrize("column", ["latent_class", "label"])
def test_a_table_of_text_is_read_by_index(tmp_path, column):
    for name, sign in (("c.csv", ","), ("c.tsv", "\t")):
        lines = [f"index{sign}{column}", f"7{sign}01", f"3{sign}1", f"5{sign}01"]
        (tmp_path / name).write_text("\r\n".join(lines), encoding="utf-8-sig", newline="")
        assert load_classes_file(tmp_path / name, np.array([3, 5, 7])).tolist() == ["1", "01", "01"]
    (tmp_path / "c.csv").write_text("0.png,cat\n1.png,dog\n")
    with pytest.raises(ContrasiftError, match="the columns index and latent_class"):
        load_classes_file(tmp_path / "c.csv", np.arange(2))


def test_numbers_of_any_length_have_an_order():
    names = ["9" * 5000 + "a", "10a", "9a", "010a"]
    assert encode_labels(names)[1] == ("9a", "010a", "10a", "9" * 5000 + "a")
