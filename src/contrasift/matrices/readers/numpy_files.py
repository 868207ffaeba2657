"""`.npy` and `.npz`: mapped where they are stored as they are, streamed where they are compressed."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.errors import DataError
from contrasift.matrices.parts import (
    HeldIds,
    MappedPart,
    Part,
    Stored,
    StreamedPart,
    choose_matrix,
    file_digest,
)
from contrasift.store.atomic import load_array
from contrasift.store.faults import reading_remedy

# Deflate reaches 1,032; embeddings are compressed by a few percent, even constant ones by less.
_MOST_RATIO = 200
_LOCAL_HEADER_BYTES = 30


def open_npy(path: Path, column: str | None) -> Stored:
    """A `.npy` file, mapped.

    Raises:
        DataError: damaged, with Python objects, without two axes, or a column asked for.
    """
    if column is not None:
        raise DataError(f"no column for {path}, which is one array", column, "Leave column= away")
    values = load_array(path)
    choose_matrix({path.name: values.shape}, path.name, str(path))
    return Stored(str(path), [MappedPart(str(path), values)], file_digest(path))


def open_npz(path: Path, column: str | None) -> Stored:
    """One array of an `.npz` archive; the others of one axis may be ids.

    Raises:
        DataError: damaged, with Python objects, without such an array, or one that would be far
            larger than its file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            headers: dict[str, tuple[Any, ...]] = {
                info.filename.removesuffix(".npy"): (info, *_header(archive, info))
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
    except FileNotFoundError as error:
        raise DataError("an existing .npz file", f"{path}, which does not exist") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
        raise _damaged(path, error) from error
    name = choose_matrix({key: entry[1] for key, entry in headers.items()}, column, str(path))
    info, shape, fortran, dtype, offset = headers[name]
    if dtype.hasobject:
        raise _damaged(path, ValueError(f"{name} has Python objects"))
    _refuse_bomb(path, info, shape, dtype, offset)
    ids = HeldIds(
        str(path),
        {
            key: lambda key=key: _held(path, key)
            for key, (_, size, _, kind, _) in headers.items()
            if size == shape[:1] and (kind.kind in "iuUS" or kind.names)
        },
    )
    if info.compress_type == zipfile.ZIP_STORED:
        begin = _begin_of(path, info) + offset
        order = "F" if fortran else "C"
        values = np.memmap(path, dtype, "r", begin, shape, order) if 0 not in shape else None
        part: Part = MappedPart(
            f"{path}:{name}", np.empty(shape, dtype) if values is None else values
        )
    else:
        part = _streamed(path, info, name, shape, fortran, dtype)
    return Stored(f"{path}:{name}", [part], file_digest(path), ids)


def _streamed(
    path: Path,
    info: zipfile.ZipInfo,
    name: str,
    shape: tuple[int, ...],
    fortran: bool,
    dtype: np.dtype,
) -> Part:
    if fortran:  # columns one after the other: there is no way around reading them all
        return MappedPart(f"{path}:{name}", _held(path, name))
    blocks = row_blocks(shape[0], shape[1] * dtype.itemsize)

    def stream() -> Iterator[np.ndarray]:
        with _explained_archive(path) as archive, archive.open(info) as file:
            _read_header(file)
            for block in blocks:
                yield _rows(file, block.stop - block.start, shape[1], dtype, path)

    def piece(number: int) -> np.ndarray:
        for found, values in enumerate(stream()):
            if found == number:
                return values
        raise AssertionError("unreachable")

    return StreamedPart(
        f"{path}:{name}",
        (shape[0], shape[1]),
        dtype,
        np.array([0, *(block.stop for block in blocks)]),
        piece,
        stream,
    )


def _rows(file: Any, count: int, width: int, dtype: np.dtype, path: Path) -> np.ndarray:
    wanted = count * width * dtype.itemsize
    try:
        data = file.read(wanted)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise _damaged(path, error) from error
    if len(data) < wanted:
        raise _damaged(path, ValueError("it is cut short"))
    return np.frombuffer(data, dtype).reshape(count, width)


def _explained_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def _held(path: Path, name: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as archive:
        return archive[name]


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[Any, ...]:
    with archive.open(info) as file:
        return _read_header(file)


def _read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran order, type, and the header's own length."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"an array of format {version}")
    return shape, fortran, dtype, file.tell()


def _begin_of(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's own bytes begin: behind its local header, name and extra field."""
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER_BYTES)
    lengths = [int.from_bytes(header[at : at + 2], "little") for at in (26, 28)]
    return info.header_offset + _LOCAL_HEADER_BYTES + sum(lengths)


def _refuse_bomb(
    path: Path, info: zipfile.ZipInfo, shape: tuple[int, ...], dtype: np.dtype, offset: int
) -> None:
    """An array must be as long as its header says, and not absurdly longer than what is stored."""
    wanted = offset + int(np.prod(shape, dtype=np.float64)) * dtype.itemsize
    if wanted != info.file_size:
        raise _damaged(path, ValueError(f"{info.file_size:,} bytes where {wanted:,} are announced"))
    if info.file_size > _MOST_RATIO * max(info.compress_size, 1 << 12):
        raise DataError(
            f"an archive of embeddings at {path}, which hardly compress",
            f"{info.file_size:,} bytes out of {info.compress_size:,}: a zip bomb, or a constant",
            "If it is meant, load it yourself and save it with numpy.save",
        )


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        "a whole .npz file without Python objects",
        f"{path}: {error}",
        reading_remedy(error, "Write it again with numpy.savez"),
    )
