"""RESULTS.md: every number in it comes from the JSON of finished cells."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from contrasift.errors import DataError
from contrasift.store.atomic import write_text
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.declared.declaring import PHASES, Experiment, slug
from reproduce.declared.scales import SCALES
from reproduce.declared.texts import TEXT_BATCHES, TEXT_BOUNDS
from reproduce.render.cell_table import Table, compute_spent, tables_of
from reproduce.render.claims import (
    Decided,
    decided,
    in_words,
    intervals,
    missed_by_chance,
    untried,
)
from reproduce.render.cost_to_target import reach_table
from reproduce.render.curves import curves, curves_of
from reproduce.render.difficulty import (
    difficulty_figure,
    difficulty_readings,
    pairs_rows,
)
from reproduce.render.forest import forest
from reproduce.render.formatting import setting_text
from reproduce.render.pictures import FOLDER, picture_names
from reproduce.render.repeats import again_section, processors_note
from reproduce.render.tables import along_line, differences, means, side_by_side
from reproduce.render.text_bounds import FOLDER as TEXTS
from reproduce.render.text_bounds import TextStudy, text_studies
from reproduce.repeat import FOLDER as AGAIN
from reproduce.repeat import read_again
from reproduce.runner import read_results

_UNTRIED = "Claims of the papers without finished cells"
_MOST_COLUMNS = 8  # a table with more metrics has a row for each
_PHASE_NAMES = {
    "confirm": "confirmed on test images, fresh seeds",
    "explore": "explored on the validation split",
}
_INTRODUCTION = """# Results

Made by `python -m reproduce --write-results` from the JSON files in `{results}` and beside it; nothing here is
written by hand. Accuracies and other shares in percent, mean ± standard error over seeds; differences
are of runs with equal seeds, in points or in the metric's own unit, with their 95 % t-interval.
Exploration (the validation split) and confirmation (test images, fresh seeds) are kept apart: only what
is confirmed is a claim. Seconds are of whatever else the machine was doing.
"""


def write_page(results: Path) -> Path:
    """RESULTS.md beside a folder of results, and one SVG a table in `plots/`.

    Args:
        results: the folder, with one sub-folder an experiment.

    Returns:
        The page.

    Raises:
        DataError: there are no results.
    """
    records = list(read_results(results))
    if not records:
        raise DataError(f"results in {results}", "none", "Make some: python -m reproduce headroom")
    page = results.parent / "RESULTS.md"
    plots = results.parent / "plots"
    parts = [_INTRODUCTION.format(results=results.name)]
    sections: list[str] = []
    claims: dict[str, list[Decided]] = {phase: [] for phase in PHASES}
    for experiment in EXPERIMENTS.values():
        for scale in SCALES:
            for phase in reversed(PHASES):
                tables = tables_of(experiment, records, scale, phase)
                if not tables:
                    continue
                sections.append(_section(experiment, scale, phase, tables, plots))
                claims[phase] += decided(experiment, scale, tables)
    for study in text_studies(results.parent / TEXTS):
        sections.append(_texts_section(study, plots))
        claims["confirm"] += decided(TEXT_BOUNDS, "cpu", study.along())
        claims["confirm"] += decided(TEXT_BATCHES, "cpu", [study.beside()])
    repeated = list(read_again(results.parent / AGAIN))
    if repeated:
        sections.append("\n".join(again_section(repeated)))
    parts.append(_spent(records))
    for phase in reversed(PHASES):
        if claims[phase]:
            parts.append(_claims_text(phase, claims[phase]))
    parts += _folded("Every section", _contents(sections))
    write_text(page, "\n".join([*parts, *sections, *_on_gpus()]))
    return page


def _contents(sections: Iterable[str]) -> Iterator[str]:
    """A link to each section, by the anchor that GitHub makes of its heading."""
    for section in sections:
        heading = section.partition("\n")[0].removeprefix("## ")
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        yield f"- [{heading}](#{anchor})"


def _on_gpus() -> Iterator[str]:
    """The commands for the papers' own sizes."""
    yield from ("## On GPUs", "")
    yield (
        "The same with the papers' own pools, networks and schedules. Each command estimates its time "
        "first and is refused above `--budget` hours; `--only` takes a part, `--dry-run` lists the cells. "
        "Several of them on several GPUs share one `--work` folder."
    )
    yield from ("", "| command | pools | cells a seed |", "|---|---|---:|")
    for experiment in EXPERIMENTS.values():
        pools = experiment.pools.get("paper", SCALES["paper"].pools)
        cells = len(pools) * math.prod(map(len, experiment.axes.values())) * len(experiment.arms)
        command = f"python -m reproduce {experiment.name} --scale paper --device cuda"
        yield f"| `{command}` | {', '.join(pools)} | {cells} |"
    yield ""


def _spent(records: Sequence[Mapping[str, Any]]) -> str:
    keys = {record["key"] for record in records}
    hours = compute_spent(records) / 3600
    machines = sorted({record["made_with"]["processor"] for record in records})
    return (
        f"{len(keys)} different cells, {hours:.1f} hours of work in all, proxies, selections and "
        f"evaluations included; on {', '.join(machines)}.\n"
    )


