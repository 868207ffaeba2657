"""What the claims come to: a row a claim in words, and every interval behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from contrasift.evaluation import Interval
from reproduce.declared.declaring import Claim, Experiment
from reproduce.metrics.extras import METRICS
from reproduce.render.cell_table import Table
from reproduce.render.formatting import difference_text, merged_settings, setting_text
from reproduce.render.statistics import FAILS, HOLDS, OPEN

_WORDS = (HOLDS, FAILS, OPEN)
_SHARE_MISSED = 0.05  # of 95 % intervals
_USUAL_SCALE = "cpu"  # goes without saying


@dataclass(frozen=True)
class Decided:
    """A claim in one setting, by one metric.

    Attributes:
        claim: the claim.
        experiment: whose claim it is.
        scale: at which it was run.
        setting: one label an axis.
        metric: a key of `METRICS`.
        word: `holds`, `fails` or `can't be told`.
        interval: of its contrast.
    """

    claim: Claim
    experiment: Experiment
    scale: str
    setting: Mapping[str, str]
    metric: str
    word: str
    interval: Interval


def decided(experiment: Experiment, scale: str, tables: Sequence[Table]) -> Iterator[Decided]:
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
                        table.setting,
                        metric,
                        verdict.word,
                        verdict.interval,
                    )


def in_words(found: Sequence[Decided]) -> Iterator[str]:
    """A table with one row a claim, below its experiment: where it holds, fails, and can't be told."""
    yield f"| claim | of | {' | '.join(_WORDS)} |"
    yield "|---|---|" + "---|" * len(_WORDS)
    groups: dict[tuple[str, str], list[Decided]] = {}
    for one in found:
        groups.setdefault((_name(one.claim), one.claim.source), []).append(one)
    title = ""
    for (name, source), group in groups.items():
        if group[0].experiment.title != title:
            title = group[0].experiment.title
            yield f"| **{title}** | | | | |"
        places = [_places([one for one in group if one.word == word]) for word in _WORDS]
        yield f"| {name} | {source or '–'} | {' | '.join(places)} |"


def intervals(found: Iterable[Decided]) -> Iterator[str]:
    """A table with one row an interval."""
    yield "| claim | of | where | by | difference | verdict |"
    yield "|---|---|---|---|---|---|"
    for one in found:
        metric = METRICS[one.metric]
        yield (
            f"| {_name(one.claim)} | {one.claim.source or '–'} "
            f"| {_scaled(one.scale, setting_text(one.setting))} | {metric.name} "
            f"| {difference_text(one.interval, metric.digits)} | {_marked(one.word)} |"
        )


def missed_by_chance(found: Sequence[Decided]) -> str:
    """How many of these intervals miss what they are of, if every assumption is right."""
    n = sum(one.interval.low is not None for one in found)
    return (
        f"Of {n:,} intervals of 95 % about {_SHARE_MISSED * n:.0f} would miss the true difference "
        "by chance alone."
    )


def untried(experiments: Iterable[Experiment], found: Iterable[Decided]) -> list[str]:
    """Claims of papers that no finished cell speaks of."""
    known = {(one.experiment.name, one.claim.text) for one in found}
    return [
        f"{_name(claim)} ({claim.source}; `{experiment.name}`)"
        for experiment in experiments
        for claim in experiment.claims
        if claim.source and (experiment.name, claim.text) not in known
    ]


def _name(claim: Claim) -> str:
    return claim.text + (f" (margin {claim.margin:+g})" if claim.margin else "")


def _marked(word: str) -> str:
    return word if word == OPEN else f"**{word}**"


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
    )


def _scaled(scale: str, text: str) -> str:
    return text if scale == _USUAL_SCALE else f"{scale}: {text}"
