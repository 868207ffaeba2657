"""The compiled steps of greedy: what a run holds, one step, one pass over a block, one window.

`greedy` says why the candidates are enough. No function here decides more than its name says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from contrasift.selection.kernels import dots
from contrasift.selection.kernels.dots import (
    add_row,
    compiled,
    compiled_bare,
    prefetch_row,
    row_dot,
    row_dots,
    row_square,
    step_dots,
    vector_dot,
)

LEVELS = 4
MOST_ATTEMPTS = 60
# A bound looked at, in gains computed: it is a few numbers where a gain is a whole row.
_GLANCE = 0.12
# Candidates may cost so many times what their share of the passes over all rows does, one that made
# gains and the looks at bounds since: more candidates hold for longer, and passes cost memory.
WORTH = 2.0
# Bounds that are this much of the depth too high would let too many rows through.
LOOSEST = 0.5
# After so many passes over a window that gave one row each, its candidates are hardly tried.
_WASTED = 4
_AHEAD = 4  # rows that are asked for before they are wanted
_TRIED_AGAIN = 16
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
    across: np.ndarray  # by level: and how far across it


class Levels(NamedTuple):
    """Level 0 is the window; each further level holds candidates among the one before.

    Limit 0 bounds the rows outside the window, limit l + 1 those of level l outside level l + 1.
    """

    index: np.ndarray
    exact: np.ndarray  # gains when M was as in `known_at`
    known_at: np.ndarray
    count: np.ndarray
    built_at: np.ndarray  # work done when the level below was built
    built: np.ndarray  # how often, since its gains were computed
    passes: np.ndarray  # work of that, and of looking at bounds since
    looked_at: np.ndarray  # the position at which it was built from bounds alone
    limit: np.ndarray  # see `bound_of_others`
    reference: np.ndarray  # M₀ of each limit
    direction: np.ndarray  # v of limit 0, v of all other limits
    near: np.ndarray  # room for bounds of one level's rows: now,
    far: np.ndarray  # when M has moved on,
    spread: np.ndarray  # and their ρ


# Of a limit: what no other row's gain exceeds at the corners of 0 ≤ a ≤ a*, 0 ≤ p ≤ p*.
NEAR, FAR, NEAR_WIDE, FAR_WIDE, HORIZON, WIDTH, SPREAD = range(7)
LIMIT = 7


def no_limit() -> np.ndarray:
    """The limit of no rows."""
    return np.array([-np.inf, -np.inf, -np.inf, -np.inf, 0.0, 0.0, 0.0])


def unit(vector: np.ndarray) -> np.ndarray:
    """The vector scaled to length one; zero stays zero."""
    norm = float(np.sqrt(dots.dot(vector, vector)))
    return vector / norm if norm > 0 else vector.copy()


@compiled_bare
def update_weight(setting, state):
    """M as a float, and T − 2λM, exactly as `objectives` computes them."""
    shrink = 1.0 / setting.scale  # a power of two: the same as dividing by it
    for j in range(state.fixed.size):
        state.selected[j] = state.fixed[j] * shrink
        state.weight[j] = setting.total[j] - (2.0 * setting.redundancy) * state.selected[j]


@compiled_bare
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


@compiled_bare
def displaced(starts, start, side, state, levels):
    """How far M has moved since starts[start]: along a direction of the levels, and across it."""
    along, square = step_dots(state.selected, starts, start, levels.direction, side)
    across = np.sqrt(max(0.0, square - along * along) + SPREAD_ERROR * square)
    return along, across * (1.0 + 1e-9)


@compiled_bare
def bound_of_others(outside, setting, state, levels):
    """Upper bound of the gains of all rows behind a limit, M having moved by Δ since.

    Each row's bound is linear in a and p, how far M moved along v and across it. So the largest is
    convex, and below what lies between its values at the corners of a rectangle.
    """
    limit = levels.limit
    near = limit[outside, NEAR]
    if near == -np.inf:
        return -np.inf
    along, across = displaced(levels.reference, outside, min(outside, 1), state, levels)
    horizon, width = limit[outside, HORIZON], limit[outside, WIDTH]
    reach = 2.0 * setting.redundancy
    if not 0.0 <= along <= horizon:  # Cauchy–Schwarz for all of Δ
        length = np.sqrt(along * along + across * across) * (1.0 + 1e-9)
        return near + reach * setting.norm * length
    ahead = along / horizon if horizon > 0.0 else 0.0
    aside = min(1.0, across / width) if width > 0.0 else 0.0
    narrow = near + ahead * (limit[outside, FAR] - near)
    near_wide = limit[outside, NEAR_WIDE]
    wide = near_wide + ahead * (limit[outside, FAR_WIDE] - near_wide)
    beyond = max(0.0, across - width)
    return narrow + aside * (wide - narrow) + reach * limit[outside, SPREAD] * beyond


@compiled_bare
def first_doubtful(best, level, setting, state, levels):
    """The innermost limit, at or outside a level, that a gain is not surely above; -1: none."""
    for outside in range(level, -1, -1):
        bound = bound_of_others(outside, setting, state, levels)
        if not best > bound + setting.slack:
            return outside
    return -1


@compiled_bare
def refresh_level(level, aimed, window, setting, state, levels):
    """Exact gains of a level's rows, those used up left out; the best and its row (-1: none).

    If v was aimed anew, α and ρ too, while a row is at hand; their mean ρ is the last result.
    """
    best = -np.inf
    best_row = -1
    left = 0
    total = 0.0
    count = levels.count[level]
    for i in range(count):
        row = levels.index[level, i]
        prefetch_row(window.rows, levels.index[level, min(i + _AHEAD, count - 1)])
        if not window.alive[row]:
            continue
        square = window.squares[row]
        if aimed:
            score, alpha = row_dots(window.rows, row, state.weight, levels.direction[1])
            window.alpha[row] = alpha
            window.spread[row] = np.sqrt(max(0.0, square - alpha * alpha) + SPREAD_ERROR * square)
            total += window.spread[row]
        else:
            score = row_dot(window.rows, row, state.weight)
        gain = score - setting.redundancy * square
        levels.index[level, left] = row
        levels.exact[level, left] = gain
        left += 1
        first = best_row < 0 or window.member[row] < window.member[best_row]
        if best_row < 0 or gain > best or (gain == best and first):
            best = gain
            best_row = row
    levels.count[level] = left
    return best, best_row, total / max(1, left)


@compiled_bare
def use_up(window, row):
    """Move a group of equal rows on to its next, or close it."""
    following = -1
    if window.next_equal.size > 0:
        following = window.next_equal[window.member[row]]
    if following >= 0:
        window.member[row] = following
    else:
        window.alive[row] = False


@compiled_bare
def learn(level, best, best_row, window, setting, state, levels):
    """A first guess, from exact gains, of how deep candidates lie and how far M will move."""
    count = levels.count[level]
    capacity = max(setting.smallest, min(count // 2, int(4.0 * np.sqrt(count))))
    lowest = best
    for i in range(count):
        lowest = min(lowest, levels.exact[level, i])
    state.depth[level] = (best - lowest) * capacity / max(1, count)
    state.advance[level] = max(0.0, window.alpha[best_row]) * capacity / 8.0
    return capacity


@compiled_bare
def foresee(level, along, across, horizon, width, window, setting, levels):
    """Bounds of a level's rows now, and when M has moved on; the largest of the latter."""
    reach = 2.0 * setting.redundancy
    far_top = -np.inf
    for i in range(levels.count[level]):
        row = levels.index[level, i]
        spread = window.spread[row]
        slope = reach * window.alpha[row]
        near = levels.exact[level, i] - along * slope + reach * across * spread
        if not window.alive[row]:
            near, spread = -np.inf, 0.0
        far = near - horizon * slope
        far_wide = far + reach * width * spread
        levels.near[i], levels.far[i], levels.spread[i] = near, far, spread
        far_top = max(far_top, far_wide)
    return far_top


