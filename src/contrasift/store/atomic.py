"""Files that are either whole or not there: written beside, flushed, then renamed."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.reading import read_text
from contrasift.store.faults import reading_remedy, what_to_do

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def atomic_path(path: Path, then: str = "or choose another place") -> Iterator[Path]:
    """Hand out a temporary path beside `path`; rename it there when the block ends well.

    The temporary file is locked while its process lives. What a killed process left beside `path` is
    removed by the next that writes the same file; in a run folder, by the next that holds it.

    Args:
        path: of the file.
        then: what is said behind "repeat the command" when it cannot be written there.

    Raises:
        UsageError: an address of an object.
        ContrasiftError: the folder cannot be written, or the disk is full.
    """
    path = local_output(path)
    temporary: Path | None = None
    handle = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(_found_beside(path.parent.absolute()).get(path.name, ()))
        handle, temporary = _new_beside(path)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise ContrasiftError(
            f"to write {path}",
            error.strerror or str(error),
            f"{what_to_do(error)}, then repeat the command; {then}",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


def local_output(path: Path | str) -> Path:
    """A place to write to, as a path.

    Raises:
        UsageError: an address such as `s3://bucket/name`, or what `Path` makes of one.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:(:.*:)?/", os.fspath(path)):
        raise UsageError(
            "results and run folders on this machine, or mounted there",
            f"{path}, an address",
            "Write to a folder, and copy it to the storage when it is whole",
        )
    return Path(path)


def reserve(file: Path | int) -> None:
    """Give a file that was made at its full size, such as a memory map, its blocks on the disk.

    Without them a disk that fills up ends the process, with no word, when the memory is written.

    Args:
        file: its path, or the descriptor of one that is open.

    Raises:
        OSError: the disk has no room for it.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS, Windows
        return
    if isinstance(file, Path):
        with open(file, "r+b") as opened:
            return reserve(opened.fileno())
    try:
        os.posix_fallocate(file, 0, os.fstat(file).st_size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # file systems without
            raise


_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")


def is_temporary(name: str) -> bool:
    """Whether a file's name is one that `atomic_path` hands out."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_abandoned(files: Iterable[Path], *, unknown: bool = False) -> None:
    """Remove temporary files whose processes have ended.

    Args:
        files: with names of `atomic_path`.
        unknown: whether to remove them too where the file system cannot tell.
    """
    for file in files:
        with contextlib.suppress(OSError):
            with open(file, "rb") as opened:
                ended = _has_ended(opened.fileno())
            if ended or (unknown and ended is None):
                file.unlink()


def _new_beside(path: Path) -> tuple[int | None, Path]:
    """A new temporary file, and what it is locked by while it is open."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.fchmod(handle, 0o666 & ~_umask())
        lock = _sign_of_life(handle)
        if lock is None or os.fstat(lock).st_nlink:
            return lock, Path(name)
        os.close(lock)  # somebody took it for abandoned before it was locked


def _sign_of_life(handle: int) -> int | None:
    """Lock a file until it is closed, be it by the end of the process; None where that is not had."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_SH)
            return handle
    os.close(handle)  # an open file cannot be renamed on Windows
    return None


def _has_ended(handle: int) -> bool | None:
    """Whether nobody has locked a file; None if that cannot be told."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@functools.lru_cache(maxsize=64)
def _found_beside(folder: Path) -> dict[str, list[Path]]:
    """Temporary files by what they were to become, as this process found a folder: looked at once."""
    found: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if fits := _TEMPORARY.fullmatch(entry.name):
                found.setdefault(fits[1], []).append(Path(entry.path))
    return found


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    # Windows cannot open folders; there the rename alone has to do.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; NumPy numbers and arrays become plain ones."""
    write_text(path, json.dumps(value, indent=2, default=plain_value, ensure_ascii=False) + "\n")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a `.npy` file atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a `.npz` file atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_rows(
    path: Path, shape: tuple[int, ...], dtype: Any, blocks: Iterable[np.ndarray]
) -> None:
    """Write a `.npy` file, as `write_array` does, of which only a block at a time is in memory.

    Args:
        path: of the file.
        shape: of all rows.
        dtype: of the entries, which blocks of another are brought to.
        blocks: consecutive rows.
    """
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype=dtype).data)


def plain_value(value: object) -> object:
    """NumPy numbers and arrays, paths, sets and tuples as JSON has them; `default` of `json.dumps`.

    Raises:
        TypeError: anything else.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no place in a JSON file")


def read_json(path: Path, twice: str = "the last") -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: of the file.
        twice: of a name that stands there twice, `the last` counts; or it is `refused`.

    Raises:
        DataError: missing, unreadable, not a JSON object, or with a name that was refused.
    """
    text = read_text(path, f"JSON at {path}")
    try:
        value = json.loads(text, object_pairs_hook=_each_once if twice == "refused" else None)
    except (ValueError, RecursionError) as error:
        raise DataError(f"a JSON file at {path}", str(error)) from error
    if not isinstance(value, dict):
        raise DataError(f"a JSON object in {path}", type(value).__name__)
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        again = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"the name {again!r} more than once")
    return found


def sha256_of(path: Path) -> str:
    """Hash of a file's content.

    Raises:
        DataError: it does not exist or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError("a file that can be read", f"{path}: {error.strerror}") from error


def no_array(place: object, error: Exception) -> DataError:
    """What is said of a file that is no whole `.npy` file."""
    return DataError(
        "a whole .npy file without Python objects",
        f"{place}: {getattr(error, 'strerror', None) or error}",
        reading_remedy(error, "Write it again with numpy.save"),
    )


def load_array(path: Path, *, memory_map: bool = True) -> np.ndarray:
    """A `.npy` file, memory-mapped; never a pickle.

    Raises:
        DataError: missing, truncated, pickled, or not a `.npy` file.
    """
    path = Path(path)
    try:
        array = np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError("an existing .npy file", f"{path}, which does not exist") from error
    except Exception as error:  # a damaged header is parsed as Python and fails in many ways
        raise no_array(path, error) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError("one array in a .npy file", f"{path}, an archive of several")
    return array
