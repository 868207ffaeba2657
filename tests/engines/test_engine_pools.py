"""Pools of every kind on Ray: the examples and the bytes of one process, or words that say why not."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from contrasift.embedding.embed import embed
from contrasift.engines import embedding, scanning
from contrasift.engines.cluster import Cluster, plain_errors
from contrasift.engines.embedding import EmbeddingJob, ShardEmbedder, embed_on_cluster
from contrasift.engines.opening import opened, pool_digest, share_pool
from contrasift.engines.scanning import scan_on_cluster
from contrasift.errors import ContrasiftError, DataError
from contrasift.pools import open_pool, scan_pool
from contrasift.store.shards import ShardFolder
from contrasift.training.encoder_files import save_encoder
from contrasift.training.encoders import build_encoder
from contrasift.training.loading import load_encoder

COUNT, BROKEN = 22, 9
OPTIONS = {
    "layer": "head",
    "views": 1,
    "plain_view": True,
    "seed": 3,
    "batch_size": 4,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def _nothing_opened_before():
    opened.cache_clear()


def picture(number):
    """An image file's content; one of them is none."""
    if number == BROKEN:
        return b"not an image"
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (14, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def write_tars(folder, numbers=(range(10), (), range(10, COUNT))):
    """Shards of images; the one in the middle has no members."""
    folder.mkdir()
    for shard, members in enumerate(numbers):
        with tarfile.open(folder / f"s-{shard}.tar", "w") as tar:
            for number in members:
                data = picture(number)
                info = tarfile.TarInfo(f"{number:03}.jpg")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return "shards/s-*.tar"


def write_parquet(folder):
    """Tables of images in row groups of three; the one in the middle has no rows."""
    folder.mkdir()
    for shard, rows in enumerate((range(10), (), range(10, COUNT))):
        images = pa.array([picture(number) for number in rows], pa.binary())
        pq.write_table(pa.table({"image": images}), folder / f"{shard}.parquet", row_group_size=3)
    return "shards"


def write_dataset(folder):
    """A data set of two splits, as the package datasets saves it."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(image=datasets.Image())
    rows = [{"bytes": picture(number), "path": None} for number in range(COUNT)]
    images = datasets.Dataset.from_dict({"image": rows}, features=features)
    datasets.DatasetDict(train=images, dev=images.select([0, 1])).save_to_disk(str(folder))
    return "hf:shards:train"


def write_folder(folder):
    folder.mkdir()
    for number in range(COUNT):
        (folder / f"{number}.jpg").write_bytes(picture(number))
    return "shards"


WRITERS = {
    "tar": write_tars,
    "parquet": write_parquet,
    "hf": write_dataset,
    "folder": write_folder,
}


def make(kind, home):
    """An open pool, and the same for workers; its name is relative to the current folder."""
    arguments = {"source": WRITERS[kind](home / "shards"), "image_size": 12}
    pool = open_pool(**arguments)
    return pool, share_pool(pool, arguments)


def embedded_here(cluster, job, waiting, actor):
    """As the actor does it, without a worker that imports torch for it."""
    made = actor(job)
    for shard in waiting:
        yield int(made({name: np.array([value]) for name, value in shard.items()})["rows"][0])


@pytest.mark.parametrize("kind", WRITERS)
def test_a_pool_of_each_kind_is_the_same_on_ray(cluster, tmp_path, monkeypatch, kind):
    pool, shared = make(kind, tmp_path)
    one = dataclasses.replace(cluster, cpus=1)
    examples = scan_on_cluster(one, pool, shared, folder=tmp_path / "notes", span_rows=8)
    alone = scan_pool(pool)
    assert alone.unreadable == 1
    assert examples.error == alone.error
    assert np.array_equal(examples.row, alone.row)
    assert examples.id == alone.id
    assert not (tmp_path / "notes").exists()
    if kind == "folder":  # its embedding is a test of the command
        return

    save_encoder(build_encoder("narrow:0.25", 3, 12, 8, 0), tmp_path / "encoder.safetensors")
    encoder = load_encoder("encoder.safetensors")
    embed(pool, alone.positions, encoder, path=tmp_path / "alone.npy", **OPTIONS)

    def on_ray(**settings):
        return embed_on_cluster(
            one,
            shared,
            alone.positions,
            alone.index[alone.positions],
            "encoder.safetensors",
            path=tmp_path / "ray.npy",
            fingerprint="f",
            options=OPTIONS,
            shard_rows=8,
            **settings,
        )

    said = []
    if kind != "tar":  # it was opened by a worker for its scan
        monkeypatch.setattr(embedding, "_embedded", embedded_here)
    else:

        def interrupt(done, total):
            if done >= 8:
                raise KeyboardInterrupt("half-way")

        with pytest.raises(KeyboardInterrupt, match="half-way"):
            on_ray(progress=interrupt)
        assert not (tmp_path / "ray.npy").exists()
    on_ray(say=said.append)
    assert (tmp_path / "ray.npy").read_bytes() == (tmp_path / "alone.npy").read_bytes()
    assert bool(said) == (kind == "tar")


def test_ranges_that_were_read_before_are_taken_over(tmp_path, monkeypatch):
    def here(function, calls, *, cpus):
        assert cpus == 3
        for name, arguments in calls:
            yield name, function(*arguments)

    monkeypatch.setattr(scanning, "in_tasks", here)
    cluster = Cluster(cpus=3, gpus=0, memory=0, seconds=0.0, address=None)
    pool, shared = make("tar", tmp_path)
    notes = ShardFolder(tmp_path / "notes", f"scan {pool.fingerprint} 3")
    notes.finish(0, (), unreadable=[[2, "marked"]])
    # Of another pool: not taken over.
    ShardFolder(tmp_path / "notes", "scan other 3").finish(1, (), unreadable=[[8, "wrong"]])
    said, seen = [], []
    examples = scan_on_cluster(
        cluster,
        pool,
        shared,
        folder=tmp_path / "notes",
        say=said.append,
        progress=lambda *counts: seen.append(counts),
        span_rows=8,
    )
    bad = {place: error for place, error in enumerate(examples.error) if error}
    assert bad == {2: "marked", BROKEN: "not an image in a format that can be read"}
    assert "1 of 3 ranges" in said[0]
    assert seen == [(16, COUNT), (COUNT, COUNT)]
    assert not (tmp_path / "notes").exists()


def test_a_shard_that_a_worker_lacks_is_said(cluster, tmp_path):
    pool, shared = make("tar", tmp_path)
    (tmp_path / "shards" / "s-2.tar").unlink()
    with (
        pytest.raises(DataError, match=r"same 22 examples; got 10.*shards that are missing"),
        plain_errors(),
    ):
        scan_on_cluster(cluster, pool, shared, folder=tmp_path / "notes")


def test_a_pool_that_does_not_open_here_names_the_node(tmp_path):
    write_tars(tmp_path / "shards")
    arguments = {"source": "shards/s-{0..2}.tar"}
    shared = share_pool(open_pool(**arguments), arguments)
    (tmp_path / "shards" / "s-2.tar").unlink()
    with pytest.raises(ContrasiftError, match=r"every shard of .*on the node .*no .*s-2\.tar"):
        opened(shared)
    (tmp_path / "shards" / "s-2.tar").write_bytes(b"")
    with pytest.raises(ContrasiftError, match=r"on the node .*s-2\.tar"):
        opened(shared)


def test_a_pool_is_known_by_its_examples_and_their_form(tmp_path):
    _, shared = make("tar", tmp_path)
    assert opened(shared) is opened(shared)
    digests = {shared.digest, pool_digest(open_pool("shards", image_size=10))}
    digests.add(pool_digest(open_pool("shards", image_size=12, limit=20)))
    assert len(digests) == 3
    # The same number of other members.
    for shard in tmp_path.glob("shards/*"):
        shard.unlink()
    (tmp_path / "shards").rmdir()
    write_tars(tmp_path / "shards", (range(11), (), range(11, COUNT)))
    opened.cache_clear()
    with pytest.raises(DataError, match="others of the same number"):
        opened(shared)
    other = dataclasses.replace(shared, versions=(("contrasift", "98"),))
    with pytest.raises(ContrasiftError, match="contrasift 98"):
        opened(other)


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_an_image_that_went_after_the_scan_is_named(tmp_path, kind):
    _, shared = make(kind, tmp_path)
    save_encoder(build_encoder("narrow:0.25", 3, 12, 8, 0), tmp_path / "encoder.safetensors")
    job = EmbeddingJob(shared, "encoder.safetensors", OPTIONS, ShardFolder(tmp_path / "e", "f"))
    actor = ShardEmbedder(job)
    assert actor({"shard": np.array([0]), "positions": np.array([[0, 1]])})["rows"] == [2]
    gone = {"tar": "s-2.tar", "folder": "12.jpg"}[kind]
    (tmp_path / "shards" / gone).unlink()
    answer = actor({"shard": np.array([1]), "positions": np.array([[8, 12]])})
    name, expected, got, _ = json.loads(str(answer["error"][0]))
    assert (name, expected.startswith("images that the scan could read")) == ("DataError", True)
    assert got.startswith(
        {"tar": "s-2.tar/012: s-2.tar: No such", "folder": "12.jpg: No such"}[kind]
    )
    assert "on the node" in got
