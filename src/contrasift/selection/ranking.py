"""All rows of a pool, class by class, best first, and in one order over all classes.

Everything goes block by block, so that columns may lie in mapped files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from contrasift.arrays import Columns, column_blocks, forget_pages
from contrasift.selection.gather import ClassRows
from contrasift.selection.task import Outcome, Solved


@dataclass(frozen=True)
class RankedRows:
    """The rows of every class, best first, as an engine fills them in.

    Attributes:
        partition: which rows each class has.
        rows: int64 [n]; over the positions of the partition.
        gains: float64 [n].
    """

    partition: ClassRows
    rows: np.ndarray
    gains: np.ndarray

    @classmethod
    def empty(cls, partition: ClassRows, columns: Columns) -> RankedRows:
        """Columns to fill."""
        n = partition.rows.size
        return cls(partition, columns.new(n, np.int64), columns.new(n, np.float64))

    def put(self, code: int, solved: Solved) -> Outcome:
        """Take over the ranking of a class; what else is known of it."""
        own = slice(*self.partition.starts[code : code + 2])
        whole = self.partition.starts.size == 2  # whose rows are counted as they come
        self.rows[own] = solved.order if whole else self.partition.of_class(code)[solved.order]
        self.gains[own] = solved.gains
        return solved.outcome


@dataclass(frozen=True)
class Ranking:
    """All rows, class by class, best first; arrays run over positions.

    Attributes:
        rows: int64 [n].
        gains: float64 [n].
        selected: bool [n].
        order: int64 [n]; positions, best first over all classes.
        budget: how many are selected.
    """

    rows: np.ndarray
    gains: np.ndarray
    selected: np.ndarray
    order: np.ndarray
    budget: int

    @classmethod
    def of(
        cls,
        ranked: RankedRows,
        outcomes: Sequence[Outcome],
        quota_order: Callable[[], Iterator[np.ndarray]],
        columns: Columns,
    ) -> Ranking:
        """Put classes that were ranked one by one in turn.

        Args:
            ranked: their rows.
            outcomes: what is known of each.
            quota_order: see `Places`.
            columns: where the result lies.
        """
        partition, n = ranked.partition, ranked.rows.size
        budgets = np.array([part.budget for part in outcomes], dtype=np.int64)
        selected, order = columns.new(n, np.bool_), columns.new(n, np.int64)
        for block in column_blocks(n):
            selected[block] = ranks_at(partition, block) < budgets[partition.codes_at(block)]
            forget_pages(selected)
        # A refinement that dropped rows leaves fewer than the places: what it chose comes first.
        budget = int(budgets.sum())
        first, last = 0, budget
        for positions in quota_order():
            chosen = selected[positions]
            better, others = positions[chosen], positions[~chosen]
            order[first : first + better.size] = better
            order[last : last + others.size] = others
            first, last = first + better.size, last + others.size
            forget_pages(selected, order)
        return cls(ranked.rows, ranked.gains, selected, order, budget)

    def split(self, codes: np.ndarray, n_classes: int, columns: Columns) -> Ranking:
        """The ranking of a whole pool, listed class by class."""
        listed = ClassRows.of(_taken(codes, self.rows, columns), n_classes, columns).rows
        place = columns.new(listed.size, np.int64)
        for block in column_blocks(listed.size):
            place[listed[block]] = np.arange(block.start, block.stop)
            forget_pages(place, listed)
        return Ranking(
            rows=_taken(self.rows, listed, columns),
            gains=_taken(self.gains, listed, columns),
            selected=_taken(self.selected, listed, columns),
            order=_taken(place, self.order, columns),
            budget=self.budget,
        )

    def taken(self, values: np.ndarray, columns: Columns) -> np.ndarray:
        """The values of all rows, in the order of the positions."""
        return _taken(values, self.rows, columns)

    def selected_rows(self) -> Iterator[np.ndarray]:
        """The rows that are selected, in blocks."""
        for block in column_blocks(self.rows.size):
            yield self.rows[block][self.selected[block]]
            forget_pages(self.rows, self.selected)

    def first_negative_gain(self) -> int | None:
        """The first budget at which an example is added that lowers F; None if none does."""
        for block in column_blocks(self.budget):
            negative = np.flatnonzero(self.gains[self.order[block]] < 0)
            forget_pages(self.gains, self.order)
            if negative.size:
                return block.start + int(negative[0])
        return None

    def mark(self, budget: int, columns: Columns) -> np.ndarray:
        """Which positions a smaller budget selects: the first entries of the order."""
        mark = columns.new(self.rows.size, np.bool_)
        for block in column_blocks(budget):
            mark[self.order[block]] = True
            forget_pages(mark, self.order)
        return mark


def dropped_last(order: np.ndarray, gone: np.ndarray, columns: Columns) -> np.ndarray:
    """The same order, with what was dropped behind everything else of the pool.

    Args:
        order: int64 [n]; positions, best first.
        gone: bool [n]; by position.
        columns: where the result lies.
    """
    out = columns.new(order.size, np.int64)
    first, last = 0, order.size - int(np.count_nonzero(gone))
    for block in column_blocks(order.size):
        positions = order[block]
        dropped = gone[positions]
        stay, leave = positions[~dropped], positions[dropped]
        out[first : first + stay.size], out[last : last + leave.size] = stay, leave
        first, last = first + stay.size, last + leave.size
        forget_pages(out, order)
    return out


def ranks_at(partition: ClassRows, block: slice) -> np.ndarray:
    """Rank of every position in a block within its class."""
    return np.arange(block.start, block.stop) - partition.starts[partition.codes_at(block)]


def _taken(values: np.ndarray, where: np.ndarray, columns: Columns) -> np.ndarray:
    """values[where], in a column."""
    out = columns.new(where.size, values.dtype)
    for block in column_blocks(where.size):
        out[block] = values[where[block]]
        forget_pages(out, values, where)
    return out
