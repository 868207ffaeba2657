"""Near-copies that are dropped before a selection, class by class, as SemDeDup finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from contrasift.arrays import class_codes, directions
from contrasift.ids import rows_of_ids
from contrasift.matrices import Matrix
from contrasift.narration import Progress

# What would go at these is told as well, for who has to choose an ε.
TOLD = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Duplicates:
    """Near-copies of a pool.

    Attributes:
        must_drop: ids or indices of all that are dropped, those that were to be dropped anyway too.
        facts: `epsilon`, how many are `dropped` for it, and how many `at` other ε.
    """

    must_drop: Any
    facts: dict[str, Any]

    def words(self, n: int) -> str:
        """What was dropped, and what other ε would drop."""
        others = ", ".join(f"{count:,} at {epsilon}" for epsilon, count in self.facts["at"].items())
        return (
            f"{self.facts['dropped']:,} of {n:,} examples are near-copies of one that stays in their "
            f"class (similarity above {1 - self.facts['epsilon']:g}) and are dropped; "
            f"other ε would drop {others}"
        )


def near_copies(
    matrix: Matrix,
    classes: Any,
    epsilon: float,
    *,
    must_keep: Any = None,
    must_drop: Any = None,
    progress: Progress | None = None,
) -> Duplicates:
    """The examples of every class that are more similar than 1 − ε to one that stays.

    Args:
        matrix: the rows.
        classes: [n]; the class of every row; None for one class.
        epsilon: ε.
        must_keep: ids or indices that stay; a copy among them is not dropped.
        must_drop: ids or indices that are dropped anyway; they are copies of nothing.
        progress: called with (rows done, rows).
    """
    from contrasift.selection.baselines.dedup import semantic_dedup

    n = len(matrix)
    codes, names = class_codes(classes, n)
    gone = np.zeros(n, dtype=bool)
    gone[_rows(matrix, must_drop, "must_drop=")] = True
    stays_up_to = np.full(n, np.inf)
    done = 0
    for code in range(len(names)):
        rows = np.flatnonzero((codes == code) & ~gone)
        if rows.size:
            values, _ = directions(matrix[rows])
            stays_up_to[rows] = semantic_dedup(values).scores
        done += rows.size
        if progress is not None:
            progress(done, n)
    stays_up_to[_rows(matrix, must_keep, "must_keep=")] = np.inf
    copies = stays_up_to < epsilon
    facts = {
        "epsilon": epsilon,
        "dropped": int(copies.sum()),
        "at": {f"{other:g}": int((stays_up_to < other).sum()) for other in TOLD},
    }
    return Duplicates(_named(matrix, np.flatnonzero(copies | gone)), facts)


def _rows(matrix: Matrix, listed: Any, name: str) -> np.ndarray:
    """Row numbers of what is listed by id or by index."""
    if listed is None or not len(listed):
        return np.empty(0, np.int64)
    if matrix.ids is not None:
        return rows_of_ids(matrix.ids, listed, name)
    if matrix.index is None:
        return np.asarray(listed, dtype=np.int64)
    return np.flatnonzero(np.isin(matrix.index, listed))


def _named(matrix: Matrix, rows: np.ndarray) -> Any:
    """Rows as lists of examples name them."""
    if matrix.ids is not None:
        return matrix.ids.take(rows)
    return rows if matrix.index is None else matrix.index[rows]
