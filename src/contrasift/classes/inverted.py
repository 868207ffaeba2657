"""Neighbours among very many rows: only those in lists near a row are compared with it.

An inverted file (Jégou, Douze and Schmid 2011): rows are put into lists of about 512 by the nearest
of as many centroids, and a row is compared with the rows of the p lists whose centroids are nearest
to it. Of a sample the true neighbours are found among all rows, and p is the smallest number of
lists that hold the wished share of them: so recall is chosen, not hoped for. What is compared, is
compared by the chain of `products`; the result does not depend on threads.

Time: n·(512·p + 2·n/512)·d multiply-adds. Memory: twice the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.classes.rows import sample_of
from contrasift.selection.kernels import products
from contrasift.selection.kernels.dots import compiled
from contrasift.selection.kernels.lloyd import lloyd
from contrasift.selection.kernels.nearest_rows import (
    Frame,
    PackedColumns,
    half_squares,
    keep_nearest,
    nearest_rows,
)
from contrasift.selection.kernels.products import store_products

ROWS_A_LIST = 512
_FIT_ROWS_A_LIST = 32
_ITERATIONS = 8
SAMPLE = 1024
# Where so many lists a row do not hold the wished share, less must do, but never less than this.
MOST_LISTS, LEAST_RECALL = 64, 0.9
# Lists whose rows are done as one piece of work, and kept as one.
PIECE = 16
_GROUP_PANELS = 64
_ROWS = products.TILE.rows
_TALL = 40 * _ROWS
_EVERYTHING = np.float32(-np.inf)


@dataclass(frozen=True)
class Lists:
    """Rows in lists.

    Attributes:
        frame: where rows are compared.
        centroids: float32 [L, d], in the frame.
        home: int32 [n]; the list of each row.
        order: int64 [n]; rows by list, ascending in each.
        starts: int64 [L + 1]; where each list begins in the order.
        columns: the rows by list, each list filled up to whole panels.
        panels: int64 [L + 1]; where each list begins among the panels.
    """

    frame: Frame
    centroids: np.ndarray
    home: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    columns: PackedColumns
    panels: np.ndarray

    @property
    def count(self) -> int:
        """L."""
        return self.centroids.shape[0]

    @property
    def pieces(self) -> int:
        """Pieces of work: 16 lists each."""
        return -(-self.count // PIECE)

    def rows_of(self, piece: int) -> np.ndarray:
        """The rows of a piece."""
        last = min((piece + 1) * PIECE, self.count)
        return self.order[self.starts[piece * PIECE] : self.starts[last]]


def centroids_and_home(
    points: np.ndarray, frame: Frame, seed: int, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Centroids by k-means on a sample, and the nearest of them for each row.

    Args:
        points: float32 [n, d].
        frame: of them.
        seed: of the sample and the starts.
        threads: None for all processors.

    Returns:
        float32 [L, d] in the frame, L = ⌈n / 512⌉; int32 [n].
    """
    n, d = points.shape
    count = -(-n // ROWS_A_LIST)
    which = sample_of(n, _FIT_ROWS_A_LIST * count, seed)
    some = frame.put(points if which is None else points[which])
    start = np.sort(np.random.default_rng(seed).choice(some.shape[0], size=count, replace=False))
    centroids = lloyd(some, some[start], _ITERATIONS, threads)
    home = np.empty(n, dtype=np.int32)
    for block in row_blocks(n, 8 * d):
        home[block] = nearest_rows(frame.put(points[block]), centroids, 1, threads=threads)[:, 0]
    return centroids, home


def make_lists(points: np.ndarray, seed: int, threads: int | None = None) -> Lists:
    """Put rows into lists: `centroids_and_home`, then `lists_of`."""
    frame = Frame.of(points)
    return lists_of(points, frame, *centroids_and_home(points, frame, seed, threads))


def lists_of(points: np.ndarray, frame: Frame, centroids: np.ndarray, home: np.ndarray) -> Lists:
    """The rows in their lists."""
    order = np.argsort(home, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(home, minlength=centroids.shape[0]))])
    columns, panels = _packed(points, frame, order, starts)
    return Lists(frame, centroids, home, order, starts, columns, panels)


