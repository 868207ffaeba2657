"""Random numbers of pairs: a hash of the seed, the query and the corpus row.

A number belongs to these and to nothing else: it is the same whatever is computed beside it, before
it, or in which thread. It is SplitMix64's (Steele, Lea and Flood 2014).
"""

from __future__ import annotations

import numpy as np

from contrasift.selection.kernels.dots import compiled

_STEP, _FIRST, _SECOND = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)
_A, _B, _C = np.uint64(30), np.uint64(27), np.uint64(31)
_LARGEST = 2**64 - 1
# What a number is for: two draws of one pair have nothing in common.
POLICY, SAMPLE, RANDOM = 1, 2, 3


def hashed(seed: int, purpose: int, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A random number of every pair, uint64 [b, k].

    Args:
        seed: of all of them.
        purpose: what it is for.
        queries: int64 [b].
        rows: int64 [b, k].
    """
    own = query_numbers(seed, purpose, queries)
    return _mixed_all(own[:, None] + (rows.astype(np.uint64) + np.uint64(1)) * _STEP)


def query_numbers(seed: int, purpose: int, queries: np.ndarray) -> np.ndarray:
    """What the numbers of a query's pairs are made of, uint64 [b]."""
    start = np.array([(seed + purpose * int(_STEP)) % 2**64], dtype=np.uint64)
    return _mixed_all(_mixed_all(start) + (queries.astype(np.uint64) + np.uint64(1)) * _STEP)


def _mixed_all(value: np.ndarray) -> np.ndarray:
    value = (value ^ (value >> _A)) * _FIRST
    value = (value ^ (value >> _B)) * _SECOND
    return value ^ (value >> _C)


def smallest_rows(seed: int, purpose: int, queries: np.ndarray, n: int, count: int) -> np.ndarray:
    """The rows of each query's smallest numbers, the smallest first.

    Args:
        seed: of the numbers.
        purpose: what they are for.
        queries: int64 [b].
        n: rows of the corpus.
        count: how many, at most n.

    Returns:
        int64 [b, count].
    """
    own = query_numbers(seed, purpose, queries)
    result = np.empty((queries.size, count), dtype=np.int64)
    waiting, expected = np.arange(queries.size), _more(count)
    while waiting.size:
        # A number is below expected/n of the largest for about so many rows, seldom for a tenth more.
        room = min(n, _more(expected))
        limit = np.uint64(min(_LARGEST, _LARGEST * expected // n))
        numbers = np.full((waiting.size, room), _LARGEST, dtype=np.uint64)
        rows = np.zeros((waiting.size, room), dtype=np.int64)
        found = np.zeros(waiting.size, dtype=np.int64)
        _below(own[waiting], n, limit, numbers, rows, found)
        good = (found >= count) & (found <= room)
        order = np.argsort(numbers[good], axis=1, kind="stable")[:, :count]
        result[waiting[good]] = np.take_along_axis(rows[good], order, axis=1)
        waiting, expected = waiting[~good], 2 * expected
    return result


def _more(count: int) -> int:
    """A number that seldom falls below `count` where it is expected."""
    return count + int(6 * np.sqrt(count)) + 16


@compiled
def _mixed(value):
    value = (value ^ (value >> _A)) * _FIRST
    value = (value ^ (value >> _B)) * _SECOND
    return value ^ (value >> _C)


@compiled
def _below(own, n, limit, numbers, rows, found):
    """Numbers up to the limit and their rows, as many as there is room for; how many there are."""
    room = numbers.shape[1]
    for r in range(own.size):
        count = 0
        at = own[r]
        for j in range(n):
            at += _STEP
            number = _mixed(at)
            if number <= limit:
                if count < room:
                    numbers[r, count] = number
                    rows[r, count] = j
                count += 1
        found[r] = count


def number_at(
    seed: int, purpose: int, query: int | np.integer, out: np.ndarray, total: int, place: int
) -> np.uint64:
    """The number at a place of all candidates' numbers in ascending order.

    Args:
        seed: of the numbers.
        purpose: what they are for.
        query: whose.
        out: int64; rows that are no candidates, each once.
        total: candidates: all other rows.
        place: from 1.
    """
    numbers = np.empty(total + out.size, dtype=np.uint64)
    _all(query_numbers(seed, purpose, np.array([query]))[0], numbers)
    numbers[out] = 0
    return np.partition(numbers, out.size + place - 1)[out.size + place - 1]


@compiled
def _all(own, numbers):
    for j in range(numbers.size):
        own += _STEP
        numbers[j] = _mixed(own)
