"""The concave relaxation: an upper bound for every selection, an optimiser, a linear rule.

φ(M) = ⟨M, T⟩ − λ‖M‖² is concave, and every selection of k rows has its M in the convex set
{Σ_i x_i z_i : 0 ≤ x ≤ 1, Σx = k}. Linearising φ at any point M, with w = ∇φ(M) = T − 2λM,

    F_λ(S) ≤ D(M) = λ‖M‖² + Σ of the k largest scores ⟨z_i, w⟩        for every S with |S| = k

D is convex, its gradient is 2λ(M − s), s being the sum of the k rows of largest score. A step from
M towards s is a Frank–Wolfe step for φ and a gradient step for D; limited-memory quasi-Newton steps
(Nocedal 1980), falling back on Frank–Wolfe with exact line search, need fewer passes over the rows,
and each pass gives a bound and a selection (the k rows). The selection is a linear rule: keep
row e iff ⟨z_e, w⟩ ≥ θ, the k-th score.
In short: docs/mathematics.md#bound-and-certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from contrasift.errors import UsageError
from contrasift.selection.checks import check_places, check_redundancy
from contrasift.selection.kernels import linear_form
from contrasift.selection.kernels.dots import dot
from contrasift.selection.kernels.passes import Passes, passes_over

_MEMORY = 12
# With a gradient this small beside T there is no direction left to follow.
_FLAT = 1e-9
# A gap that so many passes have not brought below this share of itself is left: much of it is
# between whole and fractional selections.
_PATIENCE = 4
_STALLED = 0.97
_NEAR_TURN = 1e-6


@dataclass(frozen=True)
class Relaxed:
    """A selection that is a linear rule.

    Attributes:
        selected: int64 [k]; the rows, ascending, those of `keep` among them.
        scores: float64 [n]; ⟨z_i, w⟩.
        direction: w, float64 [d].
        threshold: θ, the least score that was taken (infinite if the rule takes no row).
        tie_rows: int64; rows with score θ that were taken, the lowest ones. Beside `keep`, the
            selection is every eligible row with a score above θ, and these.
        value: F_λ of the selection.
        upper_bound: no selection of k rows that keeps `keep` has a larger F_λ.
        steps: passes over the rows.
        total: T, float64 [d].
        selected_sum: M of the selection, float64 [d].
    """

    selected: Int64[np.ndarray, " k"]
    scores: Float64[np.ndarray, " n"]
    direction: Float64[np.ndarray, " d"]
    threshold: float
    tie_rows: Int64[np.ndarray, " t"]
    value: float
    upper_bound: float
    steps: int
    total: Float64[np.ndarray, " d"]
    selected_sum: Float64[np.ndarray, " d"]


def upper_bound(
    values: Float32[np.ndarray, "n d"] | Passes,
    selected_sum: Float64[np.ndarray, " d"],
    budget: int,
    *,
    redundancy: float,
    total: Float64[np.ndarray, " d"] | None = None,
    steps: int = 20,
    keep: Int64[np.ndarray, " m"] | None = None,
    eligible: Bool[np.ndarray, " n"] | None = None,
    target_share: float = 0.9999,
    threads: int | None = None,
) -> float:
    """A number that F_λ of no selection of k rows exceeds, from a selection's own M onwards.

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped; or passes over rows that
            lie elsewhere.
        selected_sum: M of the selection to be judged.
        budget: k.
        redundancy: λ ≥ 0.
        total: T, if it is known.
        steps: passes over the rows at most.
        keep: rows that every selection must hold.
        eligible: False for rows that no selection may hold, beside `keep`.
        target_share: stop as soon as (F − E_random)/(bound − E_random) is proved to be this much.
        threads: None for all processors.

    Raises:
        UsageError: budgets that do not fit, a bad λ.
        DataError: NaN or infinity.
    """
    passes = passes_over(values, threads)
    problem = _problem(passes, budget, redundancy, keep, eligible, total)
    search = _DualSearch(problem, steps, target_share)
    search.best_value = linear_form.value(problem.total, selected_sum, redundancy)
    search.run(selected_sum)
    return max(search.bound, search.best_value)


def relax(
    values: Float32[np.ndarray, "n d"] | Passes,
    budget: int,
    *,
    redundancy: float,
    steps: int = 20,
    keep: Int64[np.ndarray, " m"] | None = None,
    eligible: Bool[np.ndarray, " n"] | None = None,
    total: Float64[np.ndarray, " d"] | None = None,
    target_share: float = 0.99999,
    threads: int | None = None,
) -> Relaxed:
    """Select k rows by the best linear rule found on the way to the optimum of the relaxation.

    Starts at M = kT/n. Rules that point away from T, and so would discard the most central rows,
    are not considered. At the turn k = n/(2λ) itself, where no selection is better than the mean of
    random ones, the rule is that of λ = 0. Memory: O(n) beside the embeddings, which are read in blocks.

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped; or passes over rows that
            lie elsewhere.
        budget: k, with the rows of `keep` counted in.
        redundancy: λ ≥ 0.
        steps: passes over the rows at most; small sets need more of them than large ones.
        keep: rows that are in the selection anyway.
        eligible: False for rows that are never taken; they still count in T.
        total: T, if it is known.
        target_share: stop as soon as (F − E_random)/(bound − E_random) is this much.
        threads: None for all processors.

    Raises:
        UsageError: the budget is more than one row beyond the turn n/(2λ), or does not fit; a
            bad λ.
        DataError: NaN or infinity.
    """
    passes = passes_over(values, threads)
    problem = _problem(passes, budget, redundancy, keep, eligible, total)
    n = passes.n
    # The last row of a rounded budget may lie across the turn.
    if 2.0 * redundancy * (budget - 1) >= n and budget > 0:
        raise UsageError(
            f"a share of the examples of at most 1/(2λ) = {1 / (2 * redundancy):.3g} for the "
            f"relaxation at λ = {redundancy:g}",
            f"{budget} of {n}",
            "Beyond it gains turn negative and the rule would discard the most central examples: "
            "lower λ or the budget, or use greedy",
        )
    search = _DualSearch(problem, max(1, steps), target_share)
    if 2.0 * redundancy * budget < (1.0 - _NEAR_TURN) * n:
        search.run(problem.mean_point())
    else:  # φ is largest at kT/n, the mean of random selections: only w = T makes a rule
        search.visit(np.zeros_like(problem.total))
        search.visit(problem.mean_point())
    direction, theta, last_tie = search.best_rule
    scores = passes.scores(direction)
    chosen = problem.free & (scores >= theta)
    ties = np.flatnonzero(chosen & (scores == theta))
    chosen[ties[ties > last_tie]] = False
    chosen[problem.keep] = True
    return Relaxed(
        selected=np.flatnonzero(chosen),
        scores=scores,
        direction=direction,
        threshold=theta,
        tie_rows=ties[ties <= last_tie],
        value=search.best_value,
        upper_bound=max(search.bound, search.best_value),
        steps=search.steps,
        total=problem.total,
        selected_sum=search.best_sum,
    )


@dataclass
class _Problem:
    """What is to be selected from."""

    passes: Passes
    budget: int
    redundancy: float
    keep: np.ndarray
    free: np.ndarray
    total: np.ndarray
    kept_fixed: np.ndarray

    def __post_init__(self) -> None:
        self.places = self.budget - self.keep.size
        self.kept_sum = self.kept_fixed / self.passes.scale
        squares = self.passes.squares()
        n = squares.size
        self.norm = float(np.sqrt(squares.max())) if n else 0.0
        self.random_value = linear_form.random_value(
            self.total, float(squares.sum()), n, self.budget, self.redundancy
        )

    def mean_point(self) -> np.ndarray:
        """M of the fractional selection that takes the same share of every free row."""
        if not self.places:
            return self.kept_sum
        if self.free.all():
            return self.total * (self.places / self.free.size)
        free_rows = np.flatnonzero(self.free)
        free_sum = self.passes.fixed_sum(free_rows)
        return self.kept_sum + free_sum / self.passes.scale * (self.places / free_rows.size)

    def best_rows(self, weight: np.ndarray) -> tuple[np.ndarray, float, int]:
        """The sum of the rows of largest score, the least score, the last row taken at it."""
        if not self.places:
            return self.kept_sum, np.inf, -1
        best = self.passes.best(weight, self.free, self.places)
        return (best.fixed + self.kept_fixed) / self.passes.scale, best.theta, best.last_tie


def _problem(
    passes: Passes,
    budget: int,
    redundancy: float,
    keep: np.ndarray | None,
    eligible: np.ndarray | None,
    total: np.ndarray | None,
) -> _Problem:
    kept, free = check_places(passes.n, budget, keep, eligible)
    check_redundancy(redundancy)
    if total is None:
        total = passes.fixed_total() / passes.scale
    return _Problem(passes, budget, float(redundancy), kept, free, total, passes.fixed_sum(kept))


@dataclass
class _DualSearch:
    """Minimises the bound D, and notes the best selection met on the way."""

    problem: _Problem
    most_steps: int
    target_share: float
    steps: int = 0
    bound: float = np.inf
    best_value: float = -np.inf
    gaps: list[float] = field(default_factory=list)
    best_sum: np.ndarray = field(default_factory=lambda: np.zeros(0))
    best_rule: tuple[np.ndarray, float, int] = field(
        default_factory=lambda: (np.zeros(0), np.inf, -1)
    )

    def run(self, start: np.ndarray) -> None:
        """Quasi-Newton steps from a first point, Frank–Wolfe steps where they do not help."""
        point = start
        bound, gradient = self.visit(point)
        changes: list[tuple[np.ndarray, np.ndarray]] = []
        while not self._done(point):
            step = quasi_newton_step(gradient, changes)
            helped = False
            if step is not None:
                new_bound, new_gradient = self.visit(point + step)
                remember(changes, step, new_gradient - gradient)
                helped = new_bound < bound
            if step is None or not helped:
                if self._done(point):
                    return
                step = self._frank_wolfe_step(point, gradient)
                new_bound, new_gradient = self.visit(point + step)
                remember(changes, step, new_gradient - gradient)
            point, bound, gradient = point + step, new_bound, new_gradient

    def _done(self, point: np.ndarray) -> bool:
        problem = self.problem
        if self.steps >= self.most_steps or problem.redundancy == 0.0:
            return True
        if self._flat(problem.total - 2.0 * problem.redundancy * point):
            return True
        if len(self.gaps) > _PATIENCE and self.gaps[-1] > _STALLED * self.gaps[-1 - _PATIENCE]:
            return True
        possible = self.bound - problem.random_value
        return bool(self.best_value - problem.random_value >= self.target_share * possible)

    def _flat(self, weight: np.ndarray) -> bool:
        total = self.problem.total
        return bool(dot(weight, weight) <= _FLAT**2 * dot(total, total))

    def visit(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """D and its gradient / 2λ at a point; notes the bound and the selection found there."""
        problem = self.problem
        self.steps += 1
        weight = problem.total - 2.0 * problem.redundancy * point
        best_sum, theta, last_tie = problem.best_rows(weight)
        length = float(np.sqrt(dot(weight, weight)))
        bound = float(problem.redundancy * dot(point, point) + dot(best_sum, weight))
        self.bound = min(self.bound, bound + self._allowance(point, length))
        found = linear_form.value(problem.total, best_sum, problem.redundancy)
        # Where w is rounding noise, so is the selection; where it points away from T, it inverts.
        usable = not self._flat(weight) and dot(weight, problem.total) > 0
        better = usable and found > self.best_value
        if self.best_sum.size == 0 or better:
            self.best_sum = best_sum
            self.best_rule = (weight, theta, last_tie)
            self.best_value = max(found, self.best_value)
        self.gaps.append(self.bound - self.best_value)
        return bound, point - best_sum

    def _allowance(self, point: np.ndarray, length: float) -> float:
        """More than rounding can have taken off the bound: floats, and fixed-point sums."""
        problem = self.problem
        d = problem.passes.width
        largest = problem.budget * problem.norm * length
        largest += problem.redundancy * float(dot(point, point))
        fixed_point = problem.budget * float(np.sqrt(d)) / problem.passes.scale * length
        return 8.0 * (d + 16) * 2.0**-53 * largest + fixed_point

    def _frank_wolfe_step(self, point: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Towards s as far as φ rises: γ = ⟨s − M, w⟩ / (2λ‖s − M‖²), at most 1."""
        redundancy = self.problem.redundancy
        towards = -gradient
        weight = self.problem.total - 2.0 * redundancy * point
        curvature = 2.0 * redundancy * dot(towards, towards)
        length = dot(towards, weight) / curvature if curvature > 0 else 0.0
        return min(1.0, max(0.0, length)) * towards


def quasi_newton_step(
    gradient: np.ndarray, changes: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray | None:
    """−H·gradient by the two-loop recursion of L-BFGS; None before there is any curvature."""
    if not changes:
        return None
    rest = gradient.copy()
    parts = []
    for step, change in reversed(changes):
        part = dot(step, rest) / dot(step, change)
        parts.append(part)
        rest -= part * change
    step, change = changes[-1]
    rest *= dot(step, change) / dot(change, change)
    for (step, change), part in zip(changes, reversed(parts), strict=True):
        rest += (part - dot(change, rest) / dot(step, change)) * step
    return -rest


def remember(
    changes: list[tuple[np.ndarray, np.ndarray]], step: np.ndarray, change: np.ndarray
) -> None:
    """Note how the gradient changed along a step, if it shows curvature; forget the oldest."""
    if dot(step, change) > 1e-3 * dot(step, step):
        changes.append((step, change))
        del changes[:-_MEMORY]
