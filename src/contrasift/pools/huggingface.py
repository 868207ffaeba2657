"""Pools of Hugging Face data sets: `hf:NAME[:SPLIT]`, folders that one was saved to, and objects."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from contrasift.errors import DataError, UsageError, first_line, with_extra
from contrasift.pools.encoded import EncodedSource
from contrasift.pools.label_columns import WITHOUT, column_labels, label_column
from contrasift.pools.parquet import image_column
from contrasift.pools.prepare import UnreadableExample, check_encoded_size
from contrasift.pools.whole import Whole, check_enough

_OBJECT = "dataset"  # what a data set is called that comes as an object


class HuggingFaceSource(EncodedSource):
    """Images in a column of a `datasets.Dataset`, whose rows are memory-mapped.

    Args:
        dataset: the data set; `dataset.select(indices)` is what a selection of it means.
        column: where the images are.
        stamp: what to fingerprint.
        follow_paths: whether a row without bytes may name a file to read.
    """

    def __init__(self, dataset: Any, column: str, stamp: bytes, *, follow_paths: bool) -> None:
        self.dataset = dataset
        self._rows = _undecoded(dataset, column)
        self._column = column
        self._stamp = stamp
        self._follow_paths = follow_paths
        self.look_at_images()

    def __len__(self) -> int:
        return len(self._rows)

    def image_bytes(self, row: int) -> bytes:
        """The bytes in a row, or in the file that it names; raises UnreadableExample."""
        try:
            value = self._rows[row][self._column]
            value, path = _bytes_and_path(value)
            if value is None and path is not None and self._follow_paths:
                check_encoded_size(os.path.getsize(path))
                value = Path(path).read_bytes()
        except OSError as error:
            raise UnreadableExample(error.strerror or str(error)) from error
        except pa.ArrowException as error:
            raise UnreadableExample(str(error).split("\n")[0]) from error
        if value is None:
            raise UnreadableExample("no bytes in its row: the image is elsewhere, or missing")
        check_encoded_size(len(value))
        return value

    def content(self) -> Iterable[bytes]:
        """The fingerprint that the data set has of itself, or its files."""
        yield self._stamp


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets.save_to_disk` made this folder."""
    one = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    return one or (folder / "dataset_dict.json").is_file()


def is_dataset(source: Any) -> bool:
    """Whether this is an object of the package datasets (which is not imported to find out)."""
    return type(source).__module__.partition(".")[0] == "datasets"


def named_dataset_pool(text: str, *, labelled: bool = True) -> Whole:
    """The data set that `NAME`, `NAME:SPLIT`, `FOLDER` or `FOLDER:SPLIT` names, after `hf:`.

    A split named `test` is the test set of a labelled one, if no split is asked for. Code that comes
    with a data set is never run.

    Args:
        text: what follows `hf:`.
        labelled: whether labels are wanted; without, their column is not read.

    Raises:
        UsageError: no name, or a split that there is not.
        DataError: it cannot be had.
        MissingExtraError: the package datasets is not installed.
    """
    name, split = _name_and_split(text)
    if not name:
        raise UsageError("hf:NAME or hf:NAME:SPLIT", f"hf:{text}")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return saved_dataset_pool(folder, split, labelled=labelled)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UsageError("hf:NAME, or hf:FOLDER with a folder that exists", f"hf:{text}")
    datasets = with_extra("datasets", "hf")
    try:
        found = datasets.load_dataset(name)
    except Exception as error:  # whatever the network does
        raise DataError(
            f"the data set {name}",
            first_line(error),
            "Check the name and the network; a data set saved to a folder is hf:FOLDER",
        ) from error
    return _of_splits(dict(found), name, split, None, labelled)


def saved_dataset_pool(folder: Path, split: str = "", *, labelled: bool = True) -> Whole:
    """The data set in a folder made by `save_to_disk`, of one split or several.

    Raises:
        UsageError: a split that there is not.
        DataError: it cannot be read.
        MissingExtraError: the package datasets is not installed.
    """
    datasets = with_extra("datasets", "hf")
    name = folder.resolve().name
    try:
        found = datasets.load_from_disk(os.fspath(folder))
    except Exception as error:  # Arrow, JSON and the package have errors of their own
        raise DataError(f"a saved data set in {folder}", first_line(error)) from error
    if isinstance(found, Mapping):
        return _of_splits(dict(found), name, split, folder, labelled)
    if split and split != str(found.split):
        raise UsageError(f"{folder} without a split", split)
    return _whole(found, name, "", _files(folder), follow_paths=False, labelled=labelled)


