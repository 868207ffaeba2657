"""Pools behind addresses give the images, ids and labels of the same shards on this machine."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.pools import open_pool, scan_pool, tar_index, webdataset
from contrasift.store import objects as remote
from contrasift.store.objects import RemoteFile


@pytest.fixture(autouse=True)
def memory():
    """An empty storage of objects."""
    storage = fsspec.filesystem("memory")
    storage.store.clear()
    yield storage
    storage.store.clear()


def png(number):
    pixels = np.random.default_rng(number).integers(0, 256, (20, 14, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_tar(path, first, count):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in range(first, first + count):
            for kind, data in (("png", png(number)), ("cls", b"ab"[number % 2 :][:1])):
                member = tarfile.TarInfo(f"{number:06}.{kind}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def write_parquet(path, first, count):
    path.parent.mkdir(exist_ok=True)
    numbers = range(first, first + count)
    columns = {"image": [png(n) for n in numbers], "label": [n % 2 for n in numbers]}
    pq.write_table(pa.table(columns), path, row_group_size=2)


WRITERS = {"tar": write_tar, "parquet": write_parquet}


@pytest.fixture(params=WRITERS)
def kind(request, memory):
    """Two shards of a kind, here and in the storage."""
    for number, (first, count) in enumerate(((0, 5), (5, 3))):
        name = f"s-{(2, 10)[number]}.{request.param}"
        WRITERS[request.param](Path("shards") / name, first, count)
        memory.pipe_file(f"memory://bucket/shards/{name}", Path("shards", name).read_bytes())
    memory.pipe_file("memory://bucket/other.txt", b"nothing")
    return request.param


def assert_same(there, here):
    assert (there.ids, there.label_names) == (here.ids, here.label_names)
    np.testing.assert_array_equal(there.labels, here.labels)
    np.testing.assert_array_equal(there.images([6, 0, 3]), here.images([6, 0, 3]))
    assert there.channels == here.channels


@pytest.mark.parametrize("pattern", ["s-*.{}", "s-{{2,10}}.{}", "", "/", "s-[12]*.{}"])
def test_shards_by_any_name(kind, pattern):
    name = pattern.format(kind)
    place = f"shards/{name}" if name.strip("/") else f"shards{name}"
    here = open_pool(f"shards/s-*.{kind}", holdout=0)
    there = open_pool(f"memory://bucket/{place}", holdout=0)
    assert_same(there, here)
    assert there.name == "shards"
    assert there.fingerprint == open_pool(f"memory://bucket/{place}", holdout=0).fingerprint
    assert scan_pool(there).unreadable == 0


def test_one_object_and_one_file(kind):
    there = open_pool(f"memory://bucket/shards/s-2.{kind}", holdout=0)
    here = open_pool(f"shards/s-2.{kind}", holdout=0)
    assert (there.ids, there.name) == (here.ids, here.name) == (here.ids, "s-2")
    by_address = open_pool(f"file://{Path('shards').resolve()}/s-*.{kind}", holdout=0)
    assert_same(by_address, open_pool("shards", holdout=0))


def test_headers_are_read_once(memory, monkeypatch):
    write_tar(Path("shards/a.tar"), 0, 4)
    memory.pipe_file("memory://bucket/a.tar", Path("shards/a.tar").read_bytes())
    first = open_pool("memory://bucket/a.tar", holdout=0)
    monkeypatch.setattr(tar_index, "_scan", None)
    assert open_pool("memory://bucket/a.tar", holdout=0).ids == first.ids
    memory.pipe_file("memory://bucket/a.tar", Path("shards/a.tar").read_bytes())  # another version
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        open_pool("memory://bucket/a.tar", holdout=0)


def test_an_image_is_one_request_and_labels_are_few(memory, monkeypatch):
    write_tar(Path("shards/a.tar"), 0, 30)
    memory.pipe_file("memory://bucket/a.tar", Path("shards/a.tar").read_bytes())
    asked = []
    read = RemoteFile.read_ranges
    monkeypatch.setattr(
        RemoteFile, "read_ranges", lambda self, spans: asked.append(spans) or read(self, spans)
    )
    monkeypatch.setattr(webdataset.TarSource, "look_at_images", lambda self, **_: None)
    monkeypatch.setattr(webdataset.TarSource, "threads", 1)
    webdataset.tar_pool(webdataset_shards("memory://bucket/a.tar"), "a")
    assert [len(spans) for spans in asked] == [1, 1]  # the headers, the labels: small shards
    monkeypatch.setattr(remote, "_GAP_BYTES", 0)
    asked.clear()
    source = webdataset.tar_pool(webdataset_shards("memory://bucket/a.tar"), "a").source
    assert sum(len(spans) for spans in asked) == 30
    asked.clear()
    assert source.image_bytes(3) == png(3)
    assert [len(spans) for spans in asked] == [1]


def webdataset_shards(address):
    from contrasift.pools.remote_shards import remote_shards

    return remote_shards(address)


def test_a_shard_that_changes_stops_the_run(kind, memory, monkeypatch):
    pool = open_pool(f"memory://bucket/shards/*.{kind}", holdout=0)
    monkeypatch.setattr(webdataset, "_LOOK_UP_SECONDS", -1)
    name = f"s-2.{kind}"
    memory.pipe_file(f"memory://bucket/shards/{name}", Path("shards", name).read_bytes())
    getattr(pool._source, "_kept", {}).clear()
    with pytest.raises(DataError, match="changed while it was read"):
        scan_pool(pool)


def test_a_shard_that_is_gone_or_cut_short_stops_the_run(kind, memory):
    whole = Path("shards", f"s-2.{kind}").read_bytes()
    memory.pipe_file(f"memory://bucket/shards/s-2.{kind}", whole[: len(whole) // 2])
    with pytest.raises(DataError, match="a whole (tar shard|Parquet file)"):
        open_pool(f"memory://bucket/shards/*.{kind}")
    with pytest.raises(DataError, match="nothing there"):
        open_pool(f"memory://bucket/shards/s-{{2,3}}.{kind}")


def test_storage_that_fails_leaves_no_image_out(kind, memory, monkeypatch):
    pool = open_pool(f"memory://bucket/shards/*.{kind}", holdout=0)
    getattr(pool._source, "_kept", {}).clear()

    def fail(*_, **__):
        raise TimeoutError("no answer")

    monkeypatch.setattr(type(memory), "cat_file", fail)
    with pytest.raises(ContrasiftError, match="no answer.*when the storage answers"):
        scan_pool(pool)


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        ("memory://bucket/none", DataError, "shards that match.*Folders of images"),
        ("memory://bucket/none/*.tar", DataError, "shards that match"),
        ("memory://bucket/x.npy", UsageError, "load_matrix"),
        ("memory://bucket/x.jpg", UsageError, r"\.tar or \.parquet"),
        ("memory://bucket/x.tar.gz", UsageError, r"\.tar or \.parquet"),
        ("memory://bucket/*", UsageError, "all end in"),
        ("nosuch://bucket/x.tar", UsageError, "fsspec opens"),
        ("memory://bucket/x.tar", DataError, "nothing there"),
    ],
)
def test_addresses_of_no_pool(memory, address, error, said):
    memory.pipe_file("memory://bucket/a.tar", b"")
    memory.pipe_file("memory://bucket/b.parquet", b"")
    with pytest.raises(error, match=said):
        open_pool(address)
