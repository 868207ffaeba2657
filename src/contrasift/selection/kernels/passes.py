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
from contrasift.selection.kernels.dots import add_row, compiled, row_dot, row_square


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
        self._scale = dots.fixed_point_scale(self.rows, threads)
        self._total: np.ndarray | None = None
        self._squares: np.ndarray | None = None

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
        if self._squares is None:
            self._squares = linear_form.squared_norms(self.rows, self.threads)
            self._squares.flags.writeable = False
        return self._squares

    def scores(self, direction: np.ndarray) -> np.ndarray:
        """See `Passes`."""
        return linear_form.scores(self.rows, direction, self.threads)

    def best(self, direction: np.ndarray, free: np.ndarray, places: int) -> TopRows:
        """See `Passes`."""
        scores = self.scores(direction)
        all_free = bool(free.all())
        candidates = scores if all_free else scores[free]
        rank = candidates.size - places
        theta = float(np.partition(candidates, rank)[rank])
        missing = places - int(np.count_nonzero(candidates > theta))
        ties = np.flatnonzero(scores == theta)
        if not all_free:
            ties = ties[free[ties]]
        last_tie = int(ties[missing - 1])
        parts = dots.map_blocks(
            lambda start, stop: sum_chosen_block(
                self.rows, scores, free, start, stop, theta, last_tie, self.scale
            ),
            self.n,
            self.threads,
        )
        return TopRows(dots.add_exactly(parts, self.width), theta, last_tie)

    def replay(self, order: np.ndarray, total: np.ndarray, redundancy: float) -> np.ndarray:
        """See `Passes`."""
        before = np.zeros(self.width, dtype=np.int64)
        return replay_block(self.rows, order, before, self.scale, total, redundancy)


@compiled
def sum_chosen_block(values, scores, free, start, stop, theta, last_tie, scale):
    """Fixed-point sum of the free rows above θ, or at θ and not beyond the last tie taken."""
    sums = np.zeros(values.shape[1], np.int64)
    for i in range(start, stop):
        if free[i] and (scores[i] > theta or (scores[i] == theta and i <= last_tie)):
            add_row(values, i, scale, sums)
    return sums


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
        gains[i] = row_dot(values, row, weight) - redundancy * row_square(values, row)
        add_row(values, row, scale, fixed)
    return gains


def passes_over(values: np.ndarray | Passes, threads: int | None = None) -> Passes:
    """Rows in memory or in a mapped file as passes over them; passes as they are."""
    return values if isinstance(values, Passes) else HeldRows(values, threads)
