"""Pools: images by a stable index, from folders, shards, arrays, data sets and named collections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from contrasift.catalogue import nearest
from contrasift.errors import DataError, UsageError
from contrasift.narration import Progress
from contrasift.options.arguments import checked_arguments
from contrasift.pools.arrays import array_pool, dataset_pool, file_pool
from contrasift.pools.base import Pool
from contrasift.pools.folder import FileSource, find_images, folder_pool
from contrasift.pools.huggingface import (
    dataset_object_pool,
    is_dataset,
    is_saved_dataset,
    named_dataset_pool,
    saved_dataset_pool,
)
from contrasift.pools.label_columns import WITHOUT
from contrasift.pools.label_files import check_shared, needs_table, read_label_file
from contrasift.pools.labels import check_label_count, component_labels, encode_labels
from contrasift.pools.named import NAMED, how_to_get, split_name
from contrasift.pools.parquet import parquet_pool
from contrasift.pools.prepare import UnreadableExample
from contrasift.pools.remote_shards import remote_name, remote_shards
from contrasift.pools.scan import Examples, scan_pool
from contrasift.pools.shards import TAR, Shard, name_of, shards_in_folder, shards_named
from contrasift.pools.webdataset import tar_pool
from contrasift.pools.whole import Whole
from contrasift.store.objects import file_name, is_local_url, is_url, local_path

__all__ = [
    "Examples",
    "Pool",
    "PoolInfo",
    "UnreadableExample",
    "named_pools",
    "open_pool",
    "scan_pool",
]


class PoolInfo(NamedTuple):
    """A named pool, for `contrasift datasets`.

    Attributes:
        name: what to call it on the command line.
        description: one line.
        available: whether it can be opened at once.
        how_to_get_it: what to do when it cannot.
    """

    name: str
    description: str
    available: bool
    how_to_get_it: str


def named_pools() -> list[PoolInfo]:
    """All sets that `open_pool` knows by name."""
    return [
        PoolInfo(pool.name, pool.description, pool.available, how_to_get(pool.name))
        for pool in NAMED.values()
    ]


@checked_arguments
def open_pool(
    source: Any,
    *,
    labels: Any = "auto",
    limit: int | None = None,
    image_size: int | None = None,
    holdout: float | int = 0.2,
    seed: int = 0,
    progress: Progress | None = None,
) -> Pool:
    """Open a pool of images.

    The index of an example is its place in the whole source, so that it stays the same under
    every hold-out and limit. A labelled pool without a test set of its own holds out a share of
    every label, always the same images, as `pool.test`.

    Args:
        source: a named set (`digits`, `glyphs:FOLDER`, ...; see `named_pools`), a folder of
            images, tar shards in the WebDataset form or Parquet files with a column `image` (a
            folder of them, a file, or a pattern such as `shards/*.tar` or `s-{000..099}.tar`), a
            Hugging Face data set (`hf:NAME`, `hf:NAME:SPLIT`, a folder it was saved to, or the
            object), a `.npy` or `.npz` file, an array of images, a pair (images, labels), or a
            torch-style data set of (image, label).
        labels: `auto` (what the source has; folders of images none), `folders` (the first sub-folder of a
            file), `none`, a file (one label a line, `.npy`, or a table of ids and labels, CSV, TSV or
            Parquet), or the labels themselves.
        limit: use only so many examples, drawn with the seed; a smaller limit is a subset.
        image_size: side in pixels; by default the source's own, and 64 for image files.
        holdout: share of every label held out; 0 holds out nothing.
        seed: of the draw that `limit` makes.
        progress: called with (done, total) when images have to be made first (glyphs).

    Returns:
        The pool. Files are listed but not decoded: `scan_pool` tries them.

    Raises:
        UsageError: a source, an option or a combination that means nothing.
        DataError: data that cannot be used as they are.
        MissingExtraError: the set comes with a package that is not installed.
    """
    if limit is not None and limit < 1:
        raise UsageError("a limit of at least 1", str(limit))
    if image_size is not None and image_size < 1:
        raise UsageError("an image size of at least 1", str(image_size))
    if not 0 <= holdout < 1:
        raise UsageError("a hold-out share in [0, 1)", str(holdout))
    whole = _with_labels(_whole(source, progress, _own(labels)), labels, source)
    return whole.pool(limit, image_size, holdout, seed)


def _own(labels: Any) -> bool:
    """Whether the labels of the source itself are wanted; else nothing of them is read."""
    return isinstance(labels, str) and labels == "auto"


def _whole(source: Any, progress: Progress | None, own: bool) -> Whole:
    if isinstance(source, (str, Path)):
        return _from_text(source, progress, own)
    if isinstance(source, np.ndarray):
        return array_pool(source)
    if isinstance(source, tuple) and len(source) == 2:
        return array_pool(np.asarray(source[0]), source[1], labelled=own)
    if is_dataset(source):
        return dataset_object_pool(source, labelled=own)
    if (
        hasattr(source, "__len__")
        and hasattr(source, "__getitem__")
        and not isinstance(source, (list, tuple, bytes, Mapping))
    ):
        return dataset_pool(source, labelled=own)
    raise UsageError(
        "a named set, a folder, a .npy or .npz file, an array, (images, labels), or a data set",
        type(source).__name__,
    )


def _from_text(source: str | Path, progress: Progress | None, own: bool) -> Whole:
    named = split_name(source) if isinstance(source, str) else None
    if named is not None:
        pool, folder = named
        return pool.load(folder, progress)
    if not str(source):
        raise UsageError("a pool", "an empty name", f"Named sets: {', '.join(NAMED)}")
    if is_local_url(source):
        source = local_path(str(source))
    if is_url(source):
        return _from_shards(remote_shards(str(source)), remote_name(str(source)), own)
    if str(source).startswith("hf:"):
        return named_dataset_pool(str(source)[3:], labelled=own)
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            return _from_folder(path, own)
        if path.suffix in (".npy", ".npz") and path.is_file():
            return file_pool(path, labelled=own)
        exists = path.exists()
    except OSError as error:
        raise DataError("a pool that can be opened", f"{path}: {error.strerror}") from error
    if shards := [] if exists and not path.is_file() else shards_named(str(source)):
        return _from_shards(shards, name_of(str(source)), own)
    raise UsageError(
        "a named set, a folder of images or shards, a .tar or .parquet file or pattern, hf:NAME, or "
        "a .npy or .npz file",
        f"{source}, which is " + ("another kind of file" if exists else "none of them"),
        f"{nearest(str(source), NAMED)} Named sets: {', '.join(NAMED)}".strip(),
    )


def _from_folder(folder: Path, own: bool) -> Whole:
    """A saved data set; images; else shards, if there are any."""
    if is_saved_dataset(folder):
        return saved_dataset_pool(folder, labelled=own)
    found = find_images(folder)
    if not found.paths and (shards := shards_in_folder(folder)):
        return _from_shards(shards, folder.resolve().name, own)
    return folder_pool(found)


def _from_shards(shards: list[Shard], name: str, own: bool) -> Whole:
    kind = tar_pool if file_name(str(shards[0].path)).endswith(TAR) else parquet_pool
    return kind(shards, name, labelled=own)


def _with_labels(whole: Whole, labels: Any, source: Any) -> Whole:
    if isinstance(labels, str) and labels == "auto":
        _check_own_labels(whole)
        return whole
    if isinstance(labels, str) and labels == "none":
        return replace(whole, labels=None, label_names=(), test=None)
    if isinstance(labels, str) and labels == "folders":
        if not (isinstance(source, (str, Path)) and isinstance(whole.source, FileSource)):
            raise UsageError("a folder of images with labels=folders", str(whole.name))
        values, where = component_labels(whole.ids), "folder names"
        if not any(values):
            raise DataError(
                "class sub-folders", f"all images directly in {source}", "Use labels=none"
            )
    elif isinstance(labels, (str, Path)):
        values, where = read_label_file(Path(labels).expanduser(), whole.ids), str(labels)
    else:
        values, where = labels, "labels"
    if whole.test is not None:
        raise UsageError(
            f"labels=auto or none for {whole.name}, which has a labelled test set", where
        )
    codes, names = encode_labels(values, where)
    check_label_count(len(codes), len(whole.ids), where)
    check_shared(codes, where, needs_table(whole.ids[0]))
    return replace(whole, labels=codes, label_names=names)


def _check_own_labels(whole: Whole) -> None:
    """Stop at ids in a column of labels.

    Names that are declared and do not occur say that it has classes, of which a small part of a pool
    may have one example each.
    """
    if whole.labels is not None and len(whole.label_names) <= np.unique(whole.labels).size:
        check_shared(whole.labels, f"the labels of {whole.name}", WITHOUT)
