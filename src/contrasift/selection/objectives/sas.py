"""One class by F_λ in linear form: greedy or relaxed, refined, measured and certified."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from contrasift.arrays import EmbeddingMatrix, column_blocks, largest_first
from contrasift.selection.degenerate import similarity_says_nothing
from contrasift.selection.kernels import linear_form
from contrasift.selection.kernels.passes import HeldRows, Passes, RowPasses
from contrasift.selection.optimizers.greedy import greedy
from contrasift.selection.optimizers.refine import double_greedy, replay, swap
from contrasift.selection.optimizers.relaxation import Relaxed, relax, upper_bound
from contrasift.selection.task import Rule, SettledOptions, Solved, Task, kept_first, with_the_rest


def solve_linear(
    values: EmbeddingMatrix | RowPasses,
    task: Task,
    options: SettledOptions,
    threads: int | None = None,
) -> Solved:
    """Rank one class by F_λ in its linear form.

    Args:
        values: z [n, d]; or passes over rows that are not held, for the relaxation.
        task: what to choose.
        options: how.
        threads: None for all processors.

    Raises:
        UsageError: the relaxation beyond the fraction 1/(2λ).
    """
    passes = values
    if not isinstance(passes, RowPasses):
        passes = HeldRows(passes, threads, task.sizes)
    if task.aim is not None:
        passes.aim(task.aim)
        # Sums over all rows are no longer T: what is reckoned by them goes by the rows themselves.
        eligible = np.ones(passes.n, dtype=bool) if task.eligible is None else task.eligible
        task = replace(task, eligible=eligible)
    nothing = similarity_says_nothing(passes)
    if nothing and task.watch is not None:
        task.watch.tell_nothing()
    solved = _solved(passes, task, options)
    if nothing:
        solved = replace(solved, facts={**solved.facts, "degenerate": 1})
    return solved


def _solved(passes: RowPasses, task: Task, options: SettledOptions) -> Solved:
    if not isinstance(passes, HeldRows):
        return solve_relaxed(passes, task, options)
    if options.optimizer == "relaxed" and task.budget > 0:
        solved = solve_relaxed(passes, task, options)
        return solved if not below_random(solved) else _better(passes, task, options, solved)
    return _by_greedy(passes, task, options)


def below_random(solved: Solved) -> bool:
    """Whether F is below the mean of random selections of the same size."""
    return solved.random_value is not None and solved.value < solved.random_value


def _better(passes: HeldRows, task: Task, options: SettledOptions, rule: Solved) -> Solved:
    """What greedy finds within bounded work, where that is better than a rule worse than chance.

    The class has no rule then: what was selected of it are exceptions to one that takes nothing.
    """
    found = _by_greedy(passes, task, replace(options, optimizer="auto", steps=20))
    if found.value <= rule.value:
        return rule
    nothing = Rule(np.zeros(passes.width), np.inf, np.sort(found.order[: found.budget]))
    return replace(found, rule=nothing, facts={**found.facts, "rule_below_random": 1})


def _by_greedy(passes: HeldRows, task: Task, options: SettledOptions) -> Solved:
    path = greedy(
        passes,
        task.budget,
        redundancy=options.redundancy,
        keep=task.keep,
        eligible=task.eligible,
        distinct=task.distinct,
        work=task.work if options.optimizer == "auto" else None,
        seed=options.seed,
        watch=task.watch,
    )
    facts: dict[str, float | int | str] = {}
    if path.exact < path.order.size:
        facts["sampled_ranks"] = path.order.size - path.exact
    if options.refine == "none" or path.order.size == 0:
        order, gains = with_the_rest(path.order, path.gains, path.final_gains, task)
        size, total, falling = path.order.size, path.total, path.first_negative_gain
        return measured(
            passes, task, options, order, gains, size, total, falling,
            chosen_sum=path.selected_sum, ranked_to=path.exact, facts=facts,
        )  # fmt: skip
    values = passes.rows
    chosen, done = _refined(values, task, options, path.order, path.total)
    facts |= done
    gains = replay(values, chosen, total=path.total, redundancy=options.redundancy)
    chosen_sum = passes.fixed_sum(chosen) / passes.scale
    order, gains = _complete(passes, task, options, chosen, gains, path.total, chosen_sum)
    falling = _first_negative(gains[: chosen.size])
    return measured(
        passes, task, options, order, gains, chosen.size, path.total, falling,
        chosen_sum=chosen_sum, facts=facts,
    )  # fmt: skip


def _refined(
    values: EmbeddingMatrix,
    task: Task,
    options: SettledOptions,
    order: np.ndarray,
    total: np.ndarray,
) -> tuple[np.ndarray, dict[str, float | int | str]]:
    """The chosen rows after refinement: those that stay in greedy order, newcomers behind them."""
    if options.refine == "swaps":
        swapped = swap(
            values,
            order,
            total=total,
            redundancy=options.redundancy,
            keep=task.keep,
            eligible=task.eligible,
        )
        stay = order[np.isin(order, swapped.selected)]
        new = np.setdiff1d(swapped.selected, order)
        return np.concatenate([stay, new]), {"swaps": swapped.swaps, "sweeps": swapped.sweeps}
    generator = None
    if options.refine == "double-greedy-random":
        generator = np.random.default_rng([options.seed, task.code])
    stays = double_greedy(
        values,
        order,
        total=total,
        redundancy=options.redundancy,
        generator=generator,
        keep=task.keep,
    )
    return order[stays], {"removed": int(order.size - stays.sum())}


def solve_relaxed(passes: Passes, task: Task, options: SettledOptions) -> Solved:
    """Rank one class by the relaxation, wherever its rows lie; the budget must not be zero.

    Args:
        passes: over the rows of the class.
        task: what to choose.
        options: how: λ and the number of steps.
    """
    n = passes.n
    usable = options.redundancy
    if 2 * usable * (task.budget - 1) >= n:
        # Minima, weights and equal shares bring single classes above the fraction 1/(2λ), where
        # the relaxation would turn round: there it chooses under the largest λ that does not.
        usable = n / (2 * task.budget)
    relaxed = relax(
        passes,
        task.budget,
        redundancy=usable,
        steps=options.steps,
        keep=task.keep,
        eligible=task.eligible,
    )
    chosen = relaxed.selected[largest_first(relaxed.scores[relaxed.selected])]
    chosen = kept_first(chosen, task.keep)
    rule, total, bound = _rule_of(relaxed, n), relaxed.total, relaxed.upper_bound
    gains = passes.replay(chosen, total, options.redundancy)
    chosen_sum = relaxed.selected_sum
    del relaxed  # its scores are as long as the class
    order, gains = _complete(passes, task, options, chosen, gains, total, chosen_sum)
    facts: dict[str, float | int | str] = {}
    if usable < options.redundancy:
        facts["lowered_redundancy"] = usable
    return measured(
        passes,
        task,
        options,
        order,
        gains,
        chosen.size,
        total,
        _first_negative(gains[: chosen.size]),
        chosen_sum=chosen_sum,
        bound=None if facts else bound,
        rule=rule,
        facts=facts,
    )


def _rule_of(relaxed: Relaxed, n: int) -> Rule:
    """The rule, and the rows where ties, must-keep or must-drop lists decide against it."""
    selected = np.zeros(n, dtype=bool)
    selected[relaxed.selected] = True
    judged = relaxed.scores >= relaxed.threshold
    return Rule(relaxed.direction, float(relaxed.threshold), np.flatnonzero(judged != selected))


def _complete(
    passes: Passes,
    task: Task,
    options: SettledOptions,
    chosen: np.ndarray,
    gains: np.ndarray,
    total: np.ndarray,
    chosen_sum: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Rank every other row behind the chosen ones, by its gain now."""
    final = passes.scores(total - (2.0 * options.redundancy) * chosen_sum)
    squares = passes.squares()
    for block in column_blocks(final.size):
        final[block] -= options.redundancy * squares[block]
    return with_the_rest(chosen, gains, final, task)


