"""The compiled steps of greedy: what a run holds, one step, one pass over a block, one window.

`greedy` says why the candidates are enough. No function here decides more than its name says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from contrasift.selection.kernels import dots
from contrasift.selection.kernels.dots import add_row, compiled, row_dot, row_square, vector_dot

LEVELS = 4
MOST_ATTEMPTS = 60
# ‖z‖² − α² is off by less than this share of ‖z‖² for any dimension in use.
SPREAD_ERROR = 1e-12


class Window(NamedTuple):
    """Candidate rows, and where each group of equal rows stands."""

    rows: np.ndarray  # float32 [c, d]
    squares: np.ndarray
    alpha: np.ndarray
    spread: np.ndarray  # ρ
    member: np.ndarray  # the row of the whole set that is next in the group
    alive: np.ndarray
    next_equal: np.ndarray  # of the whole set; empty where no two rows are equal


class GreedySetting(NamedTuple):
    """What does not change during a run."""

    total: np.ndarray
    redundancy: float
    scale: float
    norm: float  # max ‖z‖
    slack: float
    smallest: int


class GreedyState(NamedTuple):
    """The selection so far, and what was learnt about good sizes of levels."""

    fixed: np.ndarray  # M in fixed point
    selected: np.ndarray  # M
    weight: np.ndarray  # T − 2λM
    order: np.ndarray
    gains: np.ndarray
    depth: np.ndarray  # by level: candidates are this far below the top, in gain
    advance: np.ndarray  # by level: how far along v M moved before the last refresh


class Levels(NamedTuple):
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


def unit(vector: np.ndarray) -> np.ndarray:
    """The vector scaled to length one; zero stays zero."""
    norm = float(np.sqrt(dots.dot(vector, vector)))
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
    for attempt in range(MOST_ATTEMPTS):
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
                if attempt < MOST_ATTEMPTS - 1:
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
        window.spread[i] = np.sqrt(max(0.0, square - alpha * alpha) + SPREAD_ERROR * square)


@compiled
def run_window(window, setting, state, limit, reference, direction, position):
    """Take rows of a window while they are surely the best of all.

    Args: a window, the setting and the state; the limit, M₀ and v of the rows outside; how many
    rows are taken already. Returns how many are taken now, and the number of exact gains.
    """
    n, d = window.rows.shape
    levels = Levels(
        np.empty((LEVELS, n), np.int64),
        np.empty((LEVELS, n)),
        np.zeros(LEVELS, np.int64),
        np.zeros(LEVELS, np.int64),
        np.empty((LEVELS + 1, 4)),
        np.empty((LEVELS + 1, d)),
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
        if level + 1 < LEVELS and levels.count[level] > setting.smallest:
            build_level(level, best, best_row, window, setting, state, levels)
            levels.built_at[level] = evaluations
            level += 1
    return position, evaluations
