"""Pictures of a selection's examples, where its source has images, their files or their addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import ContrasiftError, DataError
from contrasift.matrices import Matrix, source_tables
from contrasift.pools.prepare import check_encoded_size, read_image_bytes, read_image_file
from contrasift.report import thumbnail
from contrasift.report.files import RunFiles
from contrasift.report.sections.pictures import Pictures
from contrasift.store.objects import is_url
from contrasift.store.remote import local_file

# What tools call a column of images, the surest first; looked for where none is named.
_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "image_path", "file_name", "filename")
_COLUMNS += ("path", "filepath", "file")
_SIDE = 128  # decoded once, for the largest picture of the page at twice its size
_AT_ONCE = 8


class SourceImages:
    """Images by row: bytes, paths or addresses, in a column of the source's tables or in its ids.

    Attributes:
        column: which column; `id` if the ids themselves are paths.
        missing: how many could not be read.
    """

    def __init__(
        self, column: str, values: Callable[[np.ndarray], Sequence[Any]], folders: Sequence[Path]
    ) -> None:
        self.column, self._values, self._folders = column, values, folders
        self.missing = 0
        self._held: dict[int, np.ndarray | None] = {}

    @classmethod
    def of(cls, matrix: Matrix, asked: str | None) -> SourceImages | None:
        """The images of a source.

        Args:
            matrix: as it was opened.
            asked: the column that holds them; None: one that is called as such columns mostly are,
                whose first value is an image or a file that is there. Addresses are not asked for
                unasked.

        Returns:
            what reads them; None if nothing was asked for and there are none.

        Raises:
            DataError: no such column.
        """
        folders = _folders(matrix)
        tables = source_tables(matrix)
        names = [set(table.schema.names) for _, _, table in tables]
        there = set.intersection(*names) if names else set()
        own = matrix.source.get("id")
        found = [asked] if asked is not None else [name for name in _COLUMNS if name in there]
        for column in found:
            if column in there:
                images = cls(column, _of_tables(tables, column), folders)
            elif column in (own, "id") and matrix.ids is not None:
                images = cls(column, _of_ids(matrix), folders)
            else:
                continue
            if asked is not None or images.shows_something():
                return images
        if asked is not None:
            listed = sorted(there | ({str(own or "id")} if matrix.ids is not None else set()))
            raise DataError(
                f"a column {asked!r} of images, their files or addresses",
                f"columns {', '.join(listed) or 'none'}",
            )
        images = cls("id", _of_ids(matrix), folders) if matrix.ids is not None else None
        return images if images is not None and images.shows_something() else None

    def shows_something(self) -> bool:
        """Whether the first row has an image here, as far as can be seen without a network."""
        first = self._values(np.zeros(1, dtype=np.int64))[0]
        if isinstance(first, str):
            return not is_url(first) and self._file(first) is not None
        return bool(_bytes_in(first) or (isinstance(first, dict) and self._file(first.get("path"))))

    def fetch(self, rows: np.ndarray) -> None:
        """Read the images of some rows, ascending, of which `image` then speaks."""
        with ThreadPoolExecutor(_AT_ONCE) as workers:
            images = workers.map(self._decoded, self._values(rows))
            self._held = dict(zip(rows.tolist(), images, strict=True))
        self.missing = sum(image is None for image in self._held.values())

    def image(self, row: int) -> np.ndarray | None:
        """uint8 [side, side, 3]; None if it cannot be had."""
        return self._held.get(row)

    def _decoded(self, value: Any) -> np.ndarray | None:
        try:
            if data := _bytes_in(value):
                check_encoded_size(len(data))
                return read_image_bytes(data, _SIDE, 3)
            path = value.get("path") if isinstance(value, dict) else value
            file = local_file(path) if isinstance(path, str) and is_url(path) else self._file(path)
            return None if file is None else read_image_file(file, _SIDE, 3)
        except (ContrasiftError, OSError, ValueError, ImportError):  # of storage and networks
            return None

    def _file(self, path: Any) -> Path | None:
        if not isinstance(path, str) or not path:
            return None
        try:
            places = (folder / path for folder in self._folders)
            return next((place for place in places if place.is_file()), None)
        except (OSError, ValueError):  # a text that can be no path
            return None


class SourcePictures(Pictures):
    """Thumbnails from the source of a selection, which are read all at once."""

    def __init__(self, files: RunFiles, images: SourceImages | None, rows: np.ndarray) -> None:
        """Begin by collecting which are wanted.

        Args:
            files: of the selection.
            images: of the source; None: there are none.
            rows: int64 [n]; the stored row of every row of the selection's table.
        """
        super().__init__(files)
        self.images = images
        self._row_of = dict(zip(files.chosen["index"].tolist(), rows.tolist(), strict=True))
        self._wanted: set[int] | None = set()

    def fetch(self) -> None:
        """Read what was wanted so far; from now on pictures are given."""
        if self.images is not None:
            self.images.fetch(np.array(sorted(self._wanted or ()), dtype=np.int64))
        self._wanted = None

    def picture(self, index: int, side: int) -> str:
        """A thumbnail as data URI; empty while they are collected, or where there is no image."""
        if self.images is None:
            return ""
        row = self._row_of[index]
        if self._wanted is not None:
            self._wanted.add(row)
            return ""
        image = self.images.image(row)
        return "" if image is None else thumbnail(image, side)


def _folders(matrix: Matrix) -> list[Path]:
    """Where relative paths may begin: here, and where the source lies."""
    place = str(matrix.source.get("place", ""))
    metadata = [Path(one).parent for one in matrix.source.get("metadata") or () if not is_url(one)]
    own = [] if is_url(place) else [Path(place), Path(place).parent]
    return [Path(), *dict.fromkeys([*own, *metadata])]


def _bytes_in(value: Any) -> bytes | None:
    """Encoded bytes: as they are, or as Hugging Face keeps them, `{"bytes": …, "path": …}`."""
    found = value.get("bytes") if isinstance(value, dict) else value
    return bytes(found) if isinstance(found, (bytes, bytearray, memoryview)) and found else None


def _of_tables(tables: Sequence[Any], column: str) -> Callable[[np.ndarray], list[Any]]:
    import pyarrow as pa

    def values(rows: np.ndarray) -> list[Any]:
        found: list[Any] = []
        begin = 0
        for _, _, table in tables:
            for batch in table.batches([column]):
                first, last = np.searchsorted(rows, [begin, begin + batch.num_rows])
                if last > first:
                    found += batch.column(0).take(pa.array(rows[first:last] - begin)).to_pylist()
                begin += batch.num_rows
                if len(found) == rows.size:
                    return found
        return found

    return values


def _of_ids(matrix: Matrix) -> Callable[[np.ndarray], list[Any]]:
    ids = matrix.ids
    return lambda rows: [str(one) for one in ids.take(rows).to_pylist()]
