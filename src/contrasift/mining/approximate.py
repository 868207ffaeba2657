"""Candidates from lists of near rows (`classes.inverted`): of a corpus too large for every pair.

The lists give the candidates, the chain of `products` their similarities: what is found has the
place that it would have in an exact search, but for those that were not found. How many are found
is measured on a sample of the queries, and the lists that are looked into are as many as hold the
wished share.

Time: q·(512·p + n/512)·d multiply-adds for p lists a query. Memory: the corpus twice more, as unit
rows and in lists, and what a piece of queries needs.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.classes import inverted
from contrasift.classes.rows import sample_of
from contrasift.errors import UsageError
from contrasift.mining.choosing import MiningTask, Taken, choose
from contrasift.mining.listed import RankedCandidates
from contrasift.mining.ranking import hardest, unit_rows_of
from contrasift.selection.kernels import products
from contrasift.selection.kernels.dots import available_threads, embedding_rows
from contrasift.selection.kernels.nearest_rows import nearest_rows

# The deepest place that lists are searched to, and the fewest that recall is measured on.
MOST_PLACES, _MEASURED = 2_048, 100
_TOGETHER = 2_048


@dataclass(frozen=True)
class Near:
    """A corpus in lists.

    Attributes:
        unit: float32 [n, d]; its rows of length one.
        lists: of them.
        depth: candidates of a query.
        probed: lists that are looked into for each query.
        facts: of the search: `measured_recall`, on a `sample` of queries, at `recall_at` places.
    """

    unit: np.ndarray
    lists: inverted.Lists
    depth: int
    probed: int
    facts: dict[str, Any]


def near_lists(
    queries: Any, corpus: Any, task: MiningTask, recall: float, threads: int | None = None
) -> Near:
    """Put a corpus into lists, and find how many of them a query must look into.

    Args:
        queries: real [q, d].
        corpus: real [n, d].
        task: what is asked.
        recall: share of the true candidates that is wished.
        threads: None for all processors.

    Raises:
        UsageError: a policy or a draw that needs every candidate, or places too deep.
    """
    seed, spare = task.known.seed, int(task.known.positives.counts.max(initial=0)) + 1
    depth = min(task.n, task.first_depth() + spare)
    if task.policy.is_random or depth > MOST_PLACES:
        drawn = task.policy.is_random or task.draw.randoms
        what = "random numbers for all" if drawn else f"the place {depth:,}"
        raise UsageError(
            f"candidates of places up to {MOST_PLACES:,} for search='approximate'",
            f"{what}, by {task.policy} and the draw",
            "Take a harder band, or search='exact'",
        )
    n, d = corpus.shape
    depth = min(task.n, max(depth, _MEASURED))
    unit = np.empty((n, d), dtype=np.float32)
    for block in row_blocks(n, 32 * d):
        unit[block] = unit_rows_of(np.asarray(corpus[block]), "corpus", block.start)
    lists = inverted.make_lists(unit, seed, threads)
    which = sample_of(queries.shape[0], inverted.SAMPLE, seed)
    which = np.arange(queries.shape[0]) if which is None else which
    sample = unit_rows_of(np.asarray(queries[which]), "queries", 0)
    probed, found = inverted.lists_needed(unit, lists, depth, recall, seed, threads, sample)
    facts = {
        "search": "approximate",
        "measured_recall": found,
        "recall_at": depth,
        "sample": int(which.size),
        "lists": lists.count,
        "probed": probed,
    }
    return Near(unit, lists, depth, probed, facts)


def mine_nearly(
    queries: Any,
    near: Near,
    task: MiningTask,
    some: slice,
    threads: int | None = None,
    told: Callable[[int], None] | None = None,
) -> Taken:
    """Negatives of some queries, each compared with the rows of near lists.

    Args:
        queries: real [q, d].
        near: the corpus.
        task: what is asked.
        some: which queries.
        threads: None for all processors; they change nothing of the result.
        told: is told how many more queries are done.
    """
    left = unit_rows_of(np.asarray(queries[some]), "queries", some.start)
    home = nearest_rows(near.lists.frame.put(left), near.lists.centroids, 1, threads=threads)[:, 0]
    order = np.argsort(home, kind="stable")  # neighbours ask for the same lists
    taken = Taken.none(order.size, task.draw.per_query)

    def work(start: int) -> None:
        which = order[start : start + _TOGETHER]
        _mine_some(np.ascontiguousarray(left[which]), which, near, task, taken, some.start)
        if told is not None:
            told(which.size)

    with ThreadPoolExecutor(available_threads(threads)) as pool:
        list(pool.map(work, range(0, order.size, _TOGETHER)))
    return taken


def _mine_some(
    left: np.ndarray, which: np.ndarray, near: Near, task: MiningTask, taken: Taken, origin: int
) -> None:
    known, numbers = task.known, which + origin
    positives = known.positives.of(numbers)
    beside = _products(left, positives, near.unit)
    beside[positives < 0] = np.inf
    taken.positive[which] = beside.min(axis=1)

    def look(some: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        return _found(left[some], numbers[some], near, task, depth)

    rows, values = look(np.arange(which.size), near.depth)
    listed = RankedCandidates(
        values,
        positive=taken.positive[which],
        numbers=numbers,
        rows=rows,
        totals=task.totals(numbers),
        known=known,
        packed=near.unit[:, :, None],
        beside=beside,
    )
    choose(task, listed, look, min(MOST_PLACES, task.n), taken, which)


def _found(
    left: np.ndarray, numbers: np.ndarray, near: Near, task: MiningTask, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """The hardest rows that lists hold; deeper ones are looked for in more lists."""
    own = numbers if task.known.same else np.full(numbers.size, -1)
    probed = min(near.lists.count, near.probed * -(-depth // near.depth))
    found = inverted.search_lists(left, own, near.lists, depth, probed)
    found[task.known.positives.holds(numbers, found)] = -1
    found.sort(axis=1)  # by rows: of equal similarities the later is the harder
    values = _products(left, found, near.unit)
    places, values = hardest(values, depth, depth)
    rows = np.take_along_axis(found, np.maximum(places, 0), axis=1)
    return np.where(places >= 0, rows, -1), values


def _products(left: np.ndarray, rows: np.ndarray, right: np.ndarray) -> np.ndarray:
    result = np.empty(rows.shape, dtype=np.float32)
    products.pair_products(embedding_rows(left), rows, embedding_rows(right), result)
    return result
