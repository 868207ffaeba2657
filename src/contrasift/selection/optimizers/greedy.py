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

Threads divide the passes over all rows and the choice of candidates. The steps of a window are taken by
one: each needs the one before, and is over before a thread has woken. So a second thread cannot halve
the whole.

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
from contrasift.selection.kernels.greedy_passes import (
    candidates_block,
    chain_equal_rows,
    gather_block,
    outlook_block,
    refresh_block,
)
from contrasift.selection.kernels.greedy_steps import (
    HORIZON,
    LEVELS,
    LOOSEST,
    MOST_ATTEMPTS,
    NEAR,
    SPREAD,
    WIDTH,
    WORTH,
    GreedySetting,
    GreedyState,
    Window,
    no_limit,
    run_window,
    take,
    take_all,
    unit,
)
from contrasift.selection.kernels.passes import HeldRows
from contrasift.selection.kernels.sampled_steps import take_sampled
from contrasift.selection.watch import Watch

_WINDOW_BYTES = 8 << 20
_SMALLEST_LEVEL = 16
# Costs of a row, in gains of rows in cache: streamed from memory, gathered, its bounds alone.
_STREAMED = 2.0
_GATHERED = 4.0
_GLANCED_AT = 0.15
_FLOAT32_ERROR = 2.0**-23
_SAMPLE_ROWS = 65_536
# Compiled steps return after so many bytes of rows, which take a fifth of a second or so.
_PATIENCE_BYTES = 1 << 31
# The projected work decides only once this share of the work that is allowed is done.
_PROJECTED_AFTER = 0.125
# Of the best of a few rows: at least so many, and 1 − e^-so many of all chances to be drawn once.
_LEAST_SAMPLE = 64
_DRAWS_A_ROW = 4.6
_STEPS_A_TELLING = 8192


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
        exact: how many ranks are greedy's own; those behind, if any, are stochastic greedy's.
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
    exact: int


def greedy(
    values: Float32[np.ndarray, "n d"] | HeldRows,
    budget: int,
    *,
    redundancy: float,
    keep: Int64[np.ndarray, " m"] | None = None,
    eligible: Bool[np.ndarray, " n"] | None = None,
    threads: int | None = None,
    distinct: bool = False,
    work: int | None = None,
    seed: int = 0,
    watch: Watch | None = None,
    _window_rows: int | None = None,
    _smallest_level: int = _SMALLEST_LEVEL,
) -> GreedyPath:
    """The first k rows of the greedy order of F_λ: largest gain first, lowest row among equals.

    The same for every number of threads. Memory: O(n) beside the embeddings.

    Where M has no direction to move in, as where rows are centred, every row may be the best at
    every step, and nothing is faster than n·d a step. Under a bound of `work`, which it is as soon
    as the work done and the rest at the latest pace exceed it, the rest of the ranking is then
    stochastic greedy's: the best of max(64, 4.6 n/k) open rows drawn anew each time, which is
    within e^-4.6 = 1 % of greedy's guarantee in expectation where F is monotone and submodular
    (Mirzasoleiman et al. 2015), and near greedy's value wherever similarities cancel.

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped; or passes over it.
        budget: k, with the rows of `keep` counted in.
        redundancy: λ ≥ 0.
        keep: rows that are in the selection from the start.
        eligible: False for rows that are never taken; they still count in T.
        threads: None for all processors.
        distinct: no two rows that may be taken are equal.
        work: gains that may be computed; None for no bound, and so greedy's order to the end.
        seed: of what stochastic greedy draws.
        watch: told how far it is, and asked whether to stop being exact.
        _window_rows: candidates held at most (tests).
        _smallest_level: a level with fewer rows is evaluated whole (tests).

    Raises:
        UsageError: a budget above the rows that may be taken or below those to keep, a bad λ.
        DataError: NaN or infinity.
    """
    passes = values if isinstance(values, HeldRows) else HeldRows(values, threads)
    n, dimension = passes.n, passes.width
    keep, open_rows = check_places(n, budget, keep, eligible)
    check_redundancy(redundancy)
    capacity = _window_rows or max(1024, _WINDOW_BYTES // (4 * dimension))
    pace = _Pace(budget, work, watch)
    run = _GreedyRun(passes, open_rows, float(redundancy), budget, _smallest_level, pace)
    run.take_kept(keep)
    if run.position < budget:
        if not distinct:
            run.join_equal_rows()
        if _window_rows is None and n <= 2 * capacity:
            run.select_from_all()
        else:
            run.select_by_windows(capacity)
    exact = run.position
    run.take_the_rest(eligible, seed)
    if watch is not None:
        watch.tell(budget)
    total, selected_sum = run.setting.total, run.state.selected
    final_gains = passes.scores(total - (2.0 * redundancy) * selected_sum)
    final_gains -= redundancy * passes.squares()
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
        exact=exact,
    )


