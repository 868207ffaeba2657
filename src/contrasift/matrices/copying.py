"""What cannot be mapped is written once, in blocks, as a `.npy` file that can."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from contrasift.errors import ContrasiftError, DataError
from contrasift.matrices.matrix import Matrix
from contrasift.matrices.parts import MappedPart
from contrasift.store.atomic import load_array, write_rows

Say = Callable[[str], None]
Progress = Callable[[int, int], None]

_SPARE_BYTES = 64 << 20  # what else is written beside it


def mapped_copy(
    matrix: Matrix, folder: Path, say: Say | None = None, progress: Progress | None = None
) -> Matrix:
    """The same rows in a form that any of them can be read from at once.

    Shards that can be mapped stay where they are. The copy has the type of the source, so fp16
    stays fp16; it is used again as long as the source is the same.

    Args:
        matrix: as it was opened.
        folder: the cache of the output folder.
        say: told of the copy's size before it is written.
        progress: called with (rows done, rows).

    Raises:
        ContrasiftError: the folder cannot be written, or has no room.
        DataError: rows that cannot be read; nothing is left behind.
    """
    if matrix.in_place:
        return matrix
    path = Path(folder) / f"embeddings-{matrix.fingerprint[:16]}.npy"
    part = _earlier(path, matrix)
    if part is None:
        _check_room(path, matrix)
        if say is not None:
            say(
                f"{matrix.nbytes / 1e6:,.0f} MB are written to {path}, once: rows are read from there"
            )
        write_rows(path, matrix.shape, matrix.dtype, _blocks(matrix, progress))
        part = load_array(path)
    return matrix.reading([MappedPart(str(path), part)])


def _earlier(path: Path, matrix: Matrix) -> np.ndarray | None:
    try:
        found = load_array(path)
    except DataError:
        return None
    return found if (found.shape, found.dtype) == (matrix.shape, matrix.dtype) else None


def _check_room(path: Path, matrix: Matrix) -> None:
    there = path.parent
    while not there.exists() and there != there.parent:
        there = there.parent
    free = shutil.disk_usage(there).free
    if matrix.nbytes + _SPARE_BYTES > free:
        raise ContrasiftError(
            f"room for {matrix.nbytes / 1e6:,.0f} MB of rows in {path.parent}",
            f"{free / 1e6:,.0f} MB free",
            "Free space or choose another place; .npy files, also in shards, need no copy",
        )


def _blocks(matrix: Matrix, progress: Progress | None) -> Iterator[np.ndarray]:
    for begin, block in matrix.blocks():
        yield block
        if progress is not None:
            progress(begin + len(block), len(matrix))
