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
row that is taken has the largest gain as `objectives.gains` computes it, bit for bit. Rows that
equal each other are taken as one with several places, so that they do not hold each other up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from contrasift.selection import kernels, objectives
from contrasift.selection.checks import check_places, check_redundancy
from contrasift.selection.kernels import add_row, compiled, row_dot, row_square, vector_dot

_WINDOW_BYTES = 8 << 20
_LEVELS = 4
_SMALLEST_LEVEL = 16
# One row of the whole set, streamed from memory, costs as much as this many rows in cache.
_STREAMED_ROW_COST = 2.0
_MOST_ATTEMPTS = 60
# ‖z‖² − α² is off by less than this share of ‖z‖² for any dimension in use.
_SPREAD_ERROR = 1e-12
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
        turn: the first position whose gain is negative; None if there is none.
        evaluations: exact gains computed on the way (a naive greedy needs n a step).
        refreshes: passes over all rows.
    """

    order: Int64[np.ndarray, " k"]
    gains: Float64[np.ndarray, " k"]
    final_gains: Float64[np.ndarray, " n"]
    total: Float64[np.ndarray, " d"]
    selected_sum: Float64[np.ndarray, " d"]
    value: float
    turn: int | None
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
    rows = kernels.embedding_rows(values)
    n, dimension = rows.shape
    keep, open_rows = check_places(n, budget, keep, eligible)
    check_redundancy(redundancy)
    run = _Run(rows, open_rows, float(redundancy), budget, threads, _smallest_level)
    run.take_kept(keep)
    if run.position < budget:
        run.join_equal_rows()
        capacity = _window_rows or max(1024, _WINDOW_BYTES // (4 * dimension))
        if _window_rows is None and n <= 2 * capacity:
            run.select_from_all()
        else:
            run.select_by_windows(capacity)
    total, selected_sum = run.setting.total, run.state.selected
    final_gains = objectives.scores(rows, total - (2.0 * redundancy) * selected_sum, threads)
    final_gains -= redundancy * objectives.squared_norms(rows, threads)
    negative = np.flatnonzero(run.state.gains < 0)
    return GreedyPath(
        order=run.state.order,
        gains=run.state.gains,
        final_gains=final_gains,
        total=total,
        selected_sum=selected_sum,
        value=objectives.value(total, selected_sum, redundancy),
        turn=int(negative[0]) if negative.size else None,
        evaluations=run.evaluations,
        refreshes=run.refreshes,
    )


class _Window(NamedTuple):
    """Candidate rows, and where each group of equal rows stands."""

    rows: np.ndarray  # float32 [c, d]
    squares: np.ndarray
    alpha: np.ndarray
    spread: np.ndarray  # ρ
    member: np.ndarray  # the row of the whole set that is next in the group
    alive: np.ndarray
    next_equal: np.ndarray  # of the whole set; empty where no two rows are equal


class _Setting(NamedTuple):
    """What does not change during a run."""

    total: np.ndarray
    redundancy: float
    scale: float
    norm: float  # max ‖z‖
    slack: float
    smallest: int


class _Found(NamedTuple):
    """What a pass over all rows found."""

    top: float  # the largest gain
    row: int  # and its row
    far_top: float  # the largest gain expected at the horizon
    spread: float  # max ρ


class _State(NamedTuple):
    """The selection so far, and what was learnt about good sizes of levels."""

    fixed: np.ndarray  # M in fixed point
    selected: np.ndarray  # M
    weight: np.ndarray  # T − 2λM
    order: np.ndarray
    gains: np.ndarray
    depth: np.ndarray  # by level: candidates are this far below the top, in gain
    advance: np.ndarray  # by level: how far along v M moved before the last refresh


class _Levels(NamedTuple):
    """Level 0 is the window; each further level holds candidates among the one before.

    Limit 0 bounds the rows outside the window, limit l + 1 those of level l outside level l + 1.
    """

    index: np.ndarray
    exact: np.ndarray
    count: np.ndarray
    built_at: np.ndarray
    limit: np.ndarray  # [m₀, (m* − m₀)/a*, a*, max ρ]
    reference: np.ndarray  # M₀
    direction: np.ndarray  # v of limit 0, v of all other limits


class _Run:
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
        scale = kernels.fixed_point_scale(rows, threads)
        total = objectives.fixed_total(rows, scale, threads) / scale
        # A dot product is off by at most (d + 8)·2⁻⁵³·‖z‖·‖w‖, with ‖w‖ ≤ ‖T‖ + 2λk·max‖z‖, and a
        # bound is made of fewer than sixteen terms of that size.
        norm = objectives.largest_norm(rows, threads)
        reach = float(np.sqrt(kernels.dot(total, total))) + 2.0 * redundancy * budget * norm
        slack = 16.0 * (d + 16) * 2.0**-53 * norm * reach
        self.setting = _Setting(total, redundancy, scale, norm, slack, smallest_level)
        self.state = _State(
            fixed=np.zeros(d, dtype=np.int64),
            selected=np.zeros(d),
            weight=total.copy(),
            order=np.empty(budget, dtype=np.int64),
            gains=np.empty(budget),
            depth=np.full(_LEVELS, -1.0),
            advance=np.zeros(_LEVELS),
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
        scores = objectives.scores(self.rows, probe, self.threads)
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
        norm = float(np.sqrt(kernels.dot(self.setting.total, self.setting.total)))
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
            advance = float(kernels.dot(moved, direction))
            below = self.evaluations - before
            depth *= 0.85 if below > _STREAMED_ROW_COST * n else 1.2
            direction = unit(moved)

    def _refresh(
        self, direction: np.ndarray, horizon: float, gains: np.ndarray, alpha: np.ndarray
    ) -> _Found:
        """Exact gains and α of all open rows, and the best now and at the horizon."""
        self.refreshes += 1
        blocks = kernels.map_blocks(
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
        spread = float(np.sqrt(max(0.0, square) + _SPREAD_ERROR * self.setting.norm**2))
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
        for _ in range(_MOST_ATTEMPTS):
            blocks = kernels.map_blocks(
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
        return kernels.embedding_rows(window)

    def _run_window(
        self,
        window_rows: np.ndarray,
        chosen: np.ndarray,
        limit: np.ndarray,
        reference: np.ndarray,
        direction: np.ndarray,
    ) -> None:
        window = _Window(
            rows=window_rows,
            squares=objectives.squared_norms(window_rows, self.threads),
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


def unit(vector: np.ndarray) -> np.ndarray:
    """The vector scaled to length one; zero stays zero."""
    norm = float(np.sqrt(kernels.dot(vector, vector)))
    return vector / norm if norm > 0 else vector.copy()


@compiled
def update_weight(setting, state):
    """M as a float, and T − 2λM, exactly as `objectives` computes them."""
    for j in range(state.fixed.size):
        state.selected[j] = state.fixed[j] / setting.scale
        state.weight[j] = setting.total[j] - (2.0 * setting.redundancy) * state.selected[j]


@compiled
def take(rows, row, name, setting, state, position):
    """Add a row to the selection, noting its gain."""
    gain = row_dot(rows, row, state.weight) - setting.redundancy * row_square(rows, row)
    state.order[position] = name
    state.gains[position] = gain
    add_row(rows, row, setting.scale, state.fixed)
    update_weight(setting, state)


@compiled
def take_all(rows, chosen, setting, state):
    """Add rows to the selection one after another."""
    update_weight(setting, state)
    for i in range(chosen.size):
        take(rows, chosen[i], chosen[i], setting, state, i)


@compiled
def gather(values, rows, out):
    """out[i] = values[rows[i]]."""
    for i in range(rows.size):
        for j in range(values.shape[1]):
            out[i, j] = values[rows[i], j]


@compiled
def chain_equal_rows(values, rows, keys, open_rows, next_equal):
    """Chain rows that equal the first of their run of equal keys; only the first stays open."""
    head = last = rows[0]
    for i in range(1, rows.size):
        row = rows[i]
        if keys[i] != keys[i - 1]:
            head = last = row
            continue
        same = True
        for j in range(values.shape[1]):
            if values[row, j] != values[head, j]:
                same = False
                break
        if same:
            next_equal[last] = row
            open_rows[row] = False
            last = row


@compiled
def refresh_block(
    values, start, stop, weight, direction, redundancy, horizon, open_rows, member, gains, alpha
):
    """Exact gains of open rows, and α (as float32, to save memory).

    Returns the best gain, its row (-1: none), the best expected gain, max ρ², and how many.
    """
    best = far_top = -np.inf
    spread = 0.0
    best_row = -1
    count = 0
    for i in range(start, stop):
        if not open_rows[i]:
            gains[i] = -np.inf
            continue
        square = row_square(values, i)
        gain = row_dot(values, i, weight) - redundancy * square
        along = row_dot(values, i, direction)
        gains[i] = gain
        alpha[i] = along
        far_top = max(far_top, gain - 2.0 * redundancy * horizon * along)
        spread = max(spread, square - along * along)
        count += 1
        first = best_row >= 0 and member.size > 0 and member[i] < member[best_row]
        if best_row < 0 or gain > best or (gain == best and first):
            best = gain
            best_row = i
    return best, best_row, far_top, spread, count


@compiled
def candidates_block(gains, alpha, slope, near_floor, far_floor, capacity, start, stop):
    """Rows that reach a floor now or at the horizon; of all others max gain, now and then."""
    chosen = np.empty(min(capacity + 1, stop - start), np.int64)
    count = 0
    near = far = -np.inf
    for i in range(start, stop):
        if gains[i] == -np.inf:
            continue
        later = gains[i] - slope * alpha[i]
        if (gains[i] >= near_floor or later >= far_floor) and count < chosen.size:
            chosen[count] = i
            count += 1
            continue
        near = max(near, gains[i])
        far = max(far, later)
    return chosen[:count], near, far


@compiled
def bound_of_others(limit, reference, direction, setting, state, moved):
    """Upper bound of the gains of all rows behind a limit, M having moved by Δ since."""
    near, slope, horizon, spread = limit[0], limit[1], limit[2], limit[3]
    if near == -np.inf:
        return near
    for j in range(moved.size):
        moved[j] = state.selected[j] - reference[j]
    along = vector_dot(moved, direction)
    if 0.0 <= along <= horizon:
        for j in range(moved.size):
            moved[j] -= along * direction[j]
        near += slope * along
    else:  # no chord: Cauchy–Schwarz for all of Δ
        spread = setting.norm
    across = np.sqrt(vector_dot(moved, moved)) * (1.0 + 1e-9)
    return near + 2.0 * setting.redundancy * spread * across


@compiled
def first_doubtful(best, level, setting, state, levels, moved):
    """The innermost limit, at or outside a level, that a gain is not surely above; -1: none."""
    for outside in range(level, -1, -1):
        direction = levels.direction[min(outside, 1)]
        bound = bound_of_others(
            levels.limit[outside], levels.reference[outside], direction, setting, state, moved
        )
        if not best > bound + setting.slack:
            return outside
    return -1


@compiled
def refresh_level(level, window, setting, state, levels):
    """Exact gains of a level's rows, those used up left out; the best and its row (-1: none)."""
    best = -np.inf
    best_row = -1
    left = 0
    for i in range(levels.count[level]):
        row = levels.index[level, i]
        if not window.alive[row]:
            continue
        gain = row_dot(window.rows, row, state.weight) - setting.redundancy * window.squares[row]
        levels.index[level, left] = row
        levels.exact[level, left] = gain
        left += 1
        first = best_row < 0 or window.member[row] < window.member[best_row]
        if best_row < 0 or gain > best or (gain == best and first):
            best = gain
            best_row = row
    levels.count[level] = left
    return best, best_row


