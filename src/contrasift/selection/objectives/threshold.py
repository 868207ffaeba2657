"""The SAS objective where only similar pairs count: s'_ij = s_ij · [s_ij ≥ τ].

    F_λτ(S) = Σ_{i∈V} Σ_{j∈S} s'_ij − λ Σ_{i,j∈S} s'_ij
    gain(e | S) = R_e − λ s'_ee − 2λ c_e(S),      R_e = Σ_{i∈V} s'_ie,   c_e(S) = Σ_{j∈S} s'_ej

with s_ij = ⟨z_i, z_j⟩ of the averaged views (the threshold comes after averaging) and i = j counted
as in the linear form (`objectives`), which this is where no pair lies below τ. Otherwise it is not
linear in any sum of rows, so that all pairs must be looked at: n²d/2 products for R, nkd for the
greedy choice. Memory stays O(n·d): products are made, judged and summed in registers.

What is computed is exact arithmetic on one table. s_ij is the float32 chain of `products`, the
same bits wherever it is made; a pair counts iff that number reaches τ; and s'_ij is rounded to a
multiple of 2⁻ᵍ, small enough for every sum of them to be exact in int64 and in float64 (for unit
rows g = 53 − ⌈log₂ n⌉ or so: 2⁻³⁶ at 100,000 rows, below float32's own rounding). So orders, gains
and values are the same, bit for bit, for every block size, thread count and processor. They differ
from those of unrounded similarities by at most d·2⁻²⁴ max‖z‖² a pair, and pairs that near to τ may
be judged otherwise.
In short: docs/mathematics.md#thresholds.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import fsum

import numpy as np
from jaxtyping import Bool, Float64, Int64

from contrasift.arrays import EmbeddingMatrix
from contrasift.errors import DataError, UsageError
from contrasift.selection.checks import check_places, check_redundancy
from contrasift.selection.kernels import dots, linear_form, products
from contrasift.selection.kernels.dots import compiled

_PANEL_BYTES = 512 << 10  # of packed columns: what the second cache holds
_ROW_BLOCK_BYTES = 128 << 10  # of rows that meet a panel before the next one comes
_LARGEST_SQUARE = 2.0**120  # beyond, float32 products overflow
_FIXED_BITS = 53
_POOL_ROWS = 4096
_CANDIDATES = 512
_KEPT_BLOCK = 512
_PENDING_BLOCK = 2048
# float32 unit rows are this near to length one.
_UNIT_ERROR = 2.0**-20


def check_threshold(threshold: float) -> float:
    """A similarity in [−1, 1].

    Raises:
        UsageError: outside it, or NaN.
    """
    if not -1.0 <= threshold <= 1.0:
        raise UsageError(
            "a threshold between −1 and 1, the range of mean cosines",
            f"{threshold}",
            "0 keeps what is similar at all, 0.5 what is quite similar",
        )
    return float(threshold)


def is_no_op(values: EmbeddingMatrix, threshold: float, threads: int | None = None) -> str | None:
    """Why no similarity lies below τ, so that the linear path gives the same; None if one may.

    Three sufficient conditions, each one pass over the rows (n·d):

    - no coordinate is negative and τ ≤ 0;
    - τ ≤ −max‖z‖², since |s_ij| ≤ ‖z_i‖‖z_j‖ (up to 2⁻²⁰, the rounding of float32 unit rows);
    - all rows lie within an angle θ ≤ 90° of their mean, so that no two are further apart than
      2θ: s_ij ≥ ‖z_i‖‖z_j‖ cos 2θ ≥ min(m² cos 2θ, M² cos 2θ) ≥ τ, for m ≤ ‖z‖ ≤ M.

    Args:
        values: z, float32 [n, d].
        threshold: τ.
        threads: None for all processors.

    Returns:
        The reason in words.

    Raises:
        UsageError: τ outside [−1, 1].
        DataError: NaN or infinity.
    """
    tau = check_threshold(threshold)
    rows = dots.embedding_rows(values)
    if rows.shape[0] == 0:
        return "there are no rows"
    if tau <= 0 and _none_negative(rows, threads):
        return "no coordinate is negative"
    squares = linear_form.squared_norms(rows, threads)
    longest = float(squares.max())
    if -tau >= longest * (1.0 - _UNIT_ERROR):
        return f"no similarity can be below −max‖z‖² = {-longest:.4g}"
    total = linear_form.total_of(rows, threads)
    length = float(np.sqrt(dots.dot(total, total)))
    if length == 0.0 or squares.min() == 0.0:
        return None
    lengths = np.sqrt(squares)
    cosine = float((linear_form.scores(rows, total / length, threads) / lengths).min())
    if cosine < 0:
        return None
    least = 2.0 * cosine * cosine - 1.0  # cos 2θ
    least *= float(squares.min()) if least > 0 else longest
    if least - 2.0 * product_error(rows.shape[1], longest) < tau:
        return None
    return f"all rows are so near to their mean that no similarity is below {least:.4g}"


def row_sums(
    values: EmbeddingMatrix, threshold: float, threads: int | None = None
) -> Float64[np.ndarray, " n"]:
    """R_e = Σ_{i∈V} s'_ie of every row, s'_ee with them.

    Half of all n² products are made (s is symmetric), and none is kept. Memory: O(n) a thread.

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped.
        threshold: τ.
        threads: None for all processors; the result is the same for every number.

    Returns:
        float64 [n], each an exact sum of rounded similarities.

    Raises:
        UsageError: τ outside [−1, 1].
        DataError: NaN, infinity, or rows so long that products overflow.
    """
    rows = dots.embedding_rows(values)
    table = ThresholdTable.of(rows, threshold, threads)
    return table.row_sums(rows) / table.scale


@dataclass(frozen=True)
class ThresholdTable:
    """The similarities that count: which rule, which rounding, how many threads."""

    cut: np.float32  # the least float32 number ≥ τ: s ≥ τ iff s ≥ cut
    scale: float
    largest: float  # max ‖z‖²
    threads: int | None

    @classmethod
    def of(cls, rows: np.ndarray, threshold: float, threads: int | None) -> ThresholdTable:
        """The table of a pool, with as fine a unit as its sums allow."""
        tau = check_threshold(threshold)
        dots.fixed_point_scale(rows, threads)  # raises for NaN and infinity
        n, d = rows.shape
        largest = linear_form.largest_norm(rows, threads) ** 2 if n else 0.0
        if largest > _LARGEST_SQUARE:
            raise DataError(
                f"rows shorter than {_LARGEST_SQUARE**0.5:.2g}",
                f"one of length {largest**0.5:.2g}",
                "Scale the embeddings",
            )
        exponent = int(np.frexp(largest + product_error(d, largest))[1])
        scale = 2.0 ** (min(50, _FIXED_BITS - n.bit_length()) - exponent)
        cut = np.float32(tau)
        if float(cut) < tau:
            cut = np.nextafter(cut, np.float32(np.inf))
        return cls(cut, float(scale), largest, threads)

    def row_sums(self, rows: np.ndarray) -> np.ndarray:
        """Σ_i round(s'_ie · scale) over all rows, int64 [n]."""
        n, d = rows.shape
        columns = _columns_a_block(d)
        waiting = deque(range(0, n, columns))
        count = 1 if len(waiting) < 2 else dots.available_threads(self.threads)

        def work(_: int) -> np.ndarray:
            sums = np.zeros(n, np.int64)
            packed = _empty_panels(min(columns, n), d)
            while waiting:
                try:
                    start = waiting.pop()  # the longest first
                except IndexError:  # another thread was faster
                    break
                stop = min(n, start + columns)
                used = packed[: -(-(stop - start) // packed.shape[2])]
                products.pack(rows, start, stop, used)
                across = np.zeros(used.shape[0] * used.shape[2], np.int64)
                self._add(rows, 0, start, used, sums, across)
                sums[start:stop] += across[: stop - start]
                self._add(rows, start, stop, used, sums, across)
            return sums

        if count == 1:
            return work(0)
        with ThreadPoolExecutor(count) as pool:
            return dots.add_exactly(list(pool.map(work, range(count))), n)

    def add_penalties(self, left: np.ndarray, chosen: np.ndarray, penalties: np.ndarray) -> None:
        """Add Σ_j round(s'_ij · scale) over the chosen rows j to each left row's penalty."""
        left = dots.embedding_rows(left)
        for start in range(0, chosen.shape[0], _PENDING_BLOCK):
            packed = products.packed_rows(chosen[start : start + _PENDING_BLOCK])

            def work(first: int, last: int, packed: np.ndarray = packed) -> None:
                unused = np.zeros(packed.shape[0] * packed.shape[2], np.int64)
                self._add(left, first, last, packed, penalties, unused)

            dots.map_blocks(work, left.shape[0], self.threads)

    def penalties(self, left: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Σ_j round(s'_ij · scale) over the chosen rows j, for each left row i, int64."""
        result = np.zeros(left.shape[0], np.int64)
        self.add_penalties(left, chosen, result)
        return result

    def _add(self, left: np.ndarray, start: int, stop: int, packed: np.ndarray,
             sums: np.ndarray, across: np.ndarray) -> None:  # fmt: skip
        block = max(products.TILE.rows, _ROW_BLOCK_BYTES // (4 * max(1, left.shape[1])))
        block -= block % products.TILE.rows
        products.add_products(left, start, stop, packed, self.cut, self.scale, block, sums, across)

    def among(self, rows: np.ndarray) -> np.ndarray:
        """s'_ij of all pairs of a few rows, float32 [c, ≥ c]."""
        packed = products.packed_rows(rows)
        similar = np.empty((rows.shape[0], packed.shape[0] * packed.shape[2]), np.float32)
        left = dots.embedding_rows(rows)
        products.store_products(left, packed, self.cut, similar)
        return similar

    def own(self, rows: np.ndarray) -> np.ndarray:
        """round(s'_ee · scale) of every row, int64 [n]."""
        result = np.empty(rows.shape[0], np.int64)
        dots.map_blocks(
            lambda start, stop: products.own_products(
                rows, start, stop, self.cut, self.scale, result
            ),
            rows.shape[0],
            self.threads,
        )
        return result


def product_error(d: int, largest: float) -> float:
    """How far a chain of d float32 multiply-adds can be from the true product."""
    return (d + 8) * 2.0**-24 * largest


def _columns_a_block(d: int) -> int:
    return products.TILE.columns * max(1, _PANEL_BYTES // (4 * max(1, d) * products.TILE.columns))


def _empty_panels(columns: int, d: int) -> np.ndarray:
    width = products.TILE.columns
    return np.empty((-(-columns // width), d, width), dtype=np.float32)


def _none_negative(rows: np.ndarray, threads: int | None) -> bool:
    if rows.shape[1] == 0:
        return True
    parts = dots.map_blocks(
        lambda start, stop: bool(rows[start:stop].min() >= 0), rows.shape[0], threads
    )
    return all(parts)


# --- greedy ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ThresholdedPath:
    """The order in which greedy takes rows under a threshold, and what it knew.

    Attributes:
        order: int64 [k]; rows in the order taken, those of `keep` first, ascending.
        gains: float64 [k]; each one's gain at the moment it was added.
        final_gains: float64 [n]; gain of every row (once more) given the final selection.
        row_sums: R, float64 [n].
        value: F_λτ of the selection.
        first_negative_gain: the first position whose gain is negative; None if there is none.
        refreshes: passes over all rows.
        pool_refreshes: passes over the pool of promising rows.
    """

    order: Int64[np.ndarray, " k"]
    gains: Float64[np.ndarray, " k"]
    final_gains: Float64[np.ndarray, " n"]
    row_sums: Float64[np.ndarray, " n"]
    value: float
    first_negative_gain: int | None
    refreshes: int
    pool_refreshes: int


def greedy_thresholded(
    values: EmbeddingMatrix,
    budget: int,
    *,
    threshold: float,
    redundancy: float,
    keep: Int64[np.ndarray, " m"] | None = None,
    eligible: Bool[np.ndarray, " n"] | None = None,
    threads: int | None = None,
    row_sums: Float64[np.ndarray, " r"] | None = None,
    _pool_rows: int = _POOL_ROWS,
    _candidates: int = _CANDIDATES,
) -> ThresholdedPath:
    """The first k rows of the greedy order of F_λτ: largest gain first, lowest row among equals.

    Lazy, in blocks. All gains are known after a pass over the rows; the best few thousand rows are
    the pool, the best few hundred of these the candidates, whose similarities to each other are
    held. Candidates are taken, and one another's gains brought up to date, as long as the best of
    them is surely the best of all; else the pool, or all rows, are refreshed by one product with
    what was taken since their last refresh. For τ ≥ 0 a gain only falls, so that the best gain
    outside at the last refresh bounds all gains outside. For τ < 0 a row taken since may have
    raised it, by 2λ|τ| at most (no s' lies below τ): the bound rises by so much a row taken.

    Memory: O(n) beside the embeddings, and a few MB. Time: n·k·d products at most where a pass
    carries some tens of rows, as it does for τ ≥ 0; for τ far below 0 a pass may carry one.

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped.
        budget: k, with the rows of `keep` counted in.
        threshold: τ.
        redundancy: λ ≥ 0.
        keep: rows that are in the selection from the start.
        eligible: False for rows that are never taken; they still count in R.
        threads: None for all processors.
        row_sums: R as `row_sums` gives it for these rows and this τ, if it is known.
        _pool_rows: size of the pool (tests).
        _candidates: how many candidates (tests).

    Raises:
        UsageError: a budget above the rows that may be taken or below those to keep, a bad λ or τ,
            row sums of another length.
        DataError: NaN, infinity, or rows so long that products overflow.
    """
    rows = dots.embedding_rows(values)
    kept, open_rows = check_places(rows.shape[0], budget, keep, eligible)
    check_redundancy(redundancy)
    table = ThresholdTable.of(rows, threshold, threads)
    sums = checked_sums(rows, row_sums, table)
    run = _ThresholdRun(rows, open_rows, table, sums, float(redundancy), budget)
    run.take_kept(kept)
    while run.position < budget:
        run.select_from_pool(max(_pool_rows, 1), max(_candidates, 1))
    run.refresh()
    negative = np.flatnonzero(run.gains < 0)
    inside = fsum(run.penalties[run.order] / table.scale)
    return ThresholdedPath(
        order=run.order,
        gains=run.gains,
        final_gains=run.all_gains(),
        row_sums=sums,
        value=fsum(sums[run.order]) - redundancy * inside,
        first_negative_gain=int(negative[0]) if negative.size else None,
        refreshes=run.refreshes,
        pool_refreshes=run.pool_refreshes,
    )


def checked_sums(rows: np.ndarray, sums: np.ndarray | None, table: ThresholdTable) -> np.ndarray:
    """R as given, if it has the pool's length, or made."""
    if sums is None:
        return table.row_sums(rows) / table.scale
    if sums.shape != (rows.shape[0],):
        raise UsageError(f"row sums of the {rows.shape[0]} rows", f"{sums.shape}")
    return sums


class _ThresholdRun:
    """A greedy run: what is fixed, what it has taken, and what is known about each row."""

    def __init__(
        self,
        rows: np.ndarray,
        open_rows: np.ndarray,
        table: ThresholdTable,
        sums: np.ndarray,
        redundancy: float,
        budget: int,
    ) -> None:
        n = rows.shape[0]
        self.rows = rows
        self.open_rows = open_rows
        self.table = table
        self.base = sums - redundancy * (table.own(rows) / table.scale)
        self.slope = 2.0 * redundancy / table.scale  # gain = base − slope · penalty
        self.penalties = np.zeros(n, np.int64)
        self.order = np.empty(budget, dtype=np.int64)
        self.gains = np.empty(budget)
        self.position = 0
        self.refreshed_at = 0
        self.refreshes = 0
        self.pool_refreshes = 0
        # How much a row that is taken can raise a gain, and what a gain may be off by rounding.
        self.rise = 2.0 * redundancy * max(0.0, min(-float(table.cut), table.largest))
        reach = float(np.abs(self.base).max(initial=0.0)) + 2.0 * redundancy * n * table.largest
        self.slack = 2.0**-48 * reach if self.rise > 0 else 0.0

    def taken(self, start: int) -> np.ndarray:
        """The rows taken from a position on."""
        return self.rows[self.order[start : self.position]]

    def all_gains(self) -> np.ndarray:
        """The gain of every row as of the last refresh."""
        return self.base - self.slope * self.penalties

    def refresh(self) -> None:
        """Bring every row's penalty up to date."""
        self.refreshes += 1
        self.table.add_penalties(self.rows, self.taken(self.refreshed_at), self.penalties)
        self.refreshed_at = self.position

    def take_kept(self, kept: np.ndarray) -> None:
        """Put the rows to keep first, each with its gain at that moment."""
        for start in range(0, kept.size, _KEPT_BLOCK):
            block = kept[start : start + _KEPT_BLOCK]
            rows = self.rows[block]
            penalties = self.table.penalties(rows, self.taken(0))
            take_in_order(
                self.table.among(rows), self.base[block], self.slope, self.table.scale,
                penalties, self.gains[self.position : self.position + block.size],
            )  # fmt: skip
            self.order[self.position : self.position + block.size] = block
            self.position += block.size

    def select_from_pool(self, size: int, candidates: int) -> None:
        """Refresh all rows, and take from the best of them while they are surely the best."""
        self.refresh()
        gains = np.where(self.open_rows, self.all_gains(), -np.inf)
        pool, outside = _best(gains, size)
        rows = self.rows if pool.size == self.rows.shape[0] else self.rows[pool]
        base, penalties = self.base[pool], self.penalties[pool]
        usable = self.open_rows[pool]
        limits = np.empty((2, 3))  # best gain outside, its row, and when that was
        limits[0] = (outside[0], outside[1], self.position)
        refreshed_at = self.position
        while self.position < self.order.size:
            self.pool_refreshes += 1
            self.table.add_penalties(rows, self.taken(refreshed_at), penalties)
            refreshed_at = self.position
            gains = np.where(usable, base - self.slope * penalties, -np.inf)
            chosen, outside = _best(gains, candidates)
            limits[1] = (outside[0], pool[outside[1]], self.position)
            alive = usable[chosen]
            self.position, doubtful = take_candidates(
                self.table.among(rows[chosen]), pool[chosen], base[chosen], penalties[chosen],
                alive, self.slope, self.table.scale, limits, self.rise, self.slack,
                self.order, self.gains, self.position,
            )  # fmt: skip
            usable[chosen] = alive
            self.open_rows[self.order[refreshed_at : self.position]] = False
            if doubtful == 0:
                return


def _best(gains: np.ndarray, count: int) -> tuple[np.ndarray, tuple[float, int]]:
    """Places of the largest gains, ascending, and the best gain elsewhere with its first place."""
    if count >= gains.size:
        return np.arange(gains.size), (-np.inf, 0)
    least = np.partition(gains, gains.size - count)[gains.size - count]
    above = np.flatnonzero(gains > least)
    equal = np.flatnonzero(gains == least)[: count - above.size]  # the first of them
    places = np.sort(np.concatenate([above, equal]))
    others = gains.copy()
    others[places] = -np.inf
    first = int(np.argmax(others))
    return places, (float(others[first]), first)


@compiled
def take_in_order(similar, base, slope, scale, penalties, gains):
    """Take all rows of a block in their order; gains[i] = gain of row i at that moment."""
    for i in range(base.size):
        gains[i] = base[i] - slope * penalties[i]
        for j in range(i + 1, base.size):
            penalties[j] += np.int64(np.rint(np.float64(similar[i, j]) * scale))


@compiled
def take_candidates(similar, names, base, penalties, alive, slope, scale, limits, rise, slack,
                    order, gains, position):  # fmt: skip
    """Take the best candidate, lowest row among equals, while it is surely the best of all.

    Returns how many rows are taken now, and which limit stopped it: 0 for the rows outside the
    pool, 1 for those of the pool that are no candidates, −1 for none.
    """
    n = names.size
    while position < order.size:
        best = -1
        top = -np.inf
        for i in range(n):
            gain = base[i] - slope * penalties[i]
            if alive[i] and gain > top:
                top = gain
                best = i
        for level in range(2):
            since = position - limits[level, 2]
            limit = limits[level, 0] + rise * since
            if since > 0.0:
                limit += slack
            if top < limit or (top == limit and (best < 0 or names[best] > limits[level, 1])):
                return position, level
        order[position] = names[best]
        gains[position] = top
        position += 1
        alive[best] = False
        for i in range(n):
            penalties[i] += np.int64(np.rint(np.float64(similar[best, i]) * scale))
    return position, -1
