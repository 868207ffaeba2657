"""Objects behind addresses such as `s3://bucket/name`: looked up and read in byte ranges, by fsspec.

fsspec opens the storage, finds the credentials, and tries again what fails for a moment; nothing
here does. An object is known by its size and version when it is looked up, and is held against
them whenever it was read: one that changes meanwhile is an error, never a mixture.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.narration import Progress

# One letter before the colon is a drive of Windows.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")
# By what different kinds of storage tell versions of an object apart; content before time.
_VERSIONS = (
    *("ETag", "etag", "Content-MD5", "Digest", "md5Hash", "blob_id", "generation"),
    *("Last-Modified", "LastModified", "last_modified", "mtime", "created"),
)
_BUFFER_BYTES = 1 << 20
# A request costs about as much time as so many bytes: smaller gaps are read too.
_GAP_BYTES = 256 << 10
_REQUEST_BYTES = 8 << 20
_ON_THE_WAY = 8  # requests at once
# What the disk says, and not the storage, while an object is copied.
_LOCAL_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def is_url(place: object) -> bool:
    """Whether this is the address of an object, and not a path."""
    return isinstance(place, str) and _URL.match(place) is not None


def is_local_url(place: object) -> bool:
    """Whether this is a path that is written as an address."""
    return isinstance(place, str) and place.startswith(("file://", "local://"))


def local_path(url: str) -> str:
    """The path behind `file:///…`."""
    from fsspec.core import url_to_fs

    return url_to_fs(url)[1]


def shown(url: str) -> str:
    """An address for messages: without a password or a signature in it."""
    bare = url.partition("?")[0] if _is_web(url) else url
    return re.sub(r"(://)[^/@:]*:[^/@]*@", r"\1", bare)


def file_name(place: Path | str) -> str:
    """What a file or an object itself is called."""
    if not is_url(place):
        return Path(place).name
    url = str(place)
    path = unquote(urlsplit(url).path) if _is_web(url) else url.partition("://")[2]
    return PurePosixPath(path).name


def matching(pattern: str) -> list[str]:
    """Addresses of all objects that a pattern with `*`, `?` or `[…]` names, sorted.

    Raises:
        ContrasiftError: as `RemoteFile.look_up`.
    """
    with _explained(pattern):
        fs, path = _opened(pattern)
        fs.invalidate_cache()
        # What stands before the first folder with a wildcard is the same in address and path.
        head = fixed_head(pattern)
        inside = len(pattern) - len(head)
        begin = len(path) - inside
        return sorted(head + name[begin:] for name in fs.glob(path))


def fixed_head(pattern: str) -> str:
    """An address up to the last `/` before anything in it may vary, or before its last name."""
    bare = pattern.partition("?")[0] if _is_web(pattern) else pattern
    varies = re.search(r"[*?\[{]", bare)
    return bare[: bare.rindex("/", 0, varies.start() if varies else len(bare)) + 1]


@dataclass(frozen=True)
class RemoteFile:
    """An object as it was when it was looked up.

    Attributes:
        url: its address.
        size: in bytes; None where its storage does not say.
        version: what changes whenever the object does; empty where its storage tells nothing.
    """

    url: str
    size: int | None
    version: str

    @classmethod
    def look_up(cls, url: str) -> RemoteFile:
        """Ask for an object's size and version.

        Raises:
            UsageError: a protocol that nobody knows, or whose package is not installed.
            DataError: no such object, or one that may not be read.
            ContrasiftError: the storage does not answer.
        """
        with _explained(url):
            fs, path = _opened(url)
            fs.invalidate_cache(path)  # a listing from before would hide a change
            about = fs.info(path)
            if about.get("type") == "directory":
                raise DataError(f"an object at {shown(url)}", "a folder", "Name the object itself")
            size = about.get("size")
            return cls(url, None if size is None else int(size), _version(fs, path, about))

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return shown(self.url)

    @property
    def digest(self) -> str:
        """Hash of its address, size and version: another after every change that can be seen."""
        text = f"{self.url}\0{self.size}\0{self.version}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def length(self) -> int:
        """Its size.

        Raises:
            DataError: unknown.
        """
        if self.size is None:
            raise DataError(
                f"storage that tells the size of {self.name}",
                "none",
                "Copy the object to this machine and name the copy",
            )
        return self.size

    def read(self, start: int, stop: int) -> bytes:
        """The bytes start..stop.

        Raises:
            DataError: the object is gone, may not be read, or is shorter.
            ContrasiftError: the storage does not answer.
        """
        return self.read_ranges([(start, stop)])[0]

    def read_ranges(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of several ranges, a few requests at a time where the storage takes them.

        Raises:
            DataError: the object is gone, may not be read, or is shorter; a server that does not
                know byte ranges.
            ContrasiftError: the storage does not answer.
        """
        found: list[bytes] = []
        for first in range(0, len(spans), _ON_THE_WAY):
            some = spans[first : first + _ON_THE_WAY]
            with _explained(self.url):
                fs, path = _opened(self.url)
                starts, stops = [start for start, _ in some], [stop for _, stop in some]
                pieces = fs.cat_ranges([path] * len(some), starts, stops, on_error="raise")
            for (start, stop), piece in zip(some, pieces, strict=True):
                self._check_piece(start, stop, len(piece))
                found.append(piece)
        return found

    def read_together(self, begin: np.ndarray, stop: np.ndarray) -> Iterator[tuple[slice, bytes]]:
        """Many ranges, neighbours in one request, about 64 MiB on their way at a time.

        Args:
            begin: int64 [m], ascending.
            stop: int64 [m]; where each ends.

        Yields:
            which ranges, and the bytes from where the first of them begins to where the last ends.

        Raises:
            ContrasiftError: as `read_ranges`.
        """
        ends = _ends_of_requests(begin, stop)
        starts = np.append(0, ends[:-1])
        spans = list(zip(begin[starts].tolist(), stop[ends - 1].tolist(), strict=True))
        for first in range(0, len(spans), _ON_THE_WAY):
            pieces = self.read_ranges(spans[first : first + _ON_THE_WAY])
            for number, piece in enumerate(pieces, first):
                yield slice(int(starts[number]), int(ends[number])), piece

    def check(self) -> None:
        """Look the object up again.

        Raises:
            DataError: it is another by now.
        """
        if (now := RemoteFile.look_up(self.url)) != self:
            said = "" if now.size == self.size else f" ({self.size} bytes before, now {now.size})"
            raise DataError(
                f"the same {self.name} from beginning to end",
                f"an object that changed while it was read{said}",
                "Repeat the command when nobody writes to it",
            )

    def open(self, buffer_bytes: int = _BUFFER_BYTES) -> io.BufferedReader:
        """A file to read and seek in, so many bytes at least in a request."""
        return io.BufferedReader(_Reader(self), buffer_bytes)

    def copy_to(self, path: Path, progress: Progress | None = None) -> None:
        """Copy the whole object, in one request, and see that it is whole and still the same.

        Args:
            path: of the copy; overwritten.
            progress: called with (bytes done, bytes).

        Raises:
            DataError: cut short, or changed meanwhile.
            ContrasiftError: the storage does not answer.
            OSError: the disk is full, or cannot be written.
        """
        from fsspec.callbacks import Callback

        class Told(Callback):
            def call(self, *_: Any, **__: Any) -> None:
                if progress is not None and outer.size:
                    progress(self.value, outer.size)

        outer = self
        with _explained(self.url):
            fs, remote = _opened(self.url)
            fs.get_file(remote, str(path), callback=Told())
        copied = path.stat().st_size
        self.check()
        if self.size is not None and copied != self.size:
            raise _cut_short(self.name, self.size, copied)

    def _check_piece(self, start: int, stop: int, got: int) -> None:
        if got == stop - start:
            return
        if got > stop - start:
            raise DataError(
                f"a server that gives byte ranges of {self.name}",
                f"{got:,} bytes where {stop - start:,} were asked for",
                "Copy the object to this machine and name the copy",
            )
        self.check()  # if it was replaced by a shorter one, say that
        raise _cut_short(self.name, stop, start + got)


