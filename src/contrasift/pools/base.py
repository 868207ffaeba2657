"""A pool: images by a stable index, wherever they come from."""

from __future__ import annotations

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

from contrasift.errors import DataError
from contrasift.pools.prepare import ImageArray, prepare_array, to_bytes

Progress = Callable[[int, int], None]
ImageBatch = UInt8[np.ndarray, "b c s s"]

KEPT_IN_MEMORY_BYTES = 1 << 30


class ImageSource(ABC):
    """Where the images of a pool come from: rows 0..n-1, for ever the same.

    Attributes:
        channels: 1 or 3.
        default_size: side in pixels when the user names none.
        threads: how many rows may be decoded at once.
        always_readable: True when no row can fail, so that nothing needs to be tried.
    """

    channels: int
    default_size: int
    threads: int = 1
    always_readable: bool = False

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
        self.channels = int(images.shape[1])
        self.default_size = int(min(images.shape[2:])) if default_size is None else default_size

    def __len__(self) -> int:
        return int(self._images.shape[0])

    def decode(self, row: int, size: int) -> ImageArray:
        """One image, uint8 [size, size, channels]."""
        return prepare_array(np.asarray(self._images[row]).transpose(1, 2, 0), size)

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
        self.channels = parts[0].channels
        self.default_size = parts[0].default_size

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _part(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def decode(self, row: int, size: int) -> ImageArray:
        """One image, uint8 [size, size, channels]."""
        part = self._part(row)
        return self._parts[part].decode(row - int(self._starts[part]), size)

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
        ignored: files that were passed over because they are no images.
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
        ignored: int = 0,
    ) -> None:
        self._source = source
        self.name = name
        self.index = index
        self.ids = ids
        self.labels = labels
        self.label_names = label_names
        self.image_size = source.default_size if image_size is None else image_size
        self.mirror = mirror
        self.test = test
        self.ignored = ignored
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

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the images, their size, the examples in use, their labels, and the test set.

        Content is the bytes of arrays, and the relative paths, sizes and modification times of
        files. `limit`, its seed and the hold-out count through the indices that they left.
        """
        digest = hashlib.blake2b(digest_size=16)
        for piece in self._source.content():
            digest.update(piece)
        digest.update(repr((self.image_size, self.channels, self.label_names)).encode())
        digest.update(self.index.tobytes())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        digest.update(self.test.fingerprint.encode() if self.test is not None else b"no test")
        return digest.hexdigest()

    def _decoded(self, positions: np.ndarray) -> np.ndarray:
        batch = np.empty(
            (len(positions), self.channels, self.image_size, self.image_size), dtype=np.uint8
        )

        def fill(place: int) -> None:
            batch[place] = self.read(int(positions[place])).transpose(2, 0, 1)

        run_in_threads(fill, len(positions), self.threads)
        return batch


@dataclass(frozen=True)
class Whole:
    """Everything that a source holds, before the hold-out and `limit`.

    Attributes:
        source: the images.
        name: what it is called.
        ids: by row.
        labels: int64 [n], -1 unknown; None when there are none.
        label_names: the name of each label code.
        mirror: whether a mirrored image keeps its meaning.
        test: held-out data that came with it.
        ignored: files passed over because they are no images.
    """

    source: ImageSource
    name: str
    ids: Sequence[str]
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    mirror: bool = True
    test: Whole | None = None
    ignored: int = 0

    def pool(
        self, limit: int | None, image_size: int | None, holdout: float | int, seed: int
    ) -> Pool:
        """Set the test images aside, draw `limit` of the rest, and keep every index as it was."""
        everything = np.arange(len(self.source), dtype=np.int64)
        size = self.source.default_size if image_size is None else image_size
        test, training = None, everything
        if self.test is not None:
            rows = np.arange(len(self.test.source), dtype=np.int64)
            test = self.test.part(rows, size, f"{self.name} (test)")
        elif self.labels is not None and holdout > 0:
            held_out = draw_holdout(self.labels, holdout)
            training = everything[~held_out]
            if held_out.any():
                test = self.part(everything[held_out], size, f"{self.name} (held out)")
        rows = training[draw_positions(len(training), limit, seed)]
        check_enough(len(rows), "images to choose from", self.name, "Raise the limit")
        return self.part(rows, size, self.name, test)

    def part(self, rows: np.ndarray, size: int, name: str, test: Pool | None = None) -> Pool:
        """The pool of some rows."""
        ids = self.ids if len(rows) == len(self.ids) else [self.ids[int(row)] for row in rows]
        return Pool(
            self.source,
            name=name,
            index=rows,
            ids=ids,
            labels=None if self.labels is None else self.labels[rows],
            label_names=self.label_names,
            image_size=size,
            mirror=self.mirror,
            test=test,
            ignored=self.ignored,
        )


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


def draw_positions(n: int, limit: int | None, seed: int) -> Int64[np.ndarray, " m"]:
    """Positions of `limit` of n examples, ascending; with one seed, a smaller limit is a subset."""
    if limit is None or limit >= n:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.random.default_rng([seed, 1]).permutation(n)[:limit]).astype(np.int64)


def draw_holdout(labels: Int64[np.ndarray, " n"], share: float | int) -> np.ndarray:
    """Mask of the examples held out: the same share of every label, always the same draw.

    A label keeps at least one example for training, and examples without a label are never held
    out. The seed is fixed, so that every run of every pool evaluates on the same images.

    Args:
        labels: int64 [n], -1 unknown.
        share: in [0, 1).

    Returns:
        bool [n], True where held out.
    """
    shuffled = np.random.default_rng([0, 2]).permutation(len(labels))
    grouped = shuffled[np.argsort(labels[shuffled], kind="stable")]
    names, starts, sizes = np.unique(labels[grouped], return_index=True, return_counts=True)
    counts = np.minimum(sizes - 1, np.floor(share * sizes + 0.5).astype(np.int64))
    counts[names < 0] = 0
    place = np.arange(len(labels)) - np.repeat(starts, sizes)
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[grouped[place < np.repeat(counts, sizes)]] = True
    return held_out


def check_enough(n: int, what: str, where: str, remedy: str = "") -> None:
    """Stop when there is nothing to choose from.

    Raises:
        DataError: fewer than two.
    """
    if n < 2:
        raise DataError(f"at least two {what}", f"{n} in {where}", remedy)
