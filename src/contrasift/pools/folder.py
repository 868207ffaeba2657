"""Pools of image files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from contrasift.errors import DataError
from contrasift.pools.base import ImageSource, channels_of, decoding_threads
from contrasift.pools.labels import natural_key
from contrasift.pools.passed_over import PassedOver
from contrasift.pools.prepare import ImageArray, image_extensions, is_grey_file, read_image_file
from contrasift.pools.whole import Whole

FOLDER_IMAGE_SIZE = 64


@dataclass(frozen=True)
class Found:
    """Files of one kind below a folder.

    Attributes:
        root: the folder.
        paths: relative paths with `/`, in natural order, as the file system spells them.
        stamps: (size, modification time in ns) of each; (-1, 0) for a link to nothing.
        passed_over: files of other kinds, and what could not be followed.
    """

    root: Path
    paths: list[str]
    stamps: list[tuple[int, int]]
    passed_over: PassedOver

    @property
    def ids(self) -> list[str]:
        r"""The paths as valid text: bytes that are not UTF-8 are written as `\xff`."""
        return [os.fsencode(path).decode("utf-8", "backslashreplace") for path in self.paths]


class FileSource(ImageSource):
    """Images in files, decoded when they are asked for.

    Args:
        found: the files.
        channels: 1 or 3; None looks at the files: grey if all of them are, else RGB.
        default_size: side in pixels when the user names none.
    """

    def __init__(
        self, found: Found, channels: int | None = None, default_size: int = FOLDER_IMAGE_SIZE
    ) -> None:
        self._found = found
        self._root = os.fspath(found.root)
        self.default_size = default_size
        self.threads: int = decoding_threads()
        self.channels: int = channels or channels_of(
            len(found.paths), lambda row: is_grey_file(self.file(row)), self.threads
        )

    def __len__(self) -> int:
        return len(self._found.paths)

    def decode(self, row: int, size: int) -> ImageArray:
        """One image, uint8 [size, size, channels]; raises UnreadableExample."""
        return read_image_file(self.file(row), size, self.channels)

    def file(self, row: int) -> Path:
        """Where the image lies."""
        return Path(os.path.join(self._root, self._found.paths[row]))

    def content(self) -> Iterable[bytes]:
        """Relative paths, sizes and modification times."""
        for path, (size, modified) in zip(self._found.paths, self._found.stamps, strict=True):
            yield b"%s\0%d\0%d\0" % (os.fsencode(path), size, modified)


def find_images(root: Path) -> Found:
    """All image files below a folder, by the extensions of the formats that Pillow decodes."""
    return find_files(root, image_extensions())


def find_files(root: Path, extensions: frozenset[str]) -> Found:
    """All files with certain extensions below a folder, in natural order of their relative paths.

    Hidden files and folders are skipped. Links to folders are followed, but each real folder is
    entered once, so that loops end.

    Args:
        root: the folder.
        extensions: lower-case, with their dot.

    Raises:
        DataError: the folder itself cannot be listed; one below it is left out and named.
    """
    found: list[tuple[str, tuple[int, int]]] = []
    others: list[str] = []
    unlisted: list[tuple[str, str]] = []
    for path, entry in _walk(root, unlisted):
        extension = os.path.splitext(path)[1].lower()
        wanted = extension in extensions
        try:
            status = entry.stat() if wanted or entry.is_symlink() else None
        except OSError as error:  # a link to nothing, or an odd one
            if wanted:  # the scan says so
                found.append((path, (-1, 0)))
            else:
                unlisted.append((path, error.strerror or str(error)))
            continue
        if wanted and status is not None and stat.S_ISREG(status.st_mode):
            found.append((path, (status.st_size, status.st_mtime_ns)))
        else:  # also a pipe, which would wait for ever
            others.append(extension)
    found.sort(key=lambda item: tuple(natural_key(part) for part in item[0].split("/")))
    paths, stamps = [path for path, _ in found], [stamp for _, stamp in found]
    shown = (
        (path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), reason)
        for path, reason in unlisted
    )
    return Found(root, paths, stamps, PassedOver.of(others, shown))


def folder_pool(found: Found) -> Whole:
    """Every image that was found below a folder, without labels.

    Raises:
        DataError: there are fewer than two.
    """
    if len(found.paths) < 2:
        raise DataError(
            "a folder with at least two images",
            "; ".join(
                [f"{len(found.paths)} image(s) below {found.root}", *found.passed_over.in_words()]
            ),
            "Name the folder that holds them; hidden files are skipped",
        )
    name = found.root.resolve().name
    return Whole(FileSource(found), name, found.ids, passed_over=found.passed_over)


def _walk(root: Path, unlisted: list[tuple[str, str]]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Relative path and entry of every file that is not hidden; real folders before linked ones.

    Folders below the root that cannot be listed are noted with the reason.
    """
    seen: set[tuple[int, int]] = set()
    real, linked = [("", os.fspath(root))], []
    while real or linked:
        prefix, folder = real.pop() if real else linked.pop()
        try:
            entries = _list_folder(folder, seen)
        except OSError as error:
            if not prefix:
                raise _not_listed(folder, error) from error
            unlisted.append((prefix, error.strerror or str(error)))
            continue
        for entry in entries:
            path = prefix + entry.name
            if entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                yield path, entry
            elif entry.is_symlink():
                linked.append((f"{path}/", entry.path))
            else:
                real.append((f"{path}/", entry.path))
        linked.sort(reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, through a file, to a name that is too long
        return False


def _list_folder(folder: str, seen: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    status = os.stat(folder)
    place = (status.st_dev, status.st_ino)
    if place in seen:
        return []
    seen.add(place)
    with os.scandir(folder) as entries:
        return list(entries)


def _not_listed(folder: str, error: OSError) -> DataError:
    return DataError(
        "a folder that can be listed",
        f"{folder}: {error.strerror}",
        "Check that it exists and that you may read it",
    )
