"""The compiled passes of greedy over all rows, block by block.

`greedy` says why what they find is enough.
"""

from __future__ import annotations

import numpy as np

from contrasift.selection.kernels.dots import (
    compiled,
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
_AHEAD = 8  # rows that are asked for before they are wanted


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


@compiled
def outlook_block(gains, alpha, spread, along, across, horizon, width, reach, start, stop):
    """The largest gain to be expected now, and the largest bound of any at the horizon."""
    top = far_top = -np.inf
    for i in range(start, stop):
        now = gains[i] - reach * along * alpha[i]
        later = now - reach * horizon * alpha[i] + reach * (across + width) * spread[i]
        top = max(top, now)
        far_top = max(far_top, later)
    return top, far_top


@compiled
def candidates_block(
    gains, alpha, spread, along, across, horizon, width, reach, near_floor, far_floor, capacity,
    start, stop,
):  # fmt: skip
    """Rows whose bound reaches a floor now or at the horizon; and the limit of all others."""
    chosen = np.empty(min(capacity + 1, stop - start), np.int64)
    count = 0
    most_near = most_far = near_wide = most_wide = widest = -np.inf
    for i in range(start, stop):
        if gains[i] == -np.inf:
            continue
        slope = reach * alpha[i]
        near = gains[i] - along * slope + reach * across * spread[i]
        far = near - horizon * slope
        aside = reach * width * spread[i]
        if (near >= near_floor or far + aside >= far_floor) and count < chosen.size:
            chosen[count] = i
            count += 1
            continue
        most_near = max(most_near, near)
        most_far = max(most_far, far)
        near_wide = max(near_wide, near + aside)
        most_wide = max(most_wide, far + aside)
        widest = max(widest, np.float64(spread[i]))
    limit = np.full(LIMIT, -np.inf)
    limit[NEAR], limit[FAR] = most_near, most_far
    limit[NEAR_WIDE], limit[FAR_WIDE], limit[SPREAD] = near_wide, most_wide, widest
    return chosen[:count], limit
