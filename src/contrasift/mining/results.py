"""What mining gives: negatives of every query, and how sure it is that they are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contrasift.mining.pairs import CorpusPairs


@dataclass(frozen=True)
class Mined:
    """Negatives of every query, hardest first.

    Attributes:
        negatives: int64 [q, per_query]; corpus rows, −1 where there are no more, and of queries
            that are left out.
        similarity: float32 [q, per_query]; cosine with the query; NaN where there is no negative.
        places: int64 [q, per_query]; the place among all of the query's candidates, 1 the hardest.
        positive_similarity: float32 [q]; cosine with the query's weakest positive.
        positives: of every query.
        kept: bool [q]; queries with enough negatives (or with any, under `allow_fewer`).
        reasons: [q]; why a query has fewer than asked for: the part of the policy that leaves the
            fewest, or `corpus`; empty where it has enough.
        false_probability: float32 [q, per_query]; estimate from latent classes, NaN where there is
            no negative; None without classes that can tell.
        known_false: bool [q, per_query]; negatives that are false by labels or known relevant
            pairs; None where neither is known.
        facts: of the search: `search`, `recall` where it is approximate, seconds, what was asked.
    """

    negatives: np.ndarray
    similarity: np.ndarray
    places: np.ndarray
    positive_similarity: np.ndarray
    positives: CorpusPairs
    kept: np.ndarray
    reasons: np.ndarray
    false_probability: np.ndarray | None = None
    known_false: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> np.ndarray:
        """Negatives of each query, int64 [q]."""
        return (self.negatives >= 0).sum(axis=1)

    def __repr__(self) -> str:
        return (
            f"Mined({int(self.counts.sum()):,} negatives of {int(self.kept.sum()):,} queries, "
            f"{int((~self.kept).sum()):,} left out)"
        )
