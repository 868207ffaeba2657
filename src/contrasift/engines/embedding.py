"""Embedding on Ray: shards of the pool through actors that load the encoder once.

Ray Data hands ranges of positions to a pool of actors, holds back what they cannot take yet, and
starts an actor again when its worker or node dies. An actor opens the pool and the encoder by
itself, embeds its ranges by `contrasift.embedding.embed`, and writes each as a shard; the process
that commands sees counts, no images and no embeddings. Shards begin at multiples of the batch size,
so that every batch holds the very examples that it holds in one process.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.engines.cluster import Cluster
from contrasift.engines.opening import SharedPool, opened
from contrasift.errors import ContrasiftError, DataError, RunFolderError, UsageError
from contrasift.narration import Progress
from contrasift.pools import UnreadableExample
from contrasift.pools.scan import unreadable
from contrasift.results import Embeddings
from contrasift.store.atomic import load_array, write_array, write_rows
from contrasift.store.shards import ShardFolder

_VALUES = "values.npy"
# What is lost at most when a worker dies, and how many shards a huge pool has at most.
_SHARD_ROWS = 8_192
_MOST_SHARDS = 10_000


@dataclass(frozen=True)
class EmbeddingJob:
    """What all actors share.

    Attributes:
        pool: what an actor opens.
        encoder: as `load_encoder` takes it.
        options: of `contrasift.embedding.embed`: layer, views, plain_view, seed, batch_size, device.
        shards: where results go.
    """

    pool: SharedPool
    encoder: str
    options: Mapping[str, Any]
    shards: ShardFolder


class ShardEmbedder:
    """An actor: the pool and the encoder, opened once, and shards embedded one by one."""

    def __init__(self, job: EmbeddingJob) -> None:
        self.job = job
        self._opened: tuple[Any, Any] | None = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Embed a shard, leave it in its folder, and say how many rows it has.

        What goes wrong in a way that we have words for is an answer: raised, it would reach the
        user as pages of Ray Data's own.
        """
        rows, said = 0, ""
        try:
            for shard, positions in zip(batch["shard"], batch["positions"], strict=True):
                rows += self.embed_shard(int(shard), np.asarray(positions, dtype=np.int64))
        except ContrasiftError as error:
            said = json.dumps([type(error).__name__, error.expected, error.got, error.remedy])
        return {"rows": np.array([rows]), "error": np.array([said])}

    def embed_shard(self, shard: int, positions: np.ndarray) -> int:
        """Embed some positions of the pool into a shard.

        Raises:
            ContrasiftError: other versions here, a pool or an encoder that is not here, examples
                that cannot be read any more, or not be embedded.
        """
        from contrasift.embedding.embed import embed

        pool, encoder = self._open()
        try:
            found = embed(pool, positions, encoder, **self.job.options)
        except UnreadableExample as error:
            raise _gone(pool, positions, error) from error
        write_embedded(self.job.shards, shard, found)
        return len(found)

    def _open(self) -> tuple[Any, Any]:
        if self._opened is None:
            pool = opened(self.job.pool)
            from contrasift.training.loading import load_encoder

            self._opened = pool, load_encoder(self.job.encoder, channels=pool.channels)
        return self._opened


def _gone(pool: Any, positions: np.ndarray, error: UnreadableExample) -> DataError:
    """Which image could be read when the pool was scanned, and cannot be read here."""
    bad = unreadable(pool, positions.tolist())
    what = f"{pool.ids[min(bad)]}: {bad[min(bad)]}" if bad else error.reason
    return DataError(
        "images that the scan could read to be readable when they are embedded",
        f"{what} (on the node {socket.gethostname()})",
        "Check that the node sees all files of the pool, and repeat the same command",
    )


def write_embedded(folder: ShardFolder, shard: int, embeddings: Embeddings) -> None:
    """Write a shard: `NNNNN-values.npy`, and its entry with the description.

    Raises:
        ContrasiftError: the folder cannot be written.
    """
    write_array(folder.file(shard, _VALUES), np.asarray(embeddings.values))
    folder.finish(shard, (_VALUES,), description=dict(embeddings.description))


