"""The compiled search for the largest entries of long rows, where they are few."""

from __future__ import annotations

import numpy as np

from contrasift.selection.kernels.dots import compiled
from contrasift.selection.kernels.reaching import reached_columns

_STRIDE = 16  # of a row's entries one in so many tells where its last ranks begin
_ALL_BUT_SIGN = np.int64(2**63 - 1)


@compiled
def order_keys(values):
    """int64 numbers in the order of some floats, equal where those are equal."""
    keys = (values.astype(np.float64) + 0.0).view(np.int64)  # −0 is 0
    for i in range(keys.size):
        keys[i] ^= (keys[i] >> 63) & _ALL_BUT_SIGN
    return keys


@compiled
def value_of(key):
    """The float64 whose key this is."""
    return np.full(1, key ^ ((key >> 63) & _ALL_BUT_SIGN)).view(np.float64)[0]


@compiled
def reached_by(keys, count, spare):
    """What at least `count` ≥ 1 keys reach: the largest, or one that no more than `spare` others do."""
    low, high = keys.min(), keys.max()
    middle = high
    while True:
        above = 0
        for i in range(keys.size):
            above += keys[i] >= middle
        if above < count:
            high = middle
        else:
            low = middle
            if above <= count + spare:
                return low
        middle = (low & high) + ((low ^ high) >> 1)  # their mean, rounded down
        if middle == low:
            return low


@compiled
def likely_bound(sample, share):
    """What so many entries of a sample reach, and some more as it may be an unlucky one; else −∞."""
    count = int(share + 4.0 * np.sqrt(share)) + 2
    if count >= sample.size:
        return -np.inf
    return value_of(reached_by(order_keys(sample), count, count // 8))


@compiled
def last_ranks(values, skip, found):
    """Columns, ascending, of r ranks of each row in a stable sort: the last, but for the very last.

    A sample of the row says what a little more than r + skip entries reach. Only those are looked at
    again: which number the r + skip largest of them reach, and which the skip largest do.

    Args: float rows [q, k], C-contiguous; how many of the very last ranks are left out; int64 [q, r],
    1 ≤ r ≤ k − skip, filled. Returns whether all is filled: NaN has no rank.
    """
    k, count = values.shape[1], found.shape[1]
    columns = np.empty(k, np.int64)
    bound = np.empty(1, values.dtype)
    for row in range(values.shape[0]):
        share, reached = (count + skip) / _STRIDE, 0
        while reached < count + skip:
            bound[0] = likely_bound(values[row, ::_STRIDE], share)
            reached = reached_columns(values, row, k, bound[0], columns)
            if bound[0] == -np.inf and reached < count + skip:
                return False
            share *= 2
        keys = order_keys(values[row][columns[:reached]])
        low = reached_by(keys, count + skip, 0)
        high = reached_by(keys, skip, 0) if skip else keys.max() + 1
        low_left, high_left = count + skip, skip  # of those that equal a bound, the last count
        for key in keys:
            low_left -= key > low
            high_left -= key > high
        place, i = count, reached
        while place > 0:  # without a branch that depends on numbers
            i -= 1
            low_left -= keys[i] == low
            high_left -= keys[i] == high
            found[row, place - 1] = columns[i]
            inside = (keys[i] > low) | ((keys[i] == low) & (low_left >= 0))
            place -= inside & ~((keys[i] > high) | ((keys[i] == high) & (high_left >= 0)))
    return True
