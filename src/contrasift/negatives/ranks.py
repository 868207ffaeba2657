"""Which negatives rank within a band of difficulty: exact, with ties, without a full sort.

Works on NumPy arrays and on torch tensors alike; torch is not imported for arrays.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np

from contrasift.errors import DataError

# Rows are partitioned in blocks of about this many bytes, so that copies stay in the cache.
_BLOCK_BYTES = 1 << 20
# Last ranks up to one in so many are found without a partition: so fast that another thread, which
# may have to wait for one that torch keeps busy, pays for larger blocks only.
_FEW, _FEW_BYTES = 6, 4 << 20


@functools.lru_cache(1024)
def band_counts(low: float | int, high: float | int, k: int) -> tuple[int, int]:
    """How many of k negatives are easier than the band, and how many are not harder than it.

    ⌊low·k/100⌋ and ⌊high·k/100⌋, with the percentiles taken as the decimals they are written as:
    no rounding error moves a boundary. Rank r = 1..k (k is hardest) is in the band (low, high]
    iff low·k/100 < r ≤ high·k/100.
    """
    return tuple(int(Fraction(str(percent)) * k // 100) for percent in (low, high))  # type: ignore[return-value]


def band_mask(values: Any, low: float | int, high: float | int, reserve: int = 0) -> Any:
    """Entries whose rank within their row lies in (low, high] per cent.

    Ranks are those of a stable ascending sort of each row: of equal values, the later column is
    the harder. The last `reserve` columns are no part of the ranking; they are judged by its
    thresholds: with v_r the value of rank r, such an entry x is in the band iff
    v_⌊low·k/100⌋ < x ≤ v_⌊high·k/100⌋ (no lower bound for rank 0, no upper one for rank k).

    Args:
        values: [q, k + reserve], an array or a tensor; higher is harder.
        low: percentile where the band begins, 0 for the easiest.
        high: percentile where it ends, 100 for the hardest.
        reserve: columns at the end that are judged but not ranked.

    Returns:
        bool [q, k + reserve], of the kind that `values` is.
    """
    if not isinstance(values, np.ndarray) and values.device.type == "cpu":
        # NumPy partitions and compares several times as fast as torch does on a CPU.
        from torch import bfloat16, from_numpy

        values = values.detach()
        array = (values.float() if values.dtype == bfloat16 else values).numpy()
        return from_numpy(band_mask(array, low, high, reserve))
    k = values.shape[1] - reserve
    above, up_to = band_counts(low, high, k)
    mask = None if above == 0 else _rank_above(values, above, k)
    if up_to < k:
        below = ~_rank_above(values, up_to, k) if up_to else values != values
        mask = below if mask is None else mask & below
    return values == values if mask is None else mask  # NaN is refused before


def hardest_columns(values: Any, low: float | int, high: float | int = 100) -> Any | None:
    """Columns of the ranks in (low, high] per cent, as `band_mask` has them, where these are few.

    Args:
        values: [q, k], an array or a tensor; higher is harder.
        low: percentile where the band begins.
        high: percentile where it ends.

    Returns:
        int64 [q, ⌊high·k/100⌋ − ⌊low·k/100⌋], ascending, of the kind that `values` is; None where a
        mask is the better way: too many, none at all, or a tensor that is not on a CPU.

    Raises:
        DataError: NaN.
    """
    if not isinstance(values, np.ndarray):
        if values.device.type != "cpu" or not values.dtype.is_floating_point:
            return None
        from torch import bfloat16, from_numpy

        values = values.detach()
        array = (values.float() if values.dtype == bfloat16 else values).numpy()
        columns = hardest_columns(array, low, high)
        return None if columns is None else from_numpy(columns)
    k = values.shape[1]
    below, up_to = band_counts(low, high, k)
    if below == up_to or not len(values) or not _few(values, k - below):
        return None
    return _last_ranks(values, up_to - below, k - up_to)


def _few(values: np.ndarray, count: int) -> bool:
    return values.dtype in (np.float32, np.float64) and 0 < count * _FEW <= values.shape[1]


def _last_ranks(values: np.ndarray, count: int, skip: int = 0) -> np.ndarray:
    """Columns, ascending, of the `count` last ranks before the `skip` very last, int64 [q, count]."""
    # Imported where it is needed: numba takes a while.
    from contrasift.negatives.last_ranks import last_ranks

    columns = np.empty((values.shape[0], count), dtype=np.int64)

    def find(rows: slice) -> None:
        if not last_ranks(np.ascontiguousarray(values[rows]), skip, columns[rows]):
            raise DataError("similarities that are numbers", "NaN")

    _in_blocks(find, values, _FEW_BYTES)
    return columns


def _rank_above(values: Any, count: int, k: int) -> Any:
    """Entries of rank above `count`, 0 < count < k, of the first k columns; others by threshold."""
    threshold, following = _two_ranks(values[:, :k], count)
    mask = values > threshold
    # Equal values on both sides of the boundary: the last ones in the row are above it.
    rows = (threshold == following)[:, 0].nonzero()
    rows = rows[0] if isinstance(rows, tuple) else rows[:, 0]
    if len(rows):
        ranked = values[rows][:, :k]
        wanted = k - count - (ranked > threshold[rows]).sum(1)[:, None]
        mask[rows, :k] = (ranked > threshold[rows]) | _last(ranked == threshold[rows], wanted)
    return mask


def _last(mask: Any, counts: Any) -> Any:
    """Of each row's true entries, the last so many."""
    before = mask.cumsum(1)
    return mask & (before > before[:, -1:] - counts)


