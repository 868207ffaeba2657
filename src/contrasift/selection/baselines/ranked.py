"""A ranking with one score a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Ranked:
    """All rows of a class, best first.

    Attributes:
        order: int64 [n]; rows, best first.
        scores: float64 [n]; by row, what it was ranked by.
        ranked_to: how many ranks the method itself decided; later ones follow the scores.
        facts: numbers worth keeping.
    """

    order: np.ndarray
    scores: np.ndarray
    ranked_to: int
    facts: Mapping[str, float | int] = field(default_factory=dict)


def ranked_by(scores: np.ndarray, **facts: float | int) -> Ranked:
    """Rows by descending score; of equal scores the lowest row first.

    Args:
        scores: float64 [n].
        facts: numbers worth keeping.
    """
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    return Ranked(order, scores, scores.size, facts)
