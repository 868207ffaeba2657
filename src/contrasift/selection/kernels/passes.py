"""Passes over the rows of a class: all that the relaxation asks of them, wherever they lie.

The relaxation never looks at a single row. It asks for scores of all rows, for the sum of those of
largest score, and for sums of given ones. `HeldRows` answers from a matrix in this process;
`contrasift.engines.spread` from parts that lie apart. Sums are int64 fixed-point numbers, hence the
same however rows are divided, and scores come from the one kernel: so do the answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

from contrasift.selection.kernels import dots, linear_form
from contrasift.selection.kernels.dots import (
    add_row,
    compiled,
    prefetch_row,
    row_dot,
    row_square,
    rows_ahead,
)

# Rows whose scores say where the score of a rank lies, within so many standard deviations; worth it
# where the set has so many times more.
_SAMPLE_ROWS = 16_384
_WORTH_A_SAMPLE = 4
_DEVIATIONS = 5.0
# Fewer gains than these are over before a second thread knows where to begin.
_WORTH_PARTS = 16_384
_REPLAYED = 1 << 18  # rows that are read at once to be added in their order

Result = TypeVar("Result")


class TopRows(NamedTuple):
    """The rows of largest score.

    Attributes:
        fixed: int64 [d]; their sum in fixed point.
        theta: the least score among them.
        last_tie: of the rows at `theta`, the last one taken; lower rows go first.
    """

    fixed: np.ndarray
    theta: float
    last_tie: int


@runtime_checkable
class Passes(Protocol):
    """The rows z_0 … z_{n−1} of one class.

    Attributes:
        n: how many.
        width: d.
    """

    n: int
    width: int

    @property
    def scale(self) -> float:
        """Of fixed-point sums: `dots.fixed_point_scale` of all rows."""
        ...

    def fixed_total(self) -> np.ndarray:
        """Σ_i round(z_i · scale), int64 [d]."""
        ...

    def fixed_sum(self, rows: np.ndarray) -> np.ndarray:
        """Σ_{j∈rows} round(z_j · scale), int64 [d]."""
        ...

    def squares(self) -> np.ndarray:
        """‖z_i‖², float64 [n]."""
        ...

    def scores(self, direction: np.ndarray) -> np.ndarray:
        """⟨z_i, direction⟩, float64 [n]."""
        ...

    def best(self, direction: np.ndarray, free: np.ndarray, places: int) -> TopRows:
        """The `places` rows (at least one) among the free ones with the largest scores."""
        ...

    def replay(self, order: np.ndarray, total: np.ndarray, redundancy: float) -> np.ndarray:
        """Each row's gain when rows are added in this order: see `refine.replay`."""
        ...


