"""The graph of nearest neighbours, and labels spread over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.classes.neighbours import Searching, nearest_neighbours
from contrasift.errors import UsageError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

GRAPHS = ("mutual", "union")

# Propagation: what a step along an edge keeps, and the longest walk: 0.95^100 is 0.006.
_SPREAD = 0.95
_STEPS = 100
# What spreads at a time: with a column for each of many classes, many rows would fill the memory.
_SPREAD_BYTES = 256 << 20


@dataclass(frozen=True)
class NeighbourGraph:
    """An undirected graph of rows.

    Attributes:
        n: rows.
        first: int64 [e]; the lower end of each edge; edges ascend by first, then second.
        second: int64 [e]; the higher end.
        weight: float64 [e]; in (0, 1].
        neighbours: int64 [n, k]; nearest rows of each row, nearest first, itself left out.
        search: how they were found, where they were not found exactly.
    """

    n: int
    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    neighbours: np.ndarray
    search: Mapping[str, Any] = field(default_factory=dict)


def neighbour_graph(neighbours: np.ndarray, kind: str = "mutual") -> NeighbourGraph:
    """Edges between near rows, weighted by how many neighbours they share.

    `mutual`: i and j are each among the k nearest of the other; `union`: one is. With N(i) the k
    nearest of i and i itself, w_ij = |N(i) ∩ N(j)| / |N(i) ∪ N(j)| (Jaccard), which is above 0 for
    every edge.

    Args:
        neighbours: int64 [n, k]; −1 where an approximate search found none.
        kind: `mutual` or `union`.

    Raises:
        UsageError: an unknown kind.
    """
    from contrasift.classes.edge_weights import edge_weights

    if kind not in GRAPHS:
        raise UsageError(f"a graph among {', '.join(GRAPHS)}", repr(kind))
    n, k = neighbours.shape
    source, target = np.repeat(np.arange(n), k), neighbours.ravel()
    pairs = (np.minimum(source, target) * n + np.maximum(source, target))[target >= 0]
    del source, target
    pairs.sort()
    again = np.zeros(pairs.size, dtype=bool)
    again[1:] = pairs[1:] == pairs[:-1]
    pairs = pairs[again if kind == "mutual" else ~again]
    first, second = np.divmod(pairs, n) if n else (pairs, pairs)
    del pairs, again
    return NeighbourGraph(n, first, second, edge_weights(neighbours, first, second), neighbours)


def modularity(graph: NeighbourGraph, codes: np.ndarray) -> float:
    """Q = Σ_c [e_c / m − (d_c / 2m)²] (Newman and Girvan 2004), every edge counting the same.

    e_c are the edges within class c, d_c the ends of edges in it, m all edges: by how much more
    neighbours are in one class than if edges were drawn at random. 0 without edges.

    Args:
        graph: of the rows.
        codes: int64 [n]; classes, 0..K−1.
    """
    m = graph.first.size
    if m == 0:
        return 0.0
    ends, others = codes[graph.first], codes[graph.second]
    size = int(codes.max()) + 1
    degrees = np.bincount(ends, minlength=size) + np.bincount(others, minlength=size)
    return float((ends == others).sum() / m - np.sum((degrees / (2 * m)) ** 2))


def class_means(points: np.ndarray, codes: np.ndarray, n_classes: int) -> np.ndarray:
    """Mean row of every class in float64; rows with a negative code are left out."""
    from scipy.sparse import csr_matrix

    sums = np.zeros((n_classes, points.shape[1]))
    for block in row_blocks(points.shape[0], 8 * points.shape[1]):
        part, own = points[block].astype(np.float64), codes[block]
        known = np.flatnonzero(own >= 0)
        entries = (np.ones(known.size), (own[known], known))
        sums += csr_matrix(entries, shape=(n_classes, own.size)) @ part
    counts = np.bincount(codes[codes >= 0], minlength=n_classes)
    return sums / np.maximum(counts, 1)[:, None]


def unit_means(means: np.ndarray) -> np.ndarray:
    """Rows of length one; rows of zeros stay."""
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return np.divide(means, norms, out=np.zeros_like(means), where=norms > 0)


def neighbour_share(
    neighbours: np.ndarray, codes: np.ndarray, counts: np.ndarray | None = None
) -> np.ndarray:
    """Share of each row's k nearest neighbours that are in its own class, float32 [n].

    Args:
        neighbours: int64 [n, k]; −1 where there is none.
        codes: int64 [n].
        counts: int64 [n]; how often each row is there: its copies are its nearest neighbours, all
            in its class, before the others.
    """
    there = neighbours >= 0
    same = (codes[neighbours] == codes[:, None]) & there
    k = neighbours.shape[1]
    copies = np.zeros(codes.size, int) if counts is None else np.minimum(counts - 1, k)
    beyond = np.arange(k) >= k - copies[:, None]
    same, there = same & ~beyond, there & ~beyond
    total = np.maximum(there.sum(axis=1) + copies, 1)
    share = (same.sum(axis=1) + copies) / total
    if counts is not None:
        share[counts > max(k, 1)] = 1
    return share.astype(np.float32)


def build_graph(
    points: np.ndarray,
    n_neighbours: int,
    kind: str,
    seed: int,
    searching: Searching | None = None,
) -> NeighbourGraph:
    """The graph of some rows; of few, everyone is everyone's neighbour.

    Args:
        points: float32 [n, d], n at least 1.
        n_neighbours: k.
        kind: `mutual` or `union`: see `neighbour_graph`.
        seed: of approximate neighbours.
        searching: how neighbours among many rows are searched.

    Raises:
        UsageError: fewer than one neighbour.
    """
    if n_neighbours < 1:
        raise UsageError("at least 1 neighbour", f"{n_neighbours}")
    k = min(n_neighbours, points.shape[0] - 1)
    if k == 0:
        none = np.empty(0, dtype=np.int64)
        return NeighbourGraph(1, none, none, np.empty(0), np.empty((1, 0), np.int64))
    found, search = nearest_neighbours(points, k, seed, searching)
    return replace(neighbour_graph(found, kind), search=search)


def propagate(
    graph: NeighbourGraph, known: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Spread a few labels over the graph (Zhou et al. 2004, local and global consistency).

    F = (1 − α) Σ_{t=0}^{100} (αS)^t Y, the paper's (1 − α)(I − αS)⁻¹ Y over walks of up to 100 steps,
    with S = D^{−1/2} W D^{−1/2}, α = 0.95 and Y the labels one-hot, each class divided by its number
    of labels so that no class spreads more for being labelled more often.

    Args:
        graph: of the rows.
        known: int64 [n]; codes 0..K−1, −1 where unknown.
        n_classes: K.

    Returns:
        codes int64 [n], −1 where no label arrives; confidence float32 [n], F_c / Σ F of the row.
    """
    ends = np.concatenate([graph.first, graph.second])
    others = np.concatenate([graph.second, graph.first])
    weights = np.concatenate([graph.weight, graph.weight])
    strength = np.bincount(ends, weights=weights, minlength=graph.n)
    scale = np.divide(1, np.sqrt(strength), out=np.zeros(graph.n), where=strength > 0)
    along = (_SPREAD * weights * scale[ends] * scale[others]).astype(np.float32)
    from scipy.sparse import csr_matrix

    step = csr_matrix((along, (ends, others)), shape=(graph.n, graph.n))
    labelled = np.flatnonzero(known >= 0)
    best, total = np.zeros(graph.n, np.float32), np.zeros(graph.n)
    codes = np.full(graph.n, -1, dtype=np.int64)
    at_once = max(1, _SPREAD_BYTES // (4 * graph.n))
    for first in range(0, n_classes, at_once):
        spread = _spread_of(step, known, first, min(at_once, n_classes - first))
        for column in range(spread.shape[1]):
            arrived = spread[:, column]
            total += arrived
            better = arrived > best
            best[better], codes[better] = arrived[better], first + column
    confidence = np.divide(best, total, out=np.zeros(graph.n), where=total > 0)
    codes[labelled] = known[labelled]
    confidence[labelled] = 1
    return codes, confidence.astype(np.float32)


def _spread_of(step: csr_matrix, known: np.ndarray, first: int, count: int) -> np.ndarray:
    """What arrives of `count` classes from `first` on, float32 [n, count]."""
    labelled = np.flatnonzero((known >= first) & (known < first + count))
    own = known[labelled] - first
    sources = np.zeros((known.size, count), dtype=np.float32)
    sources[labelled, own] = (1 - _SPREAD) / np.bincount(own, minlength=count)[own]
    spread = sources.copy()
    for _ in range(_STEPS):
        spread = step @ spread
        spread += sources
    return spread
