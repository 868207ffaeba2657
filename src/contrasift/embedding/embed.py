"""The pool as the proxy sees it: mean unit-norm view embeddings, resumable at the batch."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy.lib.format import open_memmap

from contrasift.errors import DataError, UsageError
from contrasift.narration import Progress
from contrasift.options.arguments import checked_arguments
from contrasift.options.words import Layer
from contrasift.results import Embeddings
from contrasift.store.atomic import reserve, write_json
from contrasift.training.batches import ImagePool, RowBatches, check_positions, load_batches
from contrasift.training.encoders import Encoder, check_vectors, weights_sha256, wrap_encoder
from contrasift.training.pretrain import choose_device
from contrasift.training.progress import no_progress
from contrasift.training.untouched import untouched
from contrasift.training.views import (
    AUGMENTATIONS,
    Augmentation,
    choose_augmentation,
    random_views,
    to_unit_range,
)

# Views for embedding must not repeat those of any epoch of training.
_EMBEDDING_EPOCH = -1
_JOURNAL_SECONDS = 1.0


@checked_arguments
def embed(
    pool: ImagePool,
    positions: np.ndarray,
    encoder: Encoder | Callable[[torch.Tensor], torch.Tensor],
    *,
    layer: Layer = "head",
    views: int = 4,
    plain_view: bool = False,
    augmentation: str | None = None,
    seed: int = 0,
    batch_size: int = 256,
    path: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    workers: int = 0,
) -> Embeddings:
    """Embed part of a pool: one row an example, z = (1/m) Σ_v f(view_v)/‖f(view_v)‖.

    Rows are not renormalised, so that an inner product of two of them is the mean cosine over all
    pairs of their views (SAS, arXiv 2302.09195, §4.5). Views are drawn from (seed, stable index,
    number of the view): neither the batch size nor the selection of examples changes them. Batches
    start at multiples of `batch_size` whether or not work was interrupted, so that a resumed run
    writes the very bytes of an uninterrupted one.

    Args:
        pool: the images.
        positions: which examples, in the order of the rows.
        encoder: in evaluation mode and on the device while it embeds; afterwards it is as it was.
            Or any callable from
            float images in [0, 1], [b, channels, size, size] of the pool's, to vectors [b, d];
            `wrap_encoder` gives it another size or a normalisation.
        layer: `head` or `backbone` (the same for an encoder without a head).
        views: m, random views of each example.
        plain_view: average in the image as it is, as one more view.
        augmentation: how views are made; default: as the encoder was trained.
        seed: of the views.
        batch_size: examples at a time.
        path: file to fill, `embeddings.npy`; the result is memory-mapped. While it is filled it is
            called `embeddings.npy.partial`, beside a journal of the rows that are done. Without
            it, the result is in memory.
        device: `auto`, `cpu`, `cuda`, `mps`.
        progress: called with (examples done, examples in all) after every batch.
        workers: processes that read images in the background.

    Returns:
        float32 rows, their stable indices, and how they were made.

    Raises:
        UsageError: no views, an unknown layer, an encoder that gives no vectors.
        DataError: an example whose embedding is NaN, infinite or zero; it is named.
    """
    places = check_positions(positions, len(pool))
    if views < 0 or views + plain_view < 1:
        raise UsageError("at least one view", f"{views}, without the plain view")
    _check_layer(layer)
    with untouched(encoder):
        return _embed(
            pool,
            places,
            encoder,
            layer=layer,
            views=views,
            plain_view=plain_view,
            augmentation=augmentation,
            seed=seed,
            batch_size=batch_size,
            path=path,
            device=device,
            progress=progress,
            workers=workers,
        )


def _embed(
    pool: ImagePool,
    places: np.ndarray,
    encoder: Encoder | Callable[[torch.Tensor], torch.Tensor],
    *,
    layer: str,
    views: int,
    plain_view: bool,
    augmentation: str | None,
    seed: int,
    batch_size: int,
    path: Path | None,
    device: str,
    progress: Progress | None,
    workers: int,
) -> Embeddings:
    if not isinstance(encoder, Encoder):
        encoder = wrap_encoder(encoder, pool.channels, pool.image_size)
    chosen = augmentation or encoder.description.get("augmentation", "auto")
    chosen = choose_augmentation(chosen, pool.channels, pool.image_size)
    description = {
        "encoder": dict(encoder.description),
        "weights_sha256": weights_sha256(encoder),
        "layer": layer if encoder.description["projection_dim"] else "backbone",
        "views": views,
        "plain_view": plain_view,
        "augmentation": chosen if views else "none",
        "mirror": bool(pool.mirror) and views > 0,
        "seed": seed,
        "normalised": "mean of unit views",
    }
    index = np.asarray(pool.index)[places].astype(np.int64)
    width = encoder.head_dim if layer == "head" else encoder.feature_dim
    target = _Target(path, (len(places), width), _fingerprint(description, index, batch_size, pool))
    batches = RowBatches(places, batch_size, first=-(-target.rows_done // batch_size))
    torch_device = choose_device(device)
    report = progress or no_progress
    with _evaluating(encoder, torch_device):
        for images, batch_index in _batches(pool, batches, workers):
            rows = _embed_batch(
                encoder,
                images.to(torch_device),
                batch_index,
                layer,
                views,
                plain_view,
                AUGMENTATIONS[chosen],
                bool(pool.mirror),
                seed,
            )
            target.append(rows)
            report(target.rows_done, len(places))
    return Embeddings(values=target.finish(), index=index, description=description)


def features(
    pool: ImagePool,
    positions: np.ndarray,
    encoder: Encoder,
    layer: str = "backbone",
    *,
    batch_size: int = 256,
    device: str = "auto",
    progress: Progress | None = None,
    workers: int = 0,
) -> Float32[np.ndarray, "b d"]:
    """What an encoder says of the images as they are, not normalised: the input of evaluation.

    Args:
        pool: the images.
        positions: which examples, in the order of the rows.
        encoder: in evaluation mode and on the device while it works; afterwards it is as it was.
        layer: `backbone` or `head`.
        batch_size: examples at a time.
        device: `auto`, `cpu`, `cuda`, `mps`.
        progress: called with (examples done, examples in all) after every batch.
        workers: processes that read images in the background.

    Returns:
        One row an example.

    Raises:
        UsageError: an unknown layer, an encoder that gives no vectors.
    """
    places = check_positions(positions, len(pool))
    _check_layer(layer)
    width = encoder.head_dim if layer == "head" else encoder.feature_dim
    values = np.empty((len(places), width), dtype=np.float32)
    done = 0
    torch_device = choose_device(device)
    with _evaluating(encoder, torch_device):
        for images, _ in _batches(pool, RowBatches(places, batch_size), workers):
            rows = _encode(encoder, to_unit_range(images.to(torch_device)), layer).cpu().numpy()
            values[done : done + len(rows)] = rows
            done += len(rows)
            (progress or no_progress)(done, len(places))
    return values


def _check_layer(layer: str) -> None:
    if layer not in ("head", "backbone"):
        raise UsageError("a layer: head or backbone", layer)


def _batches(
    pool: ImagePool, batches: RowBatches, workers: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images and indices of each batch; where images are decoded, while the one before is embedded.

    Only a pool that decodes in threads is read in another thread than the caller's: a data set of
    the user's own may hold files that belong to the thread which opened them.
    """
    loaded = load_batches(pool, batches, workers)
    if workers or getattr(pool, "threads", 1) == 1:
        yield from loaded
        return
    source = iter(loaded)
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, source, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, source, None)
            yield batch