@compiled
def use_up(window, row):
    """Move a group of equal rows on to its next, or close it."""
    following = -1
    if window.next_equal.size > 0:
        following = window.next_equal[window.member[row]]
    if following >= 0:
        window.member[row] = following
    else:
        window.alive[row] = False


@compiled
def build_level(level, best, best_row, window, setting, state, levels):
    """Choose the candidates among a level's rows, and bound the others."""
    count = levels.count[level]
    capacity = max(setting.smallest, count // 2)
    if state.depth[level] < 0.0:  # nothing learnt yet
        capacity = max(setting.smallest, min(capacity, int(4.0 * np.sqrt(count))))
        lowest = best
        for i in range(count):
            lowest = min(lowest, levels.exact[level, i])
        state.depth[level] = best - lowest
        state.advance[level] = max(0.0, window.alpha[best_row]) * capacity / 8.0
    horizon = 1.5 * max(0.0, state.advance[level])
    slope = 2.0 * setting.redundancy * horizon
    far_top = -np.inf
    for i in range(count):
        row = levels.index[level, i]
        if window.alive[row]:
            far_top = max(far_top, levels.exact[level, i] - slope * window.alpha[row])
    chosen = 0
    near = far = -np.inf
    spread = 0.0
    for attempt in range(_MOST_ATTEMPTS):
        near_floor = best - state.depth[level]
        far_floor = far_top - state.depth[level]
        chosen = 0
        near = far = -np.inf
        spread = 0.0
        too_many = False
        for i in range(count):
            row = levels.index[level, i]
            if not window.alive[row]:
                continue
            gain = levels.exact[level, i]
            later = gain - slope * window.alpha[row]
            if gain >= near_floor or later >= far_floor:
                if chosen < capacity:
                    levels.index[level + 1, chosen] = row
                    chosen += 1
                    continue
                too_many = True
                # Among too many equals, the last attempt leaves some outside.
                if attempt < _MOST_ATTEMPTS - 1:
                    break
            near = max(near, gain)
            far = max(far, later)
            spread = max(spread, window.spread[row])
        if not too_many:
            break
        state.depth[level] *= 0.7
    levels.count[level + 1] = chosen
    levels.limit[level + 1, 0] = near
    levels.limit[level + 1, 1] = (far - near) / horizon if horizon > 0.0 and chosen < count else 0.0
    levels.limit[level + 1, 2] = horizon
    levels.limit[level + 1, 3] = spread


@compiled
def aim(window, direction, selected, anchor):
    """Turn v to where M has moved since the anchor, and measure the rows along it."""
    moved = np.empty(selected.size)
    for j in range(moved.size):
        moved[j] = selected[j] - anchor[j]
        anchor[j] = selected[j]
    length = np.sqrt(vector_dot(moved, moved))
    if length > 0.0:
        for j in range(moved.size):
            direction[j] = moved[j] / length
    measure(window, direction)


@compiled
def measure(window, direction):
    """α and ρ of every row of a window."""
    for i in range(window.alpha.size):
        alpha = row_dot(window.rows, i, direction)
        window.alpha[i] = alpha
        square = window.squares[i]
        window.spread[i] = np.sqrt(max(0.0, square - alpha * alpha) + _SPREAD_ERROR * square)


@compiled
def run_window(window, setting, state, limit, reference, direction, position):
    """Take rows of a window while they are surely the best of all.

    Args: a window, the setting and the state; the limit, M₀ and v of the rows outside; how many
    rows are taken already. Returns how many are taken now, and the number of exact gains.
    """
    n, d = window.rows.shape
    levels = _Levels(
        np.empty((_LEVELS, n), np.int64),
        np.empty((_LEVELS, n)),
        np.zeros(_LEVELS, np.int64),
        np.zeros(_LEVELS, np.int64),
        np.empty((_LEVELS + 1, 4)),
        np.empty((_LEVELS + 1, d)),
        np.empty((2, d)),
    )
    for i in range(n):
        levels.index[0, i] = i
    levels.count[0] = n
    for j in range(limit.size):
        levels.limit[0, j] = limit[j]
    update_weight(setting, state)
    anchor = np.empty(d)
    moved = np.empty(d)
    for j in range(d):
        anchor[j] = state.selected[j]
        levels.reference[0, j] = reference[j]
        levels.direction[0, j] = direction[j]
        levels.direction[1, j] = direction[j]
    measure(window, direction)
    evaluations = 0
    refreshes = 0
    next_aim = 1
    level = np.int64(0)  # a literal would compile every callee twice
    while position < state.order.size:
        if level == 0:
            if refreshes == next_aim:
                aim(window, levels.direction[1], state.selected, anchor)
                next_aim = min(2 * refreshes, refreshes + 8)
            refreshes += 1
        best, best_row = refresh_level(level, window, setting, state, levels)
        evaluations += levels.count[level]
        doubtful = first_doubtful(best, level, setting, state, levels, moved)
        if doubtful == 0:
            break
        if doubtful > 0:  # refresh the level that the doubtful rows belong to
            level = doubtful - 1
            for j in range(d):
                moved[j] = state.selected[j] - levels.reference[doubtful, j]
            state.advance[level] = vector_dot(moved, levels.direction[1])
            # Few candidates: refreshed often. Many: each costs. Keep the two in balance.
            below = evaluations - levels.built_at[level]
            state.depth[level] *= 0.85 if below > levels.count[level] else 1.2
            continue
        for j in range(d):
            levels.reference[level + 1, j] = state.selected[j]
        name = window.member[best_row]
        take(window.rows, best_row, name, setting, state, position)
        position += 1
        use_up(window, best_row)
        if level + 1 < _LEVELS and levels.count[level] > setting.smallest:
            build_level(level, best, best_row, window, setting, state, levels)
            levels.built_at[level] = evaluations
            level += 1
    return position, evaluations
