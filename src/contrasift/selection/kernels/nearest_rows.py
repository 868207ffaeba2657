"""The k nearest rows of each row: every pair is looked at, and none of its similarities is kept.

Nearest by Euclidean length, as the order of

    c_ij = s_ij − h_j,      h_j = ‖z_j‖²/2,      c_ij = (‖z_i‖² − ‖z_i − z_j‖²) / 2 + …

in float32, where s_ij is the chain of `products`: the same bits wherever it is made. Among equal
c_ij the lower row comes first. That is a total order, so what comes out is the same for every block
size, thread count, order of work and processor, also where many rows are equal. Two rows whose
true lengths differ by less than the rounding of a chain, d·2⁻²⁴·‖z_i‖‖z_j‖, may stand in either
order: always in the same one.

Time: m·n·d multiply-adds. Memory: what is returned, and a few MB a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.errors import UsageError
from contrasift.selection.kernels import dots, products
from contrasift.selection.kernels.dots import compiled

# Rows that meet a group of columns at once, and how many bytes of packed columns a group has: with
# the similarities between them they stay in the second cache.
ROW_BLOCK = 20 * products.TILE.rows
_GROUP_BYTES = 256 << 10
_STRIPE_BYTES = 64 << 20
# A common mean takes digits from every similarity; beyond this share of the mean square it goes.
_COMMON = 0.96
# Powers of two between which entries are left as they are: their products neither over- nor underflow.
_SMALLEST, _LARGEST = -30, 40


def nearest_rows(
    queries: np.ndarray,
    points: np.ndarray,
    k: int,
    *,
    own: np.ndarray | None = None,
    threads: int | None = None,
    told: Callable[[int], None] | None = None,
) -> np.ndarray:
    """The k points nearest to each query, nearest first, the lower row first among equals.

    Args:
        queries: float32 [m, d].
        points: float32 [n, d].
        k: at least 1; at most n, and at most n − 1 with `own`.
        own: int64 [m]; a point of each query that is left out: itself.
        threads: None for all processors.
        told: is told how many points were compared since it was told last.

    Returns:
        int64 [m, k].

    Raises:
        UsageError: k out of range, matrices of another type or of two widths.
    """
    left, right = dots.embedding_rows(queries), dots.embedding_rows(points)
    n, d = right.shape
    if left.shape[1] != d:
        raise UsageError(f"queries as wide as the points ({d})", f"{left.shape[1]}")
    available = n - (own is not None)
    if not 1 <= k <= max(available, 0):
        raise UsageError(f"1 to {available} neighbours, as there are {n} points", f"{k}")
    frame = Frame.of(right)
    best = NearestRows.none(left.shape[0], k)
    itself = np.full(left.shape[0], -1, np.int64) if own is None else np.asarray(own, np.int64)
    for stripe in row_blocks(n, 4 * d, _STRIPE_BYTES):
        names = np.arange(stripe.start, stripe.stop)
        columns = PackedColumns.of(frame.put(right[stripe]), names)
        map_rows(
            lambda some, columns=columns: best.improve(
                frame.put(left[some]), some, itself, columns
            ),
            left.shape[0],
            threads,
        )
        if told is not None:
            told(names.size)
    return best.found


def map_rows(work: Callable[[slice], None], n: int, threads: int | None) -> None:
    """work(rows) over blocks of rows, in threads."""
    blocks = [slice(start, min(start + ROW_BLOCK, n)) for start in range(0, n, ROW_BLOCK)]
    count = min(dots.available_threads(threads), len(blocks))
    if count <= 1:
        for block in blocks:
            work(block)
        return
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, blocks))


@dataclass(frozen=True)
class Frame:
    """Where rows are compared: without what they have in common, and neither huge nor tiny.

    Attributes:
        origin: float64 [d], the mean row where it makes up much of all rows; else None.
        exponent: of the power of two by which rows are multiplied.
    """

    origin: np.ndarray | None
    exponent: int

    @classmethod
    def of(cls, points: np.ndarray) -> Frame:
        """What suits some points, at least one."""
        mean = points.mean(axis=0, dtype=np.float64)
        squares, largest = 0.0, 0.0
        for block in row_blocks(points.shape[0], 8 * points.shape[1]):
            part = points[block].astype(np.float64)
            squares += float(np.square(part).sum())
            largest = max(largest, float(np.abs(part).max()))
        common = float(mean @ mean) * points.shape[0] > _COMMON * squares
        exponent = int(np.frexp(largest)[1])
        inside = largest == 0 or _SMALLEST <= exponent <= _LARGEST
        return cls(mean if common else None, 0 if inside else -exponent)

    def put(self, rows: np.ndarray) -> np.ndarray:
        """Rows in this frame, float32; the order of lengths between them stays."""
        if self.origin is None and self.exponent == 0:
            return rows
        wide = rows if self.origin is None else rows - self.origin
        return np.ldexp(wide, self.exponent).astype(np.float32)


class PackedColumns:
    """Points as the kernels read them: panels, half squares, and the row that each column is.

    Attributes:
        packed: float32 [panels, d, columns of a tile].
        halves: float32 [panels, columns]; h_j, +∞ of a column that is no point.
        names: int64 [panels, columns]; −1 of a column that is no point.
        group: panels that are compared at a time.
    """

    def __init__(self, packed: np.ndarray, halves: np.ndarray, names: np.ndarray) -> None:
        self.packed: np.ndarray = packed
        self.halves: np.ndarray = halves
        self.names: np.ndarray = names
        width = products.TILE.columns
        self.group: int = max(1, _GROUP_BYTES // (4 * packed.shape[1] * width))

    @classmethod
    def of(cls, points: np.ndarray, names: np.ndarray) -> PackedColumns:
        """The columns of some points."""
        width = products.TILE.columns
        packed = products.packed_rows(points)
        halves = np.full((packed.shape[0], width), np.inf, dtype=np.float32)
        halves.reshape(-1)[: names.size] = half_squares(points)
        padded = np.full((packed.shape[0], width), -1, dtype=np.int64)
        padded.reshape(-1)[: names.size] = names
        return cls(packed, halves, padded)


def half_squares(points: np.ndarray) -> np.ndarray:
    """‖z‖²/2 of every row, float32, from the one sum in float64."""
    squares = np.empty(points.shape[0])
    dots.squares_block(dots.embedding_rows(points), 0, points.shape[0], squares)
    return (squares / 2).astype(np.float32)


class NearestRows:
    """The nearest so far of some rows.

    Attributes:
        closeness: float32 [m, k]; c_ij, descending; −∞ where nothing is known yet.
        found: int64 [m, k]; j; −1 where nothing is known yet.
    """

    def __init__(self, closeness: np.ndarray, found: np.ndarray) -> None:
        self.closeness: np.ndarray = closeness
        self.found: np.ndarray = found

    @classmethod
    def none(cls, m: int, k: int) -> NearestRows:
        """Nothing is known."""
        return cls(np.full((m, k), -np.inf, np.float32), np.full((m, k), -1, np.int64))

    def improve(
        self, left: np.ndarray, rows: slice, own: np.ndarray, columns: PackedColumns
    ) -> None:
        """Look at all columns for some of the rows, whose values are `left`."""
        panels = columns.packed.shape[0]
        left = dots.embedding_rows(np.ascontiguousarray(left))
        width = min(columns.group, panels) * products.TILE.columns
        similar = np.empty((left.shape[0], width), np.float32)
        for start in range(0, panels, columns.group):
            group = slice(start, start + columns.group)
            products.store_products(left, columns.packed[group], np.float32(-np.inf), similar)
            keep_nearest(
                similar, columns.halves[group], columns.names[group], np.arange(left.shape[0]),
                own[rows], self.closeness[rows], self.found[rows],
            )  # fmt: skip


@compiled
def keep_nearest(similar, halves, names, which, own, closeness, found):
    """Put what is nearer than the last of a row's nearest among them; similar[r] is of which[r]."""
    panels, width = names.shape
    k = found.shape[1]
    for r in range(which.size):
        i = which[r]
        least = closeness[i, k - 1]
        for panel in range(panels):
            first = panel * width
            hopeful = 0
            for c in range(width):
                hopeful += similar[r, first + c] - halves[panel, c] >= least
            if hopeful == 0:
                continue
            for c in range(width):
                value = similar[r, first + c] - halves[panel, c]
                name = names[panel, c]
                if value < least or name < 0 or name == own[i]:
                    continue
                if value == least and 0 <= found[i, k - 1] < name:
                    continue
                place = k - 1
                while place > 0 and (
                    closeness[i, place - 1] < value
                    or (closeness[i, place - 1] == value and found[i, place - 1] > name)
                ):
                    closeness[i, place] = closeness[i, place - 1]
                    found[i, place] = found[i, place - 1]
                    place -= 1
                closeness[i, place] = value
                found[i, place] = name
                least = closeness[i, k - 1]