@compiled_bare
def build_level(level, best, at, along, across, most, window, setting, state, levels):
    """Choose the candidates among a level's rows, and bound the others; False if too many.

    Bounds hold for M as in `at`; gains are known from when it was elsewhere, by `along` and `across`.
    """
    count = levels.count[level]
    horizon = 1.5 * max(0.0, state.advance[level])
    width = 1.5 * state.across[level]
    aside = 2.0 * setting.redundancy * width
    far_top = foresee(level, along, across, horizon, width, window, setting, levels)
    limit = levels.limit[level + 1]
    chosen = 0
    for attempt in range(MOST_ATTEMPTS):
        near_floor = best - state.depth[level]
        far_floor = far_top - state.depth[level]
        chosen = 0
        most_near = most_far = near_wide = most_wide = widest = -np.inf
        too_many = False
        for i in range(count):
            near, far, spread = levels.near[i], levels.far[i], levels.spread[i]
            far_wide = far + aside * spread
            if near >= near_floor or far_wide >= far_floor:
                if chosen < most:
                    levels.index[level + 1, chosen] = levels.index[level, i]
                    chosen += 1
                    continue
                too_many = True
                # Among too many equals, the last attempt leaves some outside.
                if attempt < MOST_ATTEMPTS - 1:
                    break
            most_near = max(most_near, near)
            most_far = max(most_far, far)
            near_wide = max(near_wide, near + aside * spread)
            most_wide = max(most_wide, far_wide)
            widest = max(widest, spread)
        limit[NEAR], limit[FAR] = most_near, most_far
        limit[NEAR_WIDE], limit[FAR_WIDE], limit[SPREAD] = near_wide, most_wide, widest
        if not too_many:
            break
        if across > 0.0:
            return False
        state.depth[level] *= 0.6
    levels.count[level + 1] = chosen
    limit[HORIZON] = horizon
    limit[WIDTH] = width
    for j in range(at.size):
        levels.reference[level + 1, j] = at[j]
    return True


