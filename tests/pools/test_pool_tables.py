"""Parquet tables and Hugging Face data sets of images."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from contrasift.errors import DataError, MissingExtraError, UsageError
from contrasift.pools import UnreadableExample, open_pool, parquet, scan_pool

datasets = pytest.importorskip("datasets")

NAMES = ("cat", "dog", "tree")


def pixels(number, size=(14, 10)):
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def png(number):
    file = io.BytesIO()
    Image.fromarray(pixels(number)).save(file, "PNG")
    return file.getvalue()


def structs(numbers):
    return pa.array([{"bytes": png(n), "path": f"{n}.png"} for n in numbers])


def write(path, columns, **options):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Twelve images as files; every other form is held against these."""
    (tmp_path / "folder").mkdir()
    for number in range(12):
        (tmp_path / "folder" / f"{number}.png").write_bytes(png(number))
    return open_pool(tmp_path / "folder", image_size=16)


def a_dataset(count=12, start=0):
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=NAMES))
    rows = {
        "image": [Image.fromarray(pixels(n)) for n in range(start, start + count)],
        "label": [n % 3 for n in range(count)],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def same(pool, folder, places=range(12)):
    assert pool.channels == folder.channels
    assert np.array_equal(pool.images(range(len(pool))), folder.images(places))


@pytest.mark.parametrize("form", ["struct", "binary", "large"])
def test_parquet_is_the_same_pool_as_a_folder(tmp_path, folder, form):
    for shard in range(3):
        numbers = range(4 * shard, 4 * shard + 4)
        images = structs(numbers)
        if form != "struct":
            kind = pa.binary() if form == "binary" else pa.large_binary()
            images = pa.array([png(n) for n in numbers], kind)
        labels = pa.array([n % 2 for n in numbers])
        path = tmp_path / "shards" / f"t-{shard}.parquet"
        write(path, {"image": images, "label": labels}, row_group_size=3)
    pool = open_pool(tmp_path / "shards", image_size=16, holdout=0)
    assert pool.ids[5] == "t-1.parquet/1"
    assert np.array_equal(pool.index, np.arange(12))
    assert pool.label_names == ("0", "1")
    assert pool.labels.tolist() == [0, 1] * 6
    same(pool, folder)
    assert pool.encoded(7) == (png(7), ".png")
    again = open_pool(f"{tmp_path}/shards/t-{{0..2}}.parquet", image_size=16, holdout=0)
    assert again.fingerprint == pool.fingerprint
    limited = open_pool(tmp_path / "shards", image_size=16, limit=5, labels="none")
    same(limited, folder, limited.index)
    held = open_pool(tmp_path / "shards", holdout=0.5)
    assert sorted([*held.index, *held.test.index]) == list(range(12))


def test_row_groups_are_read_when_needed_and_few_are_kept(tmp_path, folder, monkeypatch):
    path = write(tmp_path / "t.parquet", {"image": structs(range(12))}, row_group_size=3)
    monkeypatch.setattr(parquet, "_KEPT_BYTES", 2 * 3 * len(png(0)) + 200)
    read = []
    load = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, place, columns: read.append(place) or load(self, place, columns=columns),
    )
    pool = open_pool(path, image_size=16)
    pool._source.threads = 1  # a thread that falls behind would ask for an earlier row group again
    read.clear()
    assert len(pool._source._kept) <= 2
    pool._source._kept.clear()
    same(pool, folder)
    assert sorted(read) == [0, 1, 2, 3]
    assert len(pool._source._kept) <= 2


def test_rows_of_parquet_without_an_image(tmp_path):
    images = pa.array(
        [
            {"bytes": png(0), "path": None},
            None,
            {"bytes": None, "path": "/etc/passwd"},
            {"bytes": b"", "path": None},
            {"bytes": png(1)[:50], "path": None},
            {"bytes": png(2), "path": None},
        ]
    )
    labels = pa.array(["x", None, "y", "x", "", "x"])
    pool = open_pool(write(tmp_path / "t.parquet", {"image": images, "label": labels}), holdout=0)
    error = scan_pool(pool).error
    assert error[0] is None
    assert error[5] is None
    assert error[1] == error[2] == "no bytes in its row: the image is elsewhere, or missing"
    assert error[3] == "an empty file"
    assert error[4]
    assert pool.labels.tolist() == [0, -1, 1, 0, -1, 0]


def test_which_column_holds_the_images(tmp_path):
    one = write(tmp_path / "one.parquet", {"picture": structs(range(3)), "n": [1, 2, 3]})
    assert len(open_pool(one)) == 3
    two = write(tmp_path / "two.parquet", {"a": structs(range(3)), "b": structs(range(3))})
    none = write(tmp_path / "none.parquet", {"n": [1, 2, 3]})
    for path in (two, none):
        with pytest.raises(DataError, match="a column `image` of encoded images.*Rename"):
            open_pool(path)


