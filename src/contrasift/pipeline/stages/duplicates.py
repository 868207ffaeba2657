"""Near-copies that are dropped before a selection, class by class, each for one that stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from contrasift.arrays import class_codes
from contrasift.ids import rows_of_ids
from contrasift.matrices import Matrix
from contrasift.narration import Progress
from contrasift.results import Selection

# How many have another within these is told as well, for who has to choose an ε.
TOLD = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Duplicates:
    """Near-copies of a pool.

    Attributes:
        must_drop: ids or indices of all that are dropped, those that were to be dropped anyway too.
        index: int64 [n]; pool index of every row; None where it is the row's number.
        copy_of: int64 [n]; index of what stays for each row; −1 of a row that is not dropped for it.
        facts: `epsilon`, how many are `dropped` for it, how many have another `within` other ε, and
            the `recall` of near pairs where not all pairs were compared.
    """

    must_drop: Any
    index: np.ndarray | None
    copy_of: np.ndarray
    facts: dict[str, Any]

    def put_into(self, chosen: Selection) -> Selection:
        """The selection that also says whose near-copy an example was dropped as."""
        row = chosen.index
        if self.index is not None:
            order = np.argsort(self.index, kind="stable")
            row = order[np.searchsorted(self.index, chosen.index, sorter=order)]
        near = self.copy_of[row]
        if chosen.copy_of is not None:
            near = np.where(near < 0, chosen.copy_of, near)
        return replace(chosen, copy_of=near if (near >= 0).any() else None)

    def words(self, n: int) -> str:
        """What was dropped, and how many have another within other ε."""
        others = ", ".join(f"{count:,} at {other}" for other, count in self.facts["within"].items())
        recall = self.facts["recall"]
        missed = "" if recall is None else f"; {recall:.1%} of near pairs were found (a sample)"
        return (
            f"{self.facts['dropped']:,} of {n:,} examples are near-copies of one that stays in their "
            f"class (similarity above {1 - self.facts['epsilon']:g}) and are dropped{missed}; "
            f"examples that have another within ε: {others}"
        )


def near_copies(
    matrix: Matrix,
    classes: Any,
    epsilon: float,
    *,
    must_keep: Any = None,
    must_drop: Any = None,
    scores: np.ndarray | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Duplicates:
    """The examples of every class that are more similar than 1 − ε to one that stays.

    Args:
        matrix: the rows.
        classes: [n]; the class of every row; None for one class.
        epsilon: ε.
        must_keep: ids or indices that stay; a copy among them is not dropped.
        must_drop: ids or indices that are dropped anyway; they are copies of nothing.
        scores: float64 [n]; the highest stay; default: the most central.
        threads: None for all processors.
        progress: called with (rows done, rows).
    """
    from contrasift.selection import near_copies as module
    from contrasift.selection.gather import ClassRows, classwise
    from contrasift.selection.unusable import KeptRows

    n = len(matrix)
    codes, names = class_codes(classes, n)
    gone = np.zeros(n, dtype=bool)
    gone[_rows(matrix, must_drop, "must_drop=")] = True
    rows = np.flatnonzero(~gone)
    partition = ClassRows.of(codes[rows], len(names))

    def by_class() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        values: Any = KeptRows(matrix, rows) if gone.any() else matrix
        for group in classwise(values, partition, scale=True, threads=threads):
            for code, own in group:
                if len(own):
                    yield partition.of_class(code), own

    found = module.near_copies(
        by_class(),
        rows.size,
        epsilon,
        keep=np.flatnonzero(np.isin(rows, _rows(matrix, must_keep, "must_keep="))),
        scores=None if scores is None else scores[rows],
        threads=threads,
        told=None if progress is None else lambda done: progress(done + n - rows.size, n),
    )
    copies = found.copy_of >= 0
    copy_of = np.full(n, -1)
    stands = rows[found.copy_of[copies]]
    copy_of[rows[copies]] = stands if matrix.index is None else matrix.index[stands]
    facts = {
        "epsilon": epsilon,
        "dropped": int(copies.sum()),
        "within": {f"{other:g}": found.having_another(other) for other in TOLD},
        "recall": found.recall,
        "pairs": found.pairs,
        "sample": found.within.size,
    }
    gone[rows[copies]] = True
    return Duplicates(_named(matrix, np.flatnonzero(gone)), matrix.index, copy_of, facts)


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