class _Pace:
    """Whether greedy may go on: it is asked now and then, by the work done so far."""

    def __init__(self, budget: int, work: int | None, watch: Watch | None) -> None:
        self.budget = budget
        self.work = np.inf if work is None else work
        self.watch = watch
        self._mark: tuple[int, int] | None = None
        self._latest = (0, 0)

    def ended(self, position: int, evaluations: int) -> bool:
        """Tell how far it is; whether all is done, or too much, or somebody wants it to stop."""
        if self.watch is not None:
            self.watch.tell(position)
        if position == self.budget or (self.watch is not None and self.watch.stopped):
            return True
        if evaluations >= self.work:
            return True
        if self._mark is None:
            self._mark = self._latest = (position, evaluations)
        if evaluations >= 2 * self._latest[1]:  # the pace of late: since half of the work
            self._mark, self._latest = self._latest, (position, evaluations)
        if evaluations < _PROJECTED_AFTER * self.work:
            return False
        taken = position - self._mark[0]
        pace = (evaluations - self._mark[1]) / taken if taken else np.inf
        return evaluations + (self.budget - position) * pace > self.work


class _Known(NamedTuple):
    """Gains of all rows when M was at `reference`, and how they change as M moves along v."""

    gains: np.ndarray
    alpha: np.ndarray  # float32
    spread: np.ndarray  # float32
    typical: float  # mean ρ
    reference: np.ndarray
    direction: np.ndarray  # v


class _Moved(NamedTuple):
    """How far M is from where gains are known, and how far it may go before they are looked at."""

    along: float
    across: float
    horizon: float
    width: float
    reach: float  # 2λ


