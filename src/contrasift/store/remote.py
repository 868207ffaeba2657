"""A matrix or another file behind an address: copied here once, or read by its rows."""

from __future__ import annotations

import contextlib
import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.arrays import row_numbers
from contrasift.errors import ContrasiftError, DataError
from contrasift.narration import Progress
from contrasift.store.atomic import atomic_path, is_temporary, no_array
from contrasift.store.cache import cache_folder
from contrasift.store.objects import RemoteFile, file_name, is_local_url, is_url, local_path

_ABANDONED_SECONDS = 86_400  # a copy that was begun and not touched since


def local_file(place: Path | str, progress: Progress | None = None) -> Path:
    """A file of this machine: a path as it is; of an object its copy in the cache.

    A copy is made under a temporary name and is used as long as the object has the size and the
    version that it had then. Copies of earlier versions are removed.

    Args:
        place: a path or an address.
        progress: called with (bytes done, bytes) while an object is copied.

    Raises:
        DataError: no such object, one that may not be read, is cut short, or changes meanwhile.
        ContrasiftError: the storage does not answer, or the cache has no room.
    """
    if not is_url(place):
        return Path(place)
    url = str(place)
    if is_local_url(url):
        return Path(local_path(url))
    found = RemoteFile.look_up(url)
    folder = cache_folder() / "objects" / _digest(url)
    copy = folder / _digest(f"{found.size}\0{found.version}") / (file_name(url) or "object")
    if found.version and _is_whole(copy, found):
        return copy
    with atomic_path(copy, "or set CONTRASIFT_CACHE to another folder") as temporary:
        found.copy_to(temporary, progress)
    _sweep(folder, copy.parent)
    return copy


def beside(place: Path | str, name: str) -> Path | str:
    """The place of another file in the same folder."""
    if not is_url(place):
        return Path(place).with_name(name)
    address, question, query = str(place).partition("?")
    return f"{address.rpartition('/')[0]}/{name}{question}{query}"


def exists(place: Path | str) -> bool:
    """Whether there is such a file or object.

    Raises:
        ContrasiftError: the storage does not answer.
    """
    if not is_url(place):
        return Path(place).exists()
    try:
        RemoteFile.look_up(str(place))
    except DataError:  # nothing there; or hidden from us, as some storage says of what is not there
        return False
    return True


def _is_whole(copy: Path, found: RemoteFile) -> bool:
    try:
        size = copy.stat().st_size
    except OSError:
        return False
    return found.size is None or size == found.size


def _sweep(folder: Path, kept: Path) -> None:
    """Remove copies of other versions, and what was left when a copying process died."""
    long_ago = time.time() - _ABANDONED_SECONDS
    with contextlib.suppress(OSError):  # another process may do the same
        for path in folder.glob("*/*"):
            temporary = is_temporary(path.name)
            if path.stat().st_mtime < long_ago if temporary else path.parent != kept:
                path.unlink(missing_ok=True)
        for version in folder.iterdir():
            if not any(version.iterdir()):
                version.rmdir()


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class RemoteMatrix:
    """A `.npy` array behind an address, whose rows are read when they are asked for.

    Attributes:
        file: the object, as it was when this was made.
        shape: of the array.
        dtype: of its entries.
    """

    def __init__(self, file: RemoteFile) -> None:
        """Read the header.

        Args:
            file: the object; every read makes sure that it is still the one that was looked up.

        Raises:
            DataError: no `.npy` file, one with Python objects, in Fortran order, cut short, or
                another by now.
            ContrasiftError: the storage does not answer.
        """
        self.file = file
        file.check()
        shape, fortran, dtype, self._offset = _header(self.file)
        self.shape: tuple[int, ...] = shape
        self.dtype: np.dtype = dtype
        if fortran and len(self.shape) > 1:
            raise DataError(
                f"{self.file.name} with its rows one after the other (C order)",
                "columns one after the other (Fortran order)",
                "Write it again: numpy.save(path, numpy.ascontiguousarray(matrix))",
            )
        if not self.shape:
            raise DataError(f"an array with rows in {self.file.name}", "a single number")
        self._row_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        whole = self._offset + len(self) * self._row_bytes
        if self.file.length < whole:
            raise DataError(
                f"{whole:,} bytes in {self.file.name}, as its header says",
                f"{self.file.length:,}: it is cut short",
                "Copy it there again",
            )

    @property
    def ndim(self) -> int:
        """Axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Of the array, were it here."""
        return len(self) * self._row_bytes

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"RemoteMatrix({self.file.name!r}, {self.dtype}{list(self.shape)})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it; an algorithm that knows better asks for rows."""
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some rows, in the order asked for; the object is held against what it was before.

        Args:
            rows: a slice, or integers in any order, repeats and negative ones allowed.

        Raises:
            IndexError: no such row.
            TypeError: anything else, such as a mask.
            DataError: the object is gone, is shorter, or has changed.
            ContrasiftError: the storage does not answer.
        """
        wanted = row_numbers(rows, len(self))
        ascending, place = np.unique(wanted, return_inverse=True)
        found = np.empty((ascending.size, *self.shape[1:]), dtype=self.dtype)
        if found.nbytes:
            self._read(ascending, found)
            self.file.check()
        in_order = wanted.size == ascending.size and (wanted == ascending).all()
        return found if in_order else found[place]

    def _read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Read ascending rows."""
        begin = self._offset + rows * self._row_bytes
        for own, piece in self.file.read_together(begin, begin + self._row_bytes):
            block = np.frombuffer(piece, dtype=self.dtype).reshape(-1, *self.shape[1:])
            out[own] = block[rows[own] - rows[own.start]]


def _header(file: RemoteFile) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran order, type, and where the entries begin.

    Raises:
        DataError: no `.npy` file, or one with Python objects.
    """
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with file.open(buffer_bytes=4096) as opened:
        try:
            version = np.lib.format.read_magic(opened)
            if version not in readers:
                raise ValueError(f"format {version}")
            shape, fortran, dtype = readers[version](opened)
            if dtype.hasobject:
                raise ValueError("Python objects")
            return shape, fortran, dtype, opened.tell()
        except ContrasiftError:
            raise
        except Exception as error:  # a damaged header is parsed as Python and fails in many ways
            raise no_array(file.name, error) from error
