"""The matrix, and which rows are whose, as files that every node opens by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.arrays import Rows, column_blocks, forget_pages, row_blocks
from contrasift.store.atomic import atomic_path, load_array, sha256_of
from contrasift.store.objects import RemoteFile
from contrasift.store.remote import RemoteMatrix


@dataclass(frozen=True)
class SharedMatrix:
    """A matrix that tasks open by themselves.

    Attributes:
        place: path of a `.npy` file that every node sees, or an object as it was in the beginning.
    """

    place: Path | RemoteFile

    def open(self) -> Rows:
        """Its rows: memory-mapped, or read from the object, which must not have changed.

        Raises:
            DataError: it is not there, or not as it was.
            ContrasiftError: the storage does not answer.
        """
        rows: Any
        if isinstance(self.place, RemoteFile):
            rows = RemoteMatrix(self.place)
        else:
            rows = load_array(self.place)
        return rows

    @property
    def digest(self) -> str:
        """What changes when its content does."""
        if isinstance(self.place, RemoteFile):
            return self.place.digest
        return sha256_of(self.place)


def shared_matrix(values: Rows, folder: Path) -> SharedMatrix:
    """The file behind a memory-mapped matrix; one that is in memory is written into the folder.

    Raises:
        ContrasiftError: the folder cannot be written.
    """
    if isinstance(values, RemoteMatrix):
        return SharedMatrix(values.file)
    file = getattr(values, "filename", None)
    if file is not None:
        path = Path(file).resolve()
        there = load_array(path) if path.suffix == ".npy" else None
        same = (
            there is not None
            and (there.shape, there.dtype, there.strides)
            == (values.shape, values.dtype, values.strides)
            and getattr(there, "offset", 0) == getattr(values, "offset", -1)
        )
        if same:
            return SharedMatrix(path)
    path = Path(folder).resolve() / "matrix.npy"
    with atomic_path(path) as temporary, open(temporary, "wb") as target:
        if isinstance(values, np.ndarray):
            np.save(target, values, allow_pickle=False)
        else:
            _save_blocks(target, values)
    return SharedMatrix(path)


def _save_blocks(target: Any, values: Rows) -> None:
    """Rows that lie in several files, as `numpy.save` writes them, block by block."""
    header = {"descr": values.dtype.str, "fortran_order": False, "shape": values.shape}
    np.lib.format.write_array_header_1_0(target, header)
    for block in row_blocks(values.shape[0], values.shape[1] * values.dtype.itemsize):
        target.write(np.ascontiguousarray(values[block]).tobytes())
        forget_pages(values)


@dataclass(frozen=True)
class SharedRows:
    """Row numbers that tasks read by themselves.

    Attributes:
        path: of a `.npy` file that every node sees.
        start: of the part that is meant.
        stop: where it ends.
    """

    path: Path
    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many."""
        return self.stop - self.start

    def part(self, start: int, stop: int) -> SharedRows:
        """Some of them."""
        return SharedRows(self.path, self.start + start, self.start + stop)

    def open(self) -> np.ndarray:
        """The numbers, memory-mapped.

        Raises:
            DataError: the file is not there.
        """
        return load_array(self.path)[self.start : self.stop]

    def read(self) -> np.ndarray:
        """The numbers, in memory.

        Raises:
            DataError: the file is not there.
        """
        return np.array(self.open())


def shared_rows(rows: np.ndarray, folder: Path) -> SharedRows:
    """Write row numbers into the folder.

    Raises:
        ContrasiftError: the folder cannot be written.
    """
    path = Path(folder).resolve() / "rows.npy"
    with atomic_path(path) as temporary, open(temporary, "wb") as target:
        np.lib.format.write_array_header_1_0(target, np.lib.format.header_data_from_array_1_0(rows))
        for block in column_blocks(rows.size):
            target.write(rows[block].tobytes())
            forget_pages(rows)
    return SharedRows(path, 0, rows.size)
