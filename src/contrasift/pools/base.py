"""A pool: images by a stable index, wherever they come from."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from contrasift.narration import Progress
from contrasift.pools.passed_over import NOTHING, PassedOver
from contrasift.pools.prepare import (
    AnyImage,
    ImageArray,
    UnreadableExample,
    as_png,
    check_encoded_size,
)

ImageBatch = UInt8[np.ndarray, "b c s s"]

KEPT_IN_MEMORY_BYTES = 1 << 30
_CHUNK = 1024
_SAMPLED_FOR_COLOUR = 64


class ImageSource(ABC):
    """Where the images of a pool come from: rows 0..n-1, for ever the same.

    Attributes:
        channels: 1 or 3.
        default_size: side in pixels when the user names none.
        threads: how many rows may be decoded at once.
        always_readable: True when no row can fail, so that nothing needs to be tried.
        dataset: the Hugging Face data set whose rows these are, if they are.
        first: what its row 0 is called.
    """

    channels: int
    default_size: int
    threads: int = 1
    always_readable: bool = False
    dataset: Any = None
    first: int = 0

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def decode(self, row: int, size: int) -> ImageArray:
        """One image, uint8 [size, size, channels]; raises UnreadableExample."""

    @abstractmethod
    def content(self) -> Iterable[Any]:
        """Bytes-like pieces that change whenever the images do."""

    def direct(self, rows: np.ndarray, size: int) -> np.ndarray | None:
        """Images straight from memory, uint8 [b, channels, size, size]; None if they need work."""
        return None

    def file(self, row: int) -> Path | None:
        """The file that is this image and nothing else; None where there is none."""
        return None

    def encoded(self, row: int) -> tuple[bytes, str] | None:
        """The image as it is stored, and the extension of its format (`.jpg`).

        None where it is stored as bare pixels; raises UnreadableExample.
        """
        path = self.file(row)
        if path is None:
            return None
        try:
            check_encoded_size(path.stat().st_size)
            return path.read_bytes(), path.suffix
        except OSError as error:
            raise UnreadableExample(error.strerror or str(error)) from error

    def pixels(self, row: int) -> AnyImage:
        """The whole image, uint8 [h, w, channels], of a source that stores bare pixels."""
        return self.decode(row, self.default_size)

    def digest(self, row: int) -> int:
        """Hash of the image as it is stored, wherever that is; 0 where it cannot be told."""
        try:
            stored = self.encoded(row)
            pixels = self.pixels(row) if stored is None else None
        except UnreadableExample:
            return 0
        digest = hashlib.blake2b(b"" if stored is None else stored[0], digest_size=8)
        if pixels is not None:
            digest.update(pixels.tobytes())
            digest.update(repr(pixels.shape).encode())
        return int.from_bytes(digest.digest(), "little", signed=True)


class Pool:
    """Images by position, with a pool index and an id that never change.

    A position counts the examples in use, 0..m-1. The index of an example is its place in the
    whole source, before any hold-out or `limit`; it names the example in every file of a run.

    Attributes:
        name: what the pool is called in reports.
        channels: 1 (grey) or 3 (RGB).
        image_size: side in pixels; images are square.
        mirror: whether a mirrored image keeps its meaning.
        index: int64 [m]; pool index by position, ascending.
        ids: relative path or key, by position.
        labels: int64 [m] by position, -1 unknown; None when nothing is labelled.
        label_names: the name of each label code.
        test: held-out, labelled images; None if there are none.
        passed_over: what its place holds besides.
    """

    def __init__(
        self,
        source: ImageSource,
        *,
        name: str,
        index: Int64[np.ndarray, " m"],
        ids: Sequence[str],
        labels: Int64[np.ndarray, " m"] | None = None,
        label_names: tuple[str, ...] = (),
        image_size: int | None = None,
        mirror: bool = True,
        test: Pool | None = None,
        passed_over: PassedOver = NOTHING,
    ) -> None:
        self._source = source
        self.name = name
        self.index = index
        self.ids = ids
        self.labels = labels
        self.label_names = label_names
        self.image_size: int = source.default_size if image_size is None else image_size
        self.mirror = mirror
        self.test = test
        self.passed_over = passed_over
        # Made before any thread needs it; its pages cost nothing until they are written.
        shape = (len(index), self.channels, self.image_size, self.image_size)
        fits = math.prod(shape) <= KEPT_IN_MEMORY_BYTES
        self._kept = np.empty(shape, dtype=np.uint8) if fits else None
        self._have = np.zeros(len(index), dtype=bool)

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self._source.channels

    @property
    def always_readable(self) -> bool:
        """True when the images are in memory or memory-mapped, so that none can fail."""
        return self._source.always_readable

    @property
    def threads(self) -> int:
        """How many images may be decoded at once."""
        return self._source.threads

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        side = f"{self.image_size}×{self.image_size}×{self.channels}"
        return f"Pool({self.name!r}, {len(self):,} images of {side})"

    def read(self, position: int) -> ImageArray:
        """The image at a position.

        Args:
            position: 0..m-1.

        Returns:
            uint8 [image_size, image_size, channels].

        Raises:
            UnreadableExample: the image cannot be decoded; `reason` says why.
            IndexError: no such position.
        """
        if not 0 <= position < len(self):
            raise IndexError(f"expected a position in 0..{len(self) - 1}, got {position}")
        if self._kept is not None and self._have[position]:
            return self._kept[position].transpose(1, 2, 0).copy()
        image = self._source.decode(int(self.index[position]), self.image_size)
        if self._kept is not None:
            self._kept[position] = image.transpose(2, 0, 1)
            self._have[position] = True
        return image

    def file(self, position: int) -> Path | None:
        """The file that is the image at a position and nothing else; None where there is none."""
        return self._source.file(int(self.index[position]))

    def encoded(self, position: int) -> tuple[bytes, str]:
        """The image at a position as it is stored, or as PNG where it is stored as bare pixels.

        Args:
            position: 0..m-1.

        Returns:
            The bytes of an image file, and the extension of its format (`.jpg`).

        Raises:
            UnreadableExample: they cannot be read; `reason` says why.
        """
        row = int(self.index[position])
        stored = self._source.encoded(row)
        return (as_png(self._source.pixels(row)), ".png") if stored is None else stored

    @property
    def dataset(self) -> Any:
        """The Hugging Face data set whose rows the indices count; None for other pools."""
        return self._source.dataset

    def images(self, positions: Sequence[int] | np.ndarray) -> ImageBatch:
        """A batch of images, from memory where they are kept, else decoded by a few threads.

        Decoded images are kept as long as all m of them fit in 1 GiB.

        Args:
            positions: any of 0..m-1, in any order, repeats allowed.

        Returns:
            uint8 [b, channels, image_size, image_size], in the order asked for.

        Raises:
            UnreadableExample: one of them cannot be decoded.
            IndexError: no such position.
        """
        wanted = np.asarray(positions, dtype=np.int64).reshape(-1)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"expected positions in 0..{len(self) - 1}")
        batch = self._source.direct(self.index[wanted], self.image_size)
        if batch is not None:
            return batch
        if self._kept is None:
            return self._decoded(wanted)
        self._decoded(np.unique(wanted[~self._have[wanted]]))
        return self._kept[wanted]

    @property
    def end(self) -> int:
        """The first index that is free behind the whole source, held out and left out included."""
        return self._source.first + len(self._source)

    @cached_property
    def _content(self) -> Any:
        digest = hashlib.blake2b(digest_size=16)
        for piece in self._source.content():
            digest.update(piece)
        return digest

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the images, their size, the examples in use, their labels, and the test set.

        Content is the bytes of arrays, and the relative paths, sizes and modification times of
        files. `limit`, its seed and the hold-out count through the indices that they left.
        """
        digest = self._content.copy()
        digest.update(repr((self.image_size, self.channels, self.label_names)).encode())
        digest.update(self.index.tobytes())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        digest.update(self.test.fingerprint.encode() if self.test is not None else b"no test")
        return digest.hexdigest()

    @cached_property
    def parts(self) -> dict[str, str]:
        """The fingerprint in parts that say what differs: images, form, index, ids, labels, test."""
        labels = b"" if self.labels is None else self.labels.tobytes()
        ids = "\0".join(self.ids).encode("utf-8", "surrogateescape")
        return {
            "images": self._content.hexdigest(),
            "form": f"{self.image_size}×{self.image_size}×{self.channels}",
            "index": _hash(self.index.tobytes()),
            "ids": _hash(ids),
            "labels": _hash(labels + repr(self.label_names).encode()),
            "test": "" if self.test is None else self.test.fingerprint,
        }

    def digests(self, progress: Progress | None = None) -> Int64[np.ndarray, " m"]:
        """A hash of every image as it is stored, which does not change when it moves; 0: unknown."""
        found = np.zeros(len(self), dtype=np.int64)

        def fill(place: int) -> None:
            found[place] = self._source.digest(int(self.index[place]))

        for start in range(0, len(self), _CHUNK):
            n = min(_CHUNK, len(self) - start)
            run_in_threads(lambda place, start=start: fill(start + place), n, self.threads)
            if progress is not None:
                progress(start + n, len(self))
        return found

    def _decoded(self, positions: np.ndarray) -> np.ndarray:
        batch = np.empty(
            (len(positions), self.channels, self.image_size, self.image_size), dtype=np.uint8
        )

        def fill(place: int) -> None:
            batch[place] = self.read(int(positions[place])).transpose(2, 0, 1)

        run_in_threads(fill, len(positions), self.threads)
        return batch


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def decoding_threads() -> int:
    """Threads for decoding: the processors this process may use, and two that wait for the disk."""
    has_affinity = hasattr(os, "sched_getaffinity")
    usable = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(16, usable + 2)


