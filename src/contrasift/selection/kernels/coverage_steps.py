"""The compiled steps of greedy coverage: similarities, passes over a block, lists, and the heap.

`coverage` says how they make an exact greedy; bounds come from sums that allow for their rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from contrasift.selection.kernels.dots import compiled, compiled_with, row_dot

# Float32 terms that are added before they go into a float64 sum.
RUN = 256
DONE, COLUMN, EXACT, BOUNDS = range(4)
HEAP, TAKEN, STEP, POOL, EVALUATIONS = range(5)


class CoverageSetting(NamedTuple):
    """What does not change during a run."""

    values: np.ndarray
    scale: float  # similarity units to integers
    own: int  # a selected row's similarity to itself
    own_given: bool  # else ‖z‖²
    weight: float  # a
    modular: np.ndarray  # b⟨z_e, T⟩/(nk)


class CoverageState(NamedTuple):
    """The selection so far, and what is known of the candidates."""

    open_rows: np.ndarray  # bool [n]; may still be taken
    cover: np.ndarray  # int32 [n]; max_{j∈S} s_ij
    heap: np.ndarray  # int64 [n]; candidates, the largest key first, the lowest row among equals
    key: np.ndarray  # float64 [n]; upper bound of the gain
    exact_at: np.ndarray  # int32 [n]; the step at which the key was the gain
    bound_at: np.ndarray  # int32 [n]; the step at which it came from a matrix product
    first: np.ndarray  # int64 [n]; where a candidate's list begins; −1: none
    length: np.ndarray  # int64 [n]
    pool_rows: np.ndarray  # int32; the lists: rows i with s_ie > c_i ...
    pool_values: np.ndarray  # int32; ... and s_ie
    order: np.ndarray
    gains: np.ndarray
    counts: np.ndarray  # int64: rows in the heap, rows taken, step, pool entries, evaluations


def _compiled_loosely(function: Callable[..., Any]) -> Any:
    """Compile with numba, with sums in any order: for bounds that allow for their rounding."""
    loosely = {"reassoc", "nsz", "contract"}
    return compiled_with(function, nogil=True, error_model="numpy", fastmath=loosely)


@compiled
def similarity(setting, i, row, vector):
    """s_ij as an integer; `vector` is the row in float64."""
    if i == row and setting.own_given:
        return np.int64(setting.own)
    return np.int64(np.rint(row_dot(setting.values, i, vector) * setting.scale))


@compiled
def sum_block(setting, row, vector, start, stop):
    """Σ_i s_ij over start ≤ i < stop."""
    total = np.int64(0)
    for i in range(start, stop):
        total += similarity(setting, i, row, vector)
    return total


@compiled
def first_block(setting, row, vector, cover, start, stop):
    """The same, and c_i = s_ij: the first row of a selection."""
    total = np.int64(0)
    for i in range(start, stop):
        now = similarity(setting, i, row, vector)
        cover[i] = now
        total += now
    return total


@compiled
def gain_block(setting, row, vector, cover, start, stop):
    """Σ_i max(0, s_ij − c_i) over start ≤ i < stop."""
    gain = np.int64(0)
    for i in range(start, stop):
        gain += max(np.int64(0), similarity(setting, i, row, vector) - np.int64(cover[i]))
    return gain


@compiled
def take_block(setting, row, vector, cover, start, stop):
    """The same, and c_i = max(c_i, s_ij)."""
    gain = np.int64(0)
    for i in range(start, stop):
        now = similarity(setting, i, row, vector)
        if now > cover[i]:
            gain += now - np.int64(cover[i])
            cover[i] = now
    return gain


@_compiled_loosely
def bound_run(products, floor, start, stop):
    """Σ max(0, product − floor) and how many are above, of one run of entries."""
    above = np.float32(0.0)
    count = np.int32(0)
    for i in range(start, stop):
        more = products[i] - floor[i]
        above += max(np.float32(0.0), more)
        count += np.int32(more > np.float32(0.0))
    return above, count


@compiled
def bound_block(products, floor, sums, lengths, start, stop):
    """Of every candidate start ≤ b < stop: the sum over all rows, and how many rows matter."""
    n = floor.size
    for b in range(start, stop):
        total = 0.0
        count = np.int64(0)
        line = products[b]
        for i in range(0, n, RUN):
            above, some = bound_run(line, floor, i, min(i + RUN, n))
            total += np.float64(above)
            count += some
        sums[b] = total
        lengths[b] = count


@compiled
def list_block(setting, state, products, floor, chosen, short, start, stop):
    """The lists of candidates, and their exact gains."""
    n = floor.size
    vector = np.empty(setting.values.shape[1])
    for s in range(start, stop):
        b = short[s]
        row = chosen[b]
        for j in range(vector.size):
            vector[j] = setting.values[row, j]
        place = state.first[row]
        gain = np.int64(0)
        length = 0
        for i in range(n):
            if products[b, i] > floor[i]:
                now = similarity(setting, i, row, vector)
                more = now - np.int64(state.cover[i])
                if more > 0:
                    gain += more
                    state.pool_rows[place + length] = i
                    state.pool_values[place + length] = now
                    length += 1
        state.length[row] = length
        state.key[row] = setting.weight * (gain / setting.scale) + setting.modular[row]
        state.exact_at[row] = state.counts[STEP]


@compiled
def shorten(rows, values, cover, place, length):
    """Walk down a list, which loses the rows that no longer matter: the gain, and the new length."""
    gain = np.int64(0)
    left = place
    for p in range(place, place + length):
        i = rows[p]
        now = values[p]
        more = np.int64(now) - np.int64(cover[i])
        if more > 0:
            gain += more
            rows[left] = i
            values[left] = now
            left += 1
    return gain, left - place


@compiled
def refresh(setting, state, row):
    """The gain of a candidate from its list."""
    gain, length = shorten(
        state.pool_rows, state.pool_values, state.cover, state.first[row], state.length[row]
    )
    state.length[row] = length
    state.key[row] = setting.weight * (gain / setting.scale) + setting.modular[row]
    state.exact_at[row] = state.counts[STEP]
    state.counts[EVALUATIONS] += 1


@compiled
def pack_lists(setting, state, by_place):
    """Refresh all lists and move them together."""
    end = 0
    for row in by_place:
        place = state.first[row]
        if place < 0:
            continue
        refresh(setting, state, row)
        state.first[row] = end
        for p in range(state.length[row]):
            state.pool_rows[end + p] = state.pool_rows[place + p]
            state.pool_values[end + p] = state.pool_values[place + p]
        end += state.length[row]
    state.counts[POOL] = end


@compiled
def sift(heap, key, count, place):
    """Move a heap's entry down to where it belongs: larger keys above, then lower rows."""
    row = heap[place]
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        below = heap[child]
        if child + 1 < count:
            other = heap[child + 1]
            if key[other] > key[below] or (key[other] == key[below] and other < below):
                child += 1
                below = other
        if key[row] > key[below] or (key[row] == key[below] and row < below):
            break
        heap[place] = below
        place = child
    heap[place] = row


