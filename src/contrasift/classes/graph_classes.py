"""Communities of the neighbours' graph as classes: what is not told is chosen, the small are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from contrasift.classes.agreement import class_stability, renumber
from contrasift.classes.communities import (
    agreed_graph,
    by_first_row,
    communities,
    join_small,
    least_size,
    partition_of,
)
from contrasift.classes.graph import NeighbourGraph, build_graph, neighbour_graph, neighbour_share
from contrasift.classes.neighbours import Searching, check_memory
from contrasift.classes.rows import Rows
from contrasift.errors import UsageError

if TYPE_CHECKING:
    from contrasift.selection.copies import Distinct

RESOLUTIONS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
NEIGHBOURS = (10, 20, 30)
# Seeds whose classes are held against each other where a value is chosen: two agree by luck.
_SEEDS = 4
# Agreements that differ by less are equal; of equal resolutions the one nearest to the default is taken.
_NOISE = 0.03
DEFAULT = 3.0


class GraphClasses(NamedTuple):
    """What was found.

    Attributes:
        codes: int64 [n], by size.
        score: float32 [n]; the share of a row's nearest neighbours that are in its class.
        facts: figures.
        levels: int64 [n] for each other resolution, by size.
    """

    codes: np.ndarray
    score: np.ndarray
    facts: dict[str, Any]
    levels: dict[float, np.ndarray]


def float_of(resolution: float | str) -> float:
    """The resolution at which communities were found; those that runs agree on: at 1."""
    return 1.0 if resolution == "consensus" else float(resolution)


def graph_classes(
    rows: Rows,
    *,
    n_neighbours: int | str = 10,
    resolution: float | str = 3.0,
    kind: str = "mutual",
    seed: int = 0,
    least: int | None = None,
    searching: Searching | None = None,
    levels: Sequence[float] = (),
) -> GraphClasses:
    """Communities of the neighbour graph as classes, the small ones joined to the nearest large.

    What is `auto` is chosen without labels: the value whose classes agree best between four seeds
    (mean adjusted Rand index of the pairs; of resolutions within 0.03 of the best, which is noise,
    the one nearest to 3, of neighbours the lowest).

    Rows that are equal are one row of the graph, and get its class. One that is there more than k
    times, and `least` times, is a class of its own: the nearest of all its copies are copies.

    Args:
        rows: of the pool.
        n_neighbours: k of the graph; `auto`: 10, 20 or 30.
        resolution: of Leiden; `auto`: 1, 1.5, 2, 3, 4 or 6; `consensus`: communities of
            `agreed_graph` at resolution 1.
        kind: `mutual` or `union`: see `neighbour_graph`.
        seed: of Leiden and of approximate neighbours.
        least: rows of a community that stays; default: see `least_size`.
        searching: how neighbours among many rows are searched.
        levels: resolutions of coarser and finer classes, nested with these: see `nested`.

    Returns:
        The classes, by size.

    Raises:
        UsageError: a count or a resolution that is not above 0.
    """
    if isinstance(n_neighbours, str) and n_neighbours != "auto":
        raise UsageError("neighbours of at least 1, or auto", repr(n_neighbours))
    if isinstance(resolution, str) and resolution not in ("auto", "consensus"):
        raise UsageError("a resolution above 0, auto or consensus", repr(resolution))
    widest = max(NEIGHBOURS) if n_neighbours == "auto" else int(n_neighbours)
    limit = searching.memory_limit if searching else None
    check_memory(rows.shape[0], rows.shape[1], widest, limit)
    from contrasift.selection.copies import distinct_rows

    copies = distinct_rows(rows.values)
    points = rows.gather(None if copies is None else copies.first)
    graph = build_graph(points, widest, kind, seed, searching)
    facts: dict[str, Any] = {"graph": kind}
    if graph.search:
        facts["neighbours_search"] = dict(graph.search)
    if copies is not None:
        facts["distinct"] = copies.first.size
    if n_neighbours != "auto":
        search = _CommunitySearch(points, graph, widest, copies, least)
        found, more = search.find(resolution, seed)
    else:
        tried = []
        for k in NEIGHBOURS:
            narrow = neighbour_graph(graph.neighbours[:, :k], kind)
            search = _CommunitySearch(points, narrow, k, copies, least)
            one, more = search.find(resolution, seed)
            others = [search.at(more["resolution"], seed + turn) for turn in range(1, _SEEDS)]
            agreement = class_stability([found.codes for found in (one, *others)])["ari"]
            tried.append((agreement, one, more, search))
        facts["neighbours_curve"] = [
            {"neighbours": search.k, "stability": agreement, "n_classes": one.count}
            for agreement, one, _, search in tried
        ]
        telling = [trial for trial in tried if trial[1].count > 1] or tried
        _, found, more, search = max(telling, key=lambda trial: trial[0])
    facts |= {"neighbours": search.k, "edges": int(search.graph.first.size)} | more
    share = neighbour_share(search.graph.neighbours, found.codes, search.counts)
    nested = search.nested(found.codes, float_of(more["resolution"]), levels, seed)
    if copies is None:
        return GraphClasses(found.codes, share, facts, nested)
    codes = renumber(found.codes[copies.kind])[0]
    nested = {gamma: renumber(level[copies.kind])[0] for gamma, level in nested.items()}
    return GraphClasses(codes, share[copies.kind], facts, nested)


@dataclass(frozen=True)
class _Communities:
    """Communities of one graph, the small ones joined."""

    codes: np.ndarray
    joined: int
    rows_joined: float

    @property
    def count(self) -> int:
        return int(self.codes.max()) + 1


class _CommunitySearch:
    """What communities of one graph are made with."""

    def __init__(
        self,
        points: np.ndarray,
        graph: NeighbourGraph,
        k: int,
        copies: Distinct | None,
        least: int | None,
    ) -> None:
        self.points, self.graph, self.k = points, graph, k
        self.counts = None if copies is None else copies.counts
        n = points.shape[0] if copies is None else copies.kind.size
        self.least = least_size(n, k) if least is None else least
        self._partition = partition_of(graph)

    def find(self, resolution: float | str, seed: int) -> tuple[_Communities, dict[str, Any]]:
        """Communities at this resolution, or at the one that seeds agree on best; and facts."""
        facts: dict[str, Any] = {"smallest": self.least}
        if resolution == "auto":
            resolution, facts["resolution_curve"] = self._choose(seed)
        found = self.at(resolution, seed)
        return found, facts | {
            "resolution": resolution,
            "communities_joined": found.joined,
            "rows_joined": found.rows_joined,
        }

    def _choose(self, seed: int) -> tuple[float, list[dict[str, Any]]]:
        curve = []
        for gamma in RESOLUTIONS:
            found = [self.at(gamma, seed + turn) for turn in range(_SEEDS)]
            agreement = class_stability([one.codes for one in found])["ari"]
            curve.append({"resolution": gamma, "stability": agreement, "n_classes": found[0].count})
        # One class in all agrees with itself and says nothing.
        telling = [point for point in curve if point["n_classes"] > 1] or curve
        least = max(point["stability"] for point in telling) - _NOISE
        near = [point["resolution"] for point in telling if point["stability"] >= least]
        return min(near, key=lambda gamma: max(gamma / DEFAULT, DEFAULT / gamma)), curve

    def at(self, resolution: float | str, seed: int) -> _Communities:
        """Communities at one resolution, or those that runs agree on."""
        if resolution == "consensus":
            raw = communities(agreed_graph(self.graph, seed), 1.0, seed)
        else:
            raw = self._partition(float(resolution), seed)
        if self.counts is not None:
            alone = np.flatnonzero(self.counts > max(self.k, self.least - 1))
            raw[alone] = raw.max() + 1 + np.arange(alone.size)
            raw = by_first_row(raw)
        weights = np.ones(raw.size, np.int64) if self.counts is None else self.counts
        sizes = np.bincount(raw, weights)
        joined = join_small(self.points, raw, self.least, self.counts)
        small = sizes < self.least
        share = float(sizes[small].sum() / sizes.sum())
        return _Communities(renumber(joined)[0], int(small.sum()), share)

    def nested(
        self, codes: np.ndarray, resolution: float, levels: Sequence[float], seed: int
    ) -> dict[float, np.ndarray]:
        """Coarser and finer classes, so that each is within one of every coarser level.

        Coarser ones are communities of the next finer level's classes, finer ones those of the edges
        within the next coarser level's classes.

        Args:
            codes: int64 [n]; classes at `resolution`.
            resolution: γ.
            levels: other resolutions.
            seed: of Leiden.

        Raises:
            UsageError: a resolution that is not above 0.
        """
        found = {}
        finer = codes
        for gamma in sorted((level for level in levels if level < resolution), reverse=True):
            finer = found[gamma] = renumber(self._coarser(finer, gamma, seed))[0]
        coarser = codes
        for gamma in sorted(level for level in levels if level > resolution):
            coarser = found[gamma] = renumber(self._finer(coarser, gamma, seed))[0]
        return {gamma: found[gamma] for gamma in sorted(found)}

    def _coarser(self, codes: np.ndarray, gamma: float, seed: int) -> np.ndarray:
        count = int(codes.max()) + 1
        first, second = codes[self.graph.first], codes[self.graph.second]
        pairs = np.minimum(first, second) * count + np.maximum(first, second)
        edges, which = np.unique(pairs, return_inverse=True)
        weight = np.bincount(which.reshape(-1), weights=self.graph.weight)
        none = np.empty((count, 0), np.int64)
        classes = NeighbourGraph(count, edges // count, edges % count, weight, none)
        return partition_of(classes)(gamma, seed)[codes]

    def _finer(self, codes: np.ndarray, gamma: float, seed: int) -> np.ndarray:
        inside = codes[self.graph.first] == codes[self.graph.second]
        within = replace(
            self.graph,
            first=self.graph.first[inside],
            second=self.graph.second[inside],
            weight=self.graph.weight[inside],
        )
        raw = partition_of(within)(gamma, seed)
        finer = np.empty_like(raw)
        count = 0
        for members in np.split(
            np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1]
        ):
            own = by_first_row(raw[members])
            counts = None if self.counts is None else self.counts[members]
            finer[members] = count + join_small(self.points[members], own, self.least, counts)
            count = int(finer[members].max()) + 1
        return finer
