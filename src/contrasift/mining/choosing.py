"""From the hardest rows of some queries to their negatives; deeper where too few are eligible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from contrasift.mining.draws import Draw, draw_columns
from contrasift.mining.listed import Known, RankedCandidates, places_by_query, reasons_of
from contrasift.negatives.policies import Policy

_DEEPER = 4
# Places beyond those that are needed: so many times as many, but at least and at most.
_MORE, _SPARE, _MOST_SPARE = 3, 64, 4_096


@dataclass(frozen=True)
class MiningTask:
    """What is asked of every query.

    Attributes:
        policy: which candidates may be negatives.
        draw: how many are taken from where.
        known: of queries and corpus.
        n: rows of the corpus.
    """

    policy: Policy
    draw: Draw
    known: Known
    n: int

    def totals(self, queries: np.ndarray) -> np.ndarray:
        """How many candidates queries have: all rows but positives and the query itself."""
        return self.n - self.known.positives.counts[queries] - int(self.known.same)

    def first_depth(self) -> int:
        """Places that are likely to be enough; where some are drawn from all, all that it names."""
        begin, end = self.policy.places(self.n)
        if self.draw.randoms:
            return max(1, end)
        needed = self.draw.needed / self.policy.least_share
        return min(self.n, begin + int(needed + min(max(_SPARE, _MORE * needed), _MOST_SPARE)))

    def without_randoms(self) -> MiningTask:
        """What is asked besides the negatives that are drawn from all candidates."""
        return replace(self, draw=self.draw.without_randoms)


@dataclass
class Taken:
    """Negatives of some queries.

    Attributes:
        rows: int64 [q, per_query]; hardest first, −1 where there are no more.
        similarity: float32 [q, per_query].
        places: int64 [q, per_query]; from 1, the hardest of all candidates; 0 where there is none.
        positive: float32 [q]; similarity of the weakest positive.
        reasons: why there are too few, by query; empty where there are enough.
    """

    rows: np.ndarray
    similarity: np.ndarray
    places: np.ndarray
    positive: np.ndarray
    reasons: np.ndarray

    @classmethod
    def none(cls, n: int, per_query: int) -> Taken:
        """Nothing is taken yet."""
        shape = (n, per_query)
        return cls(
            np.full(shape, -1, np.int64),
            np.full(shape, np.nan, np.float32),
            np.zeros(shape, np.int64),
            np.full(n, np.nan, np.float32),
            np.full(n, "", dtype=object),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """What is taken, as arrays that can be kept in files."""
        return {**vars(self), "reasons": self.reasons.astype(np.str_)}

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> Taken:
        """The reverse of `arrays`."""
        return cls(**{**arrays, "reasons": arrays["reasons"].astype(object)})

    def put(self, some: slice | np.ndarray, part: Taken) -> None:
        """Put in what was taken of some queries."""
        for name, values in vars(part).items():
            vars(self)[name][some] = values

    def take(self, at: np.ndarray, listed: RankedCandidates, chosen: np.ndarray) -> None:
        """Keep what was chosen of some queries, at these places."""
        which, columns = np.nonzero(chosen)
        starts = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))])
        place = np.arange(which.size) - starts[which]
        self.rows[at[which], place] = listed.rows[which, columns]
        self.similarity[at[which], place] = listed.similarity[which, columns]
        self.places[at[which], place] = listed.places[which, columns]

    def add(self, at: np.ndarray, more: Mapping[str, Any]) -> None:
        """Put further ones into the last columns of some queries, and all in order of their places.

        Args:
            at: int64 [b].
            more: `rows`, `similarity` and `places` [b, k].
        """
        count = more["places"].shape[1]
        places = np.concatenate([self.places[at, :-count], more["places"]], axis=1)
        order = np.argsort(places, axis=1, kind="stable")
        for name, values in more.items():
            every = np.concatenate([vars(self)[name][at, :-count], values], axis=1)
            vars(self)[name][at] = np.take_along_axis(every, order, axis=1)


Deepen = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def choose(
    task: MiningTask,
    first: RankedCandidates,
    deepen: Deepen,
    most: int,
    taken: Taken,
    at: np.ndarray,
) -> None:
    """Choose the negatives of some queries, looking deeper where it must be.

    Args:
        task: what is asked.
        first: the hardest rows of the queries.
        deepen: gives more of them: (places among `first`'s queries, depth) to rows and similarities.
        most: the greatest depth that there is.
        taken: where the negatives are put.
        at: int64; the places there.
    """
    listed, here = first, np.arange(at.size)
    ends = places_by_query(task.policy.places, first.totals)[1]
    while True:
        depth = listed.rows.shape[1]
        named = task.policy.mask(listed) & (listed.rows >= 0)
        reached = depth if listed.above is None else depth + listed.above
        last = reached >= np.minimum(ends[here], listed.totals)
        enough = named.sum(axis=1) >= task.draw.needed
        settled = last | (enough & (task.draw.randoms == 0)) | (depth >= most)
        places = at[here[settled]]
        _settle(task, some_of(listed, settled), named[settled], taken, places)
        ended = ~last[settled] & (taken.reasons[places] != "")
        taken.reasons[places[ended]] = "search"
        here = here[~settled]
        if not here.size:
            return
        depth = min(_DEEPER * depth, most)
        rows, similarity = deepen(here, depth)
        listed = replace(some_of(first, here), rows=rows, similarity=similarity)


def draw_tried(
    task: MiningTask, listed: RankedCandidates, taken: Taken, at: np.ndarray
) -> np.ndarray:
    """Add the first of the tried rows that the policy names, where there are as many as are wanted.

    Args:
        task: what is asked.
        listed: tried rows of some queries, in the order of their random numbers.
        taken: holds the hard negatives already.
        at: int64 [b]; the queries' places there.

    Returns:
        bool [b]; which queries had enough.
    """
    hard = taken.rows[at, : task.draw.hard, None]
    named = task.policy.mask(listed) & (listed.rows >= 0)
    named &= ~(listed.rows[:, None] == hard).any(axis=1)
    enough = named.sum(axis=1) >= task.draw.randoms
    some, where = some_of(listed, np.flatnonzero(enough)), at[enough]
    taken.positive[at] = listed.positive
    columns = np.argsort(~named[enough], axis=1, kind="stable")[:, : task.draw.randoms]
    more = {"rows": some.rows, "similarity": some.similarity, "places": some.places}
    taken.add(where, {name: np.take_along_axis(part, columns, 1) for name, part in more.items()})
    return enough


def some_of(listed: RankedCandidates, which: np.ndarray) -> RankedCandidates:
    """Of some queries."""
    return replace(
        listed,
        similarity=listed.similarity[which],
        positive=listed.positive[which],
        numbers=listed.numbers[which],
        rows=listed.rows[which],
        totals=listed.totals[which],
        beside=listed.beside[which],
        above=None if listed.above is None else listed.above[which],
        listed_places=None if listed.listed_places is None else listed.listed_places[which],
    )


def _settle(
    task: MiningTask, listed: RankedCandidates, named: np.ndarray, taken: Taken, at: np.ndarray
) -> None:
    draw = task.draw
    chosen = draw_columns(named, draw, task.known.seed, listed.numbers, listed.rows)
    taken.take(at, listed, chosen)
    short = np.flatnonzero(chosen.sum(axis=1) < draw.per_query)
    if short.size:
        few = some_of(listed, short)
        taken.reasons[at[short]] = list(reasons_of(task.policy, few, draw.per_query))
