"""A column of labels of any type: taken, or named with what helps; and never read where it is not wanted."""

from __future__ import annotations

import decimal
import io
import tarfile

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from contrasift.errors import DataError
from contrasift.pools import open_pool
from contrasift.pools.label_columns import column_labels


def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), 20 * number).save(file, "PNG")
    return file.getvalue()


N = 6
IMAGES = pa.array([png(n) for n in range(N)])
INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64()]
INTEGERS += [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
TEXTS = [pa.string(), pa.large_string(), pa.string_view()]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]

# name: (column, names, codes); the last example has no label.
TAKEN = {
    **{str(t): (pa.array([3, 1, 3, 1, 3, None], t), ("1", "3"), [1, 0, 1, 0, 1, -1]) for t in INTEGERS},
    **{str(t): (pa.array(["b", "a", "b", "a", "b", None], t), ("a", "b"), [1, 0, 1, 0, 1, -1]) for t in TEXTS},
    **{
        str(t): (pa.array([np.float16(v) if v is not None else None for v in (3, 1, 3, 1, 3, None)], t), ("1", "3"), [1, 0, 1, 0, 1, -1])
        for t in FLOATS
    },
    "bool": (pa.array([True, False, True, False, True, None]), ("0", "1"), [1, 0, 1, 0, 1, -1]),
    "dictionary of text": (
        pa.array(["b", "a", "b", "a", "b", None]).dictionary_encode(), ("a", "b"), [1, 0, 1, 0, 1, -1],
    ),
    "dictionary of integers": (
        pa.array([3, 1, 3, 1, 3, None], pa.uint16()).dictionary_encode(), ("1", "3"), [1, 0, 1, 0, 1, -1],
    ),
    "beyond int64": (
        pa.array([2**64 - 1, 2**64 - 2, 2**64 - 1, 2**64 - 2, 2**64 - 1, None], pa.uint64()),
        ("18446744073709551614", "18446744073709551615"), [1, 0, 1, 0, 1, -1],
    ),
    "NaN": (pa.array([1.0, 2.0, 1.0, 2.0, 1.0, float("nan")]), ("1", "2"), [0, 1, 0, 1, 0, -1]),
}  # fmt: skip
REFUSED = {
    "fractions": pa.array([0.5, 1, 2, 3, 4, 5]),
    "decimal": pa.array([decimal.Decimal("1.5")] * N),
    "list": pa.array([[1], [2, 3], [], [1], [1], [2]]),
    "fixed list": pa.array([[1, 2]] * N, pa.list_(pa.int64(), 2)),
    "struct": pa.array([{"a": 1}] * N),
    "map": pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int64())),
    "binary": pa.array([b"\xff"] * N),
    "date": pa.array([1] * N, pa.date32()),
    "timestamp": pa.array([1] * N, pa.timestamp("ns")),
    "time": pa.array([1] * N, pa.time64("us")),
}


def table(label: pa.Array, path="t.parquet", **how):
    pq.write_table(pa.table({"image": IMAGES, "label": label}), path, **how)
    return path


@pytest.mark.parametrize("kind", TAKEN)
def test_types_that_are_labels(kind):
    column, names, codes = TAKEN[kind]
    for how in ({}, {"row_group_size": 2}):
        pool = open_pool(table(column, **how), holdout=0)
        assert pool.label_names == names
        assert pool.labels.tolist() == codes


@pytest.mark.parametrize("kind", REFUSED)
def test_other_types_name_column_type_and_flag_and_the_flags_work(kind):
    path = table(REFUSED[kind])
    with pytest.raises(DataError, match="labels='none'") as refused:
        open_pool(path)
    assert "'label'" in str(refused.value)
    assert str(pq.read_schema(path).field("label").type) in str(refused.value)
    given = ["x", "y"] * 3
    assert open_pool(path, labels="none").labels is None
    assert open_pool(path, labels=given, holdout=0).labels.tolist() == [0, 1] * 3
    with open("l.txt", "w") as file:
        file.write("\n".join(given))
    assert open_pool(path, labels="l.txt", holdout=0).label_names == ("x", "y")


def test_a_column_of_nulls_labels_nothing():
    for column in (pa.nulls(N), pa.nulls(N, pa.int64()), pa.nulls(N, pa.string())):
        assert open_pool(table(column)).labels is None