class RowPasses(ABC):
    """Passes over rows that this process reads, wherever they are.

    Attributes:
        n: rows.
        width: columns.
        threads: None for all processors.
    """

    n: int
    width: int
    threads: int | None
    _scale: float
    _squares: np.ndarray
    _total: np.ndarray | None = None
    # Greedy's last gains and its first bound go by one direction, as do a rule and its last step.
    _notes_scores = False
    _noted: tuple[np.ndarray, np.ndarray] | None = None

    @abstractmethod
    def map(self, work: Callable[[np.ndarray, slice], Result]) -> list[Result]:
        """work(rows, which) of all rows in parts, in order: float32 [m, d] and their numbers."""

    @abstractmethod
    def taken(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, by ascending numbers, float32 [m, d]."""

    @property
    def scale(self) -> float:
        """Of fixed-point sums."""
        return self._scale

    def fixed_total(self) -> np.ndarray:
        """See `Passes`."""
        if self._total is None:
            sums = self.map(lambda rows, _: dots.sum_block(rows, 0, len(rows), self.scale))
            self._total = dots.add_exactly(sums, self.width)
        return self._total

    def aim(self, direction: np.ndarray) -> None:
        """Count `direction` for every row as if it were in the class, and could not be chosen.

        T = Σ_i z_i + n · direction; sums are coarser by as many bits as it may be longer than a row.

        Args:
            direction: float64 [d].
        """
        largest = max(1.0, float(np.abs(direction).max(initial=0.0)))
        self._scale /= 2.0 ** (1 + np.ceil(np.log2(largest)))
        self._total = None
        added = np.rint(self.n * direction * self._scale).astype(np.int64)
        self._total = self.fixed_total() + added

    def fixed_sum(self, rows: np.ndarray) -> np.ndarray:
        """See `Passes`."""
        own = self.taken(np.sort(rows))
        return linear_form.fixed_total(own, self.scale, self.threads)

    def squares(self) -> np.ndarray:
        """See `Passes`."""
        return self._squares

    def _known(self, direction: np.ndarray) -> np.ndarray | None:
        """The scores of the last pass, if it went in this direction."""
        noted = self._noted
        return noted[1] if noted is not None and np.array_equal(noted[0], direction) else None

    def scores(self, direction: np.ndarray) -> np.ndarray:
        """See `Passes`."""
        if (known := self._known(direction)) is not None:
            return known.copy()
        found = np.empty(self.n)
        vector = np.ascontiguousarray(direction, dtype=np.float64)
        self.map(lambda rows, own: dots.scores_block(rows, 0, len(rows), vector, found[own]))
        if self._notes_scores:
            self._noted = (vector.copy(), found.copy())
        return found

    def best(self, direction: np.ndarray, free: np.ndarray, places: int) -> TopRows:
        """See `Passes`."""
        low, high = self._bracket(direction, free, places)
        known = self._known(direction)
        noted = known if known is not None else np.empty(self.n if self._notes_scores else 0)

        def split(part: np.ndarray, own: slice) -> Any:
            sums, above, rows, scores = split_block(
                part, direction, free[own], low, high, self.scale, noted[own], known is not None
            )
            return sums, above, rows + own.start, scores

        answers = self.map(split)
        if self._notes_scores:
            self._noted = (direction.copy(), noted)
        sums, above, rows, scores = (list(parts) for parts in zip(*answers, strict=True))
        missing = places - sum(above)
        between, keys = np.concatenate(rows), np.concatenate(scores)
        if not 0 < missing <= between.size:  # the sample was off
            return self._best_of_all(direction, free, places)
        theta = float(np.partition(keys, keys.size - missing)[keys.size - missing])
        missing -= int(np.count_nonzero(keys > theta))
        last_tie = int(between[keys == theta][missing - 1])
        taken = between[(keys > theta) | ((keys == theta) & (between <= last_tie))]
        total = dots.add_exactly(sums, self.width) + self.fixed_sum(taken)
        return TopRows(total, theta, last_tie)

    def _bracket(self, direction: np.ndarray, free: np.ndarray, places: int) -> tuple[float, float]:
        """Scores between which θ lies, by a sample, almost surely."""
        step = self.n // _SAMPLE_ROWS
        if step < _WORTH_A_SAMPLE:
            return -np.inf, np.inf
        sample = np.arange(step // 2, self.n, step)
        sample = sample[free[sample]]
        if not sample.size:
            return -np.inf, np.inf
        scores = np.sort(linear_form.scores(self.taken(sample), direction, 1))
        share = places / max(1, int(np.count_nonzero(free)))
        off = _DEVIATIONS * np.sqrt(share * (1.0 - share) * sample.size) + _DEVIATIONS
        rank = (1.0 - share) * sample.size
        low, high = int(np.floor(rank - off)), int(np.ceil(rank + off))
        return (
            float(scores[low]) if low >= 0 else -np.inf,
            float(scores[high]) if high < sample.size else np.inf,
        )

    def _best_of_all(self, direction: np.ndarray, free: np.ndarray, places: int) -> TopRows:
        """`best`, whatever the sample says."""
        free_rows = np.flatnonzero(free)
        scores = self.scores(direction)[free_rows]
        rank = scores.size - places
        theta = float(np.partition(scores, rank)[rank])
        missing = places - int(np.count_nonzero(scores > theta))
        last_tie = int(free_rows[scores == theta][missing - 1])
        taken = free_rows[(scores > theta) | ((scores == theta) & (free_rows <= last_tie))]
        return TopRows(self.fixed_sum(taken), theta, last_tie)

    def replay(self, order: np.ndarray, total: np.ndarray, redundancy: float) -> np.ndarray:
        """See `Passes`."""
        before, gains = np.zeros(self.width, dtype=np.int64), np.empty(order.size)
        for start in range(0, order.size, _REPLAYED):
            own = order[start : start + _REPLAYED]
            ascending = np.sort(own)
            rows, place = self.taken(ascending), np.searchsorted(ascending, own)
            gains[start : start + own.size] = replay_block(
                rows, place, before, self.scale, total, redundancy
            )
            before += linear_form.fixed_total(rows, self.scale, self.threads)
        return gains


class HeldRows(RowPasses):
    """The rows of a matrix in this process.

    Attributes:
        rows: the matrix.

    Raises:
        DataError: NaN or infinity.
    """

    _notes_scores = True

    def __init__(
        self,
        values: np.ndarray,
        threads: int | None = None,
        sizes: linear_form.RowSizes | None = None,
    ) -> None:
        self.rows: np.ndarray = dots.embedding_rows(values)
        self.threads = threads
        self.n: int = self.rows.shape[0]
        self.width: int = self.rows.shape[1]
        squares, peak = linear_form.row_sizes(self.rows, threads) if sizes is None else sizes
        self._scale = dots.scale_of_peak(peak, self.n) if self.rows.size else 1.0
        self._squares = squares
        self._squares.flags.writeable = False

    def map(self, work: Callable[[np.ndarray, slice], Result]) -> list[Result]:
        """See `RowPasses`."""
        return dots.map_blocks(
            lambda start, stop: work(self.rows[start:stop], slice(start, stop)),
            self.n,
            self.threads,
        )

    def taken(self, rows: np.ndarray) -> np.ndarray:
        """See `RowPasses`."""
        return dots.embedding_rows(self.rows[rows])

    def fixed_sum(self, rows: np.ndarray) -> np.ndarray:
        """See `Passes`."""
        return linear_form.fixed_sum(self.rows, rows, self.scale, self.threads)

    def replay(self, order: np.ndarray, total: np.ndarray, redundancy: float) -> np.ndarray:
        """See `Passes`."""
        count = 1 if order.size < _WORTH_PARTS else dots.available_threads(self.threads)
        parts = np.array_split(order, count)
        before = np.zeros((count, self.width), dtype=np.int64)
        for i in range(1, count):
            before[i] = before[i - 1] + self.fixed_sum(parts[i - 1])
        with ThreadPoolExecutor(count) as pool:
            gains = pool.map(
                lambda part, own: replay_block(self.rows, part, own, self.scale, total, redundancy),
                parts,
                before,
            )
            return np.concatenate(list(gains))


@compiled
def split_block(values, direction, free, low, high, scale, noted, known):
    """Free rows by their score: the sum of those above `high`, how many; those from `low` to `high`.

    A row is summed while it is at hand: 1 pass over the rows, where sorting first takes 2. Scores
    are noted, where there is room; if they are known, only rows above `high` are read.
    """
    n = values.shape[0]
    sums = np.zeros(values.shape[1], np.int64)
    rows = np.empty(n, np.int64)
    scores = np.empty(n)
    above = between = 0
    ahead = rows_ahead(values)
    for i in range(n):
        following = min(i + ahead, n - 1)
        if not known or (free[following] and noted[following] > high):
            prefetch_row(values, following)
        if known:
            score = noted[i]
        else:
            score = row_dot(values, i, direction)
            if noted.size > 0:
                noted[i] = score
        if not free[i]:
            continue
        if score > high:
            add_row(values, i, scale, sums)
            above += 1
        elif score >= low:
            rows[between] = i
            scores[between] = score
            between += 1
    return sums, above, rows[:between].copy(), scores[:between].copy()


@compiled
def replay_block(values, order, before, scale, total, redundancy):
    """Gains of rows added in this order to a set whose sum, in fixed point, is `before`."""
    d = values.shape[1]
    fixed = before.copy()
    weight = np.empty(d)
    gains = np.empty(order.size)
    for i in range(order.size):
        for j in range(d):
            weight[j] = total[j] - 2.0 * redundancy * (fixed[j] / scale)
        row = order[i]
        prefetch_row(values, order[min(i + 1, order.size - 1)])
        gains[i] = row_dot(values, row, weight) - redundancy * row_square(values, row)
        add_row(values, row, scale, fixed)
    return gains


def passes_over(values: np.ndarray | Passes, threads: int | None = None) -> Passes:
    """Rows in memory or in a mapped file as passes over them; passes as they are."""
    return values if isinstance(values, Passes) else HeldRows(values, threads)