class _Reader(io.RawIOBase):
    """An object as a raw file."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._end = file.length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        if origin + offset < 0:
            raise OSError(errno.EINVAL, "before the first byte")
        self._at = origin + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), max(0, self._end - self._at))
        if count:
            buffer[:count] = self._file.read(self._at, self._at + count)
            self._at += count
        return count


def _ends_of_requests(begin: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Where in ascending ranges one request ends: before a gap, or when it would be too large."""
    if not begin.size:
        return np.empty(0, dtype=np.int64)
    parted = begin[1:] - stop[:-1] > _GAP_BYTES
    run = np.append(0, np.cumsum(parted))
    origin = begin[np.append(0, np.flatnonzero(parted) + 1)][run]
    portion = (begin - origin) // _REQUEST_BYTES
    return np.append(np.flatnonzero(parted | (np.diff(portion) != 0)) + 1, begin.size)


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _opened(url: str) -> tuple[Any, str]:
    """The file system, which fsspec keeps and makes anew after a fork, and the path in it."""
    from fsspec.core import url_to_fs

    return url_to_fs(url)


def _version(fs: Any, path: str, about: dict[str, Any]) -> str:
    for field in _VERSIONS:
        if about.get(field):
            return f"{field}={about[field]}"
    # Web servers that tell nothing: fsspec takes their objects for unchanging, we do not.
    return "" if _is_web(path) else f"ukey={fs.ukey(path)}"


