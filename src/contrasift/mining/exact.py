"""Every query against every corpus row, in blocks: none of the similarities is kept.

Time: q·n·d multiply-adds, and a few passes over each block of similarities. Memory: the corpus once
more, as unit rows in float32, and about 50 MB a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.mining.choosing import Deepen, MiningTask, Taken, choose
from contrasift.mining.listed import RankedCandidates
from contrasift.mining.ranking import Hardest, hardest, unit_rows_of
from contrasift.selection.kernels import products
from contrasift.selection.kernels.dots import available_threads, embedding_rows

# Similarities of a thread, in bytes; and what may be beside them where whole rows are looked at.
_BLOCK_BYTES = 96 << 20
_ALL_BYTES = 256 << 20
_MOST_ROWS = 20 * products.TILE.rows
_WHOLE_ENTRIES = 1 << 21
# Queries, and panels of the corpus, whose similarities stay in the second cache.
_STREAM_ROWS, _GROUP = 40 * products.TILE.rows, 16
# Deeper than this share of the corpus, all similarities of a query are held at once.
_SHALLOW = 32
_AGAIN_BYTES = 32 << 20
_EVERYTHING = np.float32(-np.inf)


def block_rows(n: int, threads: int) -> int:
    """Queries that are compared at once with n corpus rows, whose similarities are held."""
    rows = min(_BLOCK_BYTES, _ALL_BYTES // threads) // (4 * n) // products.TILE.rows
    return min(max(1, rows) * products.TILE.rows, _MOST_ROWS)


def stream_rows(q: int, threads: int) -> int:
    """Queries that are compared at once with a group of corpus rows after the other."""
    return min(_STREAM_ROWS, max(products.TILE.rows, -(-q // (2 * threads))))


def mine_exactly(
    queries: Any,
    packed: np.ndarray,
    task: MiningTask,
    some: slice,
    threads: int | None = None,
    told: Callable[[int], None] | None = None,
) -> Taken:
    """Negatives of some queries, each compared with the whole corpus.

    Args:
        queries: real [q, d], read in blocks.
        packed: the corpus, by `packed_units`.
        task: what is asked.
        some: which queries.
        threads: None for all processors; they change nothing of the result.
        told: is told how many more queries are done.
    """
    count = available_threads(threads)
    streamed = task.first_depth() * _SHALLOW <= task.n
    step = stream_rows(some.stop - some.start, count) if streamed else block_rows(task.n, count)
    starts = range(some.start, some.stop, step)
    taken = Taken.none(some.stop - some.start, task.draw.per_query)

    def work(start: int) -> None:
        numbers = np.arange(start, min(start + step, some.stop))
        block = _Block(queries, packed, task, numbers)
        (block.stream if streamed else block.whole)(taken, some.start)
        if told is not None:
            told(numbers.size)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, starts))
    return taken


class _Block:
    """Some queries in a row, and what is compared with them."""

    def __init__(self, queries: Any, packed: np.ndarray, task: MiningTask, numbers: np.ndarray):
        first = int(numbers[0])
        rows = np.asarray(queries[first : int(numbers[-1]) + 1])
        self.left: np.ndarray = embedding_rows(unit_rows_of(rows, "queries", first))
        self.packed, self.task, self.numbers = packed, task, numbers
        self.positives: np.ndarray = task.known.positives.of(numbers)
        self.beside: np.ndarray = np.full(self.positives.shape, np.inf, dtype=np.float32)

    def stream(self, taken: Taken, origin: int) -> None:
        """A group of the corpus after the other: only the hardest so far are kept."""
        n, depth, width = self.task.n, self.task.first_depth(), products.TILE.columns
        best = Hardest(self.numbers.size, depth, _GROUP * width)
        similar = np.empty((self.numbers.size, _GROUP * width), dtype=np.float32)
        everyone = np.arange(self.numbers.size)
        for panel in range(0, self.packed.shape[0], _GROUP):
            first = panel * width
            group = self.packed[panel : panel + _GROUP]
            products.store_products(self.left, group, _EVERYTHING, similar)
            columns = min(_GROUP * width, n - first)
            self._leave_out(similar, everyone, first, columns)
            best.look(similar, columns, first)
        self._choose(everyone, *best.found(), self._again, taken, origin)

    def whole(self, taken: Taken, origin: int) -> None:
        """All similarities of the queries at once, a few queries at a time where all are looked at."""
        everyone, depth = np.arange(self.numbers.size), self.task.first_depth()
        similar = self._similar(everyone)

        def deepen(which: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
            return hardest(similar[which], self.task.n, depth)

        for part in row_blocks(everyone.size, depth, max(_WHOLE_ENTRIES, depth)):
            some = everyone[part]
            self._choose(some, *deepen(some, depth), deepen, taken, origin)

    def _again(self, which: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The hardest of a few queries, compared once more."""
        n = self.task.n
        rows = np.empty((which.size, depth), dtype=np.int64)
        values = np.empty((which.size, depth), dtype=np.float32)
        for part in row_blocks(which.size, 4 * n, _AGAIN_BYTES):
            rows[part], values[part] = hardest(self._similar(which[part]), n, depth)
        return rows, values

    def _similar(self, which: np.ndarray) -> np.ndarray:
        """Similarities to the whole corpus; −∞ where there is no candidate."""
        width = self.packed.shape[0] * products.TILE.columns
        similar = np.empty((which.size, width), dtype=np.float32)
        left = embedding_rows(np.ascontiguousarray(self.left[which]))
        products.store_products(left, self.packed, _EVERYTHING, similar)
        self._leave_out(similar, which, 0, self.task.n)
        return similar

    def _leave_out(self, similar: np.ndarray, which: np.ndarray, first: int, columns: int) -> None:
        """Positives, whose similarities are noted, and the query itself are no candidates."""
        places = self.positives[which] - first
        row, number = np.nonzero((places >= 0) & (places < columns) & (self.positives[which] >= 0))
        column = places[row, number]
        self.beside[which[row], number] = similar[row, column]
        similar[row, column] = _EVERYTHING
        if self.task.known.same:
            own = self.numbers[which] - first
            there = np.flatnonzero((own >= 0) & (own < columns))
            similar[there, own[there]] = _EVERYTHING

    def _choose(
        self,
        some: np.ndarray,
        rows: np.ndarray,
        values: np.ndarray,
        deepen: Deepen,
        taken: Taken,
        origin: int,
    ) -> None:
        numbers, beside = self.numbers[some], self.beside[some]
        taken.positive[numbers - origin] = beside.min(axis=1)
        listed = RankedCandidates(
            values,
            positive=taken.positive[numbers - origin],
            numbers=numbers,
            rows=rows,
            totals=self.task.totals(numbers),
            known=self.task.known,
            packed=self.packed,
            beside=beside,
        )
        choose(
            self.task, listed, lambda which, depth: deepen(some[which], depth), self.task.n, taken,
            numbers - origin,
        )  # fmt: skip
