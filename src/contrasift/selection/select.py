"""The selection of a pool: class by class, or over the whole, from a matrix of any size and type."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from contrasift.arrays import check_matrix, class_codes
from contrasift.catalogue import OBJECTIVES, check_choice, refuse_unused
from contrasift.errors import UsageError
from contrasift.results import Certificate, ClassSummary, Embeddings, LatentClasses, Selection
from contrasift.selection.arguments import (
    check_combination,
    check_relaxable,
    checked_fractions,
    checked_scores,
    checked_threshold,
    resolved_redundancy,
    resolved_weights,
    rows_of_indices,
)
from contrasift.selection.baselines import random_order
from contrasift.selection.budget import allocate as allocate_places
from contrasift.selection.budget import resolve_budget, webster_order
from contrasift.selection.gather import ClassRows, classwise, fits_in_place
from contrasift.selection.kernels import available_threads
from contrasift.selection.memory import MemoryPlan, plan_memory
from contrasift.selection.notes import notes_on
from contrasift.selection.ranking import Ranking
from contrasift.selection.rule import LinearRule
from contrasift.selection.solve import solve
from contrasift.selection.task import Method, Solved, Task, with_limits

_CHOICES = {
    "objective": tuple(OBJECTIVES),
    "optimizer": ("greedy", "relaxed", "stochastic"),
    "refine": ("none", "swaps", "double-greedy", "double-greedy-random"),
    "allocate": ("proportional", "equal", "global"),
    "normalize": ("auto", "none", "rows"),
    "scores_keep": ("high", "low"),
}

Progress = Callable[[int, int], None]


def select(
    embeddings: Any,
    classes: Any = None,
    *,
    fraction: float | None = None,
    budget: int | None = None,
    objective: str = "sas",
    redundancy: float | None = None,
    optimizer: str = "greedy",
    refine: str = "none",
    allocate: str = "proportional",
    min_per_class: int = 0,
    must_keep: Any = None,
    must_drop: Any = None,
    class_weights: Mapping[Any, float | int] | Sequence[float | int] | np.ndarray | None = None,
    fractions: Sequence[float | int] | None = None,
    normalize: str = "auto",
    threshold: float | None = None,
    coverage_weight: float = 1.0,
    centre_weight: float = 1.0,
    epsilon: float | None = None,
    neighbours: int = 20,
    scores: Any = None,
    scores_keep: str = "high",
    seed: int = 0,
    steps: int = 20,
    threads: int | None = None,
    memory_limit: int | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
) -> Selection:
    """Choose the part of a pool that is most worth training on.

    In every latent class V, with T = Σ_{i∈V} z_i and M = Σ_{j∈S} z_j, maximises

        F_λ(S) = Σ_{i∈V} Σ_{j∈S} s_ij − λ Σ_{i,j∈S} s_ij = ⟨M, T⟩ − λ‖M‖²,   s_ij = ⟨z_i, z_j⟩

    (SAS, Joshi & Mirzasoleiman 2023, eq. 39 at λ = 1) without ever making the matrix s.

    Args:
        embeddings: `Embeddings`, taken as they are; or a matrix [n, d] of any real type, possibly
            memory-mapped, whose rows are scaled to length one (see `normalize`).
        classes: `LatentClasses`, or one label an example (integers, gaps allowed, or text); None:
            the pool is one class.
        fraction: share of the pool to keep, in (0, 1]; rounded half up, to at least one example.
        budget: how many to keep, instead.
        objective: a name of `contrasift.catalogue.OBJECTIVES`, where each has its source: `sas`;
            `published`, the ranking that the SAS code really makes; `coverage`, `centre`, and
            both, `coverage-centre`; `herding`; `k-center`; `prototype-near`, `prototype-far`;
            `semantic-dedup`; `typicality`; `scores`; `random`, blind to classes;
            `random-per-class`.
        redundancy: λ; default min(1, 1/(2·fraction)).
        optimizer: `greedy`, the nested ranking; or, for sas, `relaxed`, Frank–Wolfe, which leaves
            a linear rule and whose smaller budgets are *not* prefixes; or, for coverage,
            `stochastic`, greedy over a random part of the candidates each time.
        refine: after greedy, `swaps` at the same size, or the paper's `double-greedy`, or
            `double-greedy-random`; the latter two may shrink the set.
        allocate: places by class: `proportional`, `equal`; or `global`: one objective over the
            whole pool, classes only reported.
        min_per_class: at least this many from every class that has them.
        must_keep: pool indices that are selected whatever the objective says; they rank first.
        must_drop: pool indices that are not selected; they rank last.
        class_weights: factor on each class's claim: by name (others 1), or one a class in
            ascending order of names.
        fractions: several nested selections in one run, all at the λ of the largest, which takes
            the place of `fraction`; see `Selection.marks`.
        normalize: `auto` as said above; `none`: rows are mean view embeddings, taken as they are;
            `rows`: scaled to length one. Rows that have it within 1e-6 are never touched.
        threshold: τ in [−1, 1]: s_ij below it count zero, in `sas` and `published`. Where no
            pair of a class can be below it, the linear path runs.
        coverage_weight: of coverage in `coverage-centre`.
        centre_weight: of centre in `coverage-centre`.
        epsilon: of `semantic-dedup`: facts["distinct"] says how many examples have no earlier one
            that is more similar than 1 − ε.
        neighbours: of `typicality`.
        scores: one number an example, for the objective `scores`; +inf allowed.
        scores_keep: `high` or `low`.
        seed: of all that is random.
        steps: passes over the rows that the relaxation may make.
        threads: None for all processors. The selection does not depend on it.
        memory_limit: bytes that the process should stay below; sets how much is gathered at once.
        progress: called with (examples done, examples) as classes are finished.
        announce: called with a sentence or two before the work: the memory it needs, how rows are
            scaled.

    Returns:
        every example with its rank, the choice, and its certificate. Gains say what an example
        brought; where the objective is a ranking they are its scores, and for `random…` NaN.

    Raises:
        UsageError: arguments that are out of range or do not go together; a memory limit that is
            too small.
        DataError: rows that are not finite or, when scaling, zero; classes or scores of another
            length; scores with NaN.
    """
    begun = time.perf_counter()
    for name, given in (
        ("objective", objective),
        ("optimizer", optimizer),
        ("refine", refine),
        ("allocate", allocate),
        ("normalize", normalize),
        ("scores_keep", scores_keep),
    ):
        check_choice(name, given, _CHOICES[name])
    further = {
        "threshold": threshold is not None,
        "refine": refine != "none",
        optimizer: optimizer != "greedy",
        "coverage_weight": coverage_weight != 1,
        "centre_weight": centre_weight != 1,
        "epsilon": epsilon is not None,
        "neighbours": neighbours != 20,
        "scores": scores is not None,
        "scores_keep": scores_keep != "high",
    }
    refuse_unused(objective, (name for name, given in further.items() if given))
    check_combination(objective, optimizer, refine, allocate, min_per_class, class_weights)
    pool = _Pool.of(embeddings, classes, normalize)
    shares = checked_fractions(fractions, fraction, budget, optimizer, refine)
    if shares:
        fraction = shares[-1]
    count = resolve_budget(pool.n, fraction=fraction, budget=budget)
    share = fraction if fraction is not None else count / pool.n
    method = Method(
        objective=objective,
        redundancy=resolved_redundancy(redundancy, share),
        optimizer=optimizer,
        refine=refine,
        steps=steps,
        seed=seed,
        threshold=checked_threshold(threshold),
        coverage_weight=float(coverage_weight),
        centre_weight=float(centre_weight),
        epsilon=None if epsilon is None else float(epsilon),
        neighbours=neighbours,
        scores_keep=scores_keep,
    )
    own_scores = None if scores is None else checked_scores(scores, pool.n)
    check_relaxable(method, count, pool.n)
    limits = _Limits.of(pool, must_keep, must_drop, count)
    whole = allocate == "global"
    partition = ClassRows.of(
        np.zeros(pool.n, dtype=np.int64) if whole else pool.codes, 1 if whole else len(pool.names)
    )
    weights = resolved_weights(class_weights, pool.names)
    how = "proportional" if whole or OBJECTIVES[objective].blind else allocate
    shared = _Shared.of(partition, limits, count, how, min_per_class, weights, method, pool)
    in_place = partition.sizes.size == 1 and fits_in_place(
        pool.values, scale=pool.scale, threads=threads
    )
    plan = plan_memory(pool.values, partition.sizes, in_place=in_place, limit=memory_limit)
    if announce is not None:
        announce(_announcement(plan, pool))

    solved = _solve_all(
        pool, partition, shared, limits, method, plan, whole, threads, progress, own_scores
    )
    ranking = Ranking.by_class(partition, solved, shared.order)
    if whole:
        ranking = ranking.split(pool.codes, len(pool.names))
    selected = ranking.selected
    value = float(sum(part.value for part in solved))
    summaries = (
        _global_summaries(pool, partition, solved[0])
        if whole
        else _class_summaries(pool.names, partition.sizes, solved)
    )
    return Selection(
        index=pool.index[ranking.rows],
        latent_class=np.repeat(pool.names, pool.sizes),
        rank=ranking.ranks(pool.sizes),
        gain=ranking.gains,
        selected=selected,
        order=ranking.order,
        objective=objective,
        redundancy=method.redundancy,
        budget=int(selected.sum()),
        value=value,
        certificate=_certificate(value, solved),
        classes=summaries,
        seconds=time.perf_counter() - begun,
        notes=notes_on(summaries, solved, method, count, whole),
        facts={
            "n": pool.n,
            "dim": pool.values.shape[1],
            "n_classes": len(pool.names),
            "requested_budget": count,
            "fraction": share,
            "measures": OBJECTIVES[objective].value,
            "optimizer": optimizer,
            "refine": refine,
            "allocate": allocate,
            "rows": "scaled to length one" if pool.scale else "as they are",
            "turn": ranking.turn(),
            "memory_estimate_bytes": plan.total_bytes,
            **_summed_facts(solved),
            **_threshold_facts(method, solved),
        },
        rule=_rule(pool, partition, solved, method, limits, whole, ranking),
        marks=_marks(shares, ranking, pool.n, shared.least),
    )


@dataclass(frozen=True)
class _Pool:
    """What is selected from."""

    values: np.ndarray
    index: np.ndarray
    codes: np.ndarray
    names: np.ndarray
    scale: bool
    description: Mapping[str, Any]

    @classmethod
    def of(cls, embeddings: Any, classes: Any, normalize: str) -> _Pool:
        known = isinstance(embeddings, Embeddings)
        values = check_matrix(embeddings.values if known else embeddings)
        n = values.shape[0]
        index = np.asarray(embeddings.index) if known else np.arange(n, dtype=np.int64)
        if index.shape != (n,):
            raise UsageError(f"one pool index for each of the {n} rows", f"shape {index.shape}")
        labels = classes.labels if isinstance(classes, LatentClasses) else classes
        codes, names = class_codes(labels, n)
        scale = normalize == "rows" or (normalize == "auto" and not known)
        return cls(values, index, codes, names, scale, embeddings.description if known else {})

    @property
    def n(self) -> int:
        return self.values.shape[0]

    @property
    def sizes(self) -> np.ndarray:
        return np.bincount(self.codes, minlength=len(self.names))


@dataclass(frozen=True)
class _Limits:
    """Rows that must and that may be selected; None where there is no limit."""

    keep: np.ndarray | None
    eligible: np.ndarray | None

    @classmethod
    def of(cls, pool: _Pool, must_keep: Any, must_drop: Any, budget: int) -> _Limits:
        keep = rows_of_indices(pool.index, must_keep, "must-keep")
        drop = rows_of_indices(pool.index, must_drop, "must-drop")
        both = np.intersect1d(keep, drop)
        if both.size:
            raise UsageError(
                "must-keep and must-drop lists without a common example",
                f"{both.size} in both, among them {pool.index[both[0]]}",
            )
        if keep.size > budget:
            raise UsageError(
                f"a must-keep list of at most {budget} examples, the budget",
                f"{keep.size}",
                "Raise the budget or shorten the list",
            )
        if budget > pool.n - drop.size:
            raise UsageError(
                f"a budget of at most {pool.n - drop.size}, what the must-drop list leaves",
                f"{budget}",
                "Lower the budget or shorten the list",
            )
        eligible = None
        if drop.size:
            eligible = np.ones(pool.n, dtype=bool)
            eligible[drop] = False
        return cls(keep if keep.size else None, eligible)

    def within(self, rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The limits of one class, in its own row numbers."""
        keep = eligible = None
        if self.keep is not None:
            keep = np.flatnonzero(np.isin(rows, self.keep, assume_unique=True))
        if self.eligible is not None:
            eligible = self.eligible[rows]
        return keep, eligible


