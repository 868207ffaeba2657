"""The page of one experiment: the answer, figures, tables, every interval, and how to repeat it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reproduce.declared.declaring import Experiment, slug
from reproduce.declared.scales import SCALES
from reproduce.declared.texts import TEXT_BATCHES, TEXT_BOUNDS
from reproduce.metrics.extras import METRICS
from reproduce.render.cell_table import CellTable
from reproduce.render.claims import Decided, answers, in_words, intervals
from reproduce.render.cost_to_target import cost_table
from reproduce.render.curves import COSTS, cost_curves, curves, curves_of
from reproduce.render.difficulty import difficulty_figure, measured_difficulty, pairs_rows
from reproduce.render.forest import forest
from reproduce.render.formatting import difference_text, mean_text, setting_text
from reproduce.render.pictures import picture_names
from reproduce.render.repeats import processors_note
from reproduce.render.tables import along_line, differences, means, side_by_side
from reproduce.render.text_bounds import TextStudy

_MOST_COLUMNS = 8  # a table with more metrics has a row for each
_JUDGED_ON = {
    "confirm": "Confirmed: evaluated on test images, with fresh seeds.",
    "explore": "Exploration: evaluated on a validation split. It decides no claim.",
}
_USUAL_METRIC = "knn"
_LEGEND = (
    "Accuracies and other shares are in percent, mean ± standard error over seeds. Differences are "
    "of runs with equal seeds, in points or in the metric's own unit, with their 95 % t-interval. "
    "Timings were taken on a shared machine."
)

# File names of plots and what they show.
Plots = dict[str, str]


@dataclass(frozen=True)
class ExperimentPart:
    """What there is of an experiment at one scale and in one phase.

    Attributes:
        scale: `cpu`, `paper` or `tiny`.
        phase: `confirm` or `explore`.
        tables: its settings.
        claims: what they decide.
    """

    scale: str
    phase: str
    tables: Sequence[CellTable]
    claims: Sequence[Decided]


def experiment_page(
    experiment: Experiment, parts: Sequence[ExperimentPart], plots: Path, shown: Plots
) -> str:
    """The page of an experiment.

    Args:
        experiment: which.
        parts: what there is of it, confirmed first.
        plots: the folder of plots, in which pictures of `--pictures` may lie.
        shown: takes the plots that the page shows.
    """
    lines = [f"# {experiment.title}", ""]
    lines += _answer(experiment, parts)
    lines += [f"Shows: {experiment.shows}.", "", _LEGEND, ""]
    for part in parts:
        lines += _part(experiment, part, plots, shown)
    return "\n".join(lines)


def _answer(experiment: Experiment, parts: Sequence[ExperimentPart]) -> Iterator[str]:
    """What the numbers say, before any of them."""
    first = parts[0]
    if first.claims:
        yield from answers(first.claims)
        yield ""
        return
    metric = _USUAL_METRIC if _USUAL_METRIC in experiment.metrics else experiment.metrics[0]
    shown = METRICS[metric]
    for table in first.tables:
        found = {arm: table.mean(arm, metric) for arm in table.records}
        known = {arm: one for arm, one in found.items() if one is not None}
        best = max(known, key=lambda arm: known[arm].mean, default=None)
        if best is None:
            continue
        yield (
            f"- {setting_text(table.setting)}: highest {shown.name} **{best}**, "
            f"{mean_text(known[best], shown.digits)}"
            + _against(table, best, experiment.reference, metric)
        )
    yield ""


def _against(table: CellTable, arm: str, reference: str, metric: str) -> str:
    difference = None if arm == reference else table.difference(arm, reference, metric)
    if difference is None:
        return ""
    return f"; less {reference} {difference_text(difference, METRICS[metric].digits)}"


def _part(experiment: Experiment, part: ExperimentPart, plots: Path, shown: Plots) -> Iterator[str]:
    yield from (f"## {_JUDGED_ON[part.phase].partition(':')[0]}, scale `{part.scale}`", "")
    yield f"{_JUDGED_ON[part.phase]} Scale: {SCALES[part.scale].description}."
    yield ""
    stem = f"{experiment.name}-{part.scale}-{part.phase}"
    for group, drawn in curves_of(experiment, part.tables):
        yield from _group(experiment, stem, group, drawn, shown)
    for table in part.tables:
        for arm in table.records:
            names = picture_names(experiment.name, part.scale, part.phase, table.setting, arm)
            yield from _pictures(names, f"{setting_text(table.setting)}, {arm}", plots)
    if part.claims:
        yield from folded("Where each claim holds", in_words(part.claims))
        yield from folded("Every interval", intervals(part.claims))
    yield from ("Reproduce:", "", "```")
    yield from sorted({_command(experiment, part, table) for table in part.tables})
    yield from ("```", "")


def _group(
    experiment: Experiment, stem: str, group: Sequence[CellTable], drawn: bool, shown: Plots
) -> Iterator[str]:
    """Tables that differ along the experiment's line alone, with their figure."""
    if drawn:
        yield from (_curve(experiment, stem, group, shown), "")
        if experiment.target is not None:
            yield from (*cost_table(experiment, group), "")
            for cost in COSTS:
                yield from (_curve(experiment, stem, group, shown, cost), "")
        if len({arm for table in group for arm in table.records}) == 1:
            yield from (*along_line(experiment, group), "", *_noted(group))
            return
    for table in group:
        yield from (f"### {setting_text(table.setting)}", "")
        if len(experiment.metrics) > _MOST_COLUMNS:
            yield from (*side_by_side(experiment, table), "")
        else:
            yield from (*means(experiment, table), "", *differences(experiment, table), "")
        yield from _noted([table])
        if not drawn:
            name = slug(f"{stem}-{'-'.join(table.setting.values())}")
            shown[name] = forest(experiment, table)
            yield from (f"![differences](plots/{name}.svg)", "")
            yield from _by_difficulty(table, f"{name}-by-difficulty", shown)


