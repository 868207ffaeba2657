"""Embedding on Ray: the bytes of one process, whatever dies on the way."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from contrasift.embedding.embed import embed
from contrasift.engines import embedding
from contrasift.engines.cluster import plain_errors
from contrasift.engines.embedding import (
    EmbeddingJob,
    ShardEmbedder,
    embed_on_cluster,
    merge_embedded,
    shard_spans,
    write_embedded,
)
from contrasift.engines.opening import SharedPool, share_pool
from contrasift.errors import ContrasiftError, DataError
from contrasift.pools import open_pool
from contrasift.results import Embeddings
from contrasift.store.shards import ShardFolder
from contrasift.training.encoder_files import save_encoder
from contrasift.training.encoders import build_encoder
from contrasift.training.loading import load_encoder

OPTIONS = {
    "layer": "head",
    "views": 2,
    "plain_view": True,
    "seed": 3,
    "batch_size": 8,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Images in a file, an encoder, and the embeddings of most of them by one process."""
    home = tmp_path_factory.mktemp("scene")
    rng = np.random.default_rng(0)
    np.save(home / "images.npy", rng.integers(0, 255, (70, 16, 16, 3), dtype=np.uint8))
    save_encoder(build_encoder("narrow:0.25", 3, 16, 16, 0), home / "encoder.safetensors")
    pool = open_pool(str(home / "images.npy"))
    positions = np.delete(np.arange(70), [3, 33, 34])
    encoder = load_encoder(home / "encoder.safetensors")
    alone = embed(pool, positions, encoder, path=home / "alone.npy", **OPTIONS)
    return home, positions, alone


def on_cluster(cluster, scene, path, **changes):
    home, positions, alone = scene
    settings = {"fingerprint": "f", "options": OPTIONS, "shard_rows": 20, **changes}
    encoder = settings.pop("encoder", str(home / "encoder.safetensors"))
    arguments = {"source": str(home / "images.npy")}
    pool = share_pool(open_pool(**arguments), arguments)
    # One actor: it imports torch, which takes longer than the work.
    cluster = dataclasses.replace(cluster, cpus=1)
    return embed_on_cluster(cluster, pool, positions, alone.index, encoder, path=path, **settings)


def test_spans_begin_at_multiples_of_the_batch():
    assert shard_spans(67, 8, 20) == [(0, 16), (16, 32), (32, 48), (48, 64), (64, 67)]
    assert shard_spans(5, 8, 3) == [(0, 5)]
    assert shard_spans(0, 8) == []
    spans = shard_spans(10**9, 256)
    assert len(spans) <= 10_100
    assert all(start % 256 == 0 for start, _ in spans)


def test_the_same_bytes_when_a_worker_is_killed_and_shards_were_finished(cluster, scene, tmp_path):
    home, _, alone = scene
    marker = tmp_path / "killed"

    class DiesOnce(ShardEmbedder):
        def embed_shard(self, shard, positions):
            if shard == 2 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().embed_shard(shard, positions)

    path = tmp_path / "embeddings.npy"
    # What is there is taken as it is: this shard holds another content.
    folder = ShardFolder(path.with_suffix(".shards"), "f 5")
    expected = np.load(home / "alone.npy")
    marked = np.full((16, expected.shape[1]), 7, np.float32)
    write_embedded(folder, 1, Embeddings(marked, np.arange(16), {"marked": True}))
    expected[16:32] = marked
    said, seen = [], []
    found = on_cluster(
        cluster, scene, path, actor=DiesOnce, say=said.append, progress=lambda *at: seen.append(at)
    )
    assert marker.exists()
    assert np.load(path).tobytes() == expected.tobytes()
    assert path.stat().st_size == (home / "alone.npy").stat().st_size
    assert json.dumps(found.description) == json.dumps(alone.description)
    assert np.array_equal(found.index, alone.index)
    assert "of 5 shards were embedded before" in said[0]
    assert seen[0] == (16, 67)
    assert max(seen) == (67, 67)
    assert not path.with_suffix(".shards").exists()


def test_what_an_actor_answers_is_raised_as_what_it_was():
    job = EmbeddingJob(SharedPool((), "", 0), "", {}, ShardFolder(Path(), "f"))

    class Breaks(ShardEmbedder):
        def embed_shard(self, shard, positions):
            raise DataError("an image", "none", "Look")

    answer = Breaks(job)({"shard": np.array([3]), "positions": np.array([[1, 2]])})
    error = embedding._said(str(answer["error"][0]))
    assert type(error) is DataError
    assert (error.expected, error.got, error.remedy) == ("an image", "none", "Look")


def test_what_workers_lack_is_said_in_our_words(cluster, scene, tmp_path):
    import ray

    with pytest.raises(ContrasiftError, match="nowhere") as raised, plain_errors():
        on_cluster(
            cluster, scene, tmp_path / "e.npy", encoder=str(tmp_path / "nowhere.safetensors")
        )
    context = ray.data.DataContext.get_current()
    assert getattr(context, "execution_no_progress_timeout_s", -1) == -1
    # The actor ends, though the error is kept, and with it all that it passed through.
    deadline = time.monotonic() + 120
    while ray.available_resources().get("CPU", 0) < cluster.cpus and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == cluster.cpus
    del raised


def test_shards_that_do_not_fit_together_are_refused(tmp_path):
    folder = ShardFolder(tmp_path / "shards", "f")

    def write(shard, rows, width, kind=np.float32):
        values = np.zeros((rows, width), kind)
        write_embedded(folder, shard, Embeddings(values, np.arange(rows)))

    write(0, 4, 3)
    with pytest.raises(DataError, match="shard 1 in"):
        merge_embedded(folder, [4, 4], tmp_path / "all.npy")
    for wrong, match in [
        ((4, 2), r"4 rows of 3 float32 numbers.*\(4, 2\)"),
        ((0, 3), r"4 rows of 3.*\(0, 3\)"),
        ((4, 3, np.float64), "float64"),
    ]:
        write(1, *wrong)
        with pytest.raises(DataError, match=match):
            merge_embedded(folder, [4, 4], tmp_path / "all.npy")
    (tmp_path / "shards" / "00001-values.npy").write_bytes(b"")
    with pytest.raises(DataError, match="shard 1 in"):
        merge_embedded(folder, [4, 4], tmp_path / "all.npy")
    assert not (tmp_path / "all.npy").exists()
    write(1, 4, 3)
    assert merge_embedded(folder, [4, 4], tmp_path / "all.npy").shape == (8, 3)