@dataclass(frozen=True)
class _Shared:
    """Places by class, and the class that receives each place in turn.

    Attributes:
        places: int64 [K].
        order: int64 [n]; classes, for every place from the first to the last example.
        least: the smallest budget that the limits allow.
        row_rank: int64 [n]; place of every row in the random order of a whole pool, else None.
    """

    places: np.ndarray
    order: np.ndarray
    least: int
    row_rank: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        partition: ClassRows,
        limits: _Limits,
        budget: int,
        how: str,
        minimum: int,
        weights: np.ndarray | None,
        method: Method,
        pool: _Pool,
    ) -> _Shared:
        if OBJECTIVES[method.objective].blind:
            return cls._by_chance(partition, limits, budget, method, pool)
        sizes = partition.sizes
        if sizes.size == 1:
            kept = 0 if limits.keep is None else limits.keep.size
            return cls(np.array([budget]), np.zeros(pool.n, dtype=np.int64), kept)
        code_of_row = pool.codes
        kept = available = None
        if limits.keep is not None:
            kept = np.bincount(code_of_row[limits.keep], minlength=sizes.size)
        if limits.eligible is not None:
            available = np.bincount(code_of_row[limits.eligible], minlength=sizes.size)
        request: dict[str, Any] = {
            "how": how,
            "minimum": minimum,
            "weights": weights,
            "kept": kept,
            "available": available,
        }
        places = allocate_places(sizes, budget, **request)
        floor = np.minimum(minimum, sizes if available is None else available)
        if kept is not None:
            floor = np.maximum(floor, kept)
        return cls(places, webster_order(sizes, **request), int(floor.sum()))

    @classmethod
    def _by_chance(
        cls, partition: ClassRows, limits: _Limits, budget: int, method: Method, pool: _Pool
    ) -> _Shared:
        order = with_limits(random_order(pool.n, method.seed), limits.keep, limits.eligible)
        rank = np.empty(pool.n, dtype=np.int64)
        rank[order] = np.arange(pool.n)
        n_classes = partition.sizes.size
        codes = pool.codes[order] if n_classes > 1 else np.zeros(pool.n, dtype=np.int64)
        places = np.bincount(codes[:budget], minlength=n_classes)
        kept = 0 if limits.keep is None else limits.keep.size
        return cls(places, codes, kept, rank)


