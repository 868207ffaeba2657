"""Passes over the rows of a class: all that the relaxation asks of them, wherever they lie.

The relaxation never looks at a single row. It asks for scores of all rows, for the sum of those of
largest score, and for sums of given ones. `HeldRows` answers from a matrix in this process;
`contrasift.engines.spread` from parts that lie apart. Sums are int64 fixed-point numbers, hence the
same however rows are divided, and scores come from the one kernel: so do the answers.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

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


class HeldRows:
    """The rows of a matrix in this process.

    Attributes:
        n: rows.
        width: columns.

    Raises:
        DataError: NaN or infinity.
    """

    def __init__(self, values: np.ndarray, threads: int | None = None) -> None:
        self.rows: np.ndarray = dots.embedding_rows(values)
        self.threads = threads
        self.n: int = self.rows.shape[0]
        self.width: int = self.rows.shape[1]
        squares, peak = linear_form.squares_and_peak(self.rows, threads)
        self._scale = dots.scale_of_peak(peak, self.n) if self.rows.size else 1.0
        self._squares = squares
        self._squares.flags.writeable = False
        self._total: np.ndarray | None = None

    @property
    def scale(self) -> float:
        """Of fixed-point sums."""
        return self._scale

    def fixed_total(self) -> np.ndarray:
        """See `Passes`."""
        if self._total is None:
            self._total = linear_form.fixed_total(self.rows, self.scale, self.threads)
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
        return linear_form.fixed_sum(self.rows, rows, self.scale, self.threads)

    def squares(self) -> np.ndarray:
        """See `Passes`."""
        return self._squares

    def scores(self, direction: np.ndarray) -> np.ndarray:
        """See `Passes`."""
        return linear_form.scores(self.rows, direction, self.threads)

    def best(self, direction: np.ndarray, free: np.ndarray, places: int) -> TopRows:
        """See `Passes`."""
        low, high = self._bracket(direction, free, places)
        blocks = dots.map_blocks(
            lambda start, stop: split_block(
                self.rows, start, stop, direction, free, low, high, self.scale
            ),
            self.n,
            self.threads,
        )
        sums, above, rows, scores = (list(parts) for parts in zip(*blocks, strict=True))
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
        scores = np.sort(linear_form.scores(self.rows[sample], direction, 1))
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
        before = np.zeros(self.width, dtype=np.int64)
        return replay_block(self.rows, order, before, self.scale, total, redundancy)


@compiled
def split_block(values, start, stop, direction, free, low, high, scale):
    """Free rows by their score: the sum of those above `high`, how many; those from `low` to `high`.

    A row is summed while it is at hand: 1 pass over the rows, where sorting first takes 2.
    """
    sums = np.zeros(values.shape[1], np.int64)
    rows = np.empty(stop - start, np.int64)
    scores = np.empty(stop - start)
    above = between = 0
    ahead = rows_ahead(values)
    for i in range(start, stop):
        prefetch_row(values, min(i + ahead, stop - 1))
        if not free[i]:
            continue
        score = row_dot(values, i, direction)
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
