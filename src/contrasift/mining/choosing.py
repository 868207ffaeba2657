"""From the hardest rows of some queries to their negatives; deeper where too few are eligible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from contrasift.mining.draws import Draw, draw_columns
from contrasift.mining.listed import Known, RankedCandidates, places_by_query, reasons_of
from contrasift.negatives.policies import Policy

_DEEPER = 4
_SPARE = 64


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

    @property
    def whole(self) -> bool:
        """Whether every candidate must be looked at."""
        return self.policy.is_random or self.draw.randoms > 0

    def totals(self, queries: np.ndarray) -> np.ndarray:
        """How many candidates queries have: all rows but positives and the query itself."""
        return self.n - self.known.positives.counts[queries] - int(self.known.same)

    def first_depth(self) -> int:
        """Places that are likely to be enough."""
        if self.whole:
            return self.n
        begin = self.policy.places(self.n)[0]
        return min(self.n, begin + max(_SPARE, _DEEPER * self.draw.needed))


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
        self.places[at[which], place] = columns + 1


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
        last = depth >= np.minimum(ends[here], listed.totals)
        enough = named.sum(axis=1) >= task.draw.needed
        settled = last | (enough & (not task.whole)) | (depth >= most)
        places = at[here[settled]]
        _settle(task, _some(listed, settled), named[settled], taken, places)
        ended = ~last[settled] & (taken.reasons[places] != "")
        taken.reasons[places[ended]] = "search"
        here = here[~settled]
        if not here.size:
            return
        depth = min(_DEEPER * depth, most)
        rows, similarity = deepen(here, depth)
        listed = replace(_some(first, here), rows=rows, similarity=similarity)


def _some(listed: RankedCandidates, which: np.ndarray) -> RankedCandidates:
    return replace(
        listed,
        similarity=listed.similarity[which],
        positive=listed.positive[which],
        numbers=listed.numbers[which],
        rows=listed.rows[which],
        totals=listed.totals[which],
        beside=listed.beside[which],
    )


def _settle(
    task: MiningTask, listed: RankedCandidates, named: np.ndarray, taken: Taken, at: np.ndarray
) -> None:
    draw = task.draw
    chosen = draw_columns(named, draw, task.known.seed, listed.numbers, listed.rows)
    taken.take(at, listed, chosen)
    short = np.flatnonzero(chosen.sum(axis=1) < draw.per_query)
    if short.size:
        few = _some(listed, short)
        taken.reasons[at[short]] = list(reasons_of(task.policy, few, draw.per_query))
