"""Rows that are equal: found in one pass, looked at once, given back afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from contrasift.arrays import forget_pages, row_blocks
from contrasift.selection.kernels.dots import compiled, map_blocks, prefetch_row, rows_ahead
from contrasift.selection.plan import SelectionPool
from contrasift.selection.task import Solved, Task

_BLOCK_BYTES = 32 << 20
_FIRST_BITS = 20


@dataclass(frozen=True)
class Distinct:
    """The different rows of a matrix.

    Attributes:
        first: int64 [m], ascending; the first row of each kind.
        kind: int64 [n]; which of them each row equals.
        counts: int64 [m]; rows of each kind.
    """

    first: np.ndarray
    kind: np.ndarray
    counts: np.ndarray


# The digests of all rows of a matrix, uint64 [n, 2], by a seed; wherever they are made.
Digesting = Callable[[Any, int], np.ndarray]


def distinct_rows(
    values: Any, threads: int | None = None, digesting: Digesting | None = None
) -> Distinct | None:
    """The different rows, or None where all differ.

    They are put together by 128 bits of their bytes, and what is put together is compared.

    Args:
        values: real [n, d]; may be a map. −0 equals 0.
        threads: None for all processors.
        digesting: makes `row_digests`, elsewhere.
    """
    for seed in count():
        made = row_digests(values, seed, threads) if digesting is None else digesting(values, seed)
        found = _grouped(made)
        if found is None or _are_equal(values, found):
            return found
    raise AssertionError  # count() has no end


def row_digests(values: Any, seed: int, threads: int | None = None) -> np.ndarray:
    """128 bits of every row, uint64 [n, 2].

    Args:
        values: real [n, d]; may be a map.
        seed: other seeds make other digests.
        threads: None for all processors.
    """
    n, d = values.shape
    digests = np.empty((n, 2), dtype=np.uint64)
    factors: np.ndarray | None = None
    for block in row_blocks(n, 16 * d, _BLOCK_BYTES):
        words, negative_zero = _entries(values[block])
        if factors is None:
            drawn = np.random.default_rng(seed).integers(1 << 63, size=(2, words.shape[1]))
            factors = 2 * drawn.astype(np.uint64) + np.uint64(1)
        map_blocks(
            partial(_mix_rows, words, negative_zero, factors, digests[block]), len(words), threads
        )
        forget_pages(values)
    return digests


def _entries(rows: Any) -> tuple[np.ndarray, np.unsignedinteger]:
    """The bits of every row's entries, as they lie, and which bits are those of −0."""
    kind = {np.dtype(np.float16): np.uint16, np.dtype(np.float32): np.uint32}.get(rows.dtype)
    if kind is None:
        return _words(rows), np.uint32(0)
    sign = kind(1 << (8 * rows.dtype.itemsize - 1))
    return np.ascontiguousarray(rows).view(kind), sign


def _words(rows: Any) -> np.ndarray:
    """The bytes of every row as whole uint32, padded with zeros; of −0 those of 0."""
    plain = np.ascontiguousarray(rows + rows.dtype.type(0))  # −0 + 0 = 0
    missing = -plain.shape[1] * plain.itemsize % 4
    if missing:
        octets = plain.view(np.uint8).reshape(len(plain), -1)
        plain = np.ascontiguousarray(np.pad(octets, ((0, 0), (0, missing))))
    return plain.view(np.uint32)


@compiled
def _mix_rows(words, negative_zero, factors, digests, start, stop):
    """Σ_j words[j] · factors[j] modulo 2⁶⁴, twice.

    Of two rows that differ the sums agree with a chance below 2⁻³², each (Dietzfelbinger 1996).
    """
    ahead = rows_ahead(words)
    for i in range(start, stop):
        prefetch_row(words, min(i + ahead, stop - 1))
        a = b = np.uint64(0)
        for j in range(words.shape[1]):
            word = np.uint64(0) if words[i, j] == negative_zero else np.uint64(words[i, j])
            a += word * factors[0, j]
            b += word * factors[1, j]
        digests[i, 0] = a
        digests[i, 1] = b


