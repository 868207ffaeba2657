"""Pools of images in arrays, `.npy` and `.npz` files, and torch-style data sets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from contrasift.errors import DataError
from contrasift.pools.base import ImageSource
from contrasift.pools.labels import check_label_count, encode_labels
from contrasift.pools.pixels import check_values, is_grey, pixels_of, prepare_pixels
from contrasift.pools.prepare import AnyImage, ImageArray, UnreadableExample, to_bytes, whole_image
from contrasift.pools.stored import ArraySource
from contrasift.pools.whole import Whole, check_enough
from contrasift.store.faults import reading_remedy

_SHAPES = "images as [n, H, W], [n, H, W, C] or [n, C, H, W] with C = 1 or 3"


def array_pool(
    images: np.ndarray,
    labels: Any = None,
    test: tuple[Any, Any] | None = None,
    name: str = "array",
    content: tuple[bytes, ...] = (),
    *,
    labelled: bool = True,
) -> Whole:
    """A pool of the images of one array.

    Args:
        images: [n, H, W], [n, H, W, C] or [n, C, H, W] with C = 1 or 3; uint8, bool, or floats in
            [0, 1].
        labels: one an image, or None.
        test: held-out images and their labels.
        name: what to call it.
        content: what to fingerprint in place of the pixels.
        labelled: whether labels are wanted; without, they are not looked at.

    Raises:
        DataError: another shape or type, NaN, values out of range, or labels that do not match.
    """
    source = ArraySource(_channels_first(images), content)
    check_values(images, "images")
    check_enough(len(source), "images", name)
    ids = [str(row) for row in range(len(source))]
    if labels is None or (test is None and not labelled):
        return Whole(source, name, ids)
    if test is None:
        codes, names = encode_labels(labels)
        check_label_count(len(codes), len(source), name)
        return Whole(source, name, ids, codes, names)
    test_source = ArraySource(_channels_first(np.asarray(test[0])))
    check_values(test[0], "test images")
    if test_source.channels != source.channels:
        raise DataError(
            f"test images with {source.channels} channel(s), like the others",
            f"{test_source.channels}",
        )
    test_ids = [f"test/{row}" for row in range(len(test_source))]
    if not labelled:
        return Whole(source, name, ids, test=Whole(test_source, name, test_ids))
    train_labels, test_labels = np.asarray(labels), np.asarray(test[1])
    check_label_count(len(train_labels), len(source), name)
    check_label_count(len(test_labels), len(test_source), f"the test set of {name}")
    codes, names = encode_labels(np.concatenate([train_labels, test_labels]))
    held_out = Whole(
        test_source,
        name,
        test_ids,
        codes[len(source) :],
        names,
    )
    return Whole(source, name, ids, codes[: len(source)], names, test=held_out)


def file_pool(path: Path, *, labelled: bool = True) -> Whole:
    """A pool of a `.npy` file of images, or of a `.npz` with `images` (or `x`, `arr_0`).

    A `.npz` may also hold `labels` (or `y`), `test_images` and `test_labels`. A `.npy` file is
    memory-mapped, and fingerprinted by its name, size and modification time.

    Args:
        path: the file.
        labelled: whether labels are wanted; without, they are not looked at.

    Raises:
        DataError: it cannot be read, or holds no such arrays.
    """
    try:
        if path.suffix == ".npy":
            images = np.load(path, mmap_mode="r", allow_pickle=False)
            status = path.stat()
            stamp = f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}".encode(
                "utf-8", "surrogateescape"
            )
            return array_pool(images, name=path.stem, content=(stamp,))
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise _not_an_array_file(path, error) from error
    except Exception as error:  # zipfile and zlib have errors of their own for damaged archives
        raise _not_an_array_file(path, error) from error
    images = _first(arrays, "images", "x", "arr_0")
    if images is None:
        raise DataError(
            "an .npz file with images under `images`, `x` or `arr_0`",
            f"{path} with {', '.join(arrays) or 'nothing'}",
        )
    labels = _first(arrays, "labels", "y")
    test = None
    if "test_images" in arrays and "test_labels" in arrays and labels is not None:
        test = (arrays["test_images"], arrays["test_labels"])
    return array_pool(images, labels, test, name=path.stem, labelled=labelled)


class DatasetSource(ImageSource):
    """Images of a torch-style data set: `len(dataset)` and `dataset[i]` giving (image, label).

    An image may be a Pillow image, an array [H, W] or [H, W, C], or a tensor [C, H, W]; uint8,
    bool, or floats in [0, 1]. Rows are read one at a time, since nothing says that the data set
    allows more.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        pixels = self._first_image()
        self.channels = 1 if is_grey(pixels) else 3
        size = pixels.size if isinstance(pixels, Image.Image) else pixels.shape[:2]
        self.default_size: int = int(min(size))

    def __len__(self) -> int:
        return len(self._dataset)

    def decode(self, row: int, size: int) -> ImageArray:
        """One image, uint8 [size, size, channels]; raises UnreadableExample."""
        try:
            image = _image_of(self._dataset[row])
            return prepare_pixels(image, size, self.channels, f"image {row}")
        except UnreadableExample:
            raise
        except DataError as error:
            raise UnreadableExample(f"{error.got}, not {error.expected}") from error
        except Exception as error:  # a data set may fail in any way
            raise UnreadableExample(str(error).split("\n")[0] or type(error).__name__) from error

    def pixels(self, row: int) -> AnyImage:
        """The whole image, uint8 [h, w, channels]."""
        try:
            pixels = pixels_of(_image_of(self._dataset[row]))
        except Exception as error:  # a data set may fail in any way
            raise UnreadableExample(str(error).split("\n")[0] or type(error).__name__) from error
        if isinstance(pixels, Image.Image):
            return whole_image(pixels, self.channels)
        return to_bytes(pixels)

    def label(self, row: int) -> Any:
        """The label of an item; None where the item cannot be read."""
        try:
            return self._dataset[row][1]
        except Exception:  # the scan says what is wrong with it
            return None

    def content(self) -> Iterable[Any]:
        """Every image at its default size: a data set has nothing else to know it by."""
        for row in range(len(self)):
            try:
                yield np.ascontiguousarray(self.decode(row, self.default_size))
            except UnreadableExample as error:
                yield error.reason.encode("utf-8", "backslashreplace")

    def _first_image(self) -> Any:
        problem: Exception | None = None
        for row in range(len(self._dataset)):
            try:
                item = self._dataset[row]
            except Exception as error:  # the scan says what is wrong with it
                problem = error
                continue
            return pixels_of(_image_of(item))
        raise DataError("a data set with images that can be read", f"none: {problem}")