@contextmanager
def _evaluating(encoder: Encoder, device: torch.device) -> Iterator[None]:
    """Evaluation mode on the device, without gradients; then everything is put back."""
    with untouched(encoder):
        encoder.to(device).eval()
        with torch.inference_mode():
            yield


def _encode(encoder: Encoder, images: torch.Tensor, layer: str) -> torch.Tensor:
    output = encoder(images) if layer == "head" else encoder.features(images)
    return check_vectors(output, len(images), str(encoder.description["architecture"])).float()


def _embed_batch(
    encoder: Encoder,
    images: torch.Tensor,
    index: torch.Tensor,
    layer: str,
    views: int,
    plain_view: bool,
    augmentation: Augmentation,
    mirror: bool,
    seed: int,
) -> Float32[np.ndarray, "b d"]:
    """The mean unit-norm embedding of each image's views, one view of the whole batch at a time."""
    total = torch.zeros(())
    for view in range(views + plain_view):
        if view < views:
            shown = random_views(
                images,
                index,
                [view],
                seed=seed,
                epoch=_EMBEDDING_EPOCH,
                augmentation=augmentation,
                mirror=mirror,
            )
        else:
            shown = to_unit_range(images)
        output = _encode(encoder, shown, layer)
        norms = torch.linalg.vector_norm(output, dim=1, keepdim=True)
        _check_directions(norms[:, 0].cpu().numpy(), index.numpy())
        total = total.to(output.device) + output / norms
    return (total / (views + plain_view)).cpu().numpy()


