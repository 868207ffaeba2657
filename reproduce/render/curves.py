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
    points = {
        arm: [(place_of(experiment, table), table, arm) for table in group] for arm in _arms(group)
    }
    return _panels(experiment, experiment.line, points, labels)


# What a training costs: how it is named, and what an arm of a table has of it.
COSTS: dict[str, Callable[[CellTable, str], float | None]] = {
    "processor seconds, choosing included": lambda table, arm: seconds_in_all(
        table, arm, "cpu_seconds"
    ),
    "images trained on": lambda table, arm: table.fact(arm, "image_epochs"),
}


def cost_curves(experiment: Experiment, group: Sequence[CellTable], cost: str) -> str:
    """The same means against what they cost, so that a line begins where it can be had.

    A line is an arm along the experiment's line, or one of its `ways`.

    Args:
        experiment: whose metrics are shown.
        group: tables that differ only in their place along its line; one, for `ways`.
        cost: a key of `COSTS`.
    """
    ways = experiment.ways or {arm: (arm,) for arm in _arms(group)}
    points: dict[str, list[_Point]] = {}
    for way, arms in ways.items():
        every = [(COSTS[cost](table, arm), table, arm) for table in group for arm in arms]
        points[way] = [(at, table, arm) for at, table, arm in every if at is not None]
    return _panels(experiment, cost, points, {})


def _arms(group: Sequence[CellTable]) -> list[str]:
    return list(dict.fromkeys(arm for table in group for arm in table.records))


# Where an arm of a table stands.
_Point = tuple[float, CellTable, str]


def _panels(
    experiment: Experiment,
    axis: str,
    points: Mapping[str, Sequence[_Point]],
    labels: Mapping[float, str],
) -> str:
    """Panels over all the places that any line has; labelled as given, or in round numbers."""
    points = {name: some for name, some in points.items() if some}
    places = sorted({at for some in points.values() for at, _, _ in some})

    def line(name: str, metric: str) -> list[Interval | None]:
        means = {at: table.mean(arm, metric) for at, table, arm in points[name]}
        return [means.get(at) for at in places]

    tables = [table for some in points.values() for _, table, _ in some]
    return draw_panels(
        [
            Panel(
                METRICS[metric].name,
                axis,
                places,
                [labels.get(at, f"{at:,.0f}") for at in places],
                {name: line(name, metric) for name in points},
            )
            for metric in experiment.metrics
            if any(table.values(metric) for table in tables)
        ]
    )
