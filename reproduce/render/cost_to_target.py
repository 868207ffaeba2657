"""What it costs to have a given accuracy: seconds of choosing and of training together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reproduce.declared.declaring import Experiment
from reproduce.metrics.extras import METRICS
from reproduce.render.cell_table import CellTable


def seconds_in_all(table: CellTable, arm: str, of: str = "seconds") -> float | None:
    """Mean seconds of proxy, embedding, classes, selection and training; not of evaluation."""
    chosen, trained = table.seconds(arm, of=of), table.seconds(arm, "train", of=of)
    return None if chosen is None or trained is None else chosen + trained


def cheapest(
    experiment: Experiment, group: Sequence[CellTable], arm: str, metric: str
) -> tuple[float, str] | None:
    """The fewest seconds in which an arm has, on the mean over seeds, the target accuracy.

    Only the measured places along the line are looked at: nothing is interpolated.

    Args:
        experiment: with `line` and `target`.
        group: tables that differ only in their place along the line.
        arm: whose cost.
        metric: in which, larger being better.

    Returns:
        Seconds, and the place's label; None where the arm has it nowhere, or where there is no target.
    """
    assert experiment.target is not None
    goal_arm, goal_label = experiment.target
    labelled = {table.setting[experiment.line]: table for table in group}
    goal = labelled[goal_label].mean(goal_arm, metric) if goal_label in labelled else None
    found: list[tuple[float, str]] = []
    for label, table in labelled.items():
        own, seconds = table.mean(arm, metric), seconds_in_all(table, arm)
        if goal is not None and own is not None and seconds is not None and own.mean >= goal.mean:
            found.append((seconds, label))
    return min(found, default=None)


def cost_table(experiment: Experiment, group: Sequence[CellTable]) -> Iterator[str]:
    """A row an arm, a column an accuracy: seconds until it has the target accuracy, and where.

    Over the seeds that all have: seconds differ more between seeds than between arms.
    """
    assert experiment.target is not None
    seeds = set.intersection(*(table.seeds() for table in group))
    if not seeds:
        yield "The cost of the target needs a seed in common to all arms."
        return
    group = [table.at(seeds) for table in group]
    goal_arm, goal_label = experiment.target
    metrics = [metric for metric in experiment.metrics if METRICS[metric].in_points]
    yield (
        f"Seconds, choosing included, until an arm has what *{goal_arm}* has at {goal_label} "
        f"({experiment.line}), over the seeds that all have ({len(seeds)}); in brackets the place at "
        "which it has it:"
    )
    yield ""
    yield "| | " + " | ".join(METRICS[metric].name for metric in metrics) + " |"
    yield "|---|" + "---:|" * len(metrics)
    for arm in dict.fromkeys(arm for table in group for arm in table.records):
        cells = []
        for metric in metrics:
            found = cheapest(experiment, group, arm, metric)
            cells.append("not reached" if found is None else f"{found[0]:,.0f} ({found[1]})")
        yield f"| {arm} | {' | '.join(cells)} |"
