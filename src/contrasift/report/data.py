"""What the report shows, as plain values; whoever fills them in has done all computing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contrasift.evaluation import Interval
from contrasift.results import Certificate

Numbers = Sequence[float] | Sequence[int] | np.ndarray
Names = Sequence[str] | np.ndarray


@dataclass(frozen=True)
class Headline:
    """One figure in large type.

    Attributes:
        value: as it is to be read, e.g. `2,000` or `81.2 %`.
        label: what it is, e.g. `examples kept`.
        note: a few words of context, e.g. `of 10,000 (20 %)`.
    """

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class ArmResult:
    """One row of the comparison: a way to choose the training examples.

    Attributes:
        name: `selected`, `random-per-class`, `random`, `full`, `untrained` have colours of
            their own; any other name may come too.
        label: the name to show; default: the name.
        examples: it trains on.
        steps: optimiser steps.
        accuracy: by measure (`linear`, `knn`, `mean classifier`, …), each in [0, 1].
        seeds: the single values behind each measure.
        seconds: of the whole, with all that had to happen before (proxy, embedding, selection).
        parts: the same seconds by part, in order, e.g. `{"proxy": 12.0, "training": 80.5}`.
    """

    name: str
    label: str = ""
    examples: int | None = None
    steps: int | None = None
    accuracy: Mapping[str, Interval] = field(default_factory=dict)
    seeds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    seconds: float | int | None = None
    parts: Mapping[str, float | int] = field(default_factory=dict)


@dataclass(frozen=True)
class EmbeddingMap:
    """Points of the map; all sequences have one entry a point.

    Attributes:
        x: horizontal coordinate.
        y: vertical coordinate.
        latent_class: the class by name.
        selected: whether the example was kept.
        rank: within its class, 0 is best; empty if there is no selection.
        class_size: of the point's class; empty if there is no selection.
        place: in the ranking of the whole pool, 0 is best; empty if there is no selection.
        id: of the example.
        label: of the example; empty as a whole if the pool has none.
        image: thumbnail as a data URI, or an empty string; may be empty as a whole.
        method: how the coordinates were found.
        total: how many embeddings the points were drawn from.
    """

    x: Numbers
    y: Numbers
    latent_class: Names
    selected: Sequence[bool] | np.ndarray
    rank: Numbers = ()
    class_size: Numbers = ()
    place: Numbers = ()
    id: Names = ()
    label: Names = ()
    image: Sequence[str] = ()
    method: str = "t-SNE"
    total: int | None = None


@dataclass(frozen=True)
class Tile:
    """A thumbnail with what is known of its example.

    Attributes:
        image: data URI; empty: a placeholder is shown.
        id: of the example.
        rank: within its class, 0 is best.
        gain: when it was added.
        place: in the ranking of the whole pool, 0 is best.
        label: of the example, if the pool has labels.
    """

    image: str
    id: str = ""
    rank: int | None = None
    gain: float | int | None = None
    place: int | None = None
    label: str = ""


@dataclass(frozen=True)
class RankedClass:
    """One class from best to worst.

    Attributes:
        name: of the class.
        size: examples in it.
        kept: how many of them each stop of the gallery's slider keeps.
        tiles: some or all of its examples, best first.
    """

    name: str
    size: int
    kept: Sequence[int] | np.ndarray
    tiles: Sequence[Tile] = ()


@dataclass(frozen=True)
class Gallery:
    """Classes from best to worst, and what every fraction keeps of them.

    An example is kept at a stop if its place in the ranking is below the stop's budget.

    Attributes:
        total: examples in the pool.
        budgets: stops of the slider, ascending.
        own: which stop is the run's own.
        classes: in the order to show them.
    """

    total: int
    budgets: Sequence[int] | np.ndarray
    own: int
    classes: Sequence[RankedClass]


@dataclass(frozen=True)
class Pair:
    """Two examples of one class.

    Attributes:
        first: one example.
        second: the other.
        similarity: of the two; between views, expected.
        latent_class: by name.
    """

    first: Tile
    second: Tile
    similarity: float | int
    latent_class: str = ""


@dataclass(frozen=True)
class GainCurve:
    """Gain against rank in one class; ranks may be a sample.

    Attributes:
        name: of the class.
        rank: ascending, from 0.
        gain: at that rank.
        size: examples in the class.
        budget: how many of them were kept.
        first_negative_gain: first rank with a negative gain, if any.
    """

    name: str
    rank: Numbers
    gain: Numbers
    size: int
    budget: int
    first_negative_gain: int | None = None


@dataclass(frozen=True)
class ClassBar:
    """One class in the chart and table of classes.

    Attributes:
        name: of the class.
        size: examples in it.
        budget: how many were kept.
        certificate: of this class, if there is one.
    """

    name: str
    size: int
    budget: int
    certificate: Certificate | None = None


@dataclass(frozen=True)
class TrainingCurve:
    """Loss by epoch of one training.

    Attributes:
        arm: name of its `ArmResult`; gives the colour.
        name: e.g. `selected, seed 0`.
        epoch: from 1.
        loss: mean of the epoch.
    """

    arm: str
    name: str
    epoch: Numbers
    loss: Numbers


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: in the legend.
        x: ascending.
        y: None where there is none.
        low: lower end of a band around it; empty for none.
        high: upper end of the band.
        role: name of an `ArmResult` whose colour it takes; empty for a colour of its own.
        dash: whether it is dashed.
    """

    name: str
    x: Numbers
    y: Sequence[float | None] | np.ndarray
    low: Sequence[float | None] | np.ndarray = ()
    high: Sequence[float | None] | np.ndarray = ()
    role: str = ""
    dash: bool = False


