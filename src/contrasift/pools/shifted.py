"""A pool that comes after another: the same images under later indices."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.pools.base import ImageSource, Pool
from contrasift.pools.prepare import AnyImage, ImageArray


class ShiftedSource(ImageSource):
    """The rows of a source, called first, first + 1, ...

    Args:
        source: where the images are.
        first: what its row 0 is called.
    """

    def __init__(self, source: ImageSource, first: int) -> None:
        self._source = source
        self.first = first
        self.channels: int = source.channels
        self.default_size: int = source.default_size
        self.threads: int = source.threads
        self.always_readable: bool = source.always_readable

    def __len__(self) -> int:
        return len(self._source)

    def decode(self, row: int, size: int) -> ImageArray:
        """One image, uint8 [size, size, channels]; raises UnreadableExample."""
        return self._source.decode(row - self.first, size)

    def direct(self, rows: np.ndarray, size: int) -> np.ndarray | None:
        """Images straight from memory."""
        return self._source.direct(rows - self.first, size)

    def file(self, row: int) -> Path | None:
        """The file that is this image and nothing else."""
        return self._source.file(row - self.first)

    def encoded(self, row: int) -> tuple[bytes, str] | None:
        """The image as it is stored."""
        return self._source.encoded(row - self.first)

    def pixels(self, row: int) -> AnyImage:
        """The whole image."""
        return self._source.pixels(row - self.first)

    def digest(self, row: int) -> int:
        """Hash of the image as it is stored."""
        return self._source.digest(row - self.first)

    def content(self) -> Iterable[Any]:
        """The content of the source, and where its rows begin."""
        yield f"from {self.first}".encode()
        yield from self._source.content()


def after(pool: Pool, first: int, *, mirror: bool) -> Pool:
    """The same pool behind another: its index 0 becomes `first`.

    Args:
        pool: without a test set.
        first: one beyond the last index of the other.
        mirror: whether a mirrored image keeps its meaning, as the other pool has it.
    """
    return Pool(
        ShiftedSource(pool._source, first),
        name=pool.name,
        index=pool.index + first,
        ids=pool.ids,
        labels=pool.labels,
        label_names=pool.label_names,
        image_size=pool.image_size,
        mirror=mirror,
        passed_over=pool.passed_over,
    )