def _first_negative(gains: np.ndarray) -> int | None:
    negative = np.flatnonzero(gains < 0)
    return int(negative[0]) if negative.size else None


def measured(
    passes: Passes,
    task: Task,
    options: SettledOptions,
    order: np.ndarray,
    gains: np.ndarray,
    budget: int,
    total: np.ndarray,
    first_negative_gain: int | None,
    *,
    chosen_sum: np.ndarray | None = None,
    bound: float | None = None,
    ranked_to: int | None = None,
    rule: Rule | None = None,
    facts: dict[str, float | int | str] | None = None,
) -> Solved:
    """Add value, upper bound and random mean of the first `budget` rows of a ranking."""
    chosen = order[:budget]
    if chosen_sum is None:
        chosen_sum = passes.fixed_sum(chosen) / passes.scale
    value = linear_form.value(total, chosen_sum, options.redundancy)
    if budget in task.sizes_without_choice(passes.n):
        bound = chance = value  # there is only one such set
    else:
        if bound is None:
            bound = upper_bound(
                passes,
                chosen_sum,
                budget,
                redundancy=options.redundancy,
                total=total,
                keep=task.keep,
                eligible=task.eligible,
            )
        chance = mean_value(passes, budget, total, options.redundancy, task)
    parts = None
    if task.split:
        direction = total - options.redundancy * chosen_sum
        parts = passes.scores(direction)[chosen]
    return Solved(
        order=order,
        gains=gains,
        budget=int(budget),
        value=value,
        upper_bound=max(bound, value),
        random_value=chance,
        ranked_to=int(budget if ranked_to is None else ranked_to),
        first_negative_gain=first_negative_gain,
        total=total,
        parts=parts,
        rule=rule,
        facts=facts or {},
    )


def mean_value(
    passes: Passes,
    budget: int,
    total: np.ndarray,
    redundancy: float,
    task: Task,
) -> float:
    """The exact mean of F over all sets of this size that hold `keep` and lie in `eligible`.

    With M = M_keep + R, R the sum of k' rows drawn from the n' free ones (sum T', squares Q'):

        E R = (k'/n') T',   E‖R‖² = (k'/n') Q' + k'(k'−1)/(n'(n'−1)) (‖T'‖² − Q')

    Args:
        passes: over the rows.
        budget: k.
        total: T.
        redundancy: λ.
        task: holds `keep` and `eligible`.
    """
    squares = passes.squares()
    n = passes.n
    if task.keep is None and task.eligible is None:
        return linear_form.random_value(total, float(squares.sum()), n, budget, redundancy)
    keep = np.empty(0, dtype=np.int64) if task.keep is None else task.keep
    free = np.ones(n, dtype=bool) if task.eligible is None else task.eligible.copy()
    free[keep] = False
    rows = np.flatnonzero(free)
    kept_sum = passes.fixed_sum(keep) / passes.scale
    free_sum = passes.fixed_sum(rows) / passes.scale
    drawn, count = budget - keep.size, rows.size
    share = drawn / max(count, 1)
    both = drawn * (drawn - 1) / max(count * (count - 1), 1)
    own = float(squares[rows].sum())
    mean_sum = kept_sum + share * free_sum
    mean_square = (
        kept_sum @ kept_sum
        + 2 * share * (kept_sum @ free_sum)
        + share * own
        + both * (free_sum @ free_sum - own)
    )
    return float(mean_sum @ total - redundancy * mean_square)