@dataclass(frozen=True)
class LineChart:
    """Lines over one axis.

    Attributes:
        title: above the chart.
        x_title: of the horizontal axis.
        y_title: of the vertical axis.
        lines: bands of the first ones lie below.
        log_x: logarithmic, with a tick at every x of the first line.
        percent_x: x are shares, shown in per cent.
        top: where the vertical axis ends, so that one steep line does not flatten the others.
        mark: x of a vertical line.
        mark_text: beside it.
    """

    title: str
    x_title: str
    y_title: str
    lines: Sequence[Line]
    log_x: bool = False
    percent_x: bool = False
    top: float | int | None = None
    mark: float | int | None = None
    mark_text: str = ""


@dataclass(frozen=True)
class TextTable:
    """Rows of text under a heading.

    Attributes:
        title: what it shows.
        columns: heads; the first column is text, the others are numbers.
        rows: cells as they are to be read.
        note: a sentence below.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Topic:
    """A part of the page that is text, charts and tables.

    Attributes:
        anchor: short name, for links.
        title: of the part.
        intro: what it is about.
        sentences: what was found.
        charts: side by side.
        tables: below them.
        caption: of the charts.
    """

    anchor: str
    title: str
    intro: str = ""
    sentences: Sequence[str] = ()
    charts: Sequence[LineChart] = ()
    tables: Sequence[TextTable] = ()
    caption: str = ""


@dataclass(frozen=True)
class Missing:
    """Something that the run does not have yet.

    Attributes:
        what: in words.
        command: that makes it.
    """

    what: str
    command: str


@dataclass(frozen=True)
class ReportData:
    """Everything on the page. All but the title may be missing: the page shows what there is.

    Attributes:
        title: of the run.
        summary: sentences, with the figures that matter; the first is set larger.
        headlines: the few figures to remember.
        notes: warnings in words (a turn before the budget, a relaxation that refused, …).
        pending: what the page lacks because a stage has not run.
        further: what else could be asked of the run.
        arms: the comparison.
        comparison_note: what the arms have in common, e.g. the same number of epochs.
        differences: the selection against the other arms.
        other_readings: accuracies by other layers and probes.
        coverage: what other fractions would reach.
        map: the embeddings in the plane.
        gallery: every class from best to worst.
        near_pairs: very similar ones, the most similar first.
        far_pairs: hardly similar ones, the least similar first.
        pairs_intro: what the pairs are; default: pairs of views within a class.
        near_title: over the near pairs.
        far_title: over the far pairs.
        gains: gain against rank.
        certificate: of the whole selection.
        classes: sizes and budgets.
        class_facts: numbers about the classes, e.g. agreement with labels.
        rounds: in which the classes were refined.
        negatives: by difficulty.
        bounds: on the supervised loss, against the number of negatives.
        training: loss curves.
        unreadable: (id, reason) of examples that could not be read.
        options: by stage, then by option.
        versions: by package.
        commands: that repeat the run, one a line.
    """

    title: str
    summary: Sequence[str] = ()
    headlines: Sequence[Headline] = ()
    notes: Sequence[str] = ()
    pending: Sequence[Missing] = ()
    further: Sequence[Missing] = ()
    arms: Sequence[ArmResult] = ()
    comparison_note: str = ""
    differences: TextTable | None = None
    other_readings: Sequence[TextTable] = ()
    coverage: Topic | None = None
    map: EmbeddingMap | None = None
    gallery: Gallery | None = None
    near_pairs: Sequence[Pair] = ()
    far_pairs: Sequence[Pair] = ()
    pairs_intro: str = ""
    near_title: str = "Very similar"
    far_title: str = "Hardly similar"
    gains: Sequence[GainCurve] = ()
    certificate: Certificate | None = None
    classes: Sequence[ClassBar] = ()
    class_facts: Mapping[str, Any] = field(default_factory=dict)
    rounds: TextTable | None = None
    negatives: Topic | None = None
    bounds: Topic | None = None
    training: Sequence[TrainingCurve] = ()
    unreadable: Sequence[tuple[str, str]] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    commands: Sequence[str] = ()
