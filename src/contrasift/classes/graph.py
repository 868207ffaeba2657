"""The graph of nearest neighbours, its communities (Leiden), and labels spread over it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.classes.agreement import class_stability, renumber
from contrasift.classes.rows import Rows
from contrasift.errors import MissingExtraError, UsageError

RESOLUTIONS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
NEIGHBOURS = (10, 20, 30)
GRAPHS = ("mutual", "union")
_CONSENSUS = (1.0, 1.5, 2.0, 3.0, 4.0)

# Every pair of rows is compared up to this many; beyond, neighbours come from an inverted file.
_EXACT_ROWS = 131_072
# Propagation: what a step along an edge keeps, and the longest walk: 0.95^100 is 0.006.
_SPREAD = 0.95
_STEPS = 100


@dataclass(frozen=True)
class NeighbourGraph:
    """An undirected graph of rows.

    Attributes:
        n: rows.
        first: int64 [e]; the lower end of each edge; edges ascend by first, then second.
        second: int64 [e]; the higher end.
        weight: float64 [e]; in (0, 1].
        neighbours: int64 [n, k]; nearest rows of each row, nearest first, itself left out.
    """

    n: int
    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    neighbours: np.ndarray


def graph_is_available() -> bool:
    """Whether Leiden is installed (extra `graph`)."""
    return all(importlib.util.find_spec(name) for name in ("igraph", "leidenalg"))


def nearest_neighbours(points: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """The k nearest other rows of each row by Euclidean length, nearest first (faiss).

    Exact up to 131,072 rows; beyond, an inverted file of 4·√n lists of which 32 are searched. On
    equal lengths faiss decides.

    Args:
        points: float32 [n, d].
        k: below n.
        seed: of the inverted file.

    Returns:
        int64 [n, k].
    """
    import faiss

    n, d = points.shape
    index: Any = faiss.IndexFlatL2(d)
    if n > _EXACT_ROWS:
        lists = int(4 * n**0.5)
        index = faiss.IndexIVFFlat(index, d, lists)
        index.cp.seed = seed % (1 << 31)
        index.nprobe = 32
        index.train(points)
    index.add(points)
    found = np.empty((n, k), dtype=np.int64)
    for block in row_blocks(n, 16 * (k + 1) + 4 * d):
        _, nearest = index.search(points[block], k + 1)
        itself = nearest == np.arange(block.start, block.stop)[:, None]
        # Among more than k equal rows a row may not find itself: then the last one goes.
        itself[~itself.any(axis=1), -1] = True
        found[block] = nearest[~itself].reshape(-1, k)
    return found


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
    from scipy.sparse import csr_matrix

    if kind not in GRAPHS:
        raise UsageError(f"a graph among {', '.join(GRAPHS)}", repr(kind))
    n, k = neighbours.shape
    source, target = np.repeat(np.arange(n), k), neighbours.ravel()
    source, target = source[target >= 0], target[target >= 0]
    pairs = np.minimum(source, target) * n + np.maximum(source, target)
    edges, times = np.unique(pairs, return_counts=True)
    if kind == "mutual":
        edges = edges[times == 2]
    first, second = edges // n, edges % n
    each = np.arange(n)
    near = csr_matrix(
        (
            np.ones(source.size + n, dtype=np.int32),
            (np.concatenate([source, each]), np.concatenate([target, each])),
        ),
        shape=(n, n),
    )
    sizes = np.asarray(near.sum(axis=1)).ravel()
    shared = np.zeros(edges.size)
    for block in row_blocks(edges.size, 48 * (k + 1)):
        both = near[first[block]].multiply(near[second[block]])
        shared[block] = np.asarray(both.sum(axis=1)).ravel()
    weight = shared / (sizes[first] + sizes[second] - shared)
    return NeighbourGraph(n, first, second, weight, neighbours)


def communities(graph: NeighbourGraph, resolution: float, seed: int = 0) -> np.ndarray:
    """Communities of the graph by Leiden (Traag, Waltman and van Eck 2019).

    Maximises Σ_ij (w_ij − γ s_i s_j / Σs) [c_i = c_j] over partitions c, where s_i is the sum of
    a row's weights and γ the resolution (modularity of Reichardt and Bornholdt).

    Args:
        graph: of the rows.
        resolution: γ, above 0; more makes more communities.
        seed: of Leiden.

    Returns:
        int64 [n]; a community for every row. A row without edges has one of its own.

    Raises:
        UsageError: a resolution of 0 or less.
        MissingExtraError: leidenalg or igraph is not installed.
    """
    if not 0 < resolution < float("inf"):
        raise UsageError("a resolution above 0", f"{resolution}")
    return _leiden(_network(graph), graph.weight, resolution, seed)


def agreed_graph(graph: NeighbourGraph, seed: int = 0) -> NeighbourGraph:
    """The graph weighted by how often runs of Leiden put the ends of an edge together.

    w'_ij = w_ij · (share of runs with c_i = c_j), over ten runs: resolutions 1, 1.5, 2, 3 and 4,
    each with two seeds of its own; edges that at most one run keeps are left out. Communities of it
    hardly depend on the seed (consensus clustering after Lancichinetti and Fortunato 2012, here one
    round of it on the edges of the graph alone).

    Args:
        graph: of the rows.
        seed: of the runs.
    """
    network = _network(graph)
    seeds = np.random.default_rng(seed).integers(1 << 31, size=2 * len(_CONSENSUS))
    together = np.zeros(graph.first.size)
    for turn, own in enumerate(seeds.tolist()):
        codes = _leiden(network, graph.weight, _CONSENSUS[turn // 2], own)
        together += codes[graph.first] == codes[graph.second]
    kept = together > 1
    share = together[kept] / seeds.size
    return NeighbourGraph(
        graph.n, graph.first[kept], graph.second[kept], graph.weight[kept] * share, graph.neighbours
    )


def _network(graph: NeighbourGraph) -> Any:
    """The graph as igraph holds it."""
    if not graph_is_available():
        raise MissingExtraError("leidenalg", "graph")
    import igraph

    return igraph.Graph(graph.n, np.stack([graph.first, graph.second], axis=1))


def _leiden(network: Any, weight: np.ndarray, resolution: float, seed: int) -> np.ndarray:
    import leidenalg

    found = leidenalg.find_partition(
        network,
        leidenalg.RBConfigurationVertexPartition,
        weights=weight.tolist(),
        resolution_parameter=resolution,
        n_iterations=2,
        seed=seed % (1 << 31),
    )
    return np.asarray(found.membership, dtype=np.int64)


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


def join_small(points: np.ndarray, codes: np.ndarray, least: int) -> np.ndarray:
    """Every row of a community with fewer than `least` rows goes to the nearest larger one.

    Nearest by the cosine between the row and the mean of the community; the lower number on equal
    ones. Where none is large enough, as in pools of a few hundred, those from the median size on
    count as large: one class in all would say nothing.

    Args:
        points: float32 [n, d].
        codes: int64 [n]; communities, 0..K−1.
        least: rows of a community that stays.

    Returns:
        int64 [n]; codes from 0 without gaps.
    """
    sizes = np.bincount(codes)
    large = np.flatnonzero(sizes >= least)
    if large.size == 0:
        # Rows without any direction are all the same: they are one class.
        large = np.flatnonzero(sizes >= np.median(sizes))[: None if points.any() else 1]
    place = np.full(sizes.size, -1)
    place[large] = np.arange(large.size)
    joined = place[codes]
    moving = np.flatnonzero(joined < 0)
    if moving.size:
        means = class_means(points, joined, large.size)
        norms = np.linalg.norm(means, axis=1, keepdims=True)
        means = np.divide(means, norms, out=np.zeros_like(means), where=norms > 0)
        for block in row_blocks(moving.size, 8 * (large.size + points.shape[1])):
            some = moving[block]
            joined[some] = (points[some].astype(np.float64) @ means.T).argmax(axis=1)
    return joined


def class_means(points: np.ndarray, codes: np.ndarray, n_classes: int) -> np.ndarray:
    """Mean row of every class in float64; rows with a negative code are left out."""
    from scipy.sparse import csr_matrix

    rows = np.flatnonzero(codes >= 0)
    members = csr_matrix(
        (np.ones(rows.size), (codes[rows], rows)), shape=(n_classes, points.shape[0])
    )
    counts = np.maximum(np.asarray(members.sum(axis=1)), 1)
    return np.asarray(members @ points.astype(np.float64)) / counts


def neighbour_share(neighbours: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Share of each row's nearest neighbours that are in its own class, float32 [n]."""
    same = (codes[neighbours] == codes[:, None]) & (neighbours >= 0)
    return (same.sum(axis=1) / np.maximum((neighbours >= 0).sum(axis=1), 1)).astype(np.float32)