def _solve_all(
    pool: _Pool,
    partition: ClassRows,
    shared: _Shared,
    limits: _Limits,
    method: Method,
    plan: MemoryPlan,
    whole: bool,
    threads: int | None,
    progress: Progress | None,
    scores: np.ndarray | None,
) -> list[Solved]:
    """Every class, several at a time where there are several."""

    def work(code: int, values: np.ndarray, inner: int | None) -> Solved:
        rows = partition.of_class(code)
        keep, eligible = limits.within(rows)
        order = None if shared.row_rank is None else np.argsort(shared.row_rank[rows])
        own = None if scores is None else scores[rows]
        task = Task(code, int(shared.places[code]), keep, eligible, order, whole, own)
        return solve(values, task, method, inner)

    solved: list[Solved] = []
    done = 0
    groups = classwise(
        pool.values,
        partition,
        scale=pool.scale,
        in_place=plan.in_place,
        buffer_bytes=plan.buffer_bytes,
        threads=threads,
    )
    for group in groups:
        for part in _in_threads(work, group, threads):
            solved.append(part)
            done += part.order.size
            if progress is not None:
                progress(done, pool.n)
    return solved


def _in_threads(
    work: Callable[[int, np.ndarray, int | None], Solved],
    group: list[tuple[int, np.ndarray]],
    threads: int | None,
) -> Iterator[Solved]:
    count = min(available_threads(threads), len(group))
    if count == 1:
        yield from (work(code, values, threads) for code, values in group)
        return
    with ThreadPoolExecutor(count) as workers:
        yield from workers.map(lambda item: work(item[0], item[1], 1), group)


