"""Further readings of a trained encoder, by name: what a cell measures if `measure.extras` asks for it.

A reading is a function from a `Subject` to a mapping, which goes to the cell's JSON as `metrics[NAME]`:
numbers, some of which tables and figures show as `NAME.KEY` with the names and units given here, and
lists of more that a figure of its own is drawn from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.catalogue import check_choice
from contrasift.errors import ContrasiftError, DataError
from contrasift.experiments.alignment_reading import ALIGNMENT_METRICS, read_alignment
from contrasift.experiments.bounds_reading import BOUND_METRICS, read_bounds
from contrasift.experiments.difficulty_reading import DIFFICULTY_METRICS, read_difficulty
from contrasift.experiments.metrics import ACCURACIES, Metric
from contrasift.experiments.pairs_reading import PAIRS_METRICS, read_pairs
from contrasift.experiments.picked_reading import PICKED_METRICS, read_picked

if TYPE_CHECKING:
    from contrasift.experiments.cells import Cell
    from contrasift.experiments.workshop import Workshop
    from contrasift.pipeline.run import Run
    from contrasift.pools import Pool


@dataclass(frozen=True)
class Subject:
    """A trained encoder, and all that it comes from.

    Attributes:
        cell: the options that it was made under.
        workshop: has the parts that it was made of, and makes others.
        encoder: images to vectors.
    """

    cell: Cell
    workshop: Workshop
    encoder: Any

    @property
    def pool(self) -> Pool:
        """The images, with the held-out ones in `test`."""
        return self.workshop.pool(self.cell)

    @property
    def run(self) -> Run:
        """The cell's options as a run's, with narrator, device and pool, in no folder of its own."""
        return self.workshop.run(self.cell)

    def labelled(self, *, held_out: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Readable positions in the pool, or in its held-out part, and their labels.

        At most `measure.test_limit` of those that have a label, always the same.

        Raises:
            DataError: no labels, or nothing held out.
        """
        pool = self.pool.test if held_out else self.pool
        if pool is None or pool.labels is None:
            part = " and held-out images" if held_out else ""
            raise DataError(f"a pool with labels{part}", f"{self.pool.name} without them")
        positions = self.run.test_positions if held_out else self.workshop.readable(self.cell)
        positions = positions[pool.labels[positions] >= 0]
        most = self.cell.measure.test_limit
        positions = np.sort(np.random.default_rng(0).permutation(positions)[:most])
        return positions, pool.labels[positions]

    def views(
        self, positions: np.ndarray, *, held_out: bool = False, layer: str = "head"
    ) -> np.ndarray:
        """Features of length one for several random views of every example, [n, views, d]."""
        from contrasift.pipeline.bounding import unit_views

        pool = self.pool.test if held_out else self.pool
        assert pool is not None
        return unit_views(
            self.run,
            pool,
            positions,
            self.encoder,
            seed=self.cell.seed,
            title="the encoder",
            layer=layer,
        )


@dataclass(frozen=True)
class Extra:
    """A further reading.

    Attributes:
        says: what it is, in a phrase.
        read: makes it.
        metrics: its numbers, as far as they are shown.
    """

    says: str
    read: Callable[[Subject], Mapping[str, Any]]
    metrics: Mapping[str, Metric]


EXTRAS: dict[str, Extra] = {
    "alignment": Extra(
        "how near views of an example and of a label are, and labels to one another",
        read_alignment,
        ALIGNMENT_METRICS,
    ),
    "picked": Extra(
        "how supervised models learn what is trained on",
        read_picked,
        PICKED_METRICS,
    ),
    "bounds": Extra(
        "the terms of both bounds on the supervised loss at K + 1 = batch size",
        read_bounds,
        BOUND_METRICS,
    ),
    "pairs": Extra(
        "a linear classifier that never sees more than two classes at once, beside the usual one",
        read_pairs,
        PAIRS_METRICS,
    ),
    "difficulty": Extra(
        "what negatives are like by difficulty: classes, WordNet, how often one is hard",
        read_difficulty,
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


def names_of(text: str) -> list[str]:
    """The readings that `measure.extras` names.

    Raises:
        UsageError: one that does not exist.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        check_choice("measure.extras", name, EXTRAS)
    return names


def read_extras(subject: Subject) -> dict[str, dict[str, Any]]:
    """What `measure.extras` asks for, by its name.

    Raises:
        ContrasiftError: a number that is none; JSON has no word for it.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in names_of(subject.cell.measure.extras):
        found[name] = dict(EXTRAS[name].read(subject))
        for place, value in _numbers(found[name], name):
            if not math.isfinite(value):
                raise ContrasiftError(f"a number for {place}", f"{value}")
    return found


def _numbers(found: Any, place: str) -> Iterator[tuple[str, float]]:
    """Every number in a reading, and where it stands."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            yield from _numbers(value, f"{place}.{key}")
    elif isinstance(found, list):
        for number, value in enumerate(found):
            yield from _numbers(value, f"{place}[{number}]")
    elif isinstance(found, (int, float)):
        yield place, found
