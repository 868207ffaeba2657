"""Every query against every corpus row, in blocks: none of the similarities is kept.

Time: q·n·d multiply-adds, and a few passes over each block of similarities. Memory: the corpus once
more, as unit rows in float32, and about 50 MB a thread.

A policy that leaves out all above a similarity, as `~above_positive`, lists what is not above it,
and counts the others. A draw from more than can be listed takes the rows of the smallest random numbers first, and looks
at these alone: `scattered`. Where the policy names few of them, it looks at more, and then at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.mining.choosing import Deepen, MiningTask, Taken, choose, draw_tried
from contrasift.mining.listed import RankedCandidates
from contrasift.mining.ranking import Hardest, cut, hardest, unit_rows_of
from contrasift.mining.scattered import Tried, similar_rows
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
# Rows at random that are tried: so many for every one that is wanted, some more, and at most.
_TRIED, _SPARE_TRIED, _MOST_TRIED, _MORE_TRIED = 2, 16, 1_024, 8


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
    streamed = hard_depth(task) * _SHALLOW <= task.n
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


def is_scattered(task: MiningTask) -> bool:
    """Whether some are drawn from more candidates than a list of the hardest would hold."""
    return task.draw.randoms > 0 and task.first_depth() * _SHALLOW > task.n


def hard_depth(task: MiningTask) -> int:
    """How many of the hardest are listed."""
    if not is_scattered(task):
        return task.first_depth()
    return task.without_randoms().first_depth() if task.draw.hard else 0


class _Block:
    """Some queries in a row, and what is compared with them."""

    def __init__(self, queries: Any, packed: np.ndarray, task: MiningTask, numbers: np.ndarray):
        first = int(numbers[0])
        rows = np.asarray(queries[first : int(numbers[-1]) + 1])
        self.left: np.ndarray = embedding_rows(unit_rows_of(rows, "queries", first))
        self.packed, self.task, self.numbers = packed, task, numbers
        self.positives: np.ndarray = task.known.positives.of(numbers)
        beside = similar_rows(self.left, np.maximum(self.positives, 0), packed)
        self.beside: np.ndarray = np.where(self.positives < 0, np.float32(np.inf), beside)
        self.ceiling: np.ndarray | None = task.policy.ceiling(self.beside.min(axis=1))
        self.above: np.ndarray = np.zeros(numbers.size, dtype=np.int64)
        self.scattered: bool = is_scattered(task)
        self.listed: MiningTask = task.without_randoms() if self.scattered else task
        self.depth: int = hard_depth(task)

    def stream(self, taken: Taken, origin: int) -> None:
        """A group of the corpus after the other: only the hardest so far are kept."""
        everyone = np.arange(self.numbers.size)
        best = Hardest(everyone.size, self.depth, _GROUP * products.TILE.columns)
        tried = self._tried(everyone, self._first_tried()) if self.scattered else None
        for group in self._groups(everyone):
            if tried:
                tried.look(*group)
            if self.depth:
                self._cut(group[0], everyone, self.above, group[1])
                best.look(*group)
        if self.depth:
            self._choose(self.listed, everyone, *best.found(), self._again, taken, origin)
        if tried:
            self._draw(everyone, tried, taken, origin)

    def _groups(self, which: np.ndarray) -> Iterator[tuple[np.ndarray, int, int]]:
        """Similarities of some queries to a group of the corpus, how many, and the first of them."""
        width = products.TILE.columns
        left = embedding_rows(np.ascontiguousarray(self.left[which]))
        similar = np.empty((which.size, _GROUP * width), dtype=np.float32)
        for panel in range(0, self.packed.shape[0], _GROUP):
            first = panel * width
            columns = min(_GROUP * width, self.task.n - first)
            group = self.packed[panel : panel + _GROUP]
            products.store_products(left, group, _EVERYTHING, similar)
            self._leave_out(similar, which, first, columns)
            yield similar, columns, first

    def whole(self, taken: Taken, origin: int) -> None:
        """All similarities of the queries at once, a few queries at a time where all are looked at."""
        everyone, depth = np.arange(self.numbers.size), self.depth
        similar = self._similar(everyone)
        tried = self._tried(everyone, self._first_tried()) if self.scattered else None
        if tried:
            tried.look(similar, self.task.n, 0)
        self._cut(similar, everyone, self.above, self.task.n)

        def deepen(which: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
            return hardest(similar[which], self.task.n, depth)

        for part in row_blocks(everyone.size, depth, max(_WHOLE_ENTRIES, depth)):
            some = everyone[part]
            self._choose(self.listed, some, *deepen(some, depth), deepen, taken, origin)
        if tried:
            self._draw(everyone, tried, taken, origin)

    def _first_tried(self) -> int:
        """How many rows at random are likely to be enough."""
        begin, end = self.task.policy.places(self.task.n)
        share = max(end - begin, 1) / self.task.n * self.task.policy.least_share
        wanted = _TRIED * self.task.draw.randoms + self.task.draw.hard + _SPARE_TRIED
        return int(min(wanted / share, max(wanted, _MOST_TRIED)))

    def _tried(self, which: np.ndarray, count: int) -> Tried:
        left, numbers = np.ascontiguousarray(self.left[which]), self.numbers[which]
        return Tried.of(self.task.known, left, numbers, self.packed, self.task.n, count)

    def _draw(self, which: np.ndarray, tried: Tried, taken: Taken, origin: int) -> None:
        """Negatives at random from the tried rows; for queries with too few, from more, then all."""
        while True:
            listed = self._candidates(which, tried.rows, tried.values, listed_places=tried.places)
            enough = draw_tried(self.task, listed, taken, self.numbers[which] - origin)
            which = which[~enough]
            count = _MORE_TRIED * tried.rows.shape[1]
            if not which.size or count > min(_MOST_TRIED, self.task.n):
                break
            tried = self._tried(which, count)
            for group in self._groups(which):
                tried.look(*group)
        self._from_all(self.task, which, taken, origin)

    def _from_all(self, task: MiningTask, which: np.ndarray, taken: Taken, origin: int) -> None:
        """Negatives of a few queries by looking at every candidate, and why there are too few."""
        n = self.task.n
        for part in row_blocks(which.size, n, max(_WHOLE_ENTRIES, n)):
            at = self.numbers[which[part]] - origin
            rows, values = self._again(which[part], n, cut=False)
            choose(task, self._candidates(which[part], rows, values), self._again, n, taken, at)

    def _again(
        self, which: np.ndarray, depth: int, cut: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The hardest of a few queries, compared once more."""
        n = self.task.n
        rows = np.empty((which.size, depth), dtype=np.int64)
        values = np.empty((which.size, depth), dtype=np.float32)
        for part in row_blocks(which.size, 4 * n, _AGAIN_BYTES):
            similar = self._similar(which[part])
            if cut:
                self._cut(similar, which[part], np.zeros_like(which[part]), n)
            rows[part], values[part] = hardest(similar, n, depth)
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
        """Positives and the query itself are no candidates."""
        places = self.positives[which] - first
        there = (places >= 0) & (places < columns) & (self.positives[which] >= 0)
        row, column = np.nonzero(there)[0], places[there]
        similar[row, column] = _EVERYTHING
        if self.task.known.same:
            own = self.numbers[which] - first
            there = np.flatnonzero((own >= 0) & (own < columns))
            similar[there, own[there]] = _EVERYTHING

    def _cut(self, similar: np.ndarray, which: np.ndarray, above: np.ndarray, columns: int) -> None:
        """Leave out what the policy does not name because it is too similar, and count it."""
        if self.ceiling is not None:
            cut(similar, columns, self.ceiling[which], above)

    def _choose(
        self,
        task: MiningTask,
        some: np.ndarray,
        rows: np.ndarray,
        values: np.ndarray,
        deepen: Deepen,
        taken: Taken,
        origin: int,
    ) -> None:
        at = self.numbers[some] - origin
        above = None if self.ceiling is None else self.above[some]
        listed = self._candidates(some, rows, values, above=above)
        taken.positive[at] = listed.positive
        choose(task, listed, lambda which, depth: deepen(some[which], depth), task.n, taken, at)
        if above is not None:  # what is too similar counts where there are too few
            self._from_all(task, some[taken.reasons[at] != ""], taken, origin)

    def _candidates(
        self, some: np.ndarray, rows: np.ndarray, values: np.ndarray, **more: Any
    ) -> RankedCandidates:
        numbers, beside = self.numbers[some], self.beside[some]
        return RankedCandidates(
            values,
            positive=beside.min(axis=1),
            numbers=numbers,
            rows=rows,
            totals=self.task.totals(numbers),
            known=self.task.known,
            packed=self.packed,
            beside=beside,
            **more,
        )
