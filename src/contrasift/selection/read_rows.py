"""Passes over rows of any type that are never held as float32: read, and brought to it, in parts.

A matrix of float16 is half as large as what the kernels take, and one in files may be larger than
memory. Each pass reads it from the first row to the last and converts a part at a time, exactly as
`classwise` does: the answers are those of the converted matrix, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from contrasift.arrays import Rows, forget_pages, row_blocks
from contrasift.selection.gather import converted, gather, inspected, stop_at
from contrasift.selection.kernels import dots
from contrasift.selection.kernels.passes import RowPasses

_READ_BYTES = 32 << 20
_PART_BYTES = 1 << 20  # what a thread converts at a time stays in its cache

Result = TypeVar("Result")


class ReadRows(RowPasses):
    """The rows of a matrix of any type and place.

    Raises:
        DataError: NaN, infinity, or, when scaling, a row of zeros; names the first such row.
    """

    def __init__(self, values: Rows, *, scale: bool, threads: int | None = None) -> None:
        """Look at every row once: its length, and whether it can be used.

        Args:
            values: [n, d] of any real type, possibly memory-mapped or elsewhere.
            scale: rows are brought to length one.
            threads: None for all processors.
        """
        self._values = values
        self._scaled = scale
        self.threads = threads
        self.n, self.width = values.shape
        self._squares = np.empty(self.n)
        problems = np.empty(self.n, dtype=np.uint8)
        peaks = [
            bits
            for block, part in self._read()
            for bits in self._inspect(part, self._squares[block], problems[block])
        ]
        stop_at(problems, scale, values)
        self._scale = dots.scale_of_peak(np.uint32(max(peaks)).view(np.float32), self.n)
        self._squares.flags.writeable = False

    def map(self, work: Callable[[np.ndarray, slice], Result]) -> list[Result]:
        """See `RowPasses`."""
        return [
            found
            for block, part in self._read()
            for found in self._map_part(
                part,
                lambda start, stop, block=block, part=part: work(
                    converted(part[start:stop], scale=self._scaled),
                    slice(block.start + start, block.start + stop),
                ),
            )
        ]

    def taken(self, rows: np.ndarray) -> np.ndarray:
        """See `RowPasses`."""
        own = gather(self._values, rows, scale=self._scaled, threads=self.threads)
        return dots.embedding_rows(own)

    def fixed_sum(self, rows: np.ndarray) -> np.ndarray:
        """See `Passes`."""
        ascending = np.sort(rows)
        sums = np.zeros(self.width, dtype=np.int64)
        for block in row_blocks(rows.size, 4 * self.width, _READ_BYTES):
            sums += super().fixed_sum(ascending[block])
        return sums

    def _read(self) -> Iterator[tuple[slice, Any]]:
        for block in row_blocks(self.n, 4 * self.width, _READ_BYTES):
            yield block, self._values[block]
            forget_pages(self._values)

    def _map_part(self, part: Any, work: Callable[[int, int], Result]) -> list[Result]:
        rows = max(1, _PART_BYTES // (4 * self.width))
        return dots.map_blocks(work, len(part), self.threads, rows)

    def _inspect(self, part: Any, squares: np.ndarray, problems: np.ndarray) -> list[int]:
        """The largest |entry| of each piece of a part, as bits; fills in lengths and problems."""

        def look(start: int, stop: int) -> int:
            rows, problems[start:stop] = inspected(part[start:stop], scale=self._scaled)
            own = squares[start:stop]
            return dots.squares_and_peak_block(rows, rows.view(np.uint32), 0, len(rows), own)

        return self._map_part(part, look)
