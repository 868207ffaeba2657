"""From solved classes to a `Selection`: its facts, rule and nested selections."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contrasift.arrays import forget_pages
from contrasift.catalogue import OBJECTIVES
from contrasift.errors import UsageError
from contrasift.results import Selection
from contrasift.selection.budget import resolve_budget
from contrasift.selection.notes import notes_on
from contrasift.selection.plan import Plan
from contrasift.selection.ranking import RankedRows, Ranking
from contrasift.selection.rule import LinearRule
from contrasift.selection.summaries import certified, summarised
from contrasift.selection.task import Outcome, SettledOptions


def assemble(
    plan: Plan,
    ranked: RankedRows,
    solved: Sequence[Outcome],
    *,
    seconds: float,
    facts: Mapping[str, Any],
) -> Selection:
    """Put solved classes together.

    Args:
        plan: what was chosen from.
        ranked: the rows of every class, best first.
        solved: what is known of every class of its partition, in order.
        seconds: that it took.
        facts: of the engine that solved them.

    Raises:
        UsageError: a nested fraction that does not hold what must be kept.
    """
    pool, options, columns = plan.pool, plan.options, plan.columns
    ranking = Ranking.of(ranked, solved, plan.places.quota_order, columns)
    value = float(sum(part.value for part in solved))
    certificate = certified(value, solved)
    summaries = summarised(plan, ranking, solved)
    if plan.whole:
        ranking = ranking.split(pool.codes, len(pool.names), columns)
    return Selection(
        index=ranking.rows if pool.index is None else ranking.taken(pool.index, columns),
        gain=ranking.gains,
        selected=ranking.selected,
        order=ranking.order,
        objective=options.objective,
        redundancy=options.redundancy,
        budget=ranking.budget,
        value=value,
        certificate=certificate,
        classes=summaries,
        seconds=seconds,
        notes=notes_on(summaries, solved, options, plan.budget, plan.whole, certificate),
        facts={
            "n": pool.n,
            "dim": pool.values.shape[1],
            "n_classes": len(pool.names),
            "requested_budget": plan.budget,
            "fraction": plan.fraction,
            "measures": OBJECTIVES[options.objective].value,
            "optimizer": _optimizer(options, solved),
            "refine": options.refine,
            "allocate": plan.options.allocate,
            "rows": "scaled to length one" if pool.scale else "as they are",
            "first_negative_gain": ranking.first_negative_gain(),
            **facts,
            **_summed_facts(solved),
            **_threshold_facts(options, solved),
            **_copies_facts(plan, ranking),
        },
        rule=_rule(plan, solved, ranking),
        marks=_marks(plan, ranking),
        ids=None if pool.ids is None else pool.ids.take(ranking.rows),
        copy_of=_copies(plan, ranking),
    )


def _copies(plan: Plan, ranking: Ranking) -> np.ndarray | None:
    """Pool index of what each row is a copy of, −1 of none."""
    if plan.copy_of is None:
        return None
    index = np.where(plan.copy_of < 0, -1, plan.pool.indices(np.maximum(plan.copy_of, 0)))
    return ranking.taken(index, plan.columns)


def _copies_facts(plan: Plan, ranking: Ranking) -> dict[str, Any]:
    """How many rows are copies of others, and how many of those had to be selected."""
    if plan.copy_of is None:
        return {}
    copies = plan.copy_of >= 0
    chosen = sum(int(np.count_nonzero(copies[rows])) for rows in ranking.selected_rows())
    return {"copies": {"n": int(np.count_nonzero(copies)), "selected": chosen}}


def _optimizer(options: SettledOptions, solved: Sequence[Outcome]) -> str:
    """The optimizer, `auto` only where that was anything else than greedy."""
    sampled = any("sampled_ranks" in part.facts for part in solved)
    return "greedy" if options.optimizer == "auto" and not sampled else options.optimizer


def _summed_facts(solved: Sequence[Outcome]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    summed = ("swaps", "sweeps", "removed", "distinct", "evaluations", "sampled_ranks")
    for name in summed:
        counts = [int(part.facts[name]) for part in solved if name in part.facts]
        if counts:
            facts[name] = sum(counts)
    return facts


def _threshold_facts(options: SettledOptions, solved: Sequence[Outcome]) -> dict[str, Any]:
    """What became of τ: in how many classes some pair could be below it."""
    if options.threshold is None:
        return {}
    reasons = [str(part.facts["no_op"]) for part in solved if "no_op" in part.facts]
    facts: dict[str, Any] = {
        "threshold": options.threshold,
        "thresholded_classes": len(solved) - len(reasons),
        "linear_classes": len(reasons),
    }
    return facts | ({"linear_because": reasons[0]} if reasons else {})


def _rule(plan: Plan, solved: Sequence[Outcome], ranking: Ranking) -> dict[str, np.ndarray] | None:
    """The linear rule of a relaxed selection, as the arrays of `rule.npz`."""
    pool = plan.pool
    if plan.options.optimizer != "relaxed":
        return None
    exceptions = [np.empty(0, dtype=np.int64)]
    for code, part in enumerate(solved):
        rows = plan.partition.of_class(code)
        if part.rule is not None:
            exceptions.append(rows[part.rule.exceptions])
    rows = np.sort(np.concatenate(exceptions))
    chosen = plan.columns.new(pool.n, np.bool_)
    for some in ranking.selected_rows():
        chosen[some] = True
        forget_pages(chosen)
    width = pool.values.shape[1]
    rule = LinearRule(
        names=np.zeros(1, dtype=np.int64) if plan.whole else pool.names,
        direction=np.stack(
            [np.zeros(width) if part.rule is None else part.rule.direction for part in solved]
        ),
        threshold=np.array(
            [np.inf if part.rule is None else part.rule.threshold for part in solved]
        ),
        centroid=np.stack(
            [
                part.total / max(size, 1)
                for part, size in zip(solved, plan.partition.sizes.tolist(), strict=True)
            ]
        ),
        scaled=pool.scale,
        exception_rows=rows,
        exception_keep=chosen[rows],
        pool_shape=(pool.n, width),
        redundancy=plan.options.redundancy,
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


def _marks(plan: Plan, ranking: Ranking) -> dict[str, np.ndarray]:
    """The nested selections, by fraction."""
    marks = {}
    for share in plan.fractions:
        count = resolve_budget(plan.pool.n, fraction=share)
        if count < plan.places.least:
            raise UsageError(
                f"fractions that hold the {plan.places.least} examples that must be kept and the "
                "minimum of every class",
                f"{share:g}, which is {count}",
            )
        marks[f"{share:g}"] = ranking.mark(count, plan.columns)
    return marks
