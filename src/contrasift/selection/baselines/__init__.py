"""Rankings to hold a selection against, each with its source.

All are pure functions of the rows of one class. The newer ones return a `Ranked`: all rows, best
first, the lowest of equal ones before the others, and one score a row. What must be kept or may
not be chosen is put first or last by the caller (`contrasift.selection.task.with_limits`); only
k-center needs to know of it, because it starts from what is kept.
"""

from contrasift.selection.baselines.dedup import semantic_dedup
from contrasift.selection.baselines.kcenter import k_center
from contrasift.selection.baselines.ranked import Ranked, ranked_by
from contrasift.selection.baselines.scored import (
    is_non_negative,
    prototype_order,
    published_order,
    published_scores,
    random_order,
    random_per_class_order,
    scores_order,
)
from contrasift.selection.baselines.typicality import typicality

__all__ = [
    "Ranked",
    "is_non_negative",
    "k_center",
    "prototype_order",
    "published_order",
    "published_scores",
    "random_order",
    "random_per_class_order",
    "ranked_by",
    "scores_order",
    "semantic_dedup",
    "typicality",
]
