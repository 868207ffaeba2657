"""Communities of the neighbours' graph as classes: what is not told is chosen, the small are joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
from contrasift.classes.copies import Distinct, distinct_rows
from contrasift.classes.graph import NeighbourGraph, build_graph, neighbour_graph, neighbour_share
from contrasift.classes.rows import Rows
from contrasift.errors import UsageError

RESOLUTIONS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
NEIGHBOURS = (10, 20, 30)


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

    Returns:
        codes int64 [n], by size; score float32 [n], the share of the row's nearest neighbours that
        are in its class; and facts.

    Raises:
        UsageError: a count or a resolution that is not above 0.
    """
    if isinstance(n_neighbours, str) and n_neighbours != "auto":
        raise UsageError("neighbours of at least 1, or auto", repr(n_neighbours))
    if isinstance(resolution, str) and resolution not in ("auto", "consensus"):
        raise UsageError("a resolution above 0, auto or consensus", repr(resolution))
    copies = distinct_rows(rows.values)
    points = rows.gather(None if copies is None else copies.first)
    widest = max(NEIGHBOURS) if n_neighbours == "auto" else int(n_neighbours)
    graph = build_graph(points, widest, kind, seed)
    facts: dict[str, Any] = {"graph": kind}
    if copies is not None:
        facts["distinct"] = copies.first.size
    if n_neighbours != "auto":
        search = _Search(points, graph, widest, copies, least)
        found, more = search.find(resolution, seed)
    else:
        tried = []
        for k in NEIGHBOURS:
            narrow = neighbour_graph(graph.neighbours[:, :k], kind)
            search = _Search(points, narrow, k, copies, least)
            one, more = search.find(resolution, seed)
            again = search.at(more["resolution"], seed + 1)
            tried.append((class_stability([one.codes, again.codes])["ari"], one, more, search))
        facts["neighbours_curve"] = [
            {"neighbours": search.k, "stability": agreement, "n_classes": one.count}
            for agreement, one, _, search in tried
        ]
        telling = [trial for trial in tried if trial[1].count > 1] or tried
        _, found, more, search = max(telling, key=lambda trial: trial[0])
    facts |= {"neighbours": search.k, "edges": int(search.graph.first.size)} | more
    share = neighbour_share(search.graph.neighbours, found.codes, search.counts)
    if copies is None:
        return found.codes, share, facts
    codes = renumber(found.codes[copies.kind])[0]
    return codes, share[copies.kind], facts


@dataclass(frozen=True)
class _Communities:
    """Communities of one graph, the small ones joined."""

    codes: np.ndarray
    joined: int
    rows_joined: float

    @property
    def count(self) -> int:
        return int(self.codes.max()) + 1


class _Search:
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
        """Communities at this resolution, or at the one that two seeds agree on best; and facts."""
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
            pair = [self.at(gamma, seed + turn) for turn in (0, 1)]
            agreement = class_stability([one.codes for one in pair])["ari"]
            curve.append({"resolution": gamma, "stability": agreement, "n_classes": pair[0].count})
        # One class in all agrees with itself and says nothing.
        telling = [point for point in curve if point["n_classes"] > 1] or curve
        return float(max(telling, key=lambda point: point["stability"])["resolution"]), curve

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
