"""The compiled passes of greedy over all rows, block by block.

`greedy` says why what they find is enough.
"""

from __future__ import annotations

import numpy as np

from contrasift.selection.kernels.dots import (
    compiled,
    compiled_bare,
    compiled_with,
    prefetch_row,
    row_dots,
    rows_ahead,
)
from contrasift.selection.kernels.greedy_steps import (
    FAR,
    FAR_WIDE,
    LIMIT,
    NEAR,
    NEAR_WIDE,
    SPREAD,
    SPREAD_ERROR,
)

# What ρ may lose as a float32, several times over.
_ROUNDED_UP = 1.0 + 2.0**-20
_FEW = 32  # rows whose bounds are looked at together
_AHEAD = 8  # rows that are asked for before they are wanted


def compiled_without_nan(function):
    """Compile a search for largest numbers, none of them NaN: several at a time, the same result."""
    return compiled_with(
        function, nogil=True, error_model="numpy", fastmath={"nnan", "nsz"}, _nrt=False
    )


@compiled
def gather_block(values, rows, start, stop, out):
    """out[i] = values[rows[i]] for start ≤ i < stop."""
    for i in range(start, stop):
        prefetch_row(values, rows[min(i + _AHEAD, stop - 1)])
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
    values, start, stop, weight, direction, redundancy, squares, open_rows, member, gains, alpha,
    spread,
):  # fmt: skip
    """Exact gains of open rows, α and ρ (as float32, to save memory).

    Returns the best gain, its row (-1: none), how many, and their Σρ.
    """
    best = -np.inf
    best_row = -1
    count = 0
    total = 0.0
    ahead = rows_ahead(values)
    for i in range(start, stop):
        prefetch_row(values, min(i + ahead, stop - 1))
        if not open_rows[i]:
            gains[i] = -np.inf
            alpha[i] = spread[i] = 0.0
            continue
        square = squares[i]
        score, along = row_dots(values, i, weight, direction)
        gain = score - redundancy * square
        gains[i] = gain
        alpha[i] = along
        across = np.sqrt(max(0.0, square - along * along) + SPREAD_ERROR * square)
        spread[i] = across * _ROUNDED_UP
        total += across
        count += 1
        first = best_row >= 0 and member.size > 0 and member[i] < member[best_row]
        if best_row < 0 or gain > best or (gain == best and first):
            best = gain
            best_row = i
    return best, best_row, count, total


@compiled_without_nan
def outlook_block(gains, alpha, spread, along, across, horizon, width, reach, start, stop):
    """The largest gain to be expected now, and the largest bound of any at the horizon."""
    gains, alpha, spread = gains[start:stop], alpha[start:stop], spread[start:stop]
    top = far_top = -np.inf
    for i in range(gains.size):  # from 0, or nothing is done several at a time
        now = gains[i] - reach * along * alpha[i]
        later = now - reach * horizon * alpha[i] + reach * (across + width) * spread[i]
        top = now if now > top else top
        far_top = later if later > far_top else far_top
    return top, far_top


@compiled_without_nan
def largest_bounds(gains, alpha, spread, along, across, horizon, width, reach, start, stop):
    """The largest bounds of some rows: near, far, both with all that M may move aside; largest ρ."""
    gains, alpha, spread = gains[start:stop], alpha[start:stop], spread[start:stop]
    most_near = most_far = near_wide = most_wide = -np.inf
    widest = 0.0
    for i in range(gains.size):
        rho = np.float64(spread[i])
        slope = reach * alpha[i]
        near = gains[i] - along * slope + reach * across * rho
        far = near - horizon * slope
        aside = reach * width * rho
        most_near = near if near > most_near else most_near
        most_far = far if far > most_far else most_far
        near_wide = near + aside if near + aside > near_wide else near_wide
        most_wide = far + aside if far + aside > most_wide else most_wide
        widest = rho if rho > widest else widest
    return most_near, most_far, near_wide, most_wide, widest


@compiled
def candidates_block(
    gains, alpha, spread, along, across, horizon, width, reach, near_floor, far_floor, capacity,
    start, stop,
):  # fmt: skip
    """Rows whose bound reaches a floor now or at the horizon; and the limit of all others."""
    chosen = np.empty(min(capacity + 1, stop - start), np.int64)
    count = 0
    limit = np.full(LIMIT, -np.inf)
    for first in range(start, stop, _FEW):
        last = min(first + _FEW, stop)
        few = largest_bounds(
            gains, alpha, spread, along, across, horizon, width, reach, first, last
        )
        if not (few[0] >= near_floor or few[3] >= far_floor):
            raise_limit(limit, few)
            continue
        for i in range(first, last):
            one = largest_bounds(
                gains, alpha, spread, along, across, horizon, width, reach, i, i + 1
            )
            near, far_wide = one[0], one[3]
            wanted = near > -np.inf and (near >= near_floor or far_wide >= far_floor)
            if wanted and count < chosen.size:
                chosen[count] = i
                count += 1
            else:
                raise_limit(limit, one)
    return chosen[:count], limit


@compiled_bare
def raise_limit(limit, bounds):
    """Let a limit hold for more rows."""
    near, far, near_wide, far_wide, widest = bounds
    limit[NEAR] = max(limit[NEAR], near)
    limit[FAR] = max(limit[FAR], far)
    limit[NEAR_WIDE] = max(limit[NEAR_WIDE], near_wide)
    limit[FAR_WIDE] = max(limit[FAR_WIDE], far_wide)
    limit[SPREAD] = max(limit[SPREAD], widest)
