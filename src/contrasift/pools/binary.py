"""Readers for the binary files in which image sets are published: IDX, CIFAR, STL-10.

Nothing here unpickles. Every length is checked, so that a broken download is told from data.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from contrasift.errors import DataError

_REMEDY = "The download is probably incomplete: fetch the file again"


def read_idx(path: Path) -> UInt8[np.ndarray, " *shape"]:
    """An IDX file of bytes (Y. LeCun's MNIST format), plain or gzip-compressed.

    Two zero bytes, the type (8: unsigned bytes), the number of axes, each length as a big-endian
    32-bit integer, then the data.

    Raises:
        DataError: another magic number, another length than the header says, or a damaged gzip.
    """
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError("an IDX file", f"{path}: {error}", _REMEDY) from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08" or raw[3] == 0:
        raise DataError(
            "an IDX file of bytes (magic 00 00 08)", f"{path} starting with {raw[:4].hex(' ')}"
        )
    data_start = 4 + 4 * raw[3]
    if len(raw) < data_start:
        raise DataError("an IDX header", f"{path} of {len(raw)} bytes", _REMEDY)
    shape = tuple(np.frombuffer(raw, dtype=">u4", count=raw[3], offset=4).tolist())
    expected = data_start + math.prod(shape)
    if len(raw) != expected:
        raise DataError(
            f"{expected:,} bytes for IDX data of shape {shape}",
            f"{len(raw):,} in {path}",
            _REMEDY,
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=data_start).reshape(shape)


def read_cifar(
    path: Path, label_bytes: int, n_classes: int
) -> tuple[UInt8[np.ndarray, "n 3 32 32"], Int64[np.ndarray, " n"]]:
    """A file of CIFAR-10 (one label byte) or CIFAR-100 (coarse, then fine label byte) records.

    Each record ends with 3,072 bytes: a red, a green and a blue plane of 32 × 32 (A. Krizhevsky's
    binary version).

    Returns:
        images, and the last of the label bytes.

    Raises:
        DataError: not a whole number of records, or a label that is no class.
    """
    record = label_bytes + 3072
    raw = read_bytes(path)
    if len(raw) == 0 or len(raw) % record:
        raise DataError(
            f"a whole number of CIFAR records of {record} bytes",
            f"{len(raw):,} bytes in {path}",
            _REMEDY,
        )
    records = raw.reshape(-1, record)
    labels = records[:, label_bytes - 1].astype(np.int64)
    if labels.max() >= n_classes:
        raise DataError(f"labels below {n_classes}", f"{labels.max()} in {path}", _REMEDY)
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), labels


def map_stl10(path: Path) -> UInt8[np.ndarray, "n 3 96 96"]:
    """STL-10 images, memory-mapped: three planes of 96 × 96 each, column by column.

    Raises:
        DataError: not a whole number of images.
    """
    size = _size(path)
    if size == 0 or size % 27648:
        raise DataError(
            "a whole number of STL-10 images of 27,648 bytes", f"{size:,} bytes in {path}", _REMEDY
        )
    columns_first = np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, 3, 96, 96)
    return columns_first.transpose(0, 1, 3, 2)


def read_stl10_labels(path: Path, n_images: int) -> Int64[np.ndarray, " n"]:
    """STL-10 labels, published as 1..10, given back as 0..9.

    Raises:
        DataError: another number than there are images, or a label out of range.
    """
    raw = read_bytes(path).astype(np.int64)
    if len(raw) != n_images:
        raise DataError(f"{n_images} STL-10 labels", f"{len(raw)} in {path}", _REMEDY)
    if not ((raw >= 1) & (raw <= 10)).all():
        raise DataError("STL-10 labels in 1..10", f"{raw.min()}..{raw.max()} in {path}", _REMEDY)
    return raw - 1


def read_bytes(path: Path) -> UInt8[np.ndarray, " n"]:
    """All bytes of a file; raises DataError when it cannot be read."""
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError("a file that can be read", f"{path}: {error.strerror}") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError("a file that can be read", f"{path}: {error.strerror}") from error