def dataset_pool(dataset: Any, *, labelled: bool = True) -> Whole:
    """A pool of a torch-style data set of (image, label).

    Labels are taken from `targets` or `labels` if the data set has them for every item, else from
    the items. Give it transforms that only load an image: augmentation and normalisation come
    later.

    Args:
        dataset: the data set.
        labelled: whether labels are wanted; without, they are not looked at.

    Raises:
        DataError: fewer than two items, or items that are not pairs of an image and a label.
    """
    name = type(dataset).__name__
    check_enough(len(dataset), "images", name)
    source = DatasetSource(dataset)
    ids = [str(row) for row in range(len(source))]
    if not labelled:
        return Whole(source, name, ids)
    labels = next(
        (
            np.asarray(getattr(dataset, attribute))
            for attribute in ("targets", "labels")
            if _length(getattr(dataset, attribute, None)) == len(source)
        ),
        None,
    )
    if labels is None:
        items = [source.label(row) for row in range(len(source))]
        text = any(isinstance(item, str) for item in items)
        labels = np.array([("" if text else -1) if item is None else item for item in items])
    codes, names = encode_labels(labels)
    classes = getattr(dataset, "classes", None)
    if _length(classes) == len(names) and labels.dtype.kind in "iu":
        names = tuple(str(name) for name in classes)  # type: ignore[union-attr]
    return Whole(source, name, ids, codes, names)


def _channels_first(images: np.ndarray) -> np.ndarray:
    """A view [n, C, H, W] of images in any of the accepted layouts."""
    shape = images.shape
    if images.ndim == 3 and 0 not in shape[1:]:
        return images[:, None]
    first = images.ndim == 4 and shape[1] in (1, 3)
    last = images.ndim == 4 and shape[3] in (1, 3)
    if first == last or 0 in shape[1:]:
        both = " (either the second or the last could be the channels)" if first else ""
        remedy = "Transpose it to [n, H, W, C]"
        if images.ndim == 2:
            remedy = (
                "Embeddings, one row an example, need no embedding: `contrasift select FILE --out "
                "FOLDER`; flat images need their height and width"
            )
        raise DataError(_SHAPES, f"an array of shape {shape}{both}", remedy)
    return images if first else np.moveaxis(images, 3, 1)


def _image_of(item: Any) -> Any:
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise DataError("items of a data set as (image, label)", type(item).__name__)
    return item[0]


def _length(values: Any) -> int:
    try:
        return len(values)
    except TypeError:
        return -1


def _first(arrays: dict[str, np.ndarray], *keys: str) -> np.ndarray | None:
    return next((arrays[key] for key in keys if key in arrays), None)


def _not_an_array_file(path: Path, error: Exception) -> DataError:
    return DataError(
        "a .npy or .npz file of numbers",
        f"{os.fspath(path)}: {getattr(error, 'strerror', None) or error}",
        reading_remedy(error, "Save it with np.save or np.savez; pickled objects are refused"),
    )