def build_graph(
    rows: Rows, n_neighbours: int, kind: str, seed: int
) -> tuple[np.ndarray, NeighbourGraph]:
    """The rows in memory, and their graph; of few rows, everyone is everyone's neighbour.

    Raises:
        UsageError: fewer than one neighbour.
    """
    if n_neighbours < 1:
        raise UsageError("at least 1 neighbour", f"{n_neighbours}")
    points = rows.gather()
    k = min(n_neighbours, points.shape[0] - 1)
    if k == 0:
        none = np.empty(0, dtype=np.int64)
        return points, NeighbourGraph(1, none, none, np.empty(0), np.empty((1, 0), np.int64))
    return points, neighbour_graph(nearest_neighbours(points, k, seed), kind)


@dataclass(frozen=True)
class _Communities:
    """Communities of one graph, the small ones joined."""

    codes: np.ndarray
    joined: int


def graph_classes(
    rows: Rows,
    *,
    n_neighbours: int | str = 10,
    resolution: float | str = 3.0,
    kind: str = "mutual",
    seed: int = 0,
    least: int | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Communities of the neighbour graph as classes, the small ones joined to the nearest large.

    What is `auto` is chosen without labels: the value whose classes agree best between two seeds
    (adjusted Rand index; the lowest value on equal ones).

    Args:
        rows: of the pool.
        n_neighbours: k of the graph; `auto`: 10, 20 or 30.
        resolution: of Leiden; `auto`: 1, 1.5, 2, 3, 4 or 6; `consensus`: communities of
            `agreed_graph` at resolution 1.
        kind: `mutual` or `union`: see `neighbour_graph`.
        seed: of Leiden and of approximate neighbours.
        least: rows of a community that stays; default: 2·k.

    Returns:
        codes int64 [n], by size; score float32 [n], the share of the row's nearest neighbours that
        are in its class; and facts.

    Raises:
        UsageError: a count or a resolution that is not above 0.
        MissingExtraError: leidenalg or igraph is not installed.
    """
    if isinstance(n_neighbours, str) and n_neighbours != "auto":
        raise UsageError("neighbours of at least 1, or auto", repr(n_neighbours))
    if isinstance(resolution, str) and resolution not in ("auto", "consensus"):
        raise UsageError("a resolution above 0, auto or consensus", repr(resolution))
    widest = max(NEIGHBOURS) if n_neighbours == "auto" else int(n_neighbours)
    points, graph = build_graph(rows, widest, kind, seed)
    facts: dict[str, Any] = {"graph": kind}
    if n_neighbours != "auto":
        found, more = _communities(points, graph, widest, resolution, seed, least)
        k = widest
    else:
        near, tried = graph.neighbours, []
        for k in NEIGHBOURS:
            graph = neighbour_graph(near[:, :k], kind)
            one, more = _communities(points, graph, k, resolution, seed, least)
            again, _ = _communities(points, graph, k, more["resolution"], seed + 1, least)
            agreement = class_stability([one.codes, again.codes])["ari"]
            tried.append((k, agreement, one, more, graph))
        facts["neighbours_curve"] = [
            {"neighbours": k, "stability": agreement, "n_classes": _count(one)}
            for k, agreement, one, _, _ in tried
        ]
        telling = [trial for trial in tried if _count(trial[2]) > 1] or tried
        k, _, found, more, graph = max(telling, key=lambda trial: trial[1])
    facts |= {"neighbours": k, "edges": int(graph.first.size)} | more
    return found.codes, neighbour_share(graph.neighbours, found.codes), facts


def _count(found: _Communities) -> int:
    return int(found.codes.max()) + 1


def _communities(
    points: np.ndarray,
    graph: NeighbourGraph,
    k: int,
    resolution: float | str,
    seed: int,
    least: int | None,
) -> tuple[_Communities, dict[str, Any]]:
    """Communities at this resolution, or at the one that two seeds agree on best; and facts."""
    least = 2 * k if least is None else least
    facts: dict[str, Any] = {"smallest": least}

    def find(gamma: float | str, own: int) -> _Communities:
        if gamma == "consensus":
            raw = communities(agreed_graph(graph, own), 1.0, own)
        else:
            raw = communities(graph, float(gamma), own)
        small = int((np.bincount(raw) < least).sum())
        return _Communities(renumber(join_small(points, raw, least))[0], small)

    if resolution == "auto":
        curve = []
        for gamma in RESOLUTIONS:
            pair = [find(gamma, seed + turn) for turn in (0, 1)]
            agreement = class_stability([one.codes for one in pair])["ari"]
            curve.append(
                {"resolution": gamma, "stability": agreement, "n_classes": _count(pair[0])}
            )
        # One class in all agrees with itself and says nothing.
        telling = [point for point in curve if point["n_classes"] > 1] or curve
        resolution = float(max(telling, key=lambda point: point["stability"])["resolution"])
        facts["resolution_curve"] = curve
    found = find(resolution, seed)
    return found, facts | {"resolution": resolution, "communities_joined": found.joined}


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
    from scipy.sparse import csr_matrix

    ends = np.concatenate([graph.first, graph.second])
    others = np.concatenate([graph.second, graph.first])
    weights = np.concatenate([graph.weight, graph.weight])
    strength = np.bincount(ends, weights=weights, minlength=graph.n)
    scale = np.divide(1, np.sqrt(strength), out=np.zeros(graph.n), where=strength > 0)
    along = (_SPREAD * weights * scale[ends] * scale[others]).astype(np.float32)
    step = csr_matrix((along, (ends, others)), shape=(graph.n, graph.n))
    sources = np.zeros((graph.n, n_classes), dtype=np.float32)
    labelled = np.flatnonzero(known >= 0)
    counts = np.maximum(np.bincount(known[labelled], minlength=n_classes), 1)
    sources[labelled, known[labelled]] = (1 - _SPREAD) / counts[known[labelled]]
    spread = sources.copy()
    for _ in range(_STEPS):
        spread = step @ spread
        spread += sources
    total = spread.sum(axis=1)
    codes = np.where(total > 0, spread.argmax(axis=1), -1)
    none = np.zeros_like(total)
    confidence = np.divide(spread.max(axis=1), total, out=none, where=total > 0)
    codes[labelled] = known[labelled]
    confidence[labelled] = 1
    return codes.astype(np.int64), confidence.astype(np.float32)