def embed_on_cluster(
    cluster: Cluster,
    pool: SharedPool,
    positions: np.ndarray,
    index: np.ndarray,
    encoder: str,
    *,
    path: Path,
    fingerprint: str,
    options: Mapping[str, Any],
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    shard_rows: int | None = None,
    actor: type[ShardEmbedder] = ShardEmbedder,
) -> Embeddings:
    """Embed part of a pool on a cluster, into the very file that one process would write.

    Shards that an earlier attempt finished are taken over.

    Args:
        cluster: a connected one.
        pool: which every node must be able to open.
        positions: int64 [m]; which examples, in the order of the rows.
        index: int64 [m]; their stable indices.
        encoder: as `load_encoder` takes it; every node must be able to load it.
        path: the `.npy` to write, where every node can write; shards lie beside it meanwhile.
        fingerprint: of all that decides what the rows are.
        options: of `contrasift.embedding.embed`.
        progress: called with (rows done, rows) after every shard.
        say: told what is taken over.
        shard_rows: of a shard; a multiple of the batch size is made of it.
        actor: what embeds (tests).

    Raises:
        DataError: an example whose embedding has no direction; shards that do not fit together.
        ContrasiftError: workers that lack the pool, the encoder, or the versions.
    """
    spans = shard_spans(positions.size, int(options["batch_size"]), shard_rows)
    folder = ShardFolder(path.resolve().with_suffix(".shards"), f"{fingerprint} {len(spans)}")
    finished = folder.finished(len(spans))
    done = sum(stop - start for number, (start, stop) in enumerate(spans) if number in finished)
    if say is not None and finished:
        say(f"  {len(finished):,} of {len(spans):,} shards were embedded before")
    if progress is not None:
        progress(done, positions.size)
    waiting = [
        {"shard": number, "positions": positions[start:stop]}
        for number, (start, stop) in enumerate(spans)
        if number not in finished
    ]
    if waiting:
        job = EmbeddingJob(pool, encoder, dict(options), folder)
        for rows in _embedded(cluster, job, waiting, actor):
            done += rows
            if progress is not None:
                progress(done, positions.size)
    merged = merge_embedded(folder, [stop - start for start, stop in spans], path)
    description = dict(folder.entry(0)["description"]) if spans else {}
    folder.remove()
    return Embeddings(values=merged, index=index, description=description)


def shard_spans(n: int, batch_size: int, rows: int | None = None) -> list[tuple[int, int]]:
    """Consecutive ranges of n rows, each but the last of a multiple of the batch size."""
    wanted = rows or max(_SHARD_ROWS, -(-n // _MOST_SHARDS))
    step = batch_size * max(1, wanted // batch_size)
    return [(start, min(start + step, n)) for start in range(0, n, step)]


def merge_embedded(folder: ShardFolder, rows: list[int], path: Path) -> np.ndarray:
    """Put shards in a row, into one `.npy`; never more than one of them is held.

    Args:
        folder: of the shards.
        rows: how many rows each must have.
        path: the file to write.

    Returns:
        The whole matrix, memory-mapped.

    Raises:
        DataError: a shard is missing, damaged, empty, or of another width or length than the others.
        ContrasiftError: the file cannot be written.
    """

    def stored(shard: int) -> np.ndarray:
        folder.entry(shard)
        return load_array(folder.file(shard, _VALUES), memory_map=False)

    width = stored(0).shape[1:] if rows else (0,)

    def shards() -> Iterator[np.ndarray]:
        for shard, wanted in enumerate(rows):
            values, name = stored(shard), folder.file(shard, _VALUES)
            if values.dtype != np.float32 or values.shape != (wanted, *width):
                raise DataError(
                    f"{wanted} rows of {width[0] if width else 0} float32 numbers in {name}, as its place wants it",
                    f"{values.dtype} of shape {values.shape}",
                    f"Delete {folder.path} and repeat the same command",
                )
            yield values

    write_rows(path, (sum(rows), *width), np.float32, shards())
    return load_array(path)


def _embedded(
    cluster: Cluster, job: EmbeddingJob, waiting: list[dict[str, Any]], actor: type[ShardEmbedder]
) -> Iterator[int]:
    """Rows of each shard, as it is finished."""
    import logging

    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    if hasattr(context, "execution_no_progress_timeout_s"):
        context.execution_no_progress_timeout_s = -1  # a shard may take longer than half an hour
    on_gpu = cluster.gpus > 0 and str(job.options["device"]) not in ("cpu", "mps")
    size = min(cluster.gpus if on_gpu else cluster.cpus, len(waiting))
    blocks = ray.data.from_items(waiting, override_num_blocks=len(waiting))
    done = blocks.map_batches(
        actor,
        fn_constructor_args=(job,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=max(1, size)),
        num_cpus=None if on_gpu else 1,
        num_gpus=1 if on_gpu else None,
    )
    for row in done.iter_rows():
        if row["error"]:
            raise _said(row["error"])
        yield int(row["rows"])


def _said(text: str) -> ContrasiftError:
    """The error that an actor answered with."""
    name, *words = json.loads(text)
    kinds = {kind.__name__: kind for kind in (DataError, RunFolderError, UsageError)}
    return kinds.get(name, ContrasiftError)(*words)