def test_files_whose_labels_do_not_fit_together_open_without_them(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    table(TAKEN["int64"][0], folder / "a.parquet")
    table(TAKEN["string"][0], folder / "b.parquet")
    with pytest.raises(DataError, match="labels='none'"):
        open_pool(folder)
    assert len(open_pool(folder, labels="none")) == 2 * N


def features(label) -> datasets.Features:
    return datasets.Features(image=datasets.Value("binary"), label=label)


HF_TAKEN = {
    "ClassLabel": (
        datasets.ClassLabel(names=["cat", "dog"]),
        [1, 0, 1, 0, 1, None],
        ("cat", "dog"),
    ),
    "uint8": (datasets.Value("uint8"), [3, 1, 3, 1, 3, None], ("1", "3")),
    "uint64": (datasets.Value("uint64"), [3, 1, 3, 1, 3, None], ("1", "3")),
    "bool": (datasets.Value("bool"), [True, False] * 2 + [True, None], ("0", "1")),
    "string": (datasets.Value("string"), ["b", "a"] * 2 + ["b", None], ("a", "b")),
    "large_string": (datasets.Value("large_string"), ["b", "a"] * 2 + ["b", None], ("a", "b")),
}
HF_REFUSED = {
    "fractions": (datasets.Value("float32"), [0.5] * N),
    "Sequence": (
        datasets.Sequence(datasets.ClassLabel(names=["a", "b"])),
        [[0], [0, 1], [], [1], [0], [1]],
    ),
    "struct": ({"x": datasets.Value("int64")}, [{"x": 1}] * N),
    "timestamp": (datasets.Value("timestamp[s]"), [1] * N),
}


@pytest.mark.parametrize("kind", HF_TAKEN)
@pytest.mark.parametrize("form", ["object", "saved", "parquet", "rows"])
def test_columns_of_data_sets(kind, form, tmp_path):
    label, values, names = HF_TAKEN[kind]
    source = data_set(label, values, form, tmp_path)
    pool = open_pool(source, holdout=0)
    assert pool.label_names == names
    assert pool.labels.tolist() == [1, 0, 1, 0, 1, -1]


@pytest.mark.parametrize("kind", HF_REFUSED)
@pytest.mark.parametrize("form", ["object", "saved", "parquet"])
def test_columns_of_data_sets_that_are_no_labels(kind, form, tmp_path):
    source = data_set(*HF_REFUSED[kind], form, tmp_path)
    with pytest.raises(DataError, match="'label'.*labels='none'"):
        open_pool(source)
    assert open_pool(source, labels="none").labels is None
    assert open_pool(source, labels=[0, 1] * 3, holdout=0).labels.tolist() == [0, 1] * 3


def data_set(label, values, form, folder):
    columns = {"image": [png(n) for n in range(N)], "label": values}
    found = datasets.Dataset.from_dict(columns, features=features(label))
    if form == "saved":
        found.save_to_disk(folder / "saved")
        return folder / "saved"
    if form == "parquet":
        found.to_parquet(folder / "d.parquet")
        return str(folder / "d.parquet")
    return found.select(range(N)) if form == "rows" else found


def test_a_data_set_whose_test_split_is_labelled_in_another_way_opens_without_labels(tmp_path):
    parts = {"train": HF_TAKEN["string"], "test": HF_REFUSED["Sequence"]}
    both = datasets.DatasetDict(
        {name: data_set(kind[0], kind[1], "object", tmp_path) for name, kind in parts.items()}
    )
    with pytest.raises(DataError, match="'label'.*labels='none'"):
        open_pool(both)
    assert open_pool(both, labels="none").test is None


def unique(form, folder):
    """Twelve images of which each has a label of its own."""
    images, labels = np.zeros((12, 8, 8), np.uint8), [f"image-{n}" for n in range(12)]
    if form == "parquet":
        pq.write_table(pa.table({"image": [png(0)] * 12, "label": labels}), folder / "u.parquet")
        return folder / "u.parquet"
    if form == "npz":
        np.savez(folder / "u.npz", images=images, labels=np.arange(12))
        return folder / "u.npz"
    if form == "tar":
        with tarfile.open(folder / "u.tar", "w") as shard:
            for n, label in enumerate(labels):
                for name, content in ((f"{n}.png", png(0)), (f"{n}.cls", label.encode())):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))
        return folder / "u.tar"
    if form == "data set":
        return datasets.Dataset.from_dict(
            {"image": [png(0)] * 12, "label": labels}, features=features(datasets.Value("string"))
        )
    return images, labels


@pytest.mark.parametrize("form", ["parquet", "npz", "tar", "data set", "pair"])
def test_labels_of_a_source_that_are_almost_all_unique_are_no_classes(form, tmp_path):
    source = unique(form, tmp_path)
    with pytest.raises(DataError, match="12 different ones of 12 .*labels='none'"):
        open_pool(source)
    assert open_pool(source, labels="none").labels is None
    assert open_pool(source, labels=[0, 1] * 6, holdout=0).labels.tolist() == [0, 1] * 6


def test_a_small_part_of_declared_classes_is_taken():
    label = datasets.ClassLabel(names=[f"class {n}" for n in range(100)])
    columns = {"image": [png(0)] * 12, "label": list(range(0, 96, 8))}
    found = datasets.Dataset.from_dict(columns, features=features(label))
    assert open_pool(found, holdout=0).labels.tolist() == list(range(0, 96, 8))


class Careless:
    """A data set whose labels cannot be had."""

    def __len__(self):
        return N

    def __getitem__(self, row):
        return Image.new("L", (8, 8), row), [row] * row

    @property
    def targets(self):
        raise AssertionError("read")


def test_labels_of_arrays_and_data_sets_are_not_read_either(tmp_path):
    images = np.zeros((N, 8, 8), np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.zeros((N, 3)))
    for source in (str(tmp_path / "x.npz"), (images, [[1], [2, 3]]), Careless()):
        assert open_pool(source, labels="none").labels is None
        assert open_pool(source, labels=[0, 1] * 3, holdout=0).labels.tolist() == [0, 1] * 3


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_labels_differ_exactly_where_values_do(data):
    kinds = {
        "int": (st.integers(0, 2**63 - 1), pa.int64()),
        "unsigned": (st.integers(0, 2**64 - 1), pa.uint64()),
        "text": (
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4),
            pa.string(),
        ),
    }
    values, kind = kinds[data.draw(st.sampled_from(sorted(kinds)))]
    if pa.types.is_string(kind):
        values = values.filter(lambda text: text and text == text.strip())
    listed = data.draw(st.lists(st.none() | values, min_size=1, max_size=20))
    split = data.draw(st.integers(0, len(listed)))
    column = pa.chunked_array([pa.array(listed[:split], kind), pa.array(listed[split:], kind)])
    codes, names = column_labels(column, (), "here")
    if all(value is None for value in listed):
        assert codes is None
        return
    assert len(names) == len({value for value in listed if value is not None})
    assert [None if code < 0 else names[code] for code in codes] == [
        None if value is None else str(value) for value in listed
    ]