def _announcement(plan: MemoryPlan, pool: _Pool) -> str:
    rows = (
        "rows are scaled to length one"
        if pool.scale
        else "rows are taken as they are (mean view embeddings)"
    )
    return f"about {plan.total_bytes / 2**20:,.0f} MiB of memory needed; {rows}"


def _class_summaries(
    names: np.ndarray, sizes: np.ndarray, solved: Sequence[Solved]
) -> tuple[ClassSummary, ...]:
    return tuple(
        ClassSummary(
            name=name,
            size=size,
            budget=part.budget,
            value=part.value,
            upper_bound=part.upper_bound,
            random_value=part.random_value,
            ranked_to=part.ranked_to,
            turn=part.turn,
        )
        for name, size, part in zip(names.tolist(), sizes.tolist(), solved, strict=True)
    )


def _global_summaries(pool: _Pool, partition: ClassRows, whole: Solved) -> tuple[ClassSummary, ...]:
    """Classes of a pool that was chosen from as a whole: their parts of its one F."""
    n_classes = len(pool.names)
    codes = pool.codes[partition.rows[whole.order[: whole.budget]]]
    budgets = np.bincount(codes, minlength=n_classes)
    values: list[float | None] = [None] * n_classes
    if whole.parts is not None:
        values = np.bincount(codes, weights=whole.parts, minlength=n_classes).tolist()
    return tuple(
        ClassSummary(
            name=name,
            size=size,
            budget=budget,
            value=None if value is None else float(value),
            ranked_to=budget,
        )
        for name, size, budget, value in zip(
            pool.names.tolist(), pool.sizes.tolist(), budgets.tolist(), values, strict=True
        )
    )