def test_parquet_files_that_do_not_fit_together(tmp_path):
    write(tmp_path / "s" / "a.parquet", {"image": structs(range(3)), "label": [1, 2, 3]})
    write(tmp_path / "s" / "b.parquet", {"image": structs(range(3)), "label": ["1", "2", "3"]})
    with pytest.raises(DataError, match=r"'label' as int64 in every file.*b\.parquet"):
        open_pool(tmp_path / "s")
    write(tmp_path / "s" / "b.parquet", {"image": structs(range(3))})
    with pytest.raises(DataError, match=r"'label' as int64 in every file.*b\.parquet"):
        open_pool(tmp_path / "s")
    write(tmp_path / "s" / "b.parquet", {"image": structs([]), "label": pa.array([], pa.int64())})
    with pytest.raises(DataError, match="in every file"):  # an empty table knows no types
        open_pool(tmp_path / "s")
    write(tmp_path / "odd.parquet", {"image": structs(range(3)), "label": [[1], [2], [3]]})
    with pytest.raises(DataError, match="labels that are integers or text"):
        open_pool(tmp_path / "odd.parquet")


def test_damaged_parquet(tmp_path):
    path = write(tmp_path / "t.parquet", {"image": structs(range(6))}, row_group_size=3)
    whole = path.read_bytes()
    for data in (b"", whole[:-20], whole[: len(whole) // 2], b"rubbish" * 100):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a whole Parquet file; got .*t\.parquet"):
            open_pool(path)
    spoilt = bytearray(whole)
    spoilt[8:60] = bytes(52)  # in the first row group
    path.write_bytes(bytes(spoilt))
    examples = scan_pool(open_pool(path))
    assert examples.error[:3] != [None] * 3
    assert examples.error[3:] == [None] * 3


def test_a_parquet_file_that_changes_later(tmp_path):
    path = write(tmp_path / "t.parquet", {"image": structs(range(6))}, row_group_size=3)
    pool = open_pool(path)
    pool._source._kept.clear()
    write(path, {"image": structs(range(4))}, row_group_size=4)
    with pytest.raises(UnreadableExample, match="has changed"):
        pool.read(0)
    path.unlink()
    with pytest.raises(UnreadableExample, match="row group 1: .*[Nn]o such file"):
        pool.read(5)


def test_row_groups_that_do_not_fit_in_memory(tmp_path, monkeypatch):
    path = write(tmp_path / "t.parquet", {"image": structs(range(6))})
    monkeypatch.setattr(parquet, "MOST_GROUP_BYTES", 1000)
    with pytest.raises(DataError, match=r"row groups of at most.*row_group_size=100"):
        open_pool(path)


def test_a_dataset_is_the_same_pool_as_a_folder(tmp_path, folder):
    dataset = a_dataset()
    dataset.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict(train=dataset, test=a_dataset(6, 20)).save_to_disk(tmp_path / "both")
    dataset.to_parquet(tmp_path / "p" / "d.parquet")
    for source in (dataset, tmp_path / "saved", f"hf:{tmp_path}/saved", tmp_path / "p"):
        pool = open_pool(source, image_size=16, holdout=0)
        same(pool, folder)
        assert pool.label_names == NAMES
        assert pool.labels.tolist() == [0, 1, 2] * 4
        assert pool.test is None
        held = open_pool(source, holdout=0.5)
        assert sorted([*held.index, *held.test.index]) == list(range(12))
    for source in (tmp_path / "both", datasets.DatasetDict(train=dataset, test=dataset)):
        pool = open_pool(source, image_size=16)
        same(pool, folder)
        assert list(pool.ids[:2]) == ["train/0", "train/1"]
        assert pool.test.ids[0] == "test/0"
    assert len(open_pool(tmp_path / "both").test) == 6
    assert open_pool(tmp_path / "both", labels="none").test is None
    only = open_pool(f"hf:{tmp_path}/both:test", holdout=0)
    assert (len(only), only.ids[0], only.test) == (6, "test/0", None)


def test_the_index_of_a_dataset_is_its_row(tmp_path):
    dataset = a_dataset()
    pool = open_pool(dataset.select([5, 3, 8]), image_size=16, labels="none")
    whole = open_pool(dataset, image_size=16, labels="none")
    assert np.array_equal(pool.images(range(3)), whole.images([5, 3, 8]))
    chosen = whole.dataset.select([4, 7])
    assert np.array_equal(np.asarray(chosen[1]["image"]), pixels(7))


def test_the_fingerprint_of_a_dataset(tmp_path):
    dataset = a_dataset()
    assert open_pool(dataset).fingerprint == open_pool(dataset).fingerprint
    assert open_pool(dataset).fingerprint != open_pool(dataset.select(range(11))).fingerprint
    dataset.save_to_disk(tmp_path / "saved")
    first = open_pool(tmp_path / "saved").fingerprint
    assert open_pool(f"hf:{tmp_path}/saved").fingerprint == first
    for path in (tmp_path / "saved").glob("*.arrow"):
        os.utime(path, ns=(1, 1))
    assert open_pool(tmp_path / "saved").fingerprint != first


def test_paths_in_a_saved_dataset_are_not_followed(tmp_path, folder):
    features = datasets.Features(image=datasets.Image(decode=False))
    files = [str(tmp_path / "folder" / f"{n}.png") for n in range(3)]
    rows = [{"bytes": None, "path": path} for path in files] + [{"bytes": png(0), "path": None}] * 2
    dataset = datasets.Dataset.from_dict({"image": rows}, features=features)
    with_paths = open_pool(dataset, image_size=16)
    assert scan_pool(with_paths).unreadable == 0  # your own object in your own program
    same(with_paths, folder, [0, 1, 2, 0, 0])
    dataset.with_format("arrow")[:].to_pandas()
    hostile = dataset.data.table
    dataset.save_to_disk(tmp_path / "saved")
    path = next((tmp_path / "saved").glob("*.arrow"))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, hostile.schema) as writer:
        writer.write_table(hostile)
    errors = scan_pool(open_pool(tmp_path / "saved")).error
    assert errors[:3] == ["no bytes in its row: the image is elsewhere, or missing"] * 3
    assert errors[3:] == [None, None]


def test_datasets_that_cannot_be_pools(tmp_path):
    with pytest.raises(UsageError, match=r"rows have numbers.*streaming=True"):
        open_pool(a_dataset().to_iterable_dataset())
    with pytest.raises(DataError, match="a column `image`"):
        open_pool(datasets.Dataset.from_dict({"text": ["a", "b"]}))
    with pytest.raises(DataError, match="at least two images; got 1"):
        open_pool(a_dataset(1))
    datasets.DatasetDict(train=a_dataset()).save_to_disk(tmp_path / "d")
    with pytest.raises(UsageError, match="a split of d: train; got dev"):
        open_pool(f"hf:{tmp_path}/d:dev")
    for wrong in ("hf:", "hf:./nowhere", "hf:/no/where:train", "hf:a/b/c"):
        with pytest.raises(UsageError, match="hf:NAME"):
            open_pool(wrong)
    (tmp_path / "d" / "train" / "state.json").write_text("{")
    with pytest.raises(DataError, match=r"a saved data set in .*d"):
        open_pool(tmp_path / "d")


def test_a_dataset_from_the_hub_is_asked_for_by_name(monkeypatch, folder):
    asked = []

    def load(name):
        asked.append(name)
        if name == "gone":
            raise FileNotFoundError("no such data set\nand more")
        return datasets.DatasetDict(train=a_dataset(), test=a_dataset(6, 20))

    monkeypatch.setattr(datasets, "load_dataset", load)
    same(open_pool("hf:some/one", image_size=16), folder)
    assert len(open_pool("hf:some/one:test", holdout=0)) == 6
    with pytest.raises(DataError, match=r"the data set gone; got no such data set\. Check"):
        open_pool("hf:gone")
    assert asked == ["some/one", "some/one", "gone"]


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"contrasift\[hf\]"):
        open_pool("hf:some/one")


@pytest.mark.parametrize("form", ["tar", "parquet", "dataset"])
def test_embeddings_are_those_of_the_folder(tmp_path, folder, form):
    pytest.importorskip("torch")
    import tarfile

    from contrasift.embedding.embed import embed
    from contrasift.training.encoders import build_encoder

    if form == "tar":
        source = tmp_path / "x.tar"
        with tarfile.open(source, "w") as tar:
            for number in range(12):
                info = tarfile.TarInfo(f"{number}.png")
                info.size = len(png(number))
                tar.addfile(info, io.BytesIO(png(number)))
    elif form == "parquet":
        source = write(tmp_path / "x.parquet", {"image": structs(range(12))})
    else:
        source = a_dataset()
    encoder = build_encoder("narrow", 3, 16, 8, seed=0)
    pool = open_pool(source, image_size=16, labels="none")
    ours, theirs = (
        embed(p, np.arange(12), encoder, views=2, device="cpu", batch_size=5)
        for p in (pool, folder)
    )
    assert np.array_equal(ours.values, theirs.values)
