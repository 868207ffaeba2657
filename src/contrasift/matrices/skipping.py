"""Rows that no selection can use: what failed downloads and crashed encoders leave behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from contrasift.errors import DataError
from contrasift.matrices.matrix import Matrix
from contrasift.selection.gather import row_problems

Progress = Callable[[int, int], None]

_REASONS = {1: "NaN, infinity or null", 2: "zero"}


@dataclass(frozen=True)
class LeftOut:
    """Rows that were left out.

    Attributes:
        rows: int64; among all that are stored.
        reasons: of each, in words.
        places: of each, its file and its row there, in words.
    """

    rows: np.ndarray
    reasons: tuple[str, ...]
    places: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.rows.size)


def leave_out_bad(
    matrix: Matrix,
    *,
    zeros: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[Matrix, LeftOut]:
    """The rows that can be used, and which cannot: with NaN, infinity or nulls, or zero throughout.

    Args:
        matrix: the rows; one pass is made over them.
        zeros: also leave out rows of zeros, which have no direction.
        threads: None for all processors.
        progress: called with (rows done, rows).

    Raises:
        DataError: no row can be used.
    """
    bad, why = [], []
    for begin, block in matrix.blocks():
        problems = row_problems(block, threads)
        found = np.flatnonzero((problems == 1) | ((problems == 2) & zeros))
        bad.append(found + begin)
        why.append(problems[found])
        if progress is not None:
            progress(begin + len(block), len(matrix))
    rows = np.concatenate(bad)
    reasons = tuple(_REASONS[code] for code in np.concatenate(why).tolist())
    if rows.size == len(matrix):
        raise DataError(
            "rows of finite numbers that are not all zero",
            f"none among {len(matrix):,}: {', '.join(sorted(set(reasons)))}",
            "Embed again",
        )
    places = tuple(matrix.place(int(row)) for row in rows)
    left_out = LeftOut(matrix.stored_rows(rows), reasons, places)
    if not rows.size:
        return matrix, left_out
    usable = np.ones(len(matrix), dtype=bool)
    usable[rows] = False
    return matrix.keeping(np.flatnonzero(usable)), left_out
