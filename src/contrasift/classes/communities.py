"""Communities of the neighbours' graph: found by Leiden, agreed on by many runs, the small ones joined."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.classes.graph import NeighbourGraph, class_means, unit_means
from contrasift.errors import MissingExtraError, UsageError

LIBRARIES = ("networkit", "leidenalg")
_CONSENSUS = (1.0, 1.5, 2.0, 3.0, 4.0)
# Rounds of Leiden: from the tenth on, modularity hardly rises, and two seeds hardly differ less. In
# very large graphs, where a round takes many seconds, three must do.
_ROUNDS, _FEW_ROUNDS = 10, 3
_MANY_EDGES = 5_000_000

Partition = Callable[[float, int], np.ndarray]


def communities(
    graph: NeighbourGraph, resolution: float, seed: int = 0, library: str = "networkit"
) -> np.ndarray:
    """Communities of the graph by Leiden (Traag, Waltman and van Eck 2019).

    Maximises Σ_ij (w_ij − γ s_i s_j / Σs) [c_i = c_j] over partitions c, where s_i is the sum of
    a row's weights and γ the resolution (modularity of Reichardt and Bornholdt). NetworKit runs in
    one thread, where a seed gives one result: with more, moves would depend on who comes first.

    Args:
        graph: of the rows.
        resolution: γ, above 0; more makes more communities.
        seed: of Leiden.
        library: `networkit`; or `leidenalg` (extra `bench`, GPL), to compare with.

    Returns:
        int64 [n]; a community for every row, numbered by first row. One without edges is alone.

    Raises:
        UsageError: a resolution of 0 or less, an unknown library.
        MissingExtraError: leidenalg or igraph is not installed.
    """
    return partition_of(graph, library)(resolution, seed)


def partition_of(graph: NeighbourGraph, library: str = "networkit") -> Partition:
    """The graph as the library holds it, waiting for a resolution and a seed.

    Raises:
        UsageError: an unknown library; of what is returned: a resolution of 0 or less.
        MissingExtraError: leidenalg or igraph is not installed.
    """
    if library not in LIBRARIES:
        raise UsageError(f"a library among {', '.join(LIBRARIES)}", repr(library))
    find = None
    if graph.first.size:
        find = (_networkit if library == "networkit" else _leidenalg)(graph)

    def checked(resolution: float, seed: int) -> np.ndarray:
        if not 0 < resolution < float("inf"):
            raise UsageError("a resolution above 0", f"{resolution}")
        return np.arange(graph.n) if find is None else by_first_row(find(resolution, seed))

    return checked


def _networkit(graph: NeighbourGraph) -> Partition:
    import networkit

    edges = (graph.weight, (graph.first, graph.second))
    network = networkit.GraphFromCoo(edges, n=graph.n, weighted=True, directed=False)

    rounds = _ROUNDS if graph.first.size <= _MANY_EDGES else _FEW_ROUNDS

    def find(resolution: float, seed: int) -> np.ndarray:
        with _one_thread(networkit):
            networkit.setSeed(seed % (1 << 63), False)
            leiden = networkit.community.ParallelLeiden(
                network, randomize=True, iterations=rounds, gamma=resolution
            )
            leiden.run()
            return np.asarray(leiden.getPartition().getVector())

    return find


@contextmanager
def _one_thread(networkit: Any) -> Iterator[None]:
    before = networkit.getMaxNumberOfThreads()
    networkit.setNumberOfThreads(1)
    try:
        yield
    finally:
        networkit.setNumberOfThreads(before)


def _leidenalg(graph: NeighbourGraph) -> Partition:
    if not all(importlib.util.find_spec(name) for name in ("igraph", "leidenalg")):
        raise MissingExtraError("leidenalg", "bench")
    import igraph
    import leidenalg

    network = igraph.Graph(graph.n, np.stack([graph.first, graph.second], axis=1))

    def find(resolution: float, seed: int) -> np.ndarray:
        found = leidenalg.find_partition(
            network,
            leidenalg.RBConfigurationVertexPartition,
            weights=graph.weight.tolist(),
            resolution_parameter=resolution,
            n_iterations=2,
            seed=seed % (1 << 31),
        )
        return np.asarray(found.membership)

    return find


def by_first_row(codes: np.ndarray) -> np.ndarray:
    """The same partition, its parts numbered in the order of their first rows, without gaps."""
    _, first, dense = np.unique(codes, return_index=True, return_inverse=True)
    place = np.empty(first.size, dtype=np.int64)
    place[np.argsort(first)] = np.arange(first.size)
    return place[dense.reshape(-1)]


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
    find = partition_of(graph)
    seeds = np.random.default_rng(seed).integers(1 << 31, size=2 * len(_CONSENSUS))
    together = np.zeros(graph.first.size, dtype=np.int8)
    for turn, own in enumerate(seeds.tolist()):
        codes = find(_CONSENSUS[turn // 2], own)
        together += codes[graph.first] == codes[graph.second]
    kept = together > 1
    share = together[kept] / seeds.size
    return NeighbourGraph(
        graph.n, graph.first[kept], graph.second[kept], graph.weight[kept] * share, graph.neighbours
    )


def least_size(n: int, k: int) -> int:
    """Rows of a community that stays one: 2·k, in small pools ⌈√n / 3⌉.

    Modularity finds communities of about √n rows (its resolution limit: Fortunato and Barthélemy
    2007), so that in a pool of a few hundred hardly one has 2·k, and all would join those few.
    """
    return min(2 * k, int(np.ceil(n**0.5 / 3)))


def join_small(
    points: np.ndarray, codes: np.ndarray, least: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Every row of a community with fewer than `least` rows goes to the nearest larger one.

    Nearest by the cosine between the row and the mean of the community; the lower number on equal
    ones. Where none is large enough, those of the largest size stay; all in one if rows have no
    direction.

    Args:
        points: float32 [n, d].
        codes: int64 [n]; communities, 0..K−1.
        least: rows of a community that stays.
        weights: int64 [n]; how many rows each row stands for; default: itself.

    Returns:
        int64 [n]; codes from 0 without gaps.
    """
    sizes = np.bincount(codes, weights).astype(np.int64)
    large = np.flatnonzero(sizes >= min(least, sizes.max()))
    if not points.any():
        large = large[:1]  # rows without any direction are all the same
    place = np.full(sizes.size, -1)
    place[large] = np.arange(large.size)
    joined = place[codes]
    moving = np.flatnonzero(joined < 0)
    means = unit_means(class_means(points, joined, large.size)) if moving.size else points
    for block in row_blocks(moving.size, 8 * (large.size + points.shape[1])):
        some = moving[block]
        joined[some] = (points[some].astype(np.float64) @ means.T).argmax(axis=1)
    return joined
