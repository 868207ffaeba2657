"""The compiled passes of greedy over all rows, block by block.

`greedy` says why what they find is enough.
"""

from __future__ import annotations

import numpy as np

from contrasift.selection.kernels.dots import (
    compiled,
    compiled_bare,
    larger,
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
_JUDGED = 1024  # rows whose bounds are made at once
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
        top = larger(top, now)
        far_top = larger(far_top, later)
    return top, far_top


@compiled_bare
def judge_rows(
    gains, alpha, spread, along, across, horizon, width, reach, near_floor, far_floor, reaches,
    limit,
):  # fmt: skip
    """Mark rows whose bound reaches a floor now or at the horizon; the limit holds for all others.

    No row branches, so that several are judged at once.
    """
    most_near = most_far = near_wide = most_wide = widest = -np.inf
    for i in range(gains.size):
        slope = reach * alpha[i]
        near = gains[i] - along * slope + reach * across * spread[i]
        far = near - horizon * slope
        aside = reach * width * spread[i]
        is_open = gains[i] > -np.inf
        above = (near >= near_floor) | (far + aside >= far_floor)
        reaches[i] = is_open & above
        off = -np.inf if above else 0.0
        most_near = larger(most_near, near + off)
        most_far = larger(most_far, far + off)
        near_wide = larger(near_wide, near + aside + off)
        most_wide = larger(most_wide, far + aside + off)
        widest = larger(widest, np.float64(spread[i]) + off if is_open else -np.inf)
    limit[NEAR], limit[FAR] = larger(limit[NEAR], most_near), larger(limit[FAR], most_far)
    limit[NEAR_WIDE] = larger(limit[NEAR_WIDE], near_wide)
    limit[FAR_WIDE] = larger(limit[FAR_WIDE], most_wide)
    limit[SPREAD] = larger(limit[SPREAD], widest)


@compiled
def candidates_block(
    gains, alpha, spread, along, across, horizon, width, reach, near_floor, far_floor, capacity,
    start, stop,
):  # fmt: skip
    """Rows whose bound reaches a floor now or at the horizon; and the limit of all others."""
    chosen = np.empty(min(capacity + 1, stop - start), np.int64)
    count = 0
    limit = np.full(LIMIT, -np.inf)
    reaches = np.empty(_JUDGED, np.bool_)
    for first in range(start, stop, _JUDGED):
        last = min(first + _JUDGED, stop)
        judge_rows(
            gains[first:last], alpha[first:last], spread[first:last], along, across, horizon,
            width, reach, near_floor, far_floor, reaches, limit,
        )  # fmt: skip
        for i in range(first, last):
            if not reaches[i - first]:
                continue
            if count < chosen.size:
                chosen[count] = i
                count += 1
                continue
            # No room: as if its bounds reached nothing.
            judge_rows(
                gains[i : i + 1], alpha[i : i + 1], spread[i : i + 1], along, across, horizon,
                width, reach, np.inf, np.inf, reaches[i - first :], limit,
            )  # fmt: skip
    return chosen[:count], limit