def _grouped(digests: np.ndarray) -> Distinct | None:
    """Rows of one digest together; only those whose first half is there twice are put in order."""
    n, half = len(digests), np.sort(digests[:, 0])
    twice = np.unique(half[1:][half[1:] == half[:-1]])
    if not twice.size:
        return None
    # Few of the others share their first bits with one that is there twice.
    bits = np.uint64(64 - _FIRST_BITS)
    maybe = np.zeros(1 << _FIRST_BITS, dtype=bool)
    maybe[twice >> bits] = True
    some = np.flatnonzero(maybe[digests[:, 0] >> bits])
    own = digests[some, 0]
    some = some[twice[np.minimum(np.searchsorted(twice, own), twice.size - 1)] == own]
    some = some[np.lexsort((digests[some, 1], digests[some, 0]))]  # stable: in their order
    ordered = digests[some]
    begins = np.ones(some.size, dtype=bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    if begins.all():
        return None
    first = np.arange(n)
    first[some] = some[begins][np.cumsum(begins) - 1]
    is_first = first == np.arange(n)
    kind = (np.cumsum(is_first) - 1)[first]
    return Distinct(np.flatnonzero(is_first), kind, np.bincount(kind))


def _are_equal(values: Any, found: Distinct) -> bool:
    """Whether every row is the first of its kind, or equal to it."""
    first = found.first[found.kind]
    later = np.flatnonzero(first != np.arange(first.size))
    for block in row_blocks(later.size, 16 * values.shape[1], _BLOCK_BYTES):
        rows = later[block]
        if not np.array_equal(_words(values[rows]), _words(values[first[rows]])):
            return False
    return True


def copies_in(
    pool: SelectionPool,
    kept: np.ndarray,
    dropped: np.ndarray,
    threads: int | None = None,
    digesting: Digesting | None = None,
) -> np.ndarray | None:
    """Whose copy every row is: the row that stands for all that equal it; None without copies.

    That is the first of them which is not dropped, or, where some must be kept, the first of these.
    Rows that must be kept or dropped are nobody's copies.

    Args:
        pool: what is selected from.
        kept: rows that must be selected, ascending.
        dropped: rows that must not, ascending.
        threads: None for all processors.
        digesting: see `distinct_rows`.

    Returns:
        int64 [n]; row numbers, −1 of a row that is no copy.
    """
    found = distinct_rows(pool.values, threads, digesting)
    if found is None:
        return None
    n = pool.n
    # A row's claim to stand for its kind: kept before others before dropped, then the first.
    claim = np.full(n, n, dtype=np.int64)
    claim[kept], claim[dropped] = 0, 2 * n
    claim += np.arange(n)
    several = np.flatnonzero(found.counts[found.kind] > 1)
    several = several[np.lexsort((claim[several], found.kind[several]))]
    stand = found.first.copy()
    kinds, begins = np.unique(found.kind[several], return_index=True)
    stand[kinds] = several[begins]
    stands = stand[found.kind]
    own = np.zeros(n, dtype=bool)
    own[kept], own[dropped] = True, True
    copy_of = np.where(own | (stands == np.arange(n)), -1, stands)
    return copy_of if (copy_of >= 0).any() else None


def solve_without_copies(task: Task, solve: Callable[[Task], Solved]) -> Solved:
    """Solve a class whose copies come behind all its other rows.

    Where the budget needs some of them, all others are selected, and so are the first copies: the
    class is ranked without copies, then measured with those.

    Args:
        task: what to choose.
        solve: does it, whatever the task.
    """
    later = task.later
    if later is None:
        return solve(task)
    may = np.ones(later.size, dtype=bool) if task.eligible is None else task.eligible
    first, copies = may & ~later, np.flatnonzero(may & later)
    size = int(first.sum())
    ranked = solve(replace(task, later=None, eligible=first, budget=min(task.budget, size)))
    inside = first[ranked.order]
    order = np.concatenate(
        [ranked.order[inside], copies, ranked.order[~inside & ~(may & later)[ranked.order]]]
    )
    if task.budget <= size:
        return _reordered(ranked, ranked, order, size)
    keep = np.sort(order[: task.budget])
    return _reordered(solve(replace(task, later=None, keep=keep)), ranked, order, size)


def _reordered(solved: Solved, ranked: Solved, order: np.ndarray, size: int) -> Solved:
    """A solved class in another order, with the gains of the ranking in the first ranks."""
    gains, parts = np.empty(order.size), None
    gains[solved.order] = solved.gains
    gains[ranked.order[:size]] = ranked.gains[:size]
    if solved.parts is not None:
        whole = np.zeros(order.size)
        whole[solved.order[: solved.parts.size]] = solved.parts
        parts = whole[order[: solved.budget]]
    return replace(
        solved, order=order, gains=gains[order], parts=parts, ranked_to=ranked.ranked_to,
        first_negative_gain=ranked.first_negative_gain, facts=ranked.facts,
    )  # fmt: skip
