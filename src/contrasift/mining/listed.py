"""Rows of some queries as candidates of a policy, which sees their places and classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contrasift.mining.numbers import POLICY, hashed, number_at
from contrasift.mining.pairs import CorpusPairs
from contrasift.mining.ranking import mark_copies
from contrasift.negatives.candidates import Candidates, complement_percent
from contrasift.negatives.policies import Policy
from contrasift.negatives.ranks import band_counts


@dataclass(frozen=True)
class Known:
    """What is known of queries and corpus besides their vectors.

    Attributes:
        positives: of every query.
        same: whether queries and corpus are one matrix.
        latent_classes: int64 [n] of the corpus; None: unknown.
        labels: int64 [n], −1 unknown; None where there are none.
        relevant: pairs that belong together beyond the positives; None: unknown.
        seed: of what is random.
    """

    positives: CorpusPairs
    same: bool = False
    latent_classes: np.ndarray | None = None
    labels: np.ndarray | None = None
    relevant: CorpusPairs | None = None
    seed: int = 0

    def own_rows(self, queries: np.ndarray) -> np.ndarray:
        """Corpus rows whose classes are a query's own: its positives, and itself if it is a row."""
        rows = self.positives.of(queries)
        return np.concatenate([queries[:, None], rows], axis=1) if self.same else rows

    def of_own_class(self, codes: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Rows that share a class with a positive of the query, or with itself; bool [b, k]."""
        own_rows = self.own_rows(queries)
        own = np.where(own_rows >= 0, codes[own_rows], -1)
        theirs = codes[rows]
        found = np.zeros(rows.shape, dtype=bool)
        for number in range(own.shape[1]):
            one = own[:, number, None]
            found |= (theirs == one) & (one >= 0)
        return found & (rows >= 0)


@dataclass(frozen=True)
class RankedCandidates(Candidates):
    """Rows of some queries, whose place among all candidates is what `difficulty` asks for.

    Attributes:
        numbers: int64 [q]; the queries.
        rows: int64 [q, k]; corpus rows, −1 where there are no more.
        totals: int64 [q]; how many candidates each query has in all.
        known: of queries and corpus.
        packed: the corpus as kernels read it.
        beside: float32 [q, p]; similarity to each positive.
        above: int64 [q]; harder candidates that are not listed; None: there are none.
        listed_places: int64 [q, k]; places among all candidates, from 1; None: in order, the hardest
            first.
    """

    numbers: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    rows: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.int64))
    totals: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    known: Known | None = None
    packed: Any = None
    beside: Any = None
    above: np.ndarray | None = None
    listed_places: np.ndarray | None = None

    @property
    def places(self) -> np.ndarray:
        """Places among all candidates, from 1, int64 [q, k]."""
        if self.listed_places is not None:
            return self.listed_places
        first = np.zeros(len(self.rows), np.int64) if self.above is None else self.above
        return first[:, None] + np.arange(1, self.rows.shape[1] + 1)

    def band(self, low: float | int, high: float | int) -> np.ndarray:
        """Rows whose place is in a band of all candidates."""
        begin, end = places_by_query(lambda k: _band_places(low, high, k), self.totals)
        return (self.places > begin[:, None]) & (self.places <= end[:, None])

    def drawn(self, share: float | int) -> np.ndarray:
        """So many of all candidates at random: those of the largest numbers."""
        known = self.known
        assert known is not None
        numbers = hashed(known.seed, POLICY, self.numbers, self.rows)
        mask = self.rows >= 0
        own_rows = known.own_rows(self.numbers)
        for row, total in enumerate(self.totals):
            place = band_counts(complement_percent(share), 100, int(total))[0]
            if place:
                own = own_rows[row][own_rows[row] >= 0]
                limit = number_at(known.seed, POLICY, self.numbers[row], own, int(total), place)
                mask[row] &= numbers[row] > limit
        return mask

    def known_relevant(self) -> np.ndarray:
        """Rows known to belong to the query beyond its positives."""
        assert self.known is not None
        if self.known.relevant is None:
            return Candidates.known_relevant(self)
        return self.known.relevant.holds(self.numbers, self.rows)

    def same(self, part: str, policy: str) -> np.ndarray:
        """Rows of a class of the query's positives, or copies of it or of them."""
        assert self.known is not None
        if part == "examples":
            return self._copies()
        codes = getattr(self.known, part)
        assert codes is not None  # `mine` has seen that the policy has all that it compares
        return self.known.of_own_class(codes, self.numbers, self.rows)

    def _copies(self) -> np.ndarray:
        assert self.known is not None
        found = np.zeros(self.rows.shape, dtype=bool)
        positives = self.known.positives.of(self.numbers)
        mark_copies(self.rows, self.similarity, positives, self.beside, self.packed, found)
        return found


def _band_places(low: float | int, high: float | int, k: int) -> tuple[int, int]:
    below, up_to = band_counts(low, high, k)
    return k - up_to, k - below


def places_by_query(places: Any, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last place of every query, of which few have different totals."""
    distinct, which = np.unique(totals, return_inverse=True)
    found = np.array([places(int(k)) for k in distinct], dtype=np.int64).reshape(-1, 2)[which]
    return found[:, 0], found[:, 1]


def reasons_of(policy: Policy, listed: RankedCandidates, per_query: int) -> Iterator[str]:
    """For each query that has too few negatives: which part of the policy leaves the fewest."""
    parts = getattr(policy, "parts", (policy,)) if " & " in policy.text else (policy,)
    there = listed.rows >= 0
    counts = np.stack([(part.mask(listed) & there).sum(axis=1) for part in parts])
    for column, total in zip(counts.T, listed.totals, strict=True):
        if total < per_query:
            yield "corpus"
        elif column.min() < per_query:
            yield parts[int(column.argmin())].text
        else:
            yield policy.text
