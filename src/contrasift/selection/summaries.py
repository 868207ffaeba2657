"""What is known of every class of a selection, and the certificate of all together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contrasift.arrays import column_blocks, forget_pages
from contrasift.results import Certificate, ClassSummary
from contrasift.selection.plan import Plan, SelectionPool
from contrasift.selection.ranking import Ranking
from contrasift.selection.task import Outcome


def summarised(plan: Plan, ranking: Ranking, solved: Sequence[Outcome]) -> tuple[ClassSummary, ...]:
    """A summary of every class of the pool; where it was chosen from as a whole, of its part."""
    if plan.whole:
        return _global_summaries(plan.pool, ranking, solved[0])
    return _class_summaries(plan.pool.names, plan.partition.sizes, solved)


def _class_summaries(
    names: np.ndarray, sizes: np.ndarray, solved: Sequence[Outcome]
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
            first_negative_gain=part.first_negative_gain,
        )
        for name, size, part in zip(names.tolist(), sizes.tolist(), solved, strict=True)
    )


def _global_summaries(
    pool: SelectionPool, ranking: Ranking, whole: Outcome
) -> tuple[ClassSummary, ...]:
    """Classes of a pool that was chosen from as a whole: their parts of its one F."""
    n_classes = len(pool.names)
    budgets, sums = np.zeros(n_classes, dtype=np.int64), np.zeros(n_classes)
    for block in column_blocks(whole.budget):
        codes = pool.codes[ranking.rows[block]]
        forget_pages(pool.codes, ranking.rows)
        budgets += np.bincount(codes, minlength=n_classes)
        if whole.parts is not None:
            np.add.at(sums, codes, whole.parts[block])  # one by one, whatever the block
    values = [None] * n_classes if whole.parts is None else sums.tolist()
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


def certified(value: float, solved: Sequence[Outcome]) -> Certificate | None:
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
