"""All rows of a pool, class by class, best first, and in one order over all classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from contrasift.selection.gather import ClassRows, positions_in_turn
from contrasift.selection.task import Solved


@dataclass(frozen=True)
class Ranking:
    """All rows, class by class, best first; arrays run over positions.

    Attributes:
        rows: int64 [n].
        gains: float64 [n].
        selected: bool [n].
        order: int64 [n]; positions, best first over all classes.
    """

    rows: np.ndarray
    gains: np.ndarray
    selected: np.ndarray
    order: np.ndarray

    @classmethod
    def by_class(
        cls, partition: ClassRows, solved: Sequence[Solved], class_order: np.ndarray
    ) -> Ranking:
        """Put classes that were ranked one by one in a row, and in turn.

        Args:
            partition: which rows each class has.
            solved: the classes.
            class_order: the class that receives each place in turn.
        """
        n = partition.rows.size
        rows, gains = np.empty(n, dtype=np.int64), np.empty(n)
        selected = np.zeros(n, dtype=bool)
        for code, part in enumerate(solved):
            start, stop = partition.starts[code], partition.starts[code + 1]
            rows[start:stop] = partition.of_class(code)[part.order]
            gains[start:stop] = part.gains
            selected[start : start + part.budget] = True
        order = positions_in_turn(class_order, partition.starts.size - 1)
        chosen = selected[order]
        # A refinement that dropped rows leaves fewer than the places: what it chose comes first.
        return cls(rows, gains, selected, np.concatenate([order[chosen], order[~chosen]]))

    def split(self, codes: np.ndarray, n_classes: int) -> Ranking:
        """The ranking of a whole pool, listed class by class."""
        listed = ClassRows.of(codes[self.rows], n_classes).rows
        place = np.empty(listed.size, dtype=np.int64)
        place[listed] = np.arange(listed.size)
        return replace(
            self,
            rows=self.rows[listed],
            gains=self.gains[listed],
            selected=self.selected[listed],
            order=place[self.order],
        )

    def ranks(self, sizes: np.ndarray) -> np.ndarray:
        """Rank of every position within its class."""
        starts = np.cumsum(sizes) - sizes
        return np.arange(self.rows.size) - np.repeat(starts, sizes)

    def turn(self) -> int | None:
        """The first budget at which an example is added that lowers F; None if none does."""
        chosen = self.order[: int(self.selected.sum())]
        negative = np.flatnonzero(self.gains[chosen] < 0)
        return int(negative[0]) if negative.size else None

    def mark(self, budget: int) -> np.ndarray:
        """Which positions a smaller budget selects: the first entries of the order."""
        mark = np.zeros(self.rows.size, dtype=bool)
        mark[self.order[:budget]] = True
        return mark