def _cut_short(name: str, wanted: int, got: int) -> DataError:
    return DataError(
        f"the first {wanted:,} bytes of {name}",
        f"{got:,}: it is cut short",
        "Copy it there again, and repeat the command",
    )


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """What the many packages behind fsspec raise, in our words."""
    try:
        yield
    except ContrasiftError:
        raise
    except Exception as error:
        if getattr(error, "errno", None) in _LOCAL_FAULTS:
            raise
        raise _in_words(shown(url), url, error) from error


def _in_words(name: str, url: str, error: Exception) -> ContrasiftError:
    # A web server's refusals come as "not found", with what it said behind.
    behind = error.__cause__ if isinstance(error, FileNotFoundError) else None
    cause = behind if isinstance(behind, OSError) or hasattr(behind, "status") else error
    said = (str(cause) or type(cause).__name__).split("\n")[0].replace(url, name)[:300]
    protocol = url.partition("://")[0]
    if isinstance(error, ImportError):
        named = re.findall(r'"([\w.-]+)"', said) or re.findall(r"[Ii]nstall ([\w.-]+) to", said)
        remedy = f"pip install {' '.join(named)}" if named else "Install what it names"
        return ContrasiftError(f"the package that opens {protocol}://", said, remedy)
    if isinstance(error, ValueError) and "rotocol not known" in str(error):
        return UsageError(
            "an address of a kind that fsspec opens, such as s3://, gs://, abfs:// or https://",
            name,
            "Check the spelling; paths of files need no `://`",
        )
    status = getattr(cause, "status", None)
    if isinstance(cause, PermissionError) or status in (401, 403):
        return DataError(
            f"{name} to be readable",
            f"no permission: {said}",
            "Give credentials in the way that the storage's package for fsspec takes them",
        )
    if isinstance(cause, FileNotFoundError) or status in (404, 410):
        return DataError(f"an object at {name}", "nothing there", "Check the address")
    return ContrasiftError(
        f"{name} to be read",
        f"{type(cause).__name__}: {said}",
        "Repeat the command when the storage answers; what is finished is kept",
    )
