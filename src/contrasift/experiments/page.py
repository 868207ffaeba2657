"""RESULTS.md: every number in it comes from the JSON of finished cells."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from contrasift.errors import DataError
from contrasift.evaluation import Interval
from contrasift.experiments.catalogue import EXPERIMENTS
from contrasift.experiments.declaring import PHASES, Experiment
from contrasift.experiments.figures import forest
from contrasift.experiments.performing import read_results
from contrasift.experiments.reading import REACHES, Table, compute_spent, tables_of
from contrasift.experiments.scales import SCALES
from contrasift.experiments.statistics import FAILS, HOLDS, OPEN
from contrasift.store.atomic import write_text

METRIC_NAMES = {
    "linear": "linear",
    "few_10": "10 labels a class",
    "few_1pct": "1 % labels",
    "knn": "kNN",
    "mean_classifier": "mean classifier",
}
_PHASE_NAMES = {
    "confirm": "confirmed on test images, fresh seeds",
    "explore": "explored on the validation split",
}
_INTRODUCTION = """# Results

Made by `contrasift experiment --write-results` from the JSON files in `{results}`; nothing here is
written by hand. Accuracies in percent, mean ± standard error over seeds; differences are of runs with
equal seeds, in points, with their 95 % t-interval. Exploration (the validation split) and
confirmation (test images, fresh seeds) are kept apart: only what is confirmed is a claim.
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
        raise DataError(
            f"results in {results}", "none", "Make some: contrasift experiment headroom"
        )
    page = results.parent / "RESULTS.md"
    plots = results.parent / "plots"
    parts = [_INTRODUCTION.format(results=results.name)]
    sections: list[str] = []
    claims: dict[str, list[str]] = {phase: [] for phase in PHASES}
    for experiment in EXPERIMENTS.values():
        for scale in SCALES:
            for phase in reversed(PHASES):
                tables = tables_of(experiment, records, scale, phase)
                if not tables:
                    continue
                sections.append(_section(experiment, scale, phase, tables, plots))
                claims[phase] += _claim_rows(experiment, scale, tables)
    parts.append(_spent(records))
    for phase in reversed(PHASES):
        if claims[phase]:
            parts.append(_claims_text(phase, claims[phase]))
    write_text(page, "\n".join([*parts, *sections]))
    return page


def _spent(records: Sequence[Mapping[str, Any]]) -> str:
    keys = {record["key"] for record in records}
    hours = compute_spent(records) / 3600
    machines = sorted({record["made_with"]["processor"] for record in records})
    return (
        f"{len(keys)} different cells, {hours:.1f} hours of work in all, proxies, selections and "
        f"evaluations included; on {', '.join(machines)}.\n"
    )


def _claims_text(phase: str, rows: list[str]) -> str:
    return "\n".join(
        [
            f"## What can be said: {_PHASE_NAMES[phase]}",
            "",
            "A claim is a weighted sum of arms. It *holds* or *fails* where the 95 % interval of that "
            "sum lies wholly on one side of its margin, and else *can't be told* from these seeds.",
            "",
            "| claim | of | where | by | points | verdict |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _claim_rows(experiment: Experiment, scale: str, tables: Sequence[Table]) -> Iterator[str]:
    for claim in experiment.claims:
        for table in tables:
            if any(table.setting.get(axis) != label for axis, label in claim.where.items()):
                continue
            for metric in claim.metrics:
                verdict = table.decide(claim, metric)
                if verdict.interval is None:
                    continue
                where = f"{scale}: {_setting(table)}"
                mark = {HOLDS: f"**{HOLDS}**", FAILS: f"**{FAILS}**", OPEN: OPEN}[verdict.word]
                margin = f" (margin {claim.margin:+g})" if claim.margin else ""
                yield (
                    f"| {claim.text}{margin} | {claim.source or '–'} | {where} "
                    f"| {METRIC_NAMES.get(metric, metric)} | {_difference(verdict.interval)} "
                    f"| {mark} |"
                )


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
    for table in tables:
        name = _slug(f"{experiment.name}-{scale}-{phase}-{'-'.join(table.setting.values())}")
        write_text(plots / f"{name}.svg", forest(experiment, table, METRIC_NAMES))
        lines += [f"### {_setting(table)}", "", *_table(experiment, table), ""]
        lines += [*_differences(experiment, table), "", f"![differences](plots/{name}.svg)", ""]
    return "\n".join(lines)


def _command(experiment: Experiment, scale: str, phase: str, table: Table) -> str:
    seeds = max(len(by_seed) for by_seed in table.records.values())
    parts = ["contrasift", "experiment", experiment.name, "--scale", scale, "--seeds", str(seeds)]
    parts += ["--explore"] if phase == "explore" else []
    own = {"pool", *experiment.axes}
    for option, value in table.setting.items():
        if option not in own:
            parts += ["--set", f"{option}={value}"]
    return shlex.join(parts)


def _table(experiment: Experiment, table: Table) -> Iterator[str]:
    names = [METRIC_NAMES.get(metric, metric) for metric in experiment.metrics]
    yield (
        "| | "
        + " | ".join([*names, "classes", "NMI", "choosing, s", "training, s", "seeds"])
        + " |"
    )
    yield "|---|" + "---:|" * (len(names) + 5)
    for arm in table.records:
        cells = [_accuracy(table.mean(arm, metric)) for metric in experiment.metrics]
        cells += [_count(table.fact(arm, "n_classes")), _share(table.fact(arm, "nmi"))]
        cells += [_count(table.seconds(arm)), _count(table.seconds(arm, "train"))]
        yield f"| {arm} | {' | '.join(cells)} | {len(table.records[arm])} |"


def _differences(experiment: Experiment, table: Table) -> Iterator[str]:
    reference = experiment.reference
    names = [METRIC_NAMES.get(metric, metric) for metric in experiment.metrics]
    yield f"| less {reference} | " + " | ".join(names) + " |"
    yield "|---|" + "---:|" * len(names)
    arms = [arm for arm in table.records if arm != reference]
    for arm in arms:
        cells = [
            _difference(table.difference(arm, reference, metric)) for metric in experiment.metrics
        ]
        yield f"| {arm} | {' | '.join(cells)} |"
    needed = [table.pairs(arms, reference, metric) for metric in experiment.metrics]
    for place, reach in enumerate(REACHES):
        cells = ["–" if one is None else f"{one[place]:,}" for one in needed]
        yield f"| *pairs for ±{reach:g} points* | {' | '.join(cells)} |"


def _setting(table: Table) -> str:
    first, *others = table.setting.items()
    return ", ".join([first[1], *(f"{axis} {label}" for axis, label in others)])


def _accuracy(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    error = interval.standard_error
    return f"{interval.mean:.1f}" + ("" if error is None else f" ± {error:.1f}")


def _difference(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    if interval.low is None:
        return f"{interval.mean:+.1f}"
    return f"{interval.mean:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.").lower()