@compiled
def make_heap(heap, key, count):
    """Order the first entries as a heap."""
    for place in range(count // 2 - 1, -1, -1):
        sift(heap, key, count, place)


@compiled
def pop(heap, key, counts):
    """Take the first entry off the heap."""
    counts[HEAP] -= 1
    if counts[HEAP] > 0:
        heap[0] = heap[counts[HEAP]]
        sift(heap, key, counts[HEAP], 0)


@compiled
def advance(setting, state, order, gains, goal, taking):
    """Go on until the goal, or until the best candidate needs a pass over all rows.

    Returns what it needs, and the candidate.
    """
    counts = state.counts
    while counts[TAKEN] < goal and counts[HEAP] > 0:
        row = state.heap[0]
        if state.exact_at[row] == counts[STEP]:
            if taking and state.first[row] < 0:
                return COLUMN, row
            pop(state.heap, state.key, state.counts)
            order[counts[TAKEN]] = row
            gains[counts[TAKEN]] = state.key[row]
            counts[TAKEN] += 1
            if taking:
                place = state.first[row]
                for p in range(place, place + state.length[row]):
                    state.cover[state.pool_rows[p]] = state.pool_values[p]
                state.first[row] = -1
                state.open_rows[row] = False
                counts[STEP] += 1
        elif state.first[row] >= 0:
            refresh(setting, state, row)
            sift(state.heap, state.key, state.counts[HEAP], 0)
        elif state.bound_at[row] == counts[STEP]:
            return EXACT, row
        else:
            return BOUNDS, row
    return DONE, np.int64(-1)