def _two_ranks(values: Any, count: int) -> tuple[Any, Any]:
    """The values of rank `count` and `count` + 1 in each row, 0 < count < k, each [q, 1]."""
    if isinstance(values, np.ndarray):
        return _two_ranks_by_partition(values, count)
    return _two_ranks_by_topk(values, count)


def _two_ranks_by_topk(values: Any, count: int) -> tuple[Any, Any]:
    k = values.shape[1]
    if count >= k / 2:
        top = values.topk(k - count + 1, dim=1).values
        return top[:, -1:], top[:, -2:-1]
    low = values.topk(count + 1, dim=1, largest=False).values
    return low[:, -2:-1], low[:, -1:]


def _two_ranks_by_partition(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    n_rows, k = values.shape
    if _few(values, k - count + 1):
        last = np.take_along_axis(values, _last_ranks(values, k - count + 1), axis=1)
        both = np.partition(last, 1, axis=1)
        return both[:, :1], both[:, 1:2]
    threshold, following = np.empty((2, n_rows, 1), dtype=values.dtype)

    def find(rows: slice) -> None:
        # Partition on the nearer side; the other value is the extreme of the shorter part.
        if count >= k / 2:
            part = np.partition(values[rows], count - 1, axis=1)
            threshold[rows] = part[:, count - 1, None]
            following[rows] = part[:, count:].min(axis=1, keepdims=True)
        else:
            part = np.partition(values[rows], count, axis=1)
            following[rows] = part[:, count, None]
            threshold[rows] = part[:, :count].max(axis=1, keepdims=True)

    _in_blocks(find, values)
    return threshold, following


def _in_blocks(
    find: Callable[[slice], None], values: np.ndarray, block_bytes: int = _BLOCK_BYTES
) -> None:
    """Call `find` for blocks of rows; it works outside of the interpreter's lock."""
    n_rows, k = values.shape
    step = max(1, block_bytes // (values.itemsize * k))
    blocks = [slice(start, start + step) for start in range(0, n_rows, step)]
    if len(blocks) == 1:
        find(blocks[0])
    else:
        list(_workers().map(find, blocks))


@functools.cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="partition")
