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
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import fsum

import numpy as np
from jaxtyping import Bool, Float64, Int64

from contrasift.arrays import EmbeddingMatrix, RowMask
from contrasift.errors import DataError, UsageError
from contrasift.selection import kernels, objectives, products
from contrasift.selection.checks import check_places, check_redundancy
from contrasift.selection.kernels import compiled

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
    rows = kernels.embedding_rows(values)
    if rows.shape[0] == 0:
        return "there are no rows"
    if tau <= 0 and _none_negative(rows, threads):
        return "no coordinate is negative"
    squares = objectives.squared_norms(rows, threads)
    longest = float(squares.max())
    if -tau >= longest * (1.0 - _UNIT_ERROR):
        return f"no similarity can be below −max‖z‖² = {-longest:.4g}"
    total = objectives.total_of(rows, threads)
    length = float(np.sqrt(kernels.dot(total, total)))
    if length == 0.0 or squares.min() == 0.0:
        return None
    lengths = np.sqrt(squares)
    cosine = float((objectives.scores(rows, total / length, threads) / lengths).min())
    if cosine < 0:
        return None
    least = 2.0 * cosine * cosine - 1.0  # cos 2θ
    least *= float(squares.min()) if least > 0 else longest
    if least - 2.0 * _product_error(rows.shape[1], longest) < tau:
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
    rows = kernels.embedding_rows(values)
    table = _Table.of(rows, threshold, threads)
    return table.row_sums(rows) / table.scale


@dataclass(frozen=True)
class _Table:
    """The similarities that count: which rule, which rounding, how many threads."""

    cut: np.float32  # the least float32 number ≥ τ: s ≥ τ iff s ≥ cut
    scale: float
    largest: float  # max ‖z‖²
    threads: int | None

    @classmethod
    def of(cls, rows: np.ndarray, threshold: float, threads: int | None) -> _Table:
        tau = check_threshold(threshold)
        kernels.fixed_point_scale(rows, threads)  # raises for NaN and infinity
        n, d = rows.shape
        largest = objectives.largest_norm(rows, threads) ** 2 if n else 0.0
        if largest > _LARGEST_SQUARE:
            raise DataError(
                f"rows shorter than {_LARGEST_SQUARE**0.5:.2g}",
                f"one of length {largest**0.5:.2g}",
                "Scale the embeddings",
            )
        exponent = int(np.frexp(largest + _product_error(d, largest))[1])
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
        count = 1 if len(waiting) < 2 else kernels.available_threads(self.threads)

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
            return kernels.add_exactly(list(pool.map(work, range(count))), n)

    def add_penalties(self, left: np.ndarray, chosen: np.ndarray, penalties: np.ndarray) -> None:
        """Add Σ_j round(s'_ij · scale) over the chosen rows j to each left row's penalty."""
        left = kernels.embedding_rows(left)
        for start in range(0, chosen.shape[0], _PENDING_BLOCK):
            packed = products.packed_rows(chosen[start : start + _PENDING_BLOCK])

            def work(first: int, last: int, packed: np.ndarray = packed) -> None:
                unused = np.zeros(packed.shape[0] * packed.shape[2], np.int64)
                self._add(left, first, last, packed, penalties, unused)

            kernels.map_blocks(work, left.shape[0], self.threads)

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
        left = kernels.embedding_rows(rows)
        products.store_products(left, packed, self.cut, similar)
        return similar

    def own(self, rows: np.ndarray) -> np.ndarray:
        """round(s'_ee · scale) of every row, int64 [n]."""
        result = np.empty(rows.shape[0], np.int64)
        kernels.map_blocks(
            lambda start, stop: products.own_products(
                rows, start, stop, self.cut, self.scale, result
            ),
            rows.shape[0],
            self.threads,
        )
        return result


