"""Coverage (facility location): every row wants a selected row like itself, with the centre added.

    C(S) = Σ_{i∈V} max_{j∈S} s_ij,  C(∅) = 0                                 −ν_align of (20), d = 1 − s
    A(S) = E_{i∈V, j∈S} s_ij = (1/nk) Σ_{j∈S} ⟨z_j, T⟩                       −ν_div of (36)
    F(S) = a C(S) + b A(S)                                                   −(37)

C is monotone and submodular on non-empty sets. So that it is on all sets, the empty one stands for a
phantom row whose similarity c₀ to all is below any other: that lifts the gain of whichever row comes
first by the same constant, hence changes no choice, and is left out of the values told here. A is a mean
over S; at the size k = budget it is modular, and that is how it is weighed here: an order with b > 0
belongs to its budget, one with b = 0 to all smaller budgets too.

**What is exact.** A similarity is ⟨z_i, z_j⟩ in float64 in the order of `dots.row_dot`, rounded to a
multiple of 2⁻³⁰·max‖z‖² (within a factor of two). Sums of these are sums of integers, free of order. The
rows taken are those of naive greedy on these similarities, the lowest row among equal gains, for every
block size and number of threads and whatever matrix products return within their proven error.

**How.** A gain only falls as S grows, so that an old one is an upper bound (Minoux 1978). A gain only
depends on the rows that the candidate is nearer to than S is: i with s_ie > c_i = max_{j∈S} s_ij, and c_i
only grows. Once these are few, they are kept as a list, and refreshing the gain is a walk down a list that
gets shorter. Before, candidates get upper bounds by the batch, from float32 matrix products with an
allowance for their rounding. Memory: O(n·d), with no n × n matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from contrasift.errors import DataError, UsageError
from contrasift.selection.checks import check_places
from contrasift.selection.kernels import dots, linear_form
from contrasift.selection.kernels.coverage_steps import (
    COLUMN,
    DONE,
    EVALUATIONS,
    EXACT,
    HEAP,
    POOL,
    RUN,
    STEP,
    TAKEN,
    CoverageSetting,
    CoverageState,
    advance,
    bound_block,
    first_block,
    gain_block,
    list_block,
    make_heap,
    pack_lists,
    pop,
    sift,
    sum_block,
    take_block,
)

_BITS = 30
_UNIT_ROUNDOFF = 2.0**-24
_BATCH = 64
_ENTRIES_WORTH_A_THREAD = 1 << 18
_LARGEST_SQUARE = 1e37


@dataclass(frozen=True)
class CoveragePath:
    """The order in which greedy takes rows, and what it knew.

    Attributes:
        order: int64 [k]; rows in the order taken, those of `keep` first, ascending.
        gains: float64 [k]; each one's gain at the moment it was added; they sum to `value`.
        final_gains: float64 [n]; upper bound of every row's gain given the final selection, 0 for
            selected rows and −inf for those that may not be taken.
        final_exact: bool [n]; where `final_gains` is the gain itself: for the k largest at least, if the rest is ranked.
        covered: float64 [n]; max_{j∈S} s_ij of every row; −inf if nothing is selected.
        value: F of the selection: a Σ_i max_j s_ij + b A.
        upper_bound: of F over all sets of this size that hold `keep` and lie in `eligible`.
        evaluations: gains or bounds computed on the way (a naive greedy needs n a step).
        products: of these, how many took a dot product with every row.
    """

    order: Int64[np.ndarray, " k"]
    gains: Float64[np.ndarray, " k"]
    final_gains: Float64[np.ndarray, " n"]
    final_exact: Bool[np.ndarray, " n"]
    covered: Float64[np.ndarray, " n"]
    value: float
    upper_bound: float
    evaluations: int
    products: int


def greedy_coverage(
    values: Float32[np.ndarray, "n d"],
    budget: int,
    *,
    coverage_weight: float = 1.0,
    centre_weight: float = 0.0,
    self_similarity: float | None = None,
    keep: Int64[np.ndarray, " m"] | None = None,
    eligible: Bool[np.ndarray, " n"] | None = None,
    epsilon: float | None = None,
    seed: int = 0,
    rank_rest: bool = True,
    threads: int | None = None,
    block: int = _BATCH,
    _pool_entries: int | None = None,
) -> CoveragePath:
    """Greedy on F(S) = a Σ_i max_{j∈S} s_ij + b E_{i∈V, j∈S} s_ij: lazy and exact, or stochastic.

    Equation (37) of Joshi & Mirzasoleiman 2023 in similarities; the first term alone is facility
    location (Cornuéjols, Fisher & Nemhauser 1977). With `epsilon`, each step takes the best of
    (n/k) ln(1/ε) open rows drawn at random, which reaches (1 − 1/e − ε) of the optimum in expectation
    for the first term (Mirzasoleiman et al. 2015, "Lazier than lazy greedy").

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped.
        budget: k, with the rows of `keep` counted in.
        coverage_weight: a > 0.
        centre_weight: b ≥ 0, for the mean over pairs at |S| = k.
        self_similarity: how well a selected row covers itself; None for its own ‖z_i‖². (37) sums
            over rows that are *not* selected, so that there it is 1, which is ‖z_i‖² for unit rows and
            more than that for means of views.
        keep: rows that are in the selection from the start.
        eligible: False for rows that are never taken; they still want to be covered.
        epsilon: None for exact greedy, else in (0, 1).
        seed: of the rows drawn, if `epsilon` is given.
        rank_rest: go on until the k largest gains that are left are exact, which makes the upper
            bound as tight as it gets; without, what is known by then serves, and after sampling that
            can be infinite.
        threads: None for all processors; matrix products use those of NumPy.
        block: candidates in one matrix product: no influence on the outcome.
        _pool_entries: how many entries the lists may hold (tests).

    Raises:
        UsageError: a budget above the rows that may be taken or below those to keep, weights, ε, block
            or self-similarity out of range.
        DataError: NaN, infinity, or rows so long that a float32 cannot hold their square.
    """
    rows = dots.embedding_rows(values)
    keep, open_rows = check_places(rows.shape[0], budget, keep, eligible)
    _check_options(coverage_weight, centre_weight, self_similarity, epsilon, block)
    run = _CoverageRun(
        rows,
        open_rows,
        budget,
        weights=(float(coverage_weight), float(centre_weight)),
        self_similarity=self_similarity,
        threads=threads,
        block=block,
        pool_entries=_pool_entries,
    )
    for row in keep:
        run.take_column(int(row))
    if epsilon is None:
        run.take_lazily()
    else:
        run.take_from_samples(epsilon, np.random.default_rng(seed))
    return run.finish(keep.size, rank_rest)


def _check_options(
    coverage_weight: float,
    centre_weight: float,
    self_similarity: float | None,
    epsilon: float | None,
    block: int,
) -> None:
    if not (np.isfinite(coverage_weight) and coverage_weight > 0):
        raise UsageError(
            "a coverage weight above 0",
            f"{coverage_weight}",
            "For the centre alone use `centre_gains`: its largest are the optimum",
        )
    if not (np.isfinite(centre_weight) and centre_weight >= 0):
        raise UsageError("a centre weight that is finite and not negative", f"{centre_weight}")
    if self_similarity is not None and not np.isfinite(self_similarity):
        raise UsageError("a finite self-similarity", f"{self_similarity}")
    if epsilon is not None and not 0.0 < epsilon < 1.0:
        raise UsageError("ε between 0 and 1", f"{epsilon}", "0.1 draws 2.3 n/k rows a step")
    if block < 1:
        raise UsageError("blocks of at least one candidate", f"{block}")


def centre_gains(
    values: Float32[np.ndarray, "n d"], threads: int | None = None
) -> Float64[np.ndarray, " n"]:
    """⟨z_e, T⟩/n: the mean similarity of every row to all. The k largest maximise A at every size k.

    A(S) = E_{i∈V, j∈S} s_ij is their mean over S: −ν_div of (36) up to a constant, for d = 1 − s.

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped.
        threads: None for all processors.

    Raises:
        DataError: NaN or infinity.
    """
    rows = dots.embedding_rows(values)
    total = linear_form.total_of(rows, threads)
    return linear_form.scores(rows, total, threads) / max(1, rows.shape[0])


class _CoverageRun:
    """A greedy run: its state, and the passes over all rows."""

    def __init__(
        self,
        rows: np.ndarray,
        open_rows: np.ndarray,
        budget: int,
        *,
        weights: tuple[float, float],
        self_similarity: float | None,
        threads: int | None,
        block: int,
        pool_entries: int | None,
    ) -> None:
        n, d = rows.shape
        self.rows = rows
        self.budget = budget
        self.threads = threads
        self.block = block
        self.products = 0
        self.packed_at = 0
        self.total = linear_form.total_of(rows, threads)
        square = max(linear_form.largest_norm(rows, threads) ** 2, abs(self_similarity or 0.0))
        if not square < _LARGEST_SQUARE:
            raise DataError(
                f"rows whose squared length is below {_LARGEST_SQUARE:g}",
                f"{square:g}",
                "Scale the rows to length one",
            )
        # A dot product of float32 is off by at most d·u/(1 − d·u)·‖a‖‖b‖ in any order; the rest is for
        # rounding c_i, both to integers and to float32, and for underflow.
        self.error = 1.01 * (d + 8) * _UNIT_ROUNDOFF * square + d * 2.0**-126
        scale = 2.0 ** (_BITS - int(np.frexp(square * (1 + 1e-9))[1]))
        own = 0 if self_similarity is None else round(self_similarity * scale)
        modular = np.zeros(n)
        if weights[1] > 0.0 and budget > 0:
            modular = centre_gains(rows, threads) * (weights[1] / budget)
        self.setting = CoverageSetting(
            rows, scale, own, self_similarity is not None, weights[0], modular
        )
        entries = n * min(n, max(2 * d, 256)) if pool_entries is None else pool_entries
        self.longest = max(1, 2 * entries // max(1, n))
        self.state = CoverageState(
            open_rows=open_rows,
            cover=np.zeros(n, dtype=np.int32),
            heap=np.flatnonzero(open_rows),
            key=np.full(n, np.inf),
            exact_at=np.full(n, -1, dtype=np.int32),
            bound_at=np.full(n, -1, dtype=np.int32),
            first=np.full(n, -1, dtype=np.int64),
            length=np.zeros(n, dtype=np.int64),
            pool_rows=np.empty(entries, dtype=np.int32),
            pool_values=np.empty(entries, dtype=np.int32),
            order=np.empty(budget, dtype=np.int64),
            gains=np.empty(budget),
            counts=np.zeros(5, dtype=np.int64),
        )
        self.products_of_block = np.empty((min(block, n), n), dtype=np.float32)
        self.floor = np.empty(n, dtype=np.float32)
        self.floor_step = -1

    # --- taking rows ---------------------------------------------------------------------------------

    def take_lazily(self) -> None:
        """Exact greedy up to the budget."""
        state = self.state
        if state.counts[TAKEN] == self.budget:
            return
        if state.counts[TAKEN] == 0:
            self.take_column(self._first_row(np.flatnonzero(self.state.open_rows)))
        self._fill_heap(np.flatnonzero(self.state.open_rows))
        self._advance(state.order, state.gains, self.budget, taking=True)

    def take_from_samples(self, epsilon: float, generator: np.random.Generator) -> None:
        """Stochastic greedy up to the budget: the best of a sample of the open rows at every step."""
        state = self.state
        open_rows = np.flatnonzero(self.state.open_rows)
        wanted = self.budget - int(state.counts[TAKEN])
        size = int(np.ceil(open_rows.size / max(1, wanted) * np.log(1.0 / epsilon)))
        left = open_rows.size
        place = np.empty(self.rows.shape[0], dtype=np.int64)
        place[open_rows] = np.arange(left)
        for _ in range(wanted):
            drawn = generator.choice(left, min(left, max(1, size)), replace=False, shuffle=False)
            sample = np.sort(open_rows[drawn])
            if state.counts[TAKEN] == 0:
                self.take_column(self._first_row(sample))
            else:
                self._fill_heap(sample)
                goal = int(state.counts[TAKEN]) + 1
                self._advance(state.order, state.gains, goal, taking=True)
            taken = state.order[state.counts[TAKEN] - 1]
            left -= 1  # the last open row moves to the place of the one taken
            last = open_rows[left]
            open_rows[place[taken]] = last
            place[last] = place[taken]

    def take_column(self, row: int) -> None:
        """Add a row to the selection by its similarity to all rows."""
        state = self.state
        position = int(state.counts[TAKEN])
        vector = self.rows[row].astype(np.float64)
        if position == 0:
            parts = self._map(
                lambda a, b: first_block(self.setting, row, vector, state.cover, a, b)
            )
        else:
            parts = self._map(lambda a, b: take_block(self.setting, row, vector, state.cover, a, b))
        self._record(row, sum(parts))

    def _record(self, row: int, gain: int) -> None:
        state = self.state
        position = state.counts[TAKEN]
        state.order[position] = row
        state.gains[position] = weighed(self.setting, row, gain)
        state.counts[TAKEN] += 1
        state.counts[STEP] += 1
        state.counts[EVALUATIONS] += 1
        self.products += 1
        self.state.open_rows[row] = False

    def _first_row(self, candidates: np.ndarray) -> int:
        """The row of largest gain while nothing is selected: Σ_i s_ie, near ⟨z_e, T⟩."""
        n, d = self.rows.shape
        setting = self.setting
        near = linear_form.scores(self.rows, self.total, self.threads)[candidates]
        if setting.own_given:
            near += setting.own / setting.scale
            near -= linear_form.squared_norms(self.rows, self.threads)[candidates]
        near = setting.weight * near + setting.modular[candidates]
        # Every similarity is rounded to an integer, and T and sums of n terms to float64.
        norm = linear_form.largest_norm(self.rows, self.threads)
        slack = (n + 2) / setting.scale + 16.0 * (d + n) * 2.0**-53 * n * norm * norm
        slack += 8.0 * d * n * norm / dots.fixed_point_scale(self.rows, self.threads)
        slack = 2.0 * setting.weight * slack + 1e-12 * float(np.abs(near).max(initial=0.0))
        best, best_row = -np.inf, -1
        for row in candidates[near >= near.max() - 2.0 * slack]:
            vector = self.rows[row].astype(np.float64)
            gain = sum(self._map(lambda a, b: sum_block(setting, row, vector, a, b)))  # noqa: B023
            key = weighed(setting, int(row), gain)
            self.state.counts[EVALUATIONS] += 1
            self.products += 1
            if key > best:
                best, best_row = key, int(row)
        return best_row

    def _fill_heap(self, rows: np.ndarray) -> None:
        self.state.heap[: rows.size] = rows
        self.state.counts[HEAP] = rows.size
        make_heap(self.state.heap, self.state.key, rows.size)

    def _advance(self, order: np.ndarray, gains: np.ndarray, goal: int, *, taking: bool) -> None:
        """Take (or, without `taking`, only look at) the best rows until there are `goal`."""
        state = self.state
        while True:
            need, found = advance(self.setting, state, order, gains, goal, taking)
            row = int(found)
            if need == DONE:
                return
            if need == COLUMN:
                pop(state.heap, state.key, state.counts)
                self.take_column(row)
            elif need == EXACT:
                self._evaluate(row)
            else:
                self._bound_some(row)

    # --- passes over all rows ------------------------------------------------------------------------

    def _map(self, work: Callable[[int, int], Any]) -> list[Any]:
        return dots.map_blocks(work, self.rows.shape[0], self.threads)

    def _evaluate(self, row: int) -> None:
        """The exact gain of a row that has no list."""
        state = self.state
        vector = self.rows[row].astype(np.float64)
        gain = sum(self._map(lambda a, b: gain_block(self.setting, row, vector, state.cover, a, b)))
        state.key[row] = weighed(self.setting, row, gain)
        state.exact_at[row] = state.counts[STEP]
        state.counts[EVALUATIONS] += 1
        self.products += 1
        sift(state.heap, state.key, state.counts[HEAP], 0)

    def _bound_some(self, row: int) -> None:
        """Bounds, and lists where they are short enough, of the best candidates that need them."""
        state, setting = self.state, self.setting
        chosen = self._stale_candidates(row)
        step = int(state.counts[STEP])
        if self.floor_step != step:  # what a product must exceed for its row to matter
            self.floor[:] = (state.cover - 0.5) / setting.scale - self.error
            self.floor_step = step
        products = self.products_of_block[: chosen.size]
        np.matmul(self.rows[chosen], self.rows.T, out=products)
        if setting.own_given:
            products[np.arange(chosen.size), chosen] = setting.own / setting.scale
        sums, lengths = np.empty(chosen.size), np.empty(chosen.size, dtype=np.int64)
        self._map_candidates(
            chosen.size, lambda a, b: bound_block(products, self.floor, sums, lengths, a, b)
        )
        above = np.ceil(sums * (1.0 + 2.0 * RUN * _UNIT_ROUNDOFF) * setting.scale) + 1.0
        keys = setting.weight * (above / setting.scale) + setting.modular[chosen]
        state.key[chosen] = np.minimum(state.key[chosen], keys)
        state.bound_at[chosen] = step
        state.counts[EVALUATIONS] += chosen.size
        self.products += chosen.size
        short = self._with_room(lengths)
        state.first[chosen[short]] = state.counts[POOL] + np.cumsum(lengths[short]) - lengths[short]
        state.length[chosen[short]] = 0
        state.counts[POOL] += lengths[short].sum()
        self._map_candidates(
            short.size,
            lambda a, b: list_block(setting, state, products, self.floor, chosen, short, a, b),
        )
        make_heap(state.heap, state.key, state.counts[HEAP])

    def _stale_candidates(self, row: int) -> np.ndarray:
        """The block of candidates with the largest outdated bounds, ascending; `row` is one."""
        state = self.state
        rows = state.heap[: state.counts[HEAP]]
        rows = rows[(state.first[rows] < 0) & (state.bound_at[rows] != state.counts[STEP])]
        if rows.size > self.block:
            largest = np.argpartition(-state.key[rows], self.block - 1)[: self.block]
            rows = rows[largest]
            if row not in rows:
                rows[0] = row
        return np.sort(rows)

    def _map_candidates(self, count: int, work: Callable[[int, int], None]) -> None:
        """Work on candidates start..stop in threads, if they and their rows are worth it."""
        workers = min(dots.available_threads(self.threads), count)
        if workers <= 1 or count * self.rows.shape[0] < _ENTRIES_WORTH_A_THREAD:
            work(0, count)
            return
        ends = np.linspace(0, count, workers + 1).astype(int).tolist()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, ends[:-1], ends[1:]))

    def _with_room(self, lengths: np.ndarray) -> np.ndarray:
        """Which of the new lists can be kept: short ones, as long as there is room."""
        state = self.state
        short = np.flatnonzero(lengths <= self.longest)
        room = state.pool_rows.size - state.counts[POOL]
        step = int(state.counts[STEP])
        if lengths[short].sum() > room and step > 1.1 * self.packed_at:
            pack_lists(self.setting, state, np.argsort(state.first, kind="stable"))
            self.packed_at = step
            room = state.pool_rows.size - state.counts[POOL]
        return short[np.cumsum(lengths[short]) <= room]

    # --- what is left --------------------------------------------------------------------------------

    def finish(self, kept: int, rank_rest: bool) -> CoveragePath:
        """Gains of the next k rows, bounds of the others, and the bound of the optimum."""
        state, setting, n = self.state, self.setting, self.rows.shape[0]
        rest = np.flatnonzero(self.state.open_rows)
        free = min(self.budget - kept, rest.size)
        if self.budget > 0 and rank_rest:
            self._fill_heap(rest)
            state.counts[TAKEN] = 0
            self._advance(np.empty(free, dtype=np.int64), np.empty(free), free, taking=False)
        gains = -np.sort(-state.key[rest])[:free]
        order = state.order
        final = np.full(n, -np.inf)
        final[rest] = state.key[rest]
        final[order] = 0.0
        exact = state.exact_at == state.counts[STEP]
        exact[order] = True
        coverage = int(state.cover.sum(dtype=np.int64)) / setting.scale if order.size else 0.0
        centre = float(setting.modular[order].sum())
        return CoveragePath(
            order=order,
            gains=state.gains,
            final_gains=final,
            final_exact=exact,
            covered=state.cover / setting.scale if order.size else np.full(n, -np.inf),
            value=setting.weight * coverage + centre,
            upper_bound=self._upper_bound(setting.weight * coverage, gains, kept),
            evaluations=int(state.counts[EVALUATIONS]),
            products=self.products,
        )

    def _upper_bound(self, coverage: float, gains: np.ndarray, kept: int) -> float:
        """aC(S) + max over r of the r largest gains beside the k − r largest centre parts of S.

        An optimum O shares k − r rows with S. C(O) ≤ C(S ∪ O) ≤ C(S) + Σ_{O∖S} gains, and its centre
        part is that of O∖S, in the gains, and that of O∩S.
        """
        order, modular = self.state.order, self.setting.modular
        if order.size == 0:
            return 0.0
        own = np.sort(modular[order[kept:]])[::-1]
        shared = np.concatenate([[0.0], np.cumsum(own)])[::-1][: gains.size + 1]
        added = np.concatenate([[0.0], np.cumsum(gains)])
        best = float((added + shared).max())
        # Sums of this many terms in float64.
        slack = 4.0 * (order.size + 2) * 2.0**-53 * (abs(coverage) + np.abs(gains).sum())
        return coverage + float(modular[order[:kept]].sum()) + best + float(slack)


def weighed(setting: CoverageSetting, row: int, gain: int) -> float:
    """a·gain + b⟨z_e, T⟩/(nk)."""
    return setting.weight * (float(gain) / setting.scale) + float(setting.modular[row])