def _packed(
    points: np.ndarray, frame: Frame, order: np.ndarray, starts: np.ndarray
) -> tuple[PackedColumns, np.ndarray]:
    """Lists one after the other, each in whole panels."""
    width, d = products.TILE.columns, points.shape[1]
    sizes = np.diff(starts)
    panels = np.concatenate([[0], np.cumsum(-(-sizes // width))])
    names = np.full(panels[-1] * width, -1, dtype=np.int64)
    names[np.arange(order.size) + np.repeat(panels[:-1] * width - starts[:-1], sizes)] = order
    names = names.reshape(-1, width)
    packed = np.empty((names.shape[0], d, width), dtype=np.float32)
    halves = np.full(names.shape, np.inf, dtype=np.float32)
    for block in row_blocks(names.shape[0], 16 * d * width):
        some = names[block].reshape(-1)
        rows = frame.put(points[np.maximum(some, 0)])
        products.pack(rows, 0, rows.shape[0], packed[block])
        there = some >= 0
        halves[block].reshape(-1)[there] = half_squares(rows)[there]
    return PackedColumns(packed, halves, names), panels


def lists_needed(
    points: np.ndarray,
    lists: Lists,
    k: int,
    recall: float,
    seed: int,
    threads: int | None = None,
    queries: np.ndarray | None = None,
) -> tuple[int, float]:
    """The fewest lists that hold this share of the true neighbours of a sample, and the share.

    If that takes more than 64, then 64, or as many as hold 0.9: in rows of many directions the last
    neighbours lie in lists all over, and cost more than all others.

    Args:
        points: float32 [n, d].
        lists: of them.
        k: neighbours of a row.
        recall: wished share.
        seed: of the sample, of 1,024 rows.
        threads: None for all processors.
        queries: float32 [m, d]; a sample of other rows whose neighbours are meant.
    """
    n = points.shape[0]
    if queries is None:
        which = sample_of(n, SAMPLE, seed + 1)
        which = np.arange(n) if which is None else which
        sample = points[which]
    else:
        which, sample = None, queries
    true = nearest_rows(sample, points, k, own=which, threads=threads)
    near = PackedColumns.of(lists.centroids, np.arange(lists.count))
    rank = np.empty(true.shape, dtype=np.int64)
    for some in row_blocks(sample.shape[0], 64 * lists.count):
        left = np.ascontiguousarray(lists.frame.put(sample[some]))
        width = near.packed.shape[0] * products.TILE.columns
        similar = np.empty((left.shape[0], width), dtype=np.float32)
        products.store_products(left, near.packed, np.float32(-np.inf), similar)
        similar -= near.halves.reshape(-1)
        for turn in range(k):
            own = np.take_along_axis(similar, lists.home[true[some, turn], None], axis=1)
            rank[some, turn] = (similar > own).sum(axis=1)
    ranks = np.sort(rank, axis=None)
    probed = _lists_for(ranks, recall)
    if probed > MOST_LISTS:
        probed = max(MOST_LISTS, _lists_for(ranks, min(recall, LEAST_RECALL)))
    return probed, float((ranks < probed).mean())


def _lists_for(ranks: np.ndarray, recall: float) -> int:
    """Lists within which this share of ascending ranks lies."""
    return int(ranks[min(int(np.ceil(recall * ranks.size)), ranks.size) - 1]) + 1


def search_lists(
    queries: np.ndarray, own: np.ndarray, lists: Lists, k: int, probed: int
) -> np.ndarray:
    """The k nearest rows of the lists whose centroids are nearest to each query, in this thread.

    Args:
        queries: float32 [m, d]; best near each other, so that they ask for the same lists.
        own: int64 [m]; a row of each query that is left out: itself; −1 for none.
        lists: of the rows.
        k: neighbours.
        probed: lists that are looked into for each query.

    Returns:
        int64 [m, k], nearest first; −1 where the lists hold fewer.
    """
    found = np.full((own.size, k), -1, dtype=np.int64)
    if own.size == 0:
        return found
    closeness = np.full((own.size, k), -np.inf, dtype=np.float32)
    left = np.ascontiguousarray(lists.frame.put(queries))
    near = nearest_rows(left, lists.centroids, min(probed, lists.count), threads=1)
    targets = near.ravel()
    order = np.argsort(targets, kind="stable")
    begins = np.searchsorted(targets[order], np.arange(lists.count + 1))
    _search_lists(
        left, own, order // near.shape[1], begins, lists.columns.packed, lists.columns.halves,
        lists.columns.names, lists.panels, closeness, found,
    )  # fmt: skip
    return found


@compiled
def _search_lists(left, own, asking, begins, packed, halves, names, panels, closeness, found):
    """Compare rows asking[begins[t]:begins[t + 1]] with the rows of each list t."""
    d = left.shape[1]
    some = np.zeros((_TALL, d), np.float32)
    similar = np.empty((_TALL, _GROUP_PANELS * packed.shape[2]), np.float32)
    for t in range(begins.size - 1):
        for first in range(begins[t], begins[t + 1], _TALL):
            which = asking[first : min(first + _TALL, begins[t + 1])]
            tall = -(-which.size // _ROWS) * _ROWS
            for r in range(which.size):
                some[r] = left[which[r]]
            for start in range(panels[t], panels[t + 1], _GROUP_PANELS):
                stop = min(start + _GROUP_PANELS, panels[t + 1])
                store_products(some[:tall], packed[start:stop], _EVERYTHING, similar)
                keep_nearest(
                    similar, halves[start:stop], names[start:stop], which, own, closeness, found
                )
