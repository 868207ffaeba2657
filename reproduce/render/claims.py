"""What the claims come to: an answer each, where it holds, and every interval behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from contrasift.evaluation import Interval
from reproduce.declared.declaring import Claim, Experiment
from reproduce.metrics.extras import METRICS
from reproduce.render.cell_table import CellTable
from reproduce.render.formatting import difference_text, merged_settings, setting_text
from reproduce.render.statistics import FAILS, HOLDS, OPEN

WORDS = (HOLDS, FAILS, OPEN)
_SHARE_MISSED = 0.05  # of 95 % intervals
_ALL = {1: "", 2: " in both comparisons"}
_USUAL_SCALE = "cpu"  # goes without saying


@dataclass(frozen=True)
class Decided:
    """A claim in one setting, by one metric.

    Attributes:
        claim: the claim.
        experiment: whose claim it is.
        scale: at which it was run.
        phase: `confirm` or `explore`.
        setting: one label an axis.
        metric: a key of `METRICS`.
        word: `holds`, `fails` or `not significant`.
        interval: of its contrast.
    """

    claim: Claim
    experiment: Experiment
    scale: str
    phase: str
    setting: Mapping[str, str]
    metric: str
    word: str
    interval: Interval


def decided(
    experiment: Experiment, scale: str, phase: str, tables: Sequence[CellTable]
) -> Iterator[Decided]:
    """Every claim of an experiment in every setting that has cells for it."""
    for claim in experiment.claims:
        for table in tables:
            if any(table.setting.get(axis) != label for axis, label in claim.where.items()):
                continue
            for metric in claim.metrics:
                verdict = table.decide(claim, metric)
                if verdict.interval is not None:
                    yield Decided(
                        claim,
                        experiment,
                        scale,
                        phase,
                        table.setting,
                        metric,
                        verdict.word,
                        verdict.interval,
                    )


def by_claim(found: Iterable[Decided]) -> list[list[Decided]]:
    """Groups of one claim each, in their order; several experiments may make the same claim."""
    groups: dict[tuple[str, str], list[Decided]] = {}
    for one in found:
        groups.setdefault((name_of(one.claim), one.claim.source), []).append(one)
    return list(groups.values())


def answers(found: Iterable[Decided]) -> Iterator[str]:
    """A line a claim: whether it holds, and in how many comparisons."""
    for group in by_claim(found):
        claim = group[0].claim
        source = f" ({claim.source})" if claim.source else ""
        yield f"- {name_of(claim)}{source}: {answer(group)}."


def answer(group: Sequence[Decided]) -> str:
    """`holds`, or in how many of the comparisons (settings × metrics) it does what."""
    counts = Counter(one.word for one in group)
    texts = {word: word + (seeds_text(group) if word == OPEN else "") for word in counts}
    if len(counts) == 1:
        (word,) = counts
        return f"**{texts[word]}**" + _ALL.get(len(group), f" in all {len(group)} comparisons")
    parts = [f"{texts[word]} in {counts[word]}" for word in WORDS if word in counts]
    return f"{', '.join(parts)} of {len(group)} comparisons"


def seeds_text(group: Iterable[Decided]) -> str:
    """` (n = 3)`, or ` (n = 3 to 6)`, of those that are not significant."""
    counts = sorted({one.interval.n for one in group if one.word == OPEN})
    if not counts:
        return ""
    return f" (n = {counts[0]})" if len(counts) == 1 else f" (n = {counts[0]} to {counts[-1]})"


def in_words(found: Sequence[Decided]) -> Iterator[str]:
    """A table with one row a claim: where it holds, fails, and is not significant.

    Claims of several experiments stand below the titles of these.
    """
    title = found[0].experiment.title if len({one.experiment.title for one in found}) == 1 else ""
    yield f"| claim | source | {' | '.join(WORDS)} |"
    yield "|---|---|" + "---|" * len(WORDS)
    for group in by_claim(found):
        claim = group[0].claim
        if group[0].experiment.title != title:
            title = group[0].experiment.title
            yield f"| **{title}** | | | | |"
        places = [_places([one for one in group if one.word == word]) for word in WORDS]
        yield f"| {name_of(claim)} | {claim.source or '–'} | {' | '.join(places)} |"


def intervals(found: Iterable[Decided]) -> Iterator[str]:
    """A table with one row an interval."""
    yield "| claim | source | where | by | difference | verdict |"
    yield "|---|---|---|---|---|---|"
    for one in found:
        metric = METRICS[one.metric]
        yield (
            f"| {name_of(one.claim)} | {one.claim.source or '–'} "
            f"| {_scaled(one.scale, setting_text(one.setting))} | {metric.name} "
            f"| {difference_text(one.interval, metric.digits)} | {_marked(one)} |"
        )


def missed_by_chance(found: Sequence[Decided]) -> str:
    """How many of these intervals miss what they are of, if every assumption is right."""
    n = sum(one.interval.low is not None for one in found)
    return (
        f"Of {n:,} such intervals about {_SHARE_MISSED * n:.0f} would miss the true difference "
        "by chance alone."
    )


def untried(experiments: Iterable[Experiment], found: Iterable[Decided]) -> list[str]:
    """Claims of papers that no finished cell speaks of."""
    known = {(one.experiment.name, one.claim.text) for one in found}
    return [
        f"{name_of(claim)} ({claim.source}; `{experiment.name}`)"
        for experiment in experiments
        for claim in experiment.claims
        if claim.source and (experiment.name, claim.text) not in known
    ]


def name_of(claim: Claim) -> str:
    """Its words, with the margin where there is one."""
    return claim.text + (f" (margin {claim.margin:+g})" if claim.margin else "")


def _marked(one: Decided) -> str:
    return one.word + seeds_text([one]) if one.word == OPEN else f"**{one.word}**"


def _places(group: Sequence[Decided]) -> str:
    """A line for each choice of metrics with the settings in which the claim is so decided by them."""
    metrics: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for one in sorted(group, key=lambda one: [*METRICS].index(one.metric)):
        place = (one.scale, tuple(one.setting.items()))
        metrics.setdefault(place, []).append(METRICS[one.metric].name)
    settings: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for (scale, setting), names in metrics.items():
        settings.setdefault((", ".join(names), scale), []).append(dict(setting))
    return "<br>".join(
        f"*{names}*: " + _scaled(scale, "; ".join(map(setting_text, merged_settings(alike))))
        for (names, scale), alike in settings.items()
    ) + seeds_text(group)


def _scaled(scale: str, text: str) -> str:
    return text if scale == _USUAL_SCALE else f"{scale}: {text}"