def text_page(study: TextStudy, claims: Sequence[Decided], shown: Plots) -> str:
    """The two experiments on a collection of texts."""
    lines = [
        f"# {TEXT_BOUNDS.title} ({study.name})",
        "",
        *answers(claims),
        "",
        f"Shows: {TEXT_BOUNDS.shows}, and {TEXT_BATCHES.shows}.",
        "",
        _LEGEND,
        "",
        f"Data: {study.description()}. Seeds from 0. {study.made_with()}.",
        "",
        *folded("Every interval", intervals(claims)),
        _curve(TEXT_BOUNDS, TEXT_BOUNDS.name, study.along(), shown),
        "",
        *along_line(TEXT_BOUNDS, study.along()),
        "",
        *differences(TEXT_BATCHES, study.beside()),
        "",
        "Reproduce:",
        "",
        "```",
        study.command(),
        "```",
        "",
    ]
    return "\n".join(lines)


def folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Lines that a reader opens."""
    yield from (f"<details><summary>{title}</summary>", "", *lines, "", "</details>", "")


def pictures_of(page: str) -> list[str]:
    """File names of the plots and pictures that a page shows."""
    return re.findall(r"\]\(plots/([^)]+\.svg)\)", page)


def _pictures(names: Mapping[str, str], where: str, plots: Path) -> Iterator[str]:
    """Those that `--pictures` has drawn."""
    for shows, name in names.items():
        if (plots / name).is_file():
            yield from (f"{where}: {shows}", "", f"![{shows}](plots/{name})", "")


def _noted(tables: Sequence[CellTable]) -> Iterator[str]:
    for note in dict.fromkeys(filter(None, map(processors_note, tables))):
        yield from (note, "")


def _by_difficulty(table: CellTable, name: str, shown: Plots) -> Iterator[str]:
    """The figure and the pairs of classes of cells that have measured them."""
    found = measured_difficulty(table)
    if not found:
        return
    shown[name] = difficulty_figure(found)
    yield from (f"![by percentile of difficulty, means over seeds](plots/{name}.svg)", "")
    yield (
        "Classes at the extremes: mean cosine, and how many seeds have the pair among their ten, "
        "whichever of the two is the query's."
    )
    yield from ("", *pairs_rows(found), "")


def _curve(
    experiment: Experiment, stem: str, group: Sequence[CellTable], shown: Plots, cost: str = ""
) -> str:
    """The figure of a group along the experiment's line, or against a cost, and what it shows."""
    rest = {axis: label for axis, label in group[0].setting.items() if axis != experiment.line}
    against = cost or experiment.line
    name = slug(f"{stem}-{'-'.join(rest.values())}-by-{against}")
    shown[name] = cost_curves(experiment, group, cost) if cost else curves(experiment, group)
    where = f"{setting_text(rest)}: means by {against}, bars of one standard error"
    return f"![{where}](plots/{name}.svg)"


def _command(experiment: Experiment, part: ExperimentPart, table: CellTable) -> str:
    seeds = max(len(by_seed) for by_seed in table.records.values())
    parts = ["python", "-m", "reproduce", experiment.name]
    parts += ["--scale", part.scale, "--seeds", str(seeds)]
    parts += ["--explore"] if part.phase == "explore" else []
    own = {"pool", *experiment.axes}
    for option, value in table.setting.items():
        if option not in own:
            parts += ["--set", f"{option}={value}"]
    return shlex.join(parts)
