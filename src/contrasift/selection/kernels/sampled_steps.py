"""The compiled steps of stochastic greedy: the best of a few open rows, drawn anew each time."""

from __future__ import annotations

import numpy as np

from contrasift.selection.kernels.dots import compiled, row_dot, row_square
from contrasift.selection.kernels.greedy_steps import take, update_weight


@compiled
def drawn(state, most):
    """A number below `most` by xorshift64*, the same on every machine; moves the state on."""
    word = state[0]
    word ^= word >> np.uint64(12)
    word ^= word << np.uint64(25)
    word ^= word >> np.uint64(27)
    state[0] = word
    high = (word * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(32)
    return np.int64((high * np.uint64(most)) >> np.uint64(32))


@compiled
def take_sampled(values, places, sample, coins, setting, state, position, stop):
    """Take rows, each the best of `sample` rows drawn from those in `places`.

    The lowest row wins among equals. What is taken leaves `places`; returns how many are left.
    """
    left = places.size
    for taken in range(position, stop):
        update_weight(setting, state)
        best = -np.inf
        at = -1
        for i in range(min(sample, left)):
            j = i + drawn(coins, left - i)
            row = places[j]
            places[j] = places[i]
            places[i] = row
            gain = row_dot(values, row, state.weight)
            gain -= setting.redundancy * row_square(values, row)
            if at < 0 or gain > best or (gain == best and row < places[at]):
                best = gain
                at = i
        row = places[at]
        take(values, row, row, setting, state, taken)
        left -= 1
        places[at] = places[left]
    return left