def _summed_facts(solved: Sequence[Solved]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name in ("swaps", "sweeps", "dropped", "distinct", "evaluations"):
        counts = [int(part.facts[name]) for part in solved if name in part.facts]
        if counts:
            facts[name] = sum(counts)
    return facts


def _threshold_facts(method: Method, solved: Sequence[Solved]) -> dict[str, Any]:
    """What became of τ: in how many classes some pair could be below it."""
    if method.threshold is None:
        return {}
    reasons = [str(part.facts["no_op"]) for part in solved if "no_op" in part.facts]
    facts: dict[str, Any] = {
        "threshold": method.threshold,
        "thresholded_classes": len(solved) - len(reasons),
        "linear_classes": len(reasons),
    }
    return facts | ({"linear_because": reasons[0]} if reasons else {})


def _certificate(value: float, solved: Sequence[Solved]) -> Certificate | None:
    """The bounds of all classes together; none where one class has none."""
    bounds = [part.upper_bound for part in solved]
    means = [part.random_value for part in solved]
    if any(bound is None for bound in bounds):
        return None
    known = all(mean is not None for mean in means)
    return Certificate(
        value=value,
        upper_bound=float(sum(bound for bound in bounds if bound is not None)),
        random_value=float(sum(mean for mean in means if mean is not None)) if known else None,
    )


def _rule(
    pool: _Pool,
    partition: ClassRows,
    solved: Sequence[Solved],
    method: Method,
    limits: _Limits,
    whole: bool,
    ranking: Ranking,
) -> dict[str, np.ndarray] | None:
    """The linear rule of a relaxed selection, as the arrays of `rule.npz`."""
    if method.optimizer != "relaxed":
        return None
    exceptions = [np.empty(0, dtype=np.int64)]
    for code, part in enumerate(solved):
        rows = partition.of_class(code)
        if part.rule is not None:
            exceptions.append(rows[part.rule.exceptions])
    rows = np.sort(np.concatenate(exceptions))
    chosen = np.zeros(pool.n, dtype=bool)
    chosen[ranking.rows[ranking.selected]] = True
    width = pool.values.shape[1]
    rule = LinearRule(
        names=np.zeros(1, dtype=np.int64) if whole else pool.names,
        direction=np.stack(
            [np.zeros(width) if part.rule is None else part.rule.direction for part in solved]
        ),
        threshold=np.array(
            [np.inf if part.rule is None else part.rule.threshold for part in solved]
        ),
        centroid=np.stack([part.total / max(part.order.size, 1) for part in solved]),
        scaled=pool.scale,
        exception_rows=rows,
        exception_keep=chosen[rows],
        pool_shape=(pool.n, width),
        redundancy=method.redundancy,
        encoder=_encoder_hash(pool.description),
        pool_sha256=str(pool.description.get("sha256", "")),
    )
    return rule.as_arrays()


def _encoder_hash(description: Mapping[str, Any]) -> str:
    """Hash of how embeddings were made, whatever the pool."""
    encoder = {name: part for name, part in description.items() if name not in ("sha256", "shape")}
    if not encoder:
        return ""
    text = json.dumps(encoder, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _marks(shares: Sequence[float], ranking: Ranking, n: int, least: int) -> dict[str, np.ndarray]:
    """The nested selections, by fraction."""
    marks = {}
    for share in shares:
        count = resolve_budget(n, fraction=share)
        if count < least:
            raise UsageError(
                f"fractions that hold the {least} examples that must be kept and the minimum of "
                "every class",
                f"{share:g}, which is {count}",
            )
        marks[f"{share:g}"] = ranking.mark(count)
    return marks
