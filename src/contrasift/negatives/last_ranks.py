"""The compiled search for the few largest entries of long rows."""

from __future__ import annotations

import numpy as np

from contrasift.selection.kernels.dots import compiled
from contrasift.selection.kernels.reaching import reached_columns

_HALVINGS = 24


@compiled
def raise_to(maxima, line):
    """maxima[p] = max(maxima[p], line[p])."""
    for p in range(maxima.size):
        if line[p] > maxima[p]:
            maxima[p] = line[p]


@compiled
def reached_by(numbers, count):
    """What at least `count` of some numbers reach, and not many more: by halving where it may lie."""
    low, high = numbers.min(), numbers.max()
    for _ in range(_HALVINGS):
        middle = low + (high - low) / 2
        above = 0
        for i in range(numbers.size):
            above += numbers[i] >= middle
        if above < count:
            high = middle
            continue
        low = middle
        if above <= count + count // 8:
            break
    return low


@compiled
def last_ranks(values, parts, found):
    """Columns of each row's last r ranks in a stable sort, ascending in rank.

    r disjoint parts of a row whose maxima reach a number have r entries that do. So only those
    entries are sorted, a little more than r of them for r ≪ the number of parts. Part p is every
    column p + i·parts, so that the maxima of all parts are taken side by side; the columns of an
    incomplete turn are in none. The row is in the cache when it is looked at again.

    Args: float rows [q, k], C-contiguous; how many parts, r ≤ parts ≤ k; int64 [q, r], filled.
    Returns whether all is filled: NaN has no rank.
    """
    k, count = values.shape[1], found.shape[1]
    maxima = np.empty(parts, values.dtype)
    columns = np.empty(k, np.int64)
    for row in range(values.shape[0]):
        maxima[:] = values[row, :parts]
        for first in range(parts, k - parts + 1, parts):
            raise_to(maxima, values[row, first : first + parts])
        reached = reached_columns(values, row, k, reached_by(maxima, count), columns)
        if reached < count:
            return False
        entries = values[row][columns[:reached]]
        order = np.argsort(entries, kind="mergesort")  # stable: later columns are harder
        for place in range(count):
            found[row, place] = columns[order[reached - count + place]]
    return True