def _claims_text(phase: str, found: Sequence[Decided]) -> str:
    # Exploration need not speak of every claim.
    missing = untried(EXPERIMENTS.values(), found) if phase == "confirm" else []
    return "\n".join(
        [
            f"## What can be said: {_PHASE_NAMES[phase]}",
            "",
            "A claim is a weighted sum of arms. It *holds* or *fails* where the 95 % interval of that "
            "sum lies wholly on one side of its margin, and else *can't be told* from these seeds. "
            "The scale is `cpu` where none is named. " + missed_by_chance(found),
            "",
            *in_words(found),
            "",
            *_folded("Every interval", intervals(found)),
            *(_folded(_UNTRIED, [f"- {text}" for text in missing]) if missing else ()),
        ]
    )


def _folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from (f"<details><summary>{title}</summary>", "", *lines, "", "</details>", "")


def _section(
    experiment: Experiment, scale: str, phase: str, tables: Sequence[Table], plots: Path
) -> str:
    lines = [
        f"## {experiment.title} (`{experiment.name}`, {scale}, {phase})",
        "",
        f"Shows {experiment.shows}; {_PHASE_NAMES[phase]}; {SCALES[scale].says}. Again:",
        "",
        "```",
        *sorted({_command(experiment, scale, phase, table) for table in tables}),
        "```",
        "",
    ]
    stem = f"{experiment.name}-{scale}-{phase}"
    for group, drawn in curves_of(experiment, tables):
        if drawn:
            lines += [_curve(experiment, stem, group, plots), ""]
        if drawn and experiment.reach is not None:
            lines += [*reach_table(experiment, group), ""]
        if drawn and len({arm for table in group for arm in table.records}) == 1:
            lines += [*along_line(experiment, group), "", *_noted(group)]
            continue
        for table in group:
            lines += [f"### {setting_text(table.setting)}", ""]
            if len(experiment.metrics) > _MOST_COLUMNS:
                lines += [*side_by_side(experiment, table), ""]
            else:
                lines += [*means(experiment, table), "", *differences(experiment, table), ""]
            lines += _noted([table])
            if not drawn:
                name = slug(f"{stem}-{'-'.join(table.setting.values())}")
                write_text(plots / f"{name}.svg", forest(experiment, table))
                lines += [f"![differences](plots/{name}.svg)", ""]
                lines += _by_difficulty(table, f"{name}-by-difficulty", plots)
    for table in tables:
        for arm in table.records:
            names = picture_names(experiment.name, scale, phase, table.setting, arm)
            lines += _pictures(names, f"{setting_text(table.setting)}, {arm}", plots)
    return "\n".join(lines)


def _texts_section(study: TextStudy, plots: Path) -> str:
    """The two experiments on a collection of texts."""
    lines = [
        f"## {TEXT_BOUNDS.title} ({study.name})",
        "",
        f"Shows {TEXT_BOUNDS.shows}, and {TEXT_BATCHES.shows}; {study.says()}. Seeds from 0. "
        f"{study.made_with()}. Again:",
        "",
        "```",
        study.command(),
        "```",
        "",
        _curve(TEXT_BOUNDS, TEXT_BOUNDS.name, study.along(), plots),
        "",
        *along_line(TEXT_BOUNDS, study.along()),
        "",
        *differences(TEXT_BATCHES, study.beside()),
        "",
    ]
    return "\n".join(lines)


def _pictures(names: Mapping[str, str], where: str, plots: Path) -> Iterator[str]:
    """Those that `--pictures` has drawn."""
    for shows, name in names.items():
        if (plots.parent / FOLDER / name).is_file():
            yield from (f"{where}: {shows}", "", f"![{shows}]({FOLDER}/{name})", "")


def _noted(tables: Sequence[Table]) -> Iterator[str]:
    for note in dict.fromkeys(filter(None, map(processors_note, tables))):
        yield from (note, "")


def _by_difficulty(table: Table, name: str, plots: Path) -> Iterator[str]:
    """The figure and the pairs of classes of cells that have read them."""
    readings = difficulty_readings(table)
    if not readings:
        return
    write_text(plots / f"{name}.svg", difficulty_figure(readings))
    yield from (f"![by percentile of difficulty, means over seeds](plots/{name}.svg)", "")
    yield (
        "Classes at the extremes: mean cosine, and how many seeds have the pair among their ten, "
        "whichever of the two is the query's."
    )
    yield from ("", *pairs_rows(readings), "")


def _curve(experiment: Experiment, stem: str, group: Sequence[Table], plots: Path) -> str:
    """The figure of a group along the experiment's line, and what it shows."""
    rest = {axis: label for axis, label in group[0].setting.items() if axis != experiment.line}
    name = slug(f"{stem}-{'-'.join(rest.values())}-by-{experiment.line}")
    write_text(plots / f"{name}.svg", curves(experiment, group))
    where = f"{setting_text(rest)}: means by {experiment.line}, bars of one standard error"
    return f"![{where}](plots/{name}.svg)"


def _command(experiment: Experiment, scale: str, phase: str, table: Table) -> str:
    seeds = max(len(by_seed) for by_seed in table.records.values())
    parts = ["python", "-m", "reproduce", experiment.name, "--scale", scale, "--seeds", str(seeds)]
    parts += ["--explore"] if phase == "explore" else []
    own = {"pool", *experiment.axes}
    for option, value in table.setting.items():
        if option not in own:
            parts += ["--set", f"{option}={value}"]
    return shlex.join(parts)
