"""Metrics along an axis of numbers: a panel a metric and a line an arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from contrasift.evaluation import Interval
from reproduce.declared.declaring import Experiment
from reproduce.metrics.extras import METRICS
from reproduce.render.cell_table import CellTable
from reproduce.render.cost_to_target import seconds_in_all
from reproduce.render.panels import Panel, draw_panels


def curves_of(
    experiment: Experiment, tables: Sequence[CellTable]
) -> list[tuple[list[CellTable], bool]]:
    """Tables that differ only in their place along the experiment's line, from low to high.

    Returns:
        Groups in the order of their first tables, and whether each has two places or more, so that
        a line can be drawn.
    """
    groups: dict[tuple, list[CellTable]] = {}
    for table in tables:
        rest = tuple(
            (axis, label) for axis, label in table.setting.items() if axis != experiment.line
        )
        groups.setdefault(rest, []).append(table)
    return [
        (sorted(group, key=lambda one: place_of(experiment, one)), True)
        if experiment.line and len(group) > 1
        else (group, False)
        for group in groups.values()
    ]


def place_of(experiment: Experiment, table: CellTable) -> float:
    """Where a table stands along the experiment's line."""
    return float(table.setting[experiment.line])


def curves(experiment: Experiment, group: Sequence[CellTable]) -> str:
    """A panel a metric, a line an arm: its means, and their standard errors as bars.

    Args:
        experiment: whose line and metrics are shown.
        group: tables that differ only in their place along that line, from low to high.
    """
    labels = {place_of(experiment, table): table.setting[experiment.line] for table in group}
    return _panels(
        experiment, group, experiment.line, lambda table, _: place_of(experiment, table), labels
    )


# What a training costs: how it is named, and what an arm of a table has of it.
COSTS: dict[str, Callable[[CellTable, str], float | None]] = {
    "seconds, choosing included": seconds_in_all,
    "images trained on": lambda table, arm: table.fact(arm, "image_epochs"),
}


def cost_curves(experiment: Experiment, group: Sequence[CellTable], cost: str) -> str:
    """The same means against what they cost, so that an arm's line begins where it can be had.

    Args:
        experiment: whose metrics are shown.
        group: tables that differ only in their place along its line.
        cost: a key of `COSTS`.
    """
    return _panels(experiment, group, cost, COSTS[cost], {})


def _panels(
    experiment: Experiment,
    group: Sequence[CellTable],
    axis: str,
    place: Callable[[CellTable, str], float | None],
    labels: Mapping[float, str],
) -> str:
    """Panels over places that every arm has of its own; labelled as given, or in round numbers."""
    found = {(id(table), arm): place(table, arm) for table in group for arm in table.records}
    places = sorted({at for at in found.values() if at is not None})
    arms = list(dict.fromkeys(arm for table in group for arm in table.records))

    def line(arm: str, metric: str) -> list[Interval | None]:
        means = {found.get((id(table), arm)): table.mean(arm, metric) for table in group}
        return [means.get(at) for at in places]

    return draw_panels(
        [
            Panel(
                METRICS[metric].name,
                axis,
                places,
                [labels.get(at, f"{at:,.0f}") for at in places],
                {arm: line(arm, metric) for arm in arms},
            )
            for metric in experiment.metrics
            if any(table.values(metric) for table in group)
        ]
    )