class _GreedyRun:
    """A greedy run: what is fixed, what it has taken, and the passes over all rows."""

    def __init__(
        self,
        passes: HeldRows,
        open_rows: np.ndarray,
        redundancy: float,
        budget: int,
        smallest_level: int,
        pace: _Pace,
    ) -> None:
        d = passes.width
        self.pace = pace
        self.patience = max(1, _PATIENCE_BYTES // (4 * max(1, d)))
        self.rows = passes.rows
        self.open_rows = open_rows
        self.threads = passes.threads
        self.squares = passes.squares()
        total = passes.fixed_total() / passes.scale
        # A dot product is off by at most (d + 8)·2⁻⁵³·‖z‖·‖w‖, with ‖w‖ ≤ ‖T‖ + 2λk·max‖z‖, and a
        # bound is made of fewer than sixteen terms of that size.
        norm = float(np.sqrt(self.squares.max(initial=0.0)))
        reach = float(np.sqrt(dots.dot(total, total))) + 2.0 * redundancy * budget * norm
        slack = 16.0 * (d + 16) * 2.0**-53 * norm * reach
        self.setting = GreedySetting(total, redundancy, passes.scale, norm, slack, smallest_level)
        self.state = GreedyState(
            fixed=np.zeros(d, dtype=np.int64),
            selected=np.zeros(d),
            weight=total.copy(),
            order=np.empty(budget, dtype=np.int64),
            gains=np.empty(budget),
            depth=np.full(LEVELS, -1.0),
            advance=np.zeros(LEVELS),
            across=np.zeros(LEVELS),
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
        self.refreshes += 1
        nowhere = np.zeros(self.rows.shape[1])
        self._run_window(window, chosen, no_limit(), nowhere, unit(self.setting.total))

    def select_by_windows(self, capacity: int) -> None:
        """Take what the best `capacity` rows decide, look at the bounds of all rows, and again.

        Gains of all rows are computed anew only where M has moved too far across v for bounds.
        """
        n = self.rows.shape[0]
        total = self.setting.total
        norm = float(np.sqrt(dots.dot(total, total)))
        # The mean row lies ‖T‖/n along T, and a window gives an eighth of its rows or so.
        moved = _Moved(0.0, 0.0, norm / n * capacity / 8, 0.0, 2.0 * self.setting.redundancy)
        direction, depth, known, refreshed, passes = unit(total), -1.0, None, 0, 0.0
        while not self.pace.ended(self.position, self.evaluations):
            looked = known is not None and self._near_enough(known, moved, depth)
            if known is None or not looked:
                known, row = self._refresh(direction, known)
                refreshed, passes = self.evaluations, 0.0
                self._take_best(row, known)
                moved = moved._replace(along=0.0, across=0.0)
                if self.position == self.state.order.size:
                    return
                if depth < 0:
                    depth = self._first_depth(known.gains, capacity)
            reference = self.state.selected.copy() if looked else known.reference
            chosen, limit, depth = self._candidates(known, moved, depth, capacity)
            before = self.evaluations, self.position
            outside = self._run_window(
                self._gathered(chosen), chosen, limit, reference, known.direction
            )
            known.gains[chosen[~self.open_rows[chosen]]] = -np.inf
            if not outside:
                continue
            passes += (_GLANCED_AT if looked else _STREAMED) * n + _GATHERED * chosen.size
            depth *= 0.85 if self.evaluations - refreshed > WORTH * passes else 1.2
            if looked and self.position == before[1]:  # bounds alone do not get on
                moved = moved._replace(across=np.inf)
                continue
            step = self.state.selected - reference
            ahead = float(dots.dot(step, known.direction))
            aside = step - ahead * known.direction
            far = self.state.selected - known.reference
            along = float(dots.dot(far, known.direction))
            far -= along * known.direction
            moved = moved._replace(
                along=along,
                across=float(np.sqrt(dots.dot(far, far))) * (1.0 + 1e-9),
                horizon=1.5 * max(0.0, ahead),
                width=1.5 * float(np.sqrt(dots.dot(aside, aside))),
            )
            direction = unit(step)

    @staticmethod
    def _near_enough(known: _Known, moved: _Moved, depth: float) -> bool:
        """Whether bounds from where gains are known are good enough to choose candidates by."""
        return moved.reach * known.typical * moved.across <= LOOSEST * depth

    def _refresh(self, direction: np.ndarray, known: _Known | None) -> tuple[_Known, int]:
        """Exact gains, α and ρ of all open rows; and the best of them."""
        self.refreshes += 1
        n = self.rows.shape[0]
        gains = np.empty(n) if known is None else known.gains
        # Of closed rows they stay as they are: what is made of them must be a number.
        alpha = np.zeros(n, np.float32) if known is None else known.alpha
        spread = np.zeros(n, np.float32) if known is None else known.spread
        blocks = dots.map_blocks(
            lambda start, stop: refresh_block(
                self.rows, start, stop, self.state.weight, direction, self.setting.redundancy,
                self.squares, self.open_rows, self.member, gains, alpha, spread,
            ),
            n,
            self.threads,
        )  # fmt: skip
        count = sum(block[2] for block in blocks)
        self.evaluations += count
        best = max(
            (block for block in blocks if block[1] >= 0),
            key=lambda block: (block[0], -self._name(block[1])),
        )
        typical = sum(block[3] for block in blocks) / max(1, count)
        reference = self.state.selected.copy()
        return _Known(gains, alpha, spread, typical, reference, direction), best[1]

    def _name(self, row: int) -> int:
        """The row that a group of equal rows gives next."""
        return int(self.member[row]) if self.member.size else row

    def _take_best(self, row: int, known: _Known) -> None:
        """Take a row that a pass over all rows found to be the best."""
        name = self._name(row)
        take(self.rows, row, name, self.setting, self.state, self.position)
        self.position += 1
        following = int(self.next_equal[name]) if self.next_equal.size else -1
        if following >= 0:
            self.member[row] = following
        else:
            self.open_rows[row] = False
            known.gains[row] = -np.inf

    def _first_depth(self, gains: np.ndarray, capacity: int) -> float:
        """How far below the top half a window of rows is found, by a sample."""
        sample = gains[:: max(1, gains.size // _SAMPLE_ROWS)]
        sample = sample[np.isfinite(sample)]
        if not sample.size:
            return 0.0
        share = min(0.5, 0.5 * capacity / gains.size)
        return max(0.0, float(gains.max() - np.quantile(sample, 1.0 - share)))

    def _candidates(
        self, known: _Known, moved: _Moved, depth: float, capacity: int
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Rows for a window, the limit of all others, and the depth that gave them."""
        n = known.gains.size
        columns = known.gains, known.alpha, known.spread, *moved
        tops = dots.map_blocks(partial(outlook_block, *columns), n, self.threads)
        top, far_top = (max(block[i] for block in tops) for i in (0, 1))
        for _ in range(MOST_ATTEMPTS):
            blocks = dots.map_blocks(
                partial(candidates_block, *columns, top - depth, far_top - depth, capacity),
                n,
                self.threads,
            )
            count = sum(chosen.size for chosen, _ in blocks)
            if count <= capacity:
                break
            depth *= 0.7
        rows = np.concatenate([chosen for chosen, _ in blocks])
        limit = np.max([limit for _, limit in blocks], axis=0)
        surplus = rows[capacity:]  # among too many equals, some stay outside
        if surplus.size:
            rows = rows[:capacity]
            # All of them may be chosen of nothing: what is left is their limit.
            own = [column[surplus] for column in columns[:3]]
            _, others = candidates_block(*own, *moved, np.inf, np.inf, 0, 0, surplus.size)
            limit = np.maximum(limit, others)
        # What α lost as a float32.
        blur = moved.reach * (abs(moved.along) + moved.horizon) * _FLOAT32_ERROR
        limit[NEAR:SPREAD] += blur * self.setting.norm
        limit[HORIZON], limit[WIDTH] = moved.horizon, moved.width
        return rows, limit, depth

    def _gathered(self, chosen: np.ndarray) -> np.ndarray:
        window = np.empty((chosen.size, self.rows.shape[1]), dtype=np.float32)
        dots.map_blocks(
            lambda start, stop: gather_block(self.rows, chosen, start, stop, window),
            chosen.size,
            self.threads,
        )
        return dots.embedding_rows(window)

    def _run_window(
        self,
        window_rows: np.ndarray,
        chosen: np.ndarray,
        limit: np.ndarray,
        reference: np.ndarray,
        direction: np.ndarray,
    ) -> bool:
        """Take rows of a window; whether it ended because rows outside may be better."""
        window = Window(
            rows=window_rows,
            squares=self.squares[chosen],
            alpha=np.empty(chosen.size),
            spread=np.empty(chosen.size),
            member=self.member[chosen] if self.member.size else chosen,
            alive=self.open_rows[chosen],
            next_equal=self.next_equal,
        )
        outside = False
        while not (outside or self.pace.ended(self.position, self.evaluations)):
            self.position, evaluations, outside = run_window(
                window, self.setting, self.state, limit, reference, direction, self.position,
                self.patience,
            )  # fmt: skip
            self.evaluations += evaluations
        self.open_rows[chosen] = window.alive
        if self.member.size:
            self.member[chosen] = window.member
        return outside

    def take_the_rest(self, eligible: np.ndarray | None, seed: int) -> None:
        """Fill the places that are left by stochastic greedy."""
        budget = self.state.order.size
        if self.position == budget:
            return
        is_open = np.ones(self.rows.shape[0], np.bool_) if eligible is None else eligible.copy()
        is_open[self.state.order[: self.position]] = False
        places = np.flatnonzero(is_open)
        share = _DRAWS_A_ROW * places.size / (budget - self.position)
        sample = max(_LEAST_SAMPLE, int(np.ceil(share)))
        coins = np.random.default_rng([seed, budget]).integers(1, 1 << 63, 1, dtype=np.uint64)
        while self.position < budget:
            stop = min(budget, self.position + _STEPS_A_TELLING)
            self.evaluations += sample * (stop - self.position)
            left = take_sampled(
                self.rows, places, sample, coins, self.setting, self.state, self.position, stop
            )
            places = places[:left]
            self.position = stop
            if self.pace.watch is not None:
                self.pace.watch.tell(stop)
