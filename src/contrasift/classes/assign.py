"""New examples to classes that were found before: none is found anew, none is moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from contrasift.arrays import check_matrix, row_blocks
from contrasift.classes.graph import unit_means
from contrasift.classes.kmeans import assign
from contrasift.classes.neighbours import EXACT_ROWS, RECALL
from contrasift.classes.rows import Rows, prepare_rows, sample_of
from contrasift.errors import UsageError

WAYS = ("means", "neighbours")

# Old rows that are assigned again to see how well the way of assigning agrees with their classes.
_TRIED_ROWS = 4096


@dataclass(frozen=True)
class Assigner:
    """What decides the class of a new example.

    Attributes:
        way: `means`: the class whose mean is nearest; `neighbours`: that of most of the nearest
            old rows.
        rows: the old rows, and how rows are whitened and scaled before they are compared.
        codes: int64 [n]; class of every old row, 0..K−1.
        centroids: float32 [K, D]; mean of every class, of length one where rows are.
        neighbours: k; how many neighbours vote.
        index: the old rows themselves, or of many their lists (`inverted`), for `neighbours`.
        probed: lists that are looked into for a new row.
    """

    way: str
    rows: Rows
    codes: np.ndarray
    centroids: np.ndarray
    neighbours: int
    index: Any = None
    probed: int = 0

    def classes_of(self, values: object) -> tuple[np.ndarray, np.ndarray]:
        """The class of every new row, and how sure it is.

        `means`: argmin_c ‖x − μ_c‖, the lower number on equal lengths; score 1 − a/b, a and b the
        lengths to it and to the next. `neighbours`: the class with the most votes, on equal votes
        that of the nearest voter; score: its share of the votes.

        Args:
            values: real [m, d], in the space in which the classes were found.

        Returns:
            codes int64 [m], score float32 [m].

        Raises:
            UsageError: another width.
            DataError: NaN, infinity, or a row of zeros where directions are compared.
        """
        matrix = check_matrix(values)
        width = self.rows.values.shape[1]
        if matrix.shape[1] != width:
            raise UsageError(
                f"embeddings of width {width}, as those that classes were found in",
                f"width {matrix.shape[1]}",
                "Embed new examples with the same encoder and layer as the pool",
            )
        new = replace(self.rows, values=matrix)
        if self.way == "means":
            codes, score, _ = assign(new, self.centroids)
            return codes, score
        return self._by_votes(new, own=None)

    def agreement(self, seed: int = 0) -> float:
        """Share of old rows (a sample of 4,096) that would be given the class which they have.

        With `neighbours` a row does not vote for itself.
        """
        tried = sample_of(self.codes.size, _TRIED_ROWS, seed)
        which = np.arange(self.codes.size) if tried is None else tried
        some = replace(self.rows, values=np.asarray(self.rows.values[which]))
        if self.way == "means":
            codes, _, _ = assign(some, self.centroids)
        else:
            codes, _ = self._by_votes(some, own=which)
        return float((codes == self.codes[which]).mean())

    def _by_votes(self, new: Rows, own: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        n = new.shape[0]
        codes, score = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.float32)
        k = min(self.neighbours, self.codes.size - (own is not None))
        for block in row_blocks(n, 24 * (k + 1) + new.row_bytes):
            found = self._nearest(new.read(block), k, None if own is None else own[block])
            codes[block], score[block] = _most_voted(found, self.codes)
        return codes, score

    def _nearest(self, points: np.ndarray, k: int, own: np.ndarray | None) -> np.ndarray:
        """The k nearest old rows, nearest first; without the rows themselves where they are old."""
        from contrasift.classes.inverted import Lists, search_lists
        from contrasift.selection.kernels.nearest_rows import nearest_rows

        if not isinstance(self.index, Lists):
            return nearest_rows(points, self.index, k, own=own)
        own = np.full(len(points), -1) if own is None else own
        return search_lists(points, own, self.index, k, self.probed)


def fit_assigner(
    embeddings: object,
    codes: np.ndarray,
    n_classes: int,
    *,
    way: str = "means",
    whiten: int = 128,
    metric: str = "spherical",
    neighbours: int = 10,
    seed: int = 0,
) -> Assigner:
    """Prepare to assign new examples to the classes of a pool.

    Rows are whitened and scaled as `latent_classes` did it with the same options: whitening is a
    function of the pool and the seed.

    Args:
        embeddings: real [n, d]; the pool, in the space in which its classes were found.
        codes: int64 [n]; its classes.
        n_classes: K.
        way: `means`, or, as graphs find classes of any shape, `neighbours`.
        whiten: as for `latent_classes`.
        metric: as for `latent_classes`.
        neighbours: how many neighbours vote.
        seed: of the whitening's sample and of approximate neighbours.

    Raises:
        UsageError: an unknown way, no neighbours, or another number of classes than of rows.
    """
    if way not in WAYS:
        raise UsageError(f"a way among {', '.join(WAYS)}", repr(way))
    if neighbours < 1:
        raise UsageError("at least 1 neighbour", f"{neighbours}")
    rows = prepare_rows(embeddings, whiten=whiten, metric=metric, seed=seed)
    if codes.shape != (rows.shape[0],):
        raise UsageError(f"one class for each of the {rows.shape[0]} rows", f"{codes.shape}")
    index, probed = _search_index(rows, neighbours, seed) if way == "neighbours" else (None, 0)
    return Assigner(way, rows, codes, _means(rows, codes, n_classes), neighbours, index, probed)


def _means(rows: Rows, codes: np.ndarray, n_classes: int) -> np.ndarray:
    """Mean of every class, in one pass; brought to length one where rows are."""
    n, width = rows.shape
    sums = np.zeros((n_classes, width))
    for block in row_blocks(n, rows.row_bytes):
        np.add.at(sums, codes[block], rows.read(block).astype(np.float64))
    means = sums / np.maximum(np.bincount(codes, minlength=n_classes), 1)[:, None]
    if rows.spherical or rows.whitening is not None:
        means = unit_means(means)
    return means.astype(np.float32)


def _search_index(rows: Rows, k: int, seed: int) -> tuple[Any, int]:
    """The old rows; of many their lists, and how many of these hold most true neighbours."""
    points = rows.gather()
    if points.shape[0] <= EXACT_ROWS:
        return points, 0
    from contrasift.classes.inverted import lists_needed, make_lists

    lists = make_lists(points, seed)
    return lists, lists_needed(points, lists, k, RECALL, seed)[0]


def _most_voted(found: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Winner and its share of the votes; −1 is no voter. On equal votes the nearest voter's class."""
    votes = np.where(found >= 0, codes[found], -1)
    counts = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
    counts[votes < 0] = 0
    best = counts.argmax(axis=1)  # the first of the largest: voters are in order of nearness
    each = np.arange(len(found))
    voters = np.maximum((found >= 0).sum(axis=1), 1)
    return votes[each, best].astype(np.int64), (counts[each, best] / voters).astype(np.float32)
