"""Further metrics of a trained encoder, by name: what a cell measures if `measure.extras` asks for it.

A metric is made by a function from a `Subject` to a mapping, which goes to the cell's JSON as `metrics[NAME]`:
numbers, some of which tables and figures show as `NAME.KEY` with the names and units given here, and
lists of more that a figure of its own is drawn from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contrasift.catalogue import check_choice
from contrasift.errors import ContrasiftError
from reproduce.metrics.alignment import ALIGNMENT_METRICS, measure_alignment
from reproduce.metrics.bounds import BOUND_METRICS, measure_bounds
from reproduce.metrics.difficulty import DIFFICULTY_METRICS, measure_difficulty
from reproduce.metrics.names import ACCURACIES, Metric
from reproduce.metrics.pairs import PAIRS_METRICS, measure_pairs
from reproduce.metrics.subset_difficulty import SUBSET_DIFFICULTY_METRICS, measure_subset_difficulty

if TYPE_CHECKING:
    from reproduce.metrics.subject import Subject


@dataclass(frozen=True)
class Extra:
    """A further metric, or several.

    Attributes:
        description: what it is, in a phrase.
        read: makes it.
        metrics: its numbers, as far as they are shown.
    """

    description: str
    read: Callable[[Subject], Mapping[str, Any]]
    metrics: Mapping[str, Metric]


EXTRAS: dict[str, Extra] = {
    "alignment": Extra(
        "how near views of an example and of a label are, and labels to one another",
        measure_alignment,
        ALIGNMENT_METRICS,
    ),
    "subset_difficulty": Extra(
        "how supervised models learn what is trained on",
        measure_subset_difficulty,
        SUBSET_DIFFICULTY_METRICS,
    ),
    "bounds": Extra(
        "the terms of both bounds on the supervised loss at K + 1 = batch size",
        measure_bounds,
        BOUND_METRICS,
    ),
    "pairs": Extra(
        "a linear classifier that never sees more than two classes at once, beside the usual one",
        measure_pairs,
        PAIRS_METRICS,
    ),
    "difficulty": Extra(
        "what negatives are like by difficulty: classes, WordNet, how often one is hard",
        measure_difficulty,
        DIFFICULTY_METRICS,
    ),
}

METRICS: dict[str, Metric] = {
    **ACCURACIES,
    **{
        f"{name}.{key}": metric
        for name, extra in EXTRAS.items()
        for key, metric in extra.metrics.items()
    },
}


def check_names(names: Iterable[str]) -> None:
    """See that there are such metrics.

    Raises:
        UsageError: one that does not exist.
    """
    for name in names:
        check_choice("measure.extras", name, EXTRAS)


def measure_extras(subject: Subject) -> dict[str, dict[str, Any]]:
    """What `measure.extras` asks for, by its name.

    Raises:
        ContrasiftError: a number that is none; JSON has no word for it.
    """
    found: dict[str, dict[str, Any]] = {}
    check_names(subject.cell.measure.extra_metrics)
    for name in subject.cell.measure.extra_metrics:
        found[name] = dict(EXTRAS[name].read(subject))
        for place, value in _numbers(found[name], name):
            if not math.isfinite(value):
                raise ContrasiftError(f"a number for {place}", f"{value}")
    return found


def _numbers(found: Any, place: str) -> Iterator[tuple[str, float]]:
    """Every number of a metric, and where it stands."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            yield from _numbers(value, f"{place}.{key}")
    elif isinstance(found, list):
        for number, value in enumerate(found):
            yield from _numbers(value, f"{place}[{number}]")
    elif isinstance(found, (int, float)):
        yield place, found
