"""The index: what holds, what does not, in plain words, and where the evidence is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.metrics.extras import METRICS
from reproduce.render.cell_table import compute_spent
from reproduce.render.claims import (
    Decided,
    answer,
    by_claim,
    missed_by_chance,
    name_of,
    untried,
)
from reproduce.render.formatting import UNKNOWN, difference_text
from reproduce.render.statements import STATEMENTS, Statement
from reproduce.render.statistics import FAILS, HOLDS, OPEN

if TYPE_CHECKING:
    from reproduce.render.experiment_page import ExperimentPart

_IN_PART = "holds in part"
_SECTIONS = {
    HOLDS: "What holds",
    _IN_PART: "What holds in part",
    OPEN: "What is not significant",
    FAILS: "What does not hold",
}
_COUNTED = {
    HOLDS: "hold",
    _IN_PART: "hold by some metrics",
    OPEN: "not significant",
    FAILS: "fail",
}


def index_page(
    records: Sequence[Mapping[str, Any]],
    parts: Mapping[str, Sequence[ExperimentPart]],
    claims: Sequence[Decided],
    pages: Collection[str],
) -> str:
    """The index.

    Args:
        records: every finished cell.
        parts: what there is of every experiment.
        claims: everything that is decided.
        pages: names of the other pages.
    """
    confirmed = [one for one in claims if one.phase == "confirm"]
    lines = ["# Results", ""]
    lines += _statements(confirmed)
    lines += _limits(records, confirmed)
    lines += _experiments(parts, pages)
    lines += _of_papers(confirmed)
    return "\n".join(lines)


def _statements(confirmed: Sequence[Decided]) -> Iterator[str]:
    """The main statements by what became of them, with their differences."""
    found: dict[str, list[tuple[Statement, list[Decided]]]] = {}
    for statement in STATEMENTS:
        group = statement.among(confirmed)
        if group:
            found.setdefault(_verdict(group), []).append((statement, group))
    if found:
        total, held = sum(map(len, found.values())), len(found.get(HOLDS, ()))
        yield from (
            f"Of {total} main statements {held} hold, on small images and without GPUs.",
            "",
        )
        yield f"| {' | '.join(_COUNTED.values())} |"
        yield "|" + "---:|" * len(_COUNTED)
        yield f"| {' | '.join(str(len(found.get(verdict, ()))) for verdict in _COUNTED)} |"
        yield ""
    for verdict, title in _SECTIONS.items():
        if verdict not in found:
            continue
        yield from (
            f"## {title}",
            "",
            "| | where | difference | n | page |",
            "|---|---|---|---:|---|",
        )
        for statement, group in found[verdict]:
            yield _row(statement, group)
        yield ""


def _verdict(group: Sequence[Decided]) -> str:
    """By all of its metrics: what holds by some alone holds in part."""
    words = {one.word for one in group}
    if HOLDS in words:
        return HOLDS if len(words) == 1 else _IN_PART
    return FAILS if FAILS in words else OPEN


def _row(statement: Statement, group: Sequence[Decided]) -> str:
    cells = []
    for one in group:
        metric = METRICS[one.metric]
        text = f"{metric.name} {difference_text(one.interval, metric.digits)}"
        cells.append(text if one.word == HOLDS else f"{text}, {one.word}")
    seeds = sorted({str(one.interval.n) for one in group})
    name = statement.experiment
    return (
        f"| {statement.text} | {statement.place} | {'<br>'.join(cells)} | {', '.join(seeds)} "
        f"| [{name}]({name}.md) |"
    )


def _limits(records: Sequence[Mapping[str, Any]], confirmed: Sequence[Decided]) -> Iterator[str]:
    keys = {record["key"] for record in records}
    hours = compute_spent(records) / 3600
    machines = sorted({record["made_with"]["processor"] for record in records})
    yield from ("## What limits it", "")
    yield (
        "- Small pools (10,000 images), a narrow ResNet, 20 epochs, processors only: nothing was run "
        "on [GPUs](gpus.md)."
    )
    yield (
        "- A statement *holds* or *fails* where the 95 % t-interval over seeds lies wholly on one "
        f"side of its margin. {missed_by_chance(confirmed)}"
    )
    yield (
        f"- {len(keys)} different cells, {hours:.1f} hours of work in all, on {', '.join(machines)}. "
        "Timings were taken on a shared machine."
    )
    yield (
        "- Differences are in points, of runs with equal seeds. Only what was evaluated on test images "
        "with fresh seeds counts here; exploration stands on the pages."
    )
    yield ""


def _experiments(
    parts: Mapping[str, Sequence[ExperimentPart]], pages: Collection[str]
) -> Iterator[str]:
    """A row an experiment: what it asks, and what became of its claims."""
    yield from ("## Every experiment", "")
    yield (
        "Comparisons are a claim in one setting by one metric. `python -m reproduce NAME` fills an "
        "experiment, `make results` writes these pages."
    )
    yield from (
        "",
        f"| page | what it shows | holds | fails | {OPEN} |",
        "|---|---|---:|---:|---:|",
    )
    for name, found in parts.items():
        if not found:
            continue
        counts = Counter(
            one.word for part in found if part.phase == "confirm" for one in part.claims
        )
        cells = [str(counts[word]) if counts else UNKNOWN for word in (HOLDS, FAILS, OPEN)]
        one = EXPERIMENTS[name]
        yield f"| [{one.title}]({name}.md) | {one.shows} | {' | '.join(cells)} |"
    for name in pages:
        if name.startswith("text-bounds"):
            yield f"| [The same bounds on texts]({name}.md) | arXiv 2102.06866 on texts | | | |"
    if "repeats" in pages:
        yield (
            "| [Cells that were repeated](repeats.md) | whether numbers stay the same on this machine "
            "and on another | | | |"
        )
    yield "| [On GPUs](gpus.md) | commands for the papers' own sizes | | | |"
    yield ""


def _of_papers(confirmed: Sequence[Decided]) -> Iterator[str]:
    """A row a claim of a paper, and in how many comparisons it holds."""
    groups = [group for group in by_claim(confirmed) if group[0].claim.source]
    if not groups:
        return
    yield from (
        "## The papers' claims",
        "",
        "| claim | source | verdict | page |",
        "|---|---|---|---|",
    )
    for group in sorted(groups, key=lambda one: _paper(one[0].claim.source)):
        claim = group[0].claim
        links = dict.fromkeys(
            f"[{one.experiment.name}]({one.experiment.name}.md)"
            for one in group
            if one.experiment.name in EXPERIMENTS
        )
        row = (name_of(claim), claim.source, answer(group), ", ".join(links))
        yield f"| {' | '.join(row)} |"
    yield ""
    missing = untried(EXPERIMENTS.values(), confirmed)
    if missing:
        yield from ("Without finished cells:", "", *(f"- {text}" for text in missing), "")


def _paper(source: str) -> str:
    return source.partition(",")[0]
