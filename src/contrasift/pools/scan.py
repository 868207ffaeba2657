"""Try every image once, so that later stages know which examples there are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from contrasift.errors import DataError
from contrasift.narration import Progress
from contrasift.pools.base import Pool, run_in_threads
from contrasift.pools.prepare import UnreadableExample

_CHUNK = 256


@dataclass(frozen=True)
class Examples:
    """One row an example of the pool, by position: the columns of `examples.parquet`.

    Attributes:
        index: int64 [m]; pool index.
        id: [m]; relative path or key.
        label: int64 [m]; -1 unknown.
        error: [m]; why the example could not be read, None where it could.
        row: int64 [m]; its row in the embedding matrix, -1 where it could not be read.
    """

    index: np.ndarray
    id: list[str]
    label: np.ndarray
    error: list[str | None]
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    @property
    def positions(self) -> np.ndarray:
        """Positions of the examples that can be read; `positions[row]` belongs to that row."""
        return np.flatnonzero(self.row >= 0)

    @property
    def unreadable(self) -> int:
        """How many could not be read."""
        return int((self.row < 0).sum())


def scan_pool(pool: Pool, progress: Progress | None = None) -> Examples:
    """Read every image of a pool once and note which cannot be read, and why.

    Images that the pool keeps in memory are kept from here on, and need no second decoding.

    Args:
        pool: any pool.
        progress: called with (done, total) now and then.

    Returns:
        One row an example; rows of the embedding matrix are dealt out in the order of the index.

    Raises:
        DataError: fewer than two images can be read.
    """
    everything = range(0 if pool.always_readable else len(pool))
    return examples_of(pool, unreadable(pool, everything, progress))


def examples_of(pool: Pool, errors: Mapping[int, str]) -> Examples:
    """The table of a pool's examples.

    Args:
        pool: any pool.
        errors: why an image cannot be read, by the positions of those which cannot.

    Raises:
        DataError: fewer than two images can be read.
    """
    readable = np.ones(len(pool), dtype=bool)
    readable[list(errors)] = False
    if readable.sum() < 2:
        first = errors[min(errors)] if errors else "no images"
        raise DataError(
            "at least two images that can be read",
            f"{readable.sum()} of {len(pool)} in {pool.name}; the first failure: {first}",
            "Check that the files are images and are complete",
        )
    labels = np.full(len(pool), -1, dtype=np.int64) if pool.labels is None else pool.labels
    row = np.where(readable, np.cumsum(readable) - 1, -1).astype(np.int64)
    column = [errors.get(position) for position in range(len(pool))]
    return Examples(pool.index, list(pool.ids), labels, column, row)


def unreadable(
    pool: Pool,
    positions: Sequence[int],
    progress: Progress | None = None,
    threads: int | None = None,
) -> dict[int, str]:
    """Try some images of a pool; why each that cannot be read cannot, by its position.

    Args:
        pool: any pool.
        positions: which images.
        progress: called with (done, total) now and then.
        threads: how many are decoded at once; default: as the pool says.
    """
    errors: dict[int, str] = {}

    def attempt(position: int) -> None:
        try:
            pool.read(position)
        except UnreadableExample as error:
            errors[position] = error.reason

    # Pillow warns about odd metadata, which is no reason to leave an image out; files that are
    # suspiciously large are one.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # A chunk at a time: Ctrl-C waits for one chunk, not for the whole pool.
        for start in range(0, len(positions), _CHUNK):
            chunk = positions[start : start + _CHUNK]
            run_in_threads(
                lambda place, chunk=chunk: attempt(chunk[place]),
                len(chunk),
                threads or pool.threads,
            )
            if progress is not None:
                progress(start + len(chunk), len(positions))
    return errors
