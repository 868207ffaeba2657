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
from contrasift.mining.choosing import MiningTask, Taken, choose
from contrasift.mining.listed import RankedCandidates
from contrasift.mining.ranking import hardest, unit_rows_of
from contrasift.selection.kernels import products
from contrasift.selection.kernels.dots import available_threads, embedding_rows

# Similarities of a thread, in bytes; and what may be beside them where whole rows are looked at.
_BLOCK_BYTES = 96 << 20
_ALL_BYTES = 256 << 20
_MOST_ROWS = 20 * products.TILE.rows
_WHOLE_ENTRIES = 1 << 21
_EVERYTHING = np.float32(-np.inf)


def block_rows(n: int, threads: int) -> int:
    """Queries that are compared at once with n corpus rows."""
    rows = min(_BLOCK_BYTES, _ALL_BYTES // threads) // (4 * n) // products.TILE.rows
    return min(max(1, rows) * products.TILE.rows, _MOST_ROWS)


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
    step = block_rows(task.n, count)
    starts = range(some.start, some.stop, step)
    taken = Taken.none(some.stop - some.start, task.draw.per_query)

    def work(start: int) -> None:
        numbers = np.arange(start, min(start + step, some.stop))
        _mine_block(queries, packed, task, numbers, taken, some.start)
        if told is not None:
            told(numbers.size)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, starts))
    return taken


def _mine_block(
    queries: Any,
    packed: np.ndarray,
    task: MiningTask,
    numbers: np.ndarray,
    taken: Taken,
    origin: int,
) -> None:
    n, known = task.n, task.known
    left = unit_rows_of(
        np.asarray(queries[int(numbers[0]) : int(numbers[-1]) + 1]), "queries", int(numbers[0])
    )
    width = packed.shape[0] * products.TILE.columns
    similar = np.empty((numbers.size, width), dtype=np.float32)
    products.store_products(embedding_rows(left), packed, _EVERYTHING, similar)
    positives = known.positives.of(numbers)
    beside = np.take_along_axis(similar, np.maximum(positives, 0), axis=1)
    beside[positives < 0] = np.inf
    positive = beside.min(axis=1)
    taken.positive[numbers - origin] = positive
    which, column = np.nonzero(positives >= 0)
    similar[which, positives[which, column]] = _EVERYTHING
    if known.same:
        similar[np.arange(numbers.size), numbers] = _EVERYTHING
    depth = task.first_depth()
    # Where whole rows are looked at, few at a time.
    for part in row_blocks(numbers.size, depth, max(_WHOLE_ENTRIES, depth)):
        rows, values = hardest(similar[part], n, depth)
        listed = RankedCandidates(
            values,
            positive=positive[part],
            numbers=numbers[part],
            rows=rows,
            totals=task.totals(numbers[part]),
            known=known,
            packed=packed,
            beside=beside[part],
        )
        own = np.arange(part.start, part.stop)

        def deepen(which: np.ndarray, depth: int, own: np.ndarray = own) -> Any:
            return hardest(similar[own[which]], n, depth)

        choose(task, listed, deepen, n, taken, numbers[part] - origin)