def _product_error(d: int, largest: float) -> float:
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
    parts = kernels.map_blocks(
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
        turn: the first position whose gain is negative; None if there is none.
        refreshes: passes over all rows.
        pool_refreshes: passes over the pool of promising rows.
    """

    order: Int64[np.ndarray, " k"]
    gains: Float64[np.ndarray, " k"]
    final_gains: Float64[np.ndarray, " n"]
    row_sums: Float64[np.ndarray, " n"]
    value: float
    turn: int | None
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
    rows = kernels.embedding_rows(values)
    kept, open_rows = check_places(rows.shape[0], budget, keep, eligible)
    check_redundancy(redundancy)
    table = _Table.of(rows, threshold, threads)
    sums = _checked_sums(rows, row_sums, table)
    run = _Run(rows, open_rows, table, sums, float(redundancy), budget)
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
        turn=int(negative[0]) if negative.size else None,
        refreshes=run.refreshes,
        pool_refreshes=run.pool_refreshes,
    )


def _checked_sums(rows: np.ndarray, sums: np.ndarray | None, table: _Table) -> np.ndarray:
    if sums is None:
        return table.row_sums(rows) / table.scale
    if sums.shape != (rows.shape[0],):
        raise UsageError(f"row sums of the {rows.shape[0]} rows", f"{sums.shape}")
    return sums


class _Run:
    """A greedy run: what is fixed, what it has taken, and what is known about each row."""

    def __init__(
        self,
        rows: np.ndarray,
        open_rows: np.ndarray,
        table: _Table,
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


# --- how good a selection is ----------------------------------------------------------------------


def parts_thresholded(
    values: EmbeddingMatrix,
    chosen: Int64[np.ndarray, " k"],
    *,
    threshold: float,
    redundancy: float,
    row_sums: Float64[np.ndarray, " r"] | None = None,
    threads: int | None = None,
) -> Float64[np.ndarray, " k"]:
    """Each chosen row's part of F_λτ: R_e − λ c_e(S), which sum to it.

    Args:
        values: z, float32 [n, d].
        chosen: S, rows in any order.
        threshold: τ.
        redundancy: λ.
        row_sums: R, if it is known; otherwise only the R of S are made (n·k products).
        threads: None for all processors.

    Raises:
        UsageError: a row that does not exist, τ outside [−1, 1], row sums of another length.
        DataError: NaN, infinity, or rows so long that products overflow.
    """
    sums, penalties = _sums_of_chosen(values, chosen, threshold, row_sums, threads)
    return sums - redundancy * penalties


def value_thresholded(
    values: EmbeddingMatrix,
    chosen: Int64[np.ndarray, " k"],
    *,
    threshold: float,
    redundancy: float,
    row_sums: Float64[np.ndarray, " r"] | None = None,
    threads: int | None = None,
) -> float:
    """F_λτ(S) = Σ_{j∈S} R_j − λ Σ_{i,j∈S} s'_ij.

    Args: and errors as in `parts_thresholded`.
    """
    sums, penalties = _sums_of_chosen(values, chosen, threshold, row_sums, threads)
    return fsum(sums) - redundancy * fsum(penalties)


def _sums_of_chosen(
    values: np.ndarray,
    chosen: np.ndarray,
    threshold: float,
    row_sums: np.ndarray | None,
    threads: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """R_e and c_e(S) of every e in S."""
    rows = kernels.embedding_rows(values)
    picked = objectives.checked_rows(chosen, rows.shape[0], "chosen rows")
    table = _Table.of(rows, threshold, threads)
    if row_sums is None:
        sums = table.penalties(rows[picked], rows) / table.scale
    else:
        sums = _checked_sums(rows, row_sums, table)[picked]
    return sums, table.penalties(rows[picked], rows[picked]) / table.scale


def mean_thresholded(
    values: EmbeddingMatrix,
    budget: int,
    *,
    threshold: float,
    redundancy: float,
    row_sums: Float64[np.ndarray, " r"] | None = None,
    keep: Int64[np.ndarray, " m"] | None = None,
    eligible: RowMask | None = None,
    threads: int | None = None,
) -> float:
    """The exact mean of F_λτ over all sets of a size that hold `keep` and else eligible rows.

    With k' of the n' free rows N drawn, W(A, B) = Σ_{i∈A, j∈B} s'_ij and Q = Σ_{e∈N} s'_ee,

        E F = Σ_keep R + (k'/n') Σ_N R − λ[W(keep, keep) + 2 (k'/n') W(N, keep)
              + (k'/n') Q + k'(k'−1)/(n'(n'−1)) (W(N, N) − Q)]

    Without limits W(N, N) = Σ R, and nothing but R is needed.

    Args:
        values: z, float32 [n, d].
        budget: k, with the rows of `keep` counted in.
        threshold: τ.
        redundancy: λ.
        row_sums: R, if it is known.
        keep: rows in every set.
        eligible: False for rows in no set, unless they are to be kept.
        threads: None for all processors.

    Raises:
        UsageError: a budget that cannot be met, a bad λ or τ, row sums of another length.
        DataError: NaN, infinity, or rows so long that products overflow.
    """
    rows = kernels.embedding_rows(values)
    kept, free = check_places(rows.shape[0], budget, keep, eligible)
    check_redundancy(redundancy)
    table = _Table.of(rows, threshold, threads)
    sums = _checked_sums(rows, row_sums, table)
    count, drawn = int(np.count_nonzero(free)), budget - kept.size
    near = table.penalties(rows, rows[kept]) / table.scale
    own = fsum(table.own(rows)[free] / table.scale)
    within = fsum(sums[free])
    if kept.size or count < rows.shape[0]:
        shut = np.flatnonzero(~free)
        if count < 2 * shut.size:
            within = fsum(table.row_sums(kernels.embedding_rows(rows[free])) / table.scale)
        else:
            within -= fsum((table.penalties(rows, rows[shut]) / table.scale)[free])
    share = drawn / max(count, 1)
    both = drawn * (drawn - 1) / max(count * (count - 1), 1)
    overlap = fsum(near[kept]) + 2.0 * share * fsum(near[free]) + share * own
    overlap += both * (within - own)
    return fsum(sums[kept]) + share * fsum(sums[free]) - redundancy * overlap


def upper_bound_thresholded(
    values: EmbeddingMatrix,
    chosen: Int64[np.ndarray, " k"],
    *,
    threshold: float,
    redundancy: float,
    row_sums: Float64[np.ndarray, " r"] | None = None,
    keep: Int64[np.ndarray, " m"] | None = None,
    eligible: RowMask | None = None,
    steps: int = 6,
    threads: int | None = None,
) -> float:
    """A number that F_λτ exceeds for no set of |S| rows that holds `keep` and else eligible ones.

    F_λτ is not concave in M = Σ_{j∈S} z_j, but lies below functions that are. For 0 ≤ a and every
    similarity s ≤ B = max‖z‖²,

        s·[s ≥ τ] ≥ a·s − b,      b = max(a τ, (a − 1) τ, (a − 1) B)

    (below τ the left is 0 and a·s < aτ; from τ on a·s − s is largest at an end of [τ, B]). Summed
    over the pairs i ≠ j of S, with k = |S|, and the tangent −‖M‖² ≤ ‖P‖² − 2⟨M, P⟩ at any point P,

        F(S) ≤ Σ_{e∈S} g_e + λ a ‖P‖² + λ b k(k−1),
        g_e = R_e − λ s'_ee + λ a ‖z_e‖² − 2λ a ⟨z_e, P⟩

    of which the k largest g are the most. a = 0 is the modular bound Σ (R_e − λ s'_ee), for τ ≥ 0;
    a = B/(B − τ) weighs the similarities most without counting too much at the top. P starts at
    the M of the given set and takes Frank–Wolfe steps; the least bound found is returned. Where
    a > 0, an allowance for the rounding of s is added, λ(a + 3)(d + 8) 2⁻²⁴ B k(k−1).

    Args:
        values: z, float32 [n, d].
        chosen: a good set of the size in question.
        threshold: τ.
        redundancy: λ ≥ 0.
        row_sums: R, if it is known.
        keep: rows in every set; they must be chosen.
        eligible: False for rows in no set, unless they are to be kept.
        steps: passes over the rows for each a.
        threads: None for all processors.

    Raises:
        UsageError: rows that do not exist, a bad λ or τ, row sums of another length.
        DataError: NaN, infinity, or rows so long that products overflow.
    """
    rows = kernels.embedding_rows(values)
    picked = objectives.checked_rows(chosen, rows.shape[0], "chosen rows")
    kept, free = check_places(rows.shape[0], picked.size, keep, eligible)
    check_redundancy(redundancy)
    table = _Table.of(rows, threshold, threads)
    modular = _checked_sums(rows, row_sums, table)
    modular = modular - redundancy * (table.own(rows) / table.scale)
    squares = objectives.squared_norms(rows, threads)
    pairs = picked.size * (picked.size - 1)
    tau, largest = float(threshold), table.largest
    steepest = largest / (largest - tau) if 0 < tau < 0.9 * largest else 1.0
    least = np.inf
    for weight in (0.0, 0.5 * steepest, steepest):
        offset = max(weight * tau, (weight - 1) * tau, (weight - 1) * largest)
        if weight > 0:
            offset += (weight + 3.0) * _product_error(rows.shape[1], largest)
        constant = redundancy * offset * pairs
        point = objectives.sum_of(rows, picked, threads=threads)
        pull = redundancy * weight
        fixed = modular + pull * squares
        linear = fsum(fixed[picked])
        for _ in range(steps if pull > 0 else 1):
            gains = fixed - 2.0 * pull * objectives.scores(rows, point, threads)
            best = _largest_places(gains, free, picked.size - kept.size)
            best = np.concatenate([kept, best])
            bound = fsum(gains[best]) + pull * float(kernels.dot(point, point)) + constant
            least = min(least, bound)
            target = objectives.sum_of(rows, best, threads=threads)
            # The best point between P and the M of these rows: the bound is a parabola there.
            ahead = target - point
            linear_ahead = fsum(fixed[best])
            rise = linear_ahead - linear - 2.0 * pull * float(kernels.dot(point, ahead))
            bend = 2.0 * pull * float(kernels.dot(ahead, ahead))
            if rise <= 0 or bend == 0:
                break
            share = min(1.0, rise / bend)
            point = point + share * ahead
            linear += share * (linear_ahead - linear)
    return float(least)


def _largest_places(gains: np.ndarray, free: np.ndarray, count: int) -> np.ndarray:
    """Places of the largest gains among the free rows."""
    if count == 0:
        return np.empty(0, np.int64)
    among = np.where(free, gains, -np.inf)
    return np.argpartition(among, among.size - count)[among.size - count :]
