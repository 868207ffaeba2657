"""Figs. 4–6 and Tables A2–A4 of arXiv 2010.06682, from what cells have read of their encoders."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from contrasift.evaluation import Interval, mean_and_interval
from reproduce.render.cell_table import CellTable
from reproduce.render.panels import Panel, draw_panels

_MEASURES = {
    "same_class": ("same class, %", 100),
    "depth": ("WordNet depth", 1),
    "similarity": ("cosine", 1),
}
_LABELLED = 20  # every so many percentiles
_LEAST = 0.1  # percent of the negatives, for a bin to be drawn
# What they are called, and what the most extreme mean cosine has the least of.
_KINDS: dict[str, tuple[str, Callable[[float], float]]] = {
    "correlated": ("most correlated", operator.neg),
    "anticorrelated": ("most anti-correlated", float),
    "orthogonal": ("nearest to 0", abs),
}
_SHOWN = 5

# A cell's `metrics["difficulty"]` by arm and seed.
Measured = Mapping[str, Mapping[int, Mapping[str, Any]]]


def measured_difficulty(table: CellTable) -> Measured:
    """What was read beyond single numbers; arms without it are left out."""
    found = {
        arm: {
            seed: record["metrics"]["difficulty"]
            for seed, record in by_seed.items()
            if "by_percentile" in record["metrics"].get("difficulty", {})
        }
        for arm, by_seed in table.records.items()
    }
    return {arm: by_seed for arm, by_seed in found.items() if by_seed}


def difficulty_figure(measured: Measured) -> str:
    """An SVG: each measure by percentile of difficulty; how often a negative is hard, beside chance."""
    return draw_panels([*_by_percentile(measured), _how_often(measured)])


def _by_percentile(measured: Measured) -> Iterator[Panel]:
    first = _any(measured)["by_percentile"]
    places = first["percentile"]
    labels = [f"{place:g}" if place % _LABELLED == 0 else "" for place in places]
    for measure, (title, factor) in _MEASURES.items():
        if measure not in first:
            continue
        lines = {
            arm: _means([
                factor * np.array(one["by_percentile"][measure]) for one in by_seed.values()
            ])
            for arm, by_seed in measured.items()
        }  # fmt: skip
        yield Panel(title, "percentile of difficulty", places, labels, lines, logarithmic=False)


def _how_often(measured: Measured) -> Panel:
    """Percent of the negatives by the share of queries for which they are among the hardest 5 %."""
    shares = {arm: _shares(by_seed, "found") for arm, by_seed in measured.items()}
    shares["by chance"] = _shares(next(iter(measured.values())), "by_chance")
    drawn = 1 + max(
        int(np.flatnonzero(np.mean(rows, axis=0) >= _LEAST).max()) for rows in shares.values()
    )
    width = 100 * _any(measured)["hard_for_histogram"]["width"]
    padded = {
        name: [np.pad(row, (0, max(0, drawn - len(row))))[:drawn] for row in rows]
        for name, rows in shares.items()
    }
    return Panel(
        "how often a negative is hard: negatives, %",
        "of the queries, %",
        [width * place for place in range(drawn)],
        [f"{width * place:g}" if place % 10 == 0 else "" for place in range(drawn)],
        {name: _means(rows) for name, rows in padded.items()},
        logarithmic=False,
    )


def _shares(by_seed: Mapping[int, Mapping[str, Any]], kind: str) -> list[np.ndarray]:
    """Percent of the negatives in each bin, a row a seed, all as long as the longest."""
    counts = [np.array(one["hard_for_histogram"][kind]) for one in by_seed.values()]
    longest = max(map(len, counts))
    return [100 * np.pad(row, (0, longest - len(row))) / row.sum() for row in counts]


def _means(rows: Sequence[np.ndarray]) -> list[Interval]:
    return [mean_and_interval(column) for column in np.stack(rows, axis=1)]


def _any(measured: Measured) -> Mapping[str, Any]:
    return next(iter(next(iter(measured.values())).values()))


def pairs_rows(measured: Measured) -> Iterator[str]:
    """A table of the classes at the extremes, those first that most seeds name among their ten."""
    yield f"| classes | {' | '.join(measured)} |"
    yield "|---|" + "---|" * len(measured)
    for kind, (name, _) in _KINDS.items():
        cells = [_pairs_text(by_seed, kind) for by_seed in measured.values()]
        yield f"| {name} | {' | '.join(cells)} |"


def _pairs_text(by_seed: Mapping[int, Mapping[str, Any]], kind: str) -> str:
    """Each pair once, whichever of the two the query was: mean cosine, and how many seeds name it."""
    found: dict[frozenset[str], dict[int, list[float]]] = {}
    for seed, one in by_seed.items():
        for query, negative, cosine in one["pairs"][kind]:
            pair = found.setdefault(frozenset((query, negative)), {})
            pair.setdefault(seed, []).append(cosine)
    means = {
        pair: (len(seeds), float(np.mean([np.mean(own) for own in seeds.values()])))
        for pair, seeds in found.items()
    }
    badness = _KINDS[kind][1]

    def order(pair: frozenset[str]) -> tuple[int, float, list[str]]:
        seeds, mean = means[pair]
        return -seeds, badness(mean), sorted(pair)

    return "<br>".join(
        f"{' / '.join(sorted(pair))} {means[pair][1]:+.3f} ({means[pair][0]} of {len(by_seed)})"
        for pair in sorted(found, key=order)[:_SHOWN]
    )