def run_in_threads(work: Callable[[int], None], n: int, threads: int) -> None:
    """Call `work` with 0..n-1, each thread with its own share, and raise the first error.

    A share each, in place of a task each: handing over a task takes as long as decoding a small
    image.
    """
    threads = max(1, min(threads, n // 4))

    def run_share(first: int) -> None:
        for place in range(first, n, threads):
            work(place)

    if threads == 1:
        run_share(0)
        return
    with ThreadPoolExecutor(threads) as executor:
        for _ in executor.map(run_share, range(threads)):
            pass


def channels_of(
    n: int, is_grey: Callable[[int], bool | None], threads: int, *, every: bool = True
) -> int:
    """How many channels n images need: 1 if all that can be opened are grey, else 3.

    A sample finds most colour at once; only where it is grey, all others are looked at, too.

    Args:
        n: how many images there are.
        is_grey: whether the image of a row is grey; None when it cannot be opened.
        threads: how many are opened at once.
        every: whether all may be opened; where they may not, what was not seen counts as coloured.
    """
    sample = np.unique(np.linspace(0, n - 1, min(n, _SAMPLED_FOR_COLOUR)).astype(np.int64))
    rest = np.setdiff1d(np.arange(n), sample)
    grey = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the scan says what is wrong with an image
        for rows in (sample, *np.split(rest, range(_CHUNK, rest.size, _CHUNK))):
            answers: list[bool | None] = [None] * rows.size

            def look(place: int, rows: np.ndarray = rows, answers: list = answers) -> None:
                answers[place] = is_grey(int(rows[place]))

            run_in_threads(look, rows.size, threads)
            if False in answers or (rest.size and not every):
                return 3
            grey = grey or True in answers
    return 1 if grey else 3
