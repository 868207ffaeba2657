"""Images that are stored as bare pixels: one array, or several of a kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from contrasift.pools.base import ImageSource
from contrasift.pools.prepare import AnyImage, ImageArray, prepare_array, to_bytes


class ArraySource(ImageSource):
    """Images in an array, in memory or memory-mapped.

    Args:
        images: [n, channels, height, width], uint8, bool, or floats in [0, 1].
        content: pieces to fingerprint in place of the pixels, for files too large to be hashed.
        default_size: side when the user names none; by default the shorter side of the images.
    """

    always_readable = True

    def __init__(
        self,
        images: Shaped[np.ndarray, "n c h w"],
        content: Sequence[bytes] = (),
        default_size: int | None = None,
    ) -> None:
        self._images = images
        self._content = tuple(content)
        self.channels: int = int(images.shape[1])
        self.default_size: int = (
            int(min(images.shape[2:])) if default_size is None else default_size
        )

    def __len__(self) -> int:
        return int(self._images.shape[0])

    def decode(self, row: int, size: int) -> ImageArray:
        """One image, uint8 [size, size, channels]."""
        return prepare_array(np.asarray(self._images[row]).transpose(1, 2, 0), size)

    def pixels(self, row: int) -> AnyImage:
        """The whole image, uint8 [h, w, channels]."""
        return to_bytes(np.asarray(self._images[row]).transpose(1, 2, 0))

    def direct(self, rows: np.ndarray, size: int) -> np.ndarray | None:
        """Images that are square and have the right size already."""
        if self._images.shape[2:] != (size, size):
            return None
        return np.ascontiguousarray(to_bytes(np.asarray(self._images[rows])))

    def content(self) -> Iterable[Any]:
        """The pixels, a block at a time, or what stands for them."""
        if self._content:
            yield from self._content
            return
        yield f"{self._images.dtype}{self._images.shape}".encode()
        for start in range(0, len(self), 4096):
            yield np.ascontiguousarray(self._images[start : start + 4096])


class StackedSource(ImageSource):
    """Sources of the same kind, one after the other."""

    always_readable = True

    def __init__(self, parts: Sequence[ImageSource]) -> None:
        self._parts = tuple(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.channels: int = parts[0].channels
        self.default_size: int = parts[0].default_size

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _part(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def decode(self, row: int, size: int) -> ImageArray:
        """One image, uint8 [size, size, channels]."""
        part = self._part(row)
        return self._parts[part].decode(row - int(self._starts[part]), size)

    def pixels(self, row: int) -> AnyImage:
        """The whole image, uint8 [h, w, channels]."""
        part = self._part(row)
        return self._parts[part].pixels(row - int(self._starts[part]))

    def direct(self, rows: np.ndarray, size: int) -> np.ndarray | None:
        """Images of the right size from whichever part has them."""
        batch = np.empty((len(rows), self.channels, size, size), dtype=np.uint8)
        parts = np.searchsorted(self._starts, rows, side="right") - 1
        for part in np.unique(parts):
            here = parts == part
            images = self._parts[part].direct(rows[here] - self._starts[part], size)
            if images is None:
                return None
            batch[here] = images
        return batch

    def content(self) -> Iterable[Any]:
        """The content of every part."""
        for part in self._parts:
            yield from part.content()
