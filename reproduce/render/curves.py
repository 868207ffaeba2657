"""Metrics along an axis of numbers: a panel a metric and a line an arm."""

from __future__ import annotations

from collections.abc import Sequence

from reproduce.declared.declaring import Experiment
from reproduce.metrics.extras import METRICS
from reproduce.render.cell_table import CellTable
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
    places = [place_of(experiment, table) for table in group]
    labels = [table.setting[experiment.line] for table in group]
    arms = list(dict.fromkeys(arm for table in group for arm in table.records))
    return draw_panels(
        [
            Panel(
                METRICS[metric].name,
                experiment.line,
                places,
                labels,
                {arm: [table.mean(arm, metric) for table in group] for arm in arms},
            )
            for metric in experiment.metrics
            if any(table.values(metric) for table in group)
        ]
    )
