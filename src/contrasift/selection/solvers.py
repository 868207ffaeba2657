"""One class by every other objective than the linear F_λ, and the door to that one.

Each function ranks all rows of a class, best first, and measures the choice: by the objective's
own value where it has one, by F_λ and its certificate where it is a ranking and no more.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from contrasift.arrays import EmbeddingMatrix
from contrasift.errors import UsageError
from contrasift.selection.baselines import (
    Ranked,
    k_center,
    prototype_order,
    published_order,
    published_scores,
    random_order,
    scores_order,
    semantic_dedup,
    typicality,
)
from contrasift.selection.kernels import linear_form
from contrasift.selection.kernels.passes import HeldRows
from contrasift.selection.objectives.coverage import greedy_coverage
from contrasift.selection.objectives.herding import herding
from contrasift.selection.objectives.sas import measured, solve_linear
from contrasift.selection.objectives.threshold import greedy_thresholded, is_no_op
from contrasift.selection.objectives.threshold_values import (
    mean_thresholded,
    parts_thresholded,
    upper_bound_thresholded,
)
from contrasift.selection.task import SettledOptions, Solved, Task, with_limits, with_the_rest

STOCHASTIC_EPSILON = 0.1  # of stochastic greedy, where none is given


def sas(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None
) -> Solved:
    """F_λ; under a threshold that some pair is below, its thresholded form."""
    if options.threshold is None:
        return solve_linear(values, task, options, threads)
    reason = is_no_op(values, options.threshold, threads)
    if reason is None:
        return _thresholded(values, task, options, options.threshold, threads)
    solved = solve_linear(values, task, options, threads)
    return dataclasses.replace(solved, facts={**solved.facts, "no_op": reason})


def _thresholded(
    values: EmbeddingMatrix,
    task: Task,
    options: SettledOptions,
    threshold: float,
    threads: int | None,
) -> Solved:
    """F_λτ: similarities below τ count zero."""
    if not options.greedy or options.refine != "none":
        raise UsageError(
            f"optimizer='greedy' and refine='none' for threshold={threshold:g}, which some "
            "similarities are below",
            f"optimizer='{options.optimizer}' and refine='{options.refine}'",
            "Leave the threshold away, or optimizer= and refine=",
        )
    rows = np.ascontiguousarray(values, dtype=np.float32)
    terms: dict[str, Any] = {
        "threshold": threshold,
        "redundancy": options.redundancy,
        "threads": threads,
    }
    limits: dict[str, Any] = {"keep": task.keep, "eligible": task.eligible}
    path = greedy_thresholded(rows, task.budget, **terms, **limits)
    terms["row_sums"] = path.row_sums
    order, gains = with_the_rest(path.order, path.gains, path.final_gains, task)
    only_set = task.budget in task.sizes_without_choice(values.shape[0])
    return Solved(
        order=order,
        gains=gains,
        budget=task.budget,
        value=path.value,
        upper_bound=path.value
        if only_set
        else max(path.value, upper_bound_thresholded(rows, path.order, **terms, **limits)),
        random_value=path.value
        if only_set
        else mean_thresholded(rows, task.budget, **terms, **limits),
        ranked_to=task.budget,
        first_negative_gain=path.first_negative_gain,
        total=linear_form.total_of(values, threads),
        parts=parts_thresholded(rows, path.order, **terms) if task.split else None,
    )


def published(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None
) -> Solved:
    """What the published code ranks by: row sums of the similarities of at least τ (0)."""
    scores = published_scores(values, 0.0 if options.threshold is None else options.threshold)
    n = values.shape[0]
    return _ranked(values, task, options, Ranked(published_order(scores), scores, n), threads)


def centre(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None
) -> Solved:
    """The k rows most similar to all of their class: (36) with d = 1 − s, solved exactly.

    value = Σ_{j∈S} ⟨z_j, T⟩ / n
    """
    n = values.shape[0]
    total = linear_form.total_of(values, threads)
    scores = linear_form.scores(values, total, threads) / max(n, 1)
    order = np.argsort(-scores, kind="stable")
    order = with_limits(order, task.keep, task.eligible)
    value = float(scores[order[: task.budget]].sum())
    return Solved(
        order=order,
        gains=scores[order],
        budget=task.budget,
        value=value,
        upper_bound=value,  # modular: the k largest are the best of all sets
        random_value=_mean_of_modular(scores, task),
        ranked_to=n,
        first_negative_gain=None,
        total=total,
        parts=scores[order[: task.budget]],
    )


def _mean_of_modular(scores: np.ndarray, task: Task) -> float:
    """The mean of Σ_{j∈S} score_j over all sets of the size within the limits."""
    free = np.ones(scores.size, dtype=bool) if task.eligible is None else task.eligible.copy()
    keep = np.empty(0, dtype=np.int64) if task.keep is None else task.keep
    free[keep] = False
    drawn = task.budget - keep.size
    mean = float(scores[free].mean()) if drawn else 0.0
    return float(scores[keep].sum()) + drawn * mean


def coverage(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None
) -> Solved:
    """Facility location: value = Σ_i max_{j∈S} s_ij."""
    return _covering(values, task, options, threads)


def coverage_and_centre(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None
) -> Solved:
    """(37): value = a Σ_i max_{j∈S} s_ij + b E_{i∈V, j∈S} s_ij, where a selected row covers itself."""
    return _covering(
        values,
        task,
        options,
        threads,
        coverage_weight=options.coverage_weight,
        centre_weight=options.centre_weight,
        self_similarity=1.0,
    )


def _covering(
    values: EmbeddingMatrix,
    task: Task,
    options: SettledOptions,
    threads: int | None,
    **objective: Any,
) -> Solved:
    epsilon = None
    if options.optimizer == "stochastic":
        epsilon = STOCHASTIC_EPSILON if options.epsilon is None else options.epsilon
    path = greedy_coverage(
        np.ascontiguousarray(values, dtype=np.float32),
        task.budget,
        keep=task.keep,
        eligible=task.eligible,
        epsilon=epsilon,
        seed=options.seed + task.code,
        threads=threads,
        **objective,
    )
    order, gains = with_the_rest(path.order, path.gains, path.final_gains, task)
    return Solved(
        order=order,
        gains=gains,
        budget=task.budget,
        value=path.value,
        upper_bound=path.upper_bound,
        random_value=None,
        ranked_to=task.budget,
        first_negative_gain=None,
        total=linear_form.total_of(values, threads),
        parts=path.gains,
        facts={"evaluations": path.evaluations},
    )


def by_herding(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None
) -> Solved:
    """The mean of what is kept at the class's: value = −n ‖μ − μ_S‖.

    Gains are the score ⟨z_e, w⟩ − ‖z_e‖²/2 by which a row is not taken, and how much nearer the
    mean came by one that is.
    """
    n = values.shape[0]
    path = herding(
        np.ascontiguousarray(values, dtype=np.float32),
        task.budget,
        keep=task.keep,
        eligible=task.eligible,
        threads=threads,
    )
    start = float(np.linalg.norm(path.total)) / max(n, 1)
    gains = -np.diff(path.gaps, prepend=start)
    order, gains = with_the_rest(path.order, gains, path.final_scores, task)
    return Solved(
        order=order,
        gains=gains,
        budget=task.budget,
        value=-n * path.value,
        upper_bound=None,
        random_value=None,
        ranked_to=task.budget,
        first_negative_gain=None,
        total=path.total,
    )


def by_k_center(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None
) -> Solved:
    """Farthest-first."""
    found = k_center(values, task.budget, task.keep, task.eligible, threads)
    return _ranked(values, task, options, found, threads)


def by_prototype(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None
) -> Solved:
    """Near the class mean, or far from it."""
    end = options.objective.removeprefix("prototype-")
    return _ranked(values, task, options, prototype_order(values, end), threads)


def by_deduplication(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None
) -> Solved:
    """Those first that stay even where little similarity counts as repetition."""
    found = semantic_dedup(values, options.epsilon)
    return _ranked(values, task, options, found, threads)


def by_typicality(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None
) -> Solved:
    """Those in dense surroundings first."""
    found = typicality(values, options.neighbours, threads)
    return _ranked(values, task, options, found, threads)


def by_scores(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None
) -> Solved:
    """By numbers from elsewhere: a file's, margins, nearness to a target."""
    if task.scores is None:
        raise UsageError(f"scores for the objective {options.objective}", "none")
    found = scores_order(task.scores, options.scores_keep)
    return _ranked(values, task, options, found, threads)


def by_chance(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None
) -> Solved:
    """A random order: of this class, or its part of an order of the whole pool."""
    n = values.shape[0]
    order = random_order(n, options.seed, task.code) if task.order is None else task.order
    return _ranked(values, task, options, Ranked(order, np.full(n, np.nan), n), threads)


def _ranked(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, found: Ranked, threads: int | None
) -> Solved:
    """A ranking without a value of its own, measured by F_λ."""
    order = with_limits(found.order, task.keep, task.eligible)
    return measured(
        HeldRows(values, threads, task.sizes),
        task,
        options,
        order,
        found.scores[order],
        task.budget,
        linear_form.total_of(values, threads),
        None,
        ranked_to=found.ranked_to,
        facts=dict(found.facts),
    )