def _check_directions(norms: np.ndarray, index: np.ndarray) -> None:
    """Stop at embeddings that have no direction, and name their examples."""
    bad = ~np.isfinite(norms) | (norms == 0)
    if bad.any():
        names = ", ".join(str(i) for i in index[bad][:10])
        raise DataError(
            "an embedding with a direction for every view",
            f"NaN, infinity or zero for {bad.sum()} example(s): index {names}",
            "Check the encoder's weights, or leave these examples out",
        )


def _fingerprint(
    description: dict[str, Any], index: np.ndarray, batch_size: int, pool: ImagePool
) -> str:
    """What a half-filled file must agree in to be gone on with."""
    text = json.dumps(
        [description, batch_size, str(getattr(pool, "fingerprint", ""))], sort_keys=True
    )
    return hashlib.sha256(text.encode() + index.tobytes()).hexdigest()


class _Target:
    """The matrix that is being filled, batch after batch: in memory, or in a file with a journal.

    Data reach the disk before the journal that vouches for them, and the file gets its name when
    it is whole.

    Attributes:
        rows_done: how many rows are filled.
    """

    def __init__(self, path: Path | None, shape: tuple[int, int], fingerprint: str):
        self.rows_done = 0
        self._shape = shape
        self._path = None if path is None else Path(path)
        self._fingerprint = fingerprint
        self._written = time.monotonic()
        if self._path is None:
            self._values = np.empty(shape, dtype=np.float32)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self._path.with_name(self._path.name + ".partial")
        self._journal = self._path.with_name(self._path.name + ".journal")
        self.rows_done = self._rows_of_earlier_work()
        if self.rows_done:
            self._values = open_memmap(self._partial, mode="r+")
        else:
            self._journal.unlink(missing_ok=True)  # before the data that it vouches for go
            self._values = open_memmap(self._partial, mode="w+", dtype=np.float32, shape=shape)
            reserve(self._partial)

    def _rows_of_earlier_work(self) -> int:
        """Rows that an earlier sitting on the same work has done; 0 if there was none."""
        try:
            journal = json.loads(self._journal.read_text(encoding="utf-8"))
            found = np.load(self._partial, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return 0
        same = journal.get("fingerprint") == self._fingerprint and found.shape == self._shape
        return int(journal["rows_done"]) if same else 0

    def append(self, rows: np.ndarray) -> None:
        self._values[self.rows_done : self.rows_done + len(rows)] = rows
        self.rows_done += len(rows)
        # A second of work is cheap to repeat; a flush for every batch is not.
        if self._path is not None and time.monotonic() - self._written > _JOURNAL_SECONDS:
            self._flush()
            entry = {"fingerprint": self._fingerprint, "rows_done": self.rows_done}
            write_json(self._journal, entry)
            self._written = time.monotonic()

    def _flush(self) -> None:
        if isinstance(self._values, np.memmap):
            self._values.flush()

    def finish(self) -> np.ndarray:
        """Give the file its name; the whole matrix, memory-mapped if it is in a file."""
        if self._path is None:
            return self._values
        self._flush()
        del self._values
        os.replace(self._partial, self._path)
        self._journal.unlink(missing_ok=True)
        return np.load(self._path, mmap_mode="r", allow_pickle=False)
