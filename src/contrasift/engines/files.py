"""The matrix, and which rows are whose, as files that every node opens by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.arrays import Rows, column_blocks, read_blocks, row_blocks
from contrasift.store.atomic import load_array, sha256_of, write_array, write_rows
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
    if isinstance(values, np.ndarray):
        write_array(path, values)
    else:
        blocks = row_blocks(values.shape[0], values.shape[1] * values.dtype.itemsize)
        write_rows(path, values.shape, values.dtype, read_blocks(values, blocks))
    return SharedMatrix(path)


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
    write_rows(path, rows.shape, rows.dtype, read_blocks(rows, column_blocks(rows.size)))
    return SharedRows(path, 0, rows.size)