@compiled_bare
def aim(direction, selected, anchor):
    """Turn v to where M has moved since the anchor, which becomes M."""
    for j in range(direction.size):
        anchor[j] = selected[j] - anchor[j]
    length = np.sqrt(vector_dot(anchor, anchor))
    for j in range(direction.size):
        if length > 0.0:
            direction[j] = anchor[j] / length
        anchor[j] = selected[j]


@compiled
def empty_levels(n, limit, reference, direction):
    """Level 0 with all rows of a window."""
    d = reference.size
    levels = Levels(
        np.empty((LEVELS, n), np.int64),
        np.empty((LEVELS, n)),
        np.empty((LEVELS, d)),
        np.zeros(LEVELS, np.int64),
        np.zeros(LEVELS),
        np.zeros(LEVELS),
        np.zeros(LEVELS),
        np.full(LEVELS, -1, np.int64),
        np.empty((LEVELS + 1, LIMIT)),
        np.empty((LEVELS + 1, d)),
        np.empty((2, d)),
        np.empty(n),
        np.empty(n),
        np.empty(n),
    )
    for i in range(n):
        levels.index[0, i] = i
    levels.count[0] = n
    levels.limit[0] = limit
    levels.reference[0] = reference
    levels.direction[0] = direction
    levels.direction[1] = direction
    return levels


@compiled_bare
def look(level, best, typical, position, window, setting, state, levels):
    """Build the level below from bounds alone, if they are good enough."""
    if best == -np.inf or position <= levels.looked_at[level] or state.depth[level] < 0.0:
        return False
    along, across = displaced(levels.known_at, level, 1, state, levels)
    loose = 2.0 * setting.redundancy * typical * across
    if loose > LOOSEST * state.depth[level]:
        return False
    levels.looked_at[level] = position
    most = max(setting.smallest, levels.count[level] // 2)
    at = state.selected
    return build_level(level, best, at, along, across, most, window, setting, state, levels)


@compiled
def run_window(window, setting, state, limit, reference, direction, position, patience):
    """Take rows of a window while they are surely the best of all.

    Args: a window, the setting and the state; the limit, M₀ and v of the rows outside; how many
    rows are taken already; how many gains may be computed. Returns how many rows are taken now, the
    number of exact gains, and whether rows outside may be better.
    """
    update_weight(setting, state)
    levels = empty_levels(window.rows.shape[0], limit, reference, direction)
    return step(window, setting, state, levels, state.selected.copy(), position, patience)


@compiled_bare
def step(window, setting, state, levels, anchor, position, patience):
    """`run_window`, all room for it made."""
    d = anchor.size
    typical = 0.0
    evaluations = 0
    work = 0.0
    refreshes = wasted = 0
    next_aim = 0
    taken_at = np.int64(-1)
    level = np.int64(0)  # a literal would compile every callee twice
    while position < state.order.size and evaluations < patience:
        aimed = level == 0 and refreshes == next_aim
        if aimed:
            if refreshes > 0:  # at first v is as it was given
                aim(levels.direction[1], state.selected, anchor)
            next_aim = max(1, min(2 * refreshes, refreshes + 8))
        refreshes += level == 0
        best, best_row, spread = refresh_level(level, aimed, window, setting, state, levels)
        typical = spread if aimed else typical
        evaluations += levels.count[level]
        work += levels.count[level]
        levels.built[level], levels.passes[level] = 1.0, levels.count[level]
        doubtful = first_doubtful(best, level, setting, state, levels)
        if doubtful == 0:
            return position, evaluations, True
        if doubtful > 0:  # look again at the level that the doubtful rows belong to
            level = doubtful - 1
            along, across = displaced(levels.reference, doubtful, 1, state, levels)
            if along != 0.0 or across != 0.0:
                state.advance[level] = along
                state.across[level] = across
            # Few candidates: refreshed often. Many: each costs. Keep the two in balance.
            below = work - levels.built_at[level]
            cost = WORTH * levels.passes[level] / levels.built[level]
            state.depth[level] *= 0.85 if below > cost else 1.2
            if look(level, best, typical, position, window, setting, state, levels):
                glance = _GLANCE * levels.count[level]
                work += glance
                levels.passes[level] += glance
                levels.built[level] += 1.0
                levels.built_at[level] = work
                level += 1
            continue
        for j in range(d):
            levels.known_at[level, j] = state.selected[j]
        name = window.member[best_row]
        take(window.rows, best_row, name, setting, state, position)
        use_up(window, best_row)
        if level + 1 < LEVELS and levels.count[level] > setting.smallest:
            wasted = wasted + 1 if level == 0 and position == taken_at + 1 else 0
            taken_at = position
            if level > 0 or wasted < _WASTED or position % _TRIED_AGAIN == 0:
                most = max(setting.smallest, levels.count[level] // 2)
                if state.depth[level] < 0.0:  # nothing learnt yet
                    most = learn(level, best, best_row, window, setting, state, levels)
                at = levels.known_at[level]
                build_level(level, best, at, 0.0, 0.0, most, window, setting, state, levels)
                levels.built_at[level] = work
                level += 1
        position += 1
    return position, evaluations, False
