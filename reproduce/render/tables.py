"""The tables of the page, row by row in Markdown: means, costs and differences of an experiment's cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from reproduce.declared.declaring import Experiment
from reproduce.metrics.extras import METRICS
from reproduce.render.cell_table import HALF_WIDTHS, CellTable
from reproduce.render.cost_to_target import seconds_in_all
from reproduce.render.formatting import UNKNOWN, difference_text, mean_text, setting_text


def along_line(experiment: Experiment, group: Sequence[CellTable]) -> Iterator[str]:
    """One arm along the experiment's line: a row a metric, a column a place."""
    rest = {axis: label for axis, label in group[0].setting.items() if axis != experiment.line}
    (arm,) = {arm for table in group for arm in table.records}
    yield from (f"### {setting_text(rest)}", "")
    places = {table.setting[experiment.line]: table for table in group}
    columns = {label: partial(_mean_of, table, arm) for label, table in places.items()}
    yield from _by_metric(experiment, experiment.line, columns)
    seeds = " | ".join(str(len(table.records[arm])) for table in group)
    yield f"| seeds | {seeds} |"


def side_by_side(experiment: Experiment, table: CellTable) -> Iterator[str]:
    """Arms and their differences: a row a metric, where there are too many for columns."""
    reference = experiment.reference
    columns = {arm: partial(_mean_of, table, arm) for arm in table.records}
    for arm in table.records:
        if arm != reference:
            columns[f"{arm} less {reference}"] = partial(_difference_of, table, arm, reference)
    yield from _by_metric(experiment, "", columns)


def _by_metric(
    experiment: Experiment, head: str, columns: Mapping[str, Callable[[str], str]]
) -> Iterator[str]:
    """A row a metric that anything is known of."""
    yield f"| {head} | " + " | ".join(columns) + " |"
    yield "|---|" + "---:|" * len(columns)
    for metric in experiment.metrics:
        cells = [text_of(metric) for text_of in columns.values()]
        if set(cells) != {UNKNOWN}:
            yield f"| {METRICS[metric].name} | {' | '.join(cells)} |"


def _mean_of(table: CellTable, arm: str, metric: str) -> str:
    return mean_text(table.mean(arm, metric), METRICS[metric].digits)


def _difference_of(table: CellTable, arm: str, reference: str, metric: str) -> str:
    return difference_text(table.difference(arm, reference, metric), METRICS[metric].digits)


def means(experiment: Experiment, table: CellTable) -> Iterator[str]:
    """A row an arm: its metrics, its classes, and what it costs."""
    names = [METRICS[metric].name for metric in experiment.metrics]
    names += ["classes", "NMI", "choosing, s", "training, s", "both, s", "1000 images", "seeds"]
    yield f"| | {' | '.join(names)} |"
    yield "|---|" + "---:|" * len(names)
    for arm in table.records:
        cells = [_mean_of(table, arm, metric) for metric in experiment.metrics]
        cells += [_count(table.fact(arm, "n_classes")), _share(table.fact(arm, "nmi"))]
        cells += [_count(table.seconds(arm)), _count(table.seconds(arm, "train"))]
        seen = table.fact(arm, "image_epochs")
        cells += [_count(seconds_in_all(table, arm)), _count(None if seen is None else seen / 1000)]
        yield f"| {arm} | {' | '.join(cells)} | {len(table.records[arm])} |"


def differences(experiment: Experiment, table: CellTable) -> Iterator[str]:
    """A row an arm: its metrics less the reference's, and how many pairs would tell more."""
    reference = experiment.reference
    names = [METRICS[metric].name for metric in experiment.metrics]
    yield f"| less {reference} | " + " | ".join(names) + " |"
    yield "|---|" + "---:|" * len(names)
    arms = [arm for arm in table.records if arm != reference]
    for arm in arms:
        cells = [_difference_of(table, arm, reference, metric) for metric in experiment.metrics]
        yield f"| {arm} | {' | '.join(cells)} |"
    needed = [table.pairs(arms, reference, metric) for metric in experiment.metrics]
    for place, width in enumerate(HALF_WIDTHS):
        cells = [UNKNOWN if one is None else f"{one[place]:,}" for one in needed]
        yield f"| *pairs for ±{width:g} points* | {' | '.join(cells)} |"


def _count(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"