def dataset_object_pool(source: Any, *, labelled: bool = True) -> Whole:
    """A `datasets.Dataset`, or a `DatasetDict` whose split `test` is the test set.

    Raises:
        UsageError: a data set that can only be iterated over.
    """
    if isinstance(source, Mapping):
        return _of_splits(dict(source), _OBJECT, "", None, labelled)
    if not (hasattr(source, "select") and hasattr(source, "__len__")):
        raise UsageError(
            "a datasets.Dataset, whose rows have numbers",
            type(source).__name__,
            "Load it without streaming=True",
        )
    return _whole(source, _OBJECT, "", _stamp(source), follow_paths=True, labelled=labelled)


def _of_splits(
    splits: dict[str, Any], name: str, split: str, folder: Path | None, labelled: bool
) -> Whole:
    if split and split not in splits:
        raise UsageError(f"a split of {name}: {', '.join(splits)}", split)
    if not splits:
        raise DataError(f"a split in {name}", "none")
    chosen = split or ("train" if "train" in splits else next(iter(splits)))
    whole = _split(splits, chosen, name, folder, labelled)
    if split or chosen == "test" or "test" not in splits:
        return whole
    if label_column(splits[chosen].column_names) is None or (labelled and whole.labels is None):
        return whole
    test = _split(splits, "test", name, folder, labelled)
    if labelled and (test.labels is None or test.label_names != whole.label_names):
        raise DataError(
            f"the same labels in train and test of {name}",
            "others",
            "Give one split: data['train']"
            if folder is None and name == _OBJECT
            else f"Name a split: hf:{folder or name}:train",
        )
    return replace(whole, test=test)


def _split(
    splits: dict[str, Any], split: str, name: str, folder: Path | None, labelled: bool
) -> Whole:
    dataset, prefix = splits[split], f"{split}/"
    if folder is None:
        stamp = _stamp(dataset)
        return _whole(dataset, name, prefix, stamp, follow_paths=True, labelled=labelled)
    stamp = _files(folder / split)
    return _whole(dataset, name, prefix, stamp, follow_paths=False, labelled=labelled)


def _whole(
    dataset: Any, name: str, prefix: str, stamp: bytes, *, follow_paths: bool, labelled: bool
) -> Whole:
    check_enough(len(dataset), "images", name)
    column = image_column(dataset.features.arrow_schema, name)
    source = HuggingFaceSource(dataset, column, stamp, follow_paths=follow_paths)
    ids = [f"{prefix}{row}" for row in range(len(source))]
    label = label_column(dataset.column_names) if labelled else None
    if label is None:
        return Whole(source, name, ids)
    return Whole(source, name, ids, *_labels(dataset, label, f"column {label!r} of {name}"))


def _labels(dataset: Any, label: str, where: str) -> tuple[np.ndarray | None, tuple[str, ...]]:
    feature = dataset.features[label]
    names = getattr(feature, "names", None) if type(feature).__name__ == "ClassLabel" else None
    try:
        rows = dataset.select_columns([label]).with_format("arrow")[:]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{where} to be read", first_line(error), WITHOUT) from error
    return column_labels(rows.column(label), tuple(names or ()), where)


def _undecoded(dataset: Any, column: str) -> Any:
    """The column of images alone, as bytes and path."""
    rows = dataset.with_format(None).select_columns([column])
    feature = rows.features[column]
    if not hasattr(feature, "decode"):
        return rows
    return rows.cast_column(column, type(feature)(decode=False))


def _bytes_and_path(value: Any) -> tuple[bytes | None, str | None]:
    return (value["bytes"], value.get("path")) if isinstance(value, Mapping) else (value, None)


def _stamp(dataset: Any) -> bytes:
    return f"{getattr(dataset, '_fingerprint', '')}\0{len(dataset)}".encode()


def _files(folder: Path) -> bytes:
    """Names, sizes and modification times of the tables in a folder, and which rows are taken."""
    stamps = []
    for path in sorted(folder.glob("*.arrow")):
        status = path.stat()
        stamps.append(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0")
    return "".join(stamps).encode("utf-8", "backslashreplace")


def _name_and_split(text: str) -> tuple[str, str]:
    if Path(text).expanduser().is_dir():
        return text, ""
    before, colon, after = text.rpartition(":")
    return (before, after) if colon else (text, "")
