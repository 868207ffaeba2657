"""Greedy on the linear objective, exactly, without visiting every row at every step.

    gain(e | M) = ⟨z_e, T − 2λM⟩ − λ‖z_e‖²

Greedy takes the row of largest gain, the lowest row among equals, k times. When M moves by Δ, a
gain moves by −2λ⟨z_e, Δ⟩. Choose a unit vector v along which M is expected to move, and write
Δ = a·v + Δ⊥, α_e = ⟨z_e, v⟩ and ρ_e = (‖z_e‖² − α_e²)^½. By Cauchy–Schwarz, for embeddings of any
sign,

    gain(e | M₀ + Δ) ≤ gain(e | M₀) − 2λ a α_e + 2λ ρ_e ‖Δ⊥‖

and since a maximum of lines is convex in a, over any set R of rows and 0 ≤ a ≤ a*,

    max_R gain ≤ m₀ + (m* − m₀)·a/a* + 2λ (max_R ρ) ‖Δ⊥‖,
    m₀ = max_R gain(e | M₀),  m* = max_R [gain(e | M₀) − 2λ a* α_e].

So after one exact pass over the rows, a few candidates (those near the top now, or expected to be
near it when M has moved by a*) carry the next many steps: as long as the best candidate's exact gain
is above the bound of all others, it is the best of all. Candidates have candidates of their own, so
that the work of a step is a few dozen dot products and a few bounds, however many rows there are.

Nothing is approximate. Bounds carry an allowance for rounding, and only decide where to look; the
row that is taken has the largest gain as the kernels of `objectives` compute it, bit for bit. Rows that
equal each other are taken as one with several places, so that they do not hold each other up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from contrasift.selection.checks import check_places, check_redundancy
from contrasift.selection.kernels import dots, linear_form
from contrasift.selection.kernels.greedy_steps import (
    LEVELS,
    MOST_ATTEMPTS,
    SPREAD_ERROR,
    GreedySetting,
    GreedyState,
    Window,
    candidates_block,
    chain_equal_rows,
    gather,
    refresh_block,
    run_window,
    take,
    take_all,
    unit,
)

_WINDOW_BYTES = 8 << 20
_SMALLEST_LEVEL = 16
# One row of the whole set, streamed from memory, costs as much as this many rows in cache.
_STREAMED_ROW_COST = 2.0
_FLOAT32_ERROR = 2.0**-23
_SAMPLE_ROWS = 65_536


@dataclass(frozen=True)
class GreedyPath:
    """The order in which greedy takes rows, and what it knew.

    Attributes:
        order: int64 [k]; rows in the order taken, those of `keep` first, ascending.
        gains: float64 [k]; each one's gain at the moment it was added.
        final_gains: float64 [n]; gain of every row given the final selection.
        total: T, float64 [d].
        selected_sum: M, float64 [d].
        value: F_λ of the selection.
        first_negative_gain: the first position whose gain is negative; None if there is none.
        evaluations: exact gains computed on the way (a naive greedy needs n a step).
        refreshes: passes over all rows.
    """

    order: Int64[np.ndarray, " k"]
    gains: Float64[np.ndarray, " k"]
    final_gains: Float64[np.ndarray, " n"]
    total: Float64[np.ndarray, " d"]
    selected_sum: Float64[np.ndarray, " d"]
    value: float
    first_negative_gain: int | None
    evaluations: int
    refreshes: int


def greedy(
    values: Float32[np.ndarray, "n d"],
    budget: int,
    *,
    redundancy: float,
    keep: Int64[np.ndarray, " m"] | None = None,
    eligible: Bool[np.ndarray, " n"] | None = None,
    threads: int | None = None,
    _window_rows: int | None = None,
    _smallest_level: int = _SMALLEST_LEVEL,
) -> GreedyPath:
    """The first k rows of the greedy order of F_λ: largest gain first, lowest row among equals.

    The same for every number of threads. Memory: O(n) beside the embeddings.

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped.
        budget: k, with the rows of `keep` counted in.
        redundancy: λ ≥ 0.
        keep: rows that are in the selection from the start.
        eligible: False for rows that are never taken; they still count in T.
        threads: None for all processors.
        _window_rows: candidates held at most (tests).
        _smallest_level: a level with fewer rows is evaluated whole (tests).

    Raises:
        UsageError: a budget above the rows that may be taken or below those to keep, a bad λ.
        DataError: NaN or infinity.
    """
    rows = dots.embedding_rows(values)
    n, dimension = rows.shape
    keep, open_rows = check_places(n, budget, keep, eligible)
    check_redundancy(redundancy)
    run = _GreedyRun(rows, open_rows, float(redundancy), budget, threads, _smallest_level)
    run.take_kept(keep)
    if run.position < budget:
        run.join_equal_rows()
        capacity = _window_rows or max(1024, _WINDOW_BYTES // (4 * dimension))
        if _window_rows is None and n <= 2 * capacity:
            run.select_from_all()
        else:
            run.select_by_windows(capacity)
    total, selected_sum = run.setting.total, run.state.selected
    final_gains = linear_form.scores(rows, total - (2.0 * redundancy) * selected_sum, threads)
    final_gains -= redundancy * linear_form.squared_norms(rows, threads)
    negative = np.flatnonzero(run.state.gains < 0)
    return GreedyPath(
        order=run.state.order,
        gains=run.state.gains,
        final_gains=final_gains,
        total=total,
        selected_sum=selected_sum,
        value=linear_form.value(total, selected_sum, redundancy),
        first_negative_gain=int(negative[0]) if negative.size else None,
        evaluations=run.evaluations,
        refreshes=run.refreshes,
    )


class _Found(NamedTuple):
    """What a pass over all rows found."""

    top: float  # the largest gain
    row: int  # and its row
    far_top: float  # the largest gain expected at the horizon
    spread: float  # max ρ


class _GreedyRun:
    """A greedy run: what is fixed, what it has taken, and the passes over all rows."""

    def __init__(
        self,
        rows: np.ndarray,
        open_rows: np.ndarray,
        redundancy: float,
        budget: int,
        threads: int | None,
        smallest_level: int,
    ) -> None:
        d = rows.shape[1]
        self.rows = rows
        self.open_rows = open_rows
        self.threads = threads
        scale = dots.fixed_point_scale(rows, threads)
        total = linear_form.fixed_total(rows, scale, threads) / scale
        # A dot product is off by at most (d + 8)·2⁻⁵³·‖z‖·‖w‖, with ‖w‖ ≤ ‖T‖ + 2λk·max‖z‖, and a
        # bound is made of fewer than sixteen terms of that size.
        norm = linear_form.largest_norm(rows, threads)
        reach = float(np.sqrt(dots.dot(total, total))) + 2.0 * redundancy * budget * norm
        slack = 16.0 * (d + 16) * 2.0**-53 * norm * reach
        self.setting = GreedySetting(total, redundancy, scale, norm, slack, smallest_level)
        self.state = GreedyState(
            fixed=np.zeros(d, dtype=np.int64),
            selected=np.zeros(d),
            weight=total.copy(),
            order=np.empty(budget, dtype=np.int64),
            gains=np.empty(budget),
            depth=np.full(LEVELS, -1.0),
            advance=np.zeros(LEVELS),
        )
        # Only where rows are equal: the one of a group that is next, and the one after it.
        self.member = np.zeros(0, dtype=np.int64)
        self.next_equal = np.zeros(0, dtype=np.int64)
        self.position = 0
        self.evaluations = 0
        self.refreshes = 0

    def take_kept(self, keep: np.ndarray) -> None:
        """Put the rows to keep first, each with its gain at that moment."""
        take_all(self.rows, keep, self.setting, self.state)
        self.position = keep.size

    def join_equal_rows(self) -> None:
        """Close all but the first of every group of equal open rows, and chain the group."""
        # Equal rows have equal scores in any direction, and other rows hardly ever do.
        probe = np.random.default_rng(0).standard_normal(self.rows.shape[1])
        scores = linear_form.scores(self.rows, probe, self.threads)
        scores = scores if self.open_rows.all() else scores[self.open_rows]
        ascending = np.sort(scores)
        if not (ascending[1:] == ascending[:-1]).any():
            return
        rows = np.flatnonzero(self.open_rows)[np.argsort(scores, kind="stable")]
        self.member = np.arange(self.rows.shape[0])
        self.next_equal = np.full(self.rows.shape[0], -1)
        chain_equal_rows(self.rows, rows, ascending, self.open_rows, self.next_equal)

    def select_from_all(self) -> None:
        """Every open row is a candidate: there is nothing outside the window."""
        chosen = np.flatnonzero(self.open_rows)
        window = self.rows if chosen.size == self.rows.shape[0] else self._gathered(chosen)
        nothing = np.array([-np.inf, 0.0, 0.0, 0.0])
        self.refreshes += 1
        self._run_window(
            window, chosen, nothing, np.zeros(self.rows.shape[1]), unit(self.setting.total)
        )

    def select_by_windows(self, capacity: int) -> None:
        """Pass over all rows, take what the best `capacity` of them decide, and again."""
        n = self.rows.shape[0]
        budget = self.state.order.size
        gains, alpha = np.empty(n), np.empty(n, dtype=np.float32)
        norm = float(np.sqrt(dots.dot(self.setting.total, self.setting.total)))
        direction = unit(self.setting.total)
        # The mean row lies ‖T‖/n along T, and a window gives an eighth of its rows or so.
        advance = norm / n * capacity / 8
        depth = -1.0
        while self.position < budget:
            reference = self.state.selected.copy()
            horizon = 1.5 * max(0.0, advance)
            found = self._refresh(direction, horizon, gains, alpha)
            self._take_best(found.row)
            if self.position == budget:
                return
            if depth < 0:
                depth = self._first_depth(gains, found.top, capacity)
            chosen, limit, depth = self._candidates(gains, alpha, found, horizon, depth, capacity)
            before = self.evaluations
            self._run_window(self._gathered(chosen), chosen, limit, reference, direction)
            moved = self.state.selected - reference
            advance = float(dots.dot(moved, direction))
            below = self.evaluations - before
            depth *= 0.85 if below > _STREAMED_ROW_COST * n else 1.2
            direction = unit(moved)

    def _refresh(
        self, direction: np.ndarray, horizon: float, gains: np.ndarray, alpha: np.ndarray
    ) -> _Found:
        """Exact gains and α of all open rows, and the best now and at the horizon."""
        self.refreshes += 1
        blocks = dots.map_blocks(
            lambda start, stop: refresh_block(
                self.rows, start, stop, self.state.weight, direction, self.setting.redundancy,
                horizon, self.open_rows, self.member, gains, alpha,
            ),
            self.rows.shape[0],
            self.threads,
        )  # fmt: skip
        self.evaluations += sum(block[4] for block in blocks)
        best = max(
            (block for block in blocks if block[1] >= 0),
            key=lambda block: (block[0], -self._name(block[1])),
        )
        far_top = max(block[2] for block in blocks)
        square = max(block[3] for block in blocks)
        spread = float(np.sqrt(max(0.0, square) + SPREAD_ERROR * self.setting.norm**2))
        return _Found(best[0], best[1], far_top, spread)

    def _name(self, row: int) -> int:
        """The row that a group of equal rows gives next."""
        return int(self.member[row]) if self.member.size else row

    def _take_best(self, row: int) -> None:
        """Take a row that a pass over all rows found to be the best."""
        name = self._name(row)
        take(self.rows, row, name, self.setting, self.state, self.position)
        self.position += 1
        following = int(self.next_equal[name]) if self.next_equal.size else -1
        if following >= 0:
            self.member[row] = following
        else:
            self.open_rows[row] = False

    def _first_depth(self, gains: np.ndarray, top: float, capacity: int) -> float:
        """How far below the top half a window of rows is found, by a sample."""
        sample = gains[:: max(1, gains.size // _SAMPLE_ROWS)]
        sample = sample[np.isfinite(sample)]
        if not sample.size:
            return 0.0
        share = min(0.5, 0.5 * capacity / gains.size)
        return max(0.0, top - float(np.quantile(sample, 1.0 - share)))

    def _candidates(
        self,
        gains: np.ndarray,
        alpha: np.ndarray,
        found: _Found,
        horizon: float,
        depth: float,
        capacity: int,
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Rows for a window, the limit of all others, and the depth that gave them."""
        slope = 2.0 * self.setting.redundancy * horizon
        for _ in range(MOST_ATTEMPTS):
            blocks = dots.map_blocks(
                partial(
                    candidates_block, gains, alpha, slope, found.top - depth, found.far_top - depth,
                    capacity,
                ),
                gains.size,
                self.threads,
            )  # fmt: skip
            count = sum(chosen.size for chosen, _, _ in blocks)
            if count <= capacity:
                break
            depth *= 0.7
        rows = np.concatenate([chosen for chosen, _, _ in blocks])
        near, far = (max(block[i] for block in blocks) for i in (1, 2))
        surplus = rows[capacity:]  # among too many equals, some stay outside
        if surplus.size:
            rows = rows[:capacity]
            near = max(near, gains[surplus].max())
            far = max(far, (gains[surplus] - slope * alpha[surplus].astype(np.float64)).max())
        far += slope * _FLOAT32_ERROR * self.setting.norm  # what α lost as a float32
        chord = (far - near) / horizon if horizon > 0 and near > -np.inf else 0.0
        return rows, np.array([near, chord, horizon, found.spread]), depth

    def _gathered(self, chosen: np.ndarray) -> np.ndarray:
        window = np.empty((chosen.size, self.rows.shape[1]), dtype=np.float32)
        gather(self.rows, chosen, window)
        return dots.embedding_rows(window)

    def _run_window(
        self,
        window_rows: np.ndarray,
        chosen: np.ndarray,
        limit: np.ndarray,
        reference: np.ndarray,
        direction: np.ndarray,
    ) -> None:
        window = Window(
            rows=window_rows,
            squares=linear_form.squared_norms(window_rows, self.threads),
            alpha=np.empty(chosen.size),
            spread=np.empty(chosen.size),
            member=self.member[chosen] if self.member.size else chosen,
            alive=self.open_rows[chosen],
            next_equal=self.next_equal,
        )
        self.position, evaluations = run_window(
            window, self.setting, self.state, limit, reference, direction, self.position
        )
        self.evaluations += evaluations
        self.open_rows[chosen] = window.alive
        if self.member.size:
            self.member[chosen] = window.member
