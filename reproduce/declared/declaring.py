"""How an experiment is written down: axes and arms of flat options, claims that its numbers decide."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contrasift.catalogue import check_choice
from contrasift.errors import UsageError
from contrasift.options import METHODS
from reproduce.cell import CELL_GROUPS, Cell
from reproduce.declared.scales import SCALES, base_options
from reproduce.metrics.extras import METRICS, check_names

Changes = Mapping[str, Any]

# Fresh seeds and the test set are for what exploration has found.
PHASES = ("explore", "confirm")
_CONFIRMING_SEED = 100


@dataclass(frozen=True)
class Claim:
    """A sentence that the numbers decide, and how.

    For each seed c = Σ weight · metric over the arms, in the metric's unit. With the 95 % t-interval
    of c over seeds, `above`: holds where the interval lies above `margin`, fails where it lies
    below; `within`: holds where it lies inside ±`margin`, fails where it lies outside. Else it
    not significant.

    Attributes:
        text: the sentence.
        weights: of arms; they add up to 0, or are 1 or −1 of a single arm where the metric is itself a
            difference.
        metrics: in which it is claimed, each decided by itself.
        margin: in the same unit.
        rule: `above` or `within`.
        where: settings it speaks of, as in `Experiment.axes`, or a `pool`; all of them if empty.
        source: who claims it.
    """

    text: str
    weights: Mapping[str, float | int]
    metrics: tuple[str, ...] = ("few_10", "knn")
    margin: float = 0.0
    rule: str = "above"
    where: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    @classmethod
    def as_good(
        cls,
        text: str,
        arm: str,
        other: str,
        *,
        metrics: tuple[str, ...] = ("few_10", "knn"),
        source: str = "",
    ) -> Claim:
        """That an arm is worth another, within a point."""
        return cls(text, {arm: 1, other: -1}, metrics, margin=1.0, rule="within", source=source)


@dataclass(frozen=True)
class PlannedCell:
    """A cell and the place it has in its experiment.

    Attributes:
        setting: one label an axis.
        arm: its label.
        cell: what to do.
    """

    setting: Mapping[str, str]
    arm: str
    cell: Cell

    def place(self, experiment: str, scale: str, phase: str) -> dict[str, Any]:
        """Where it stands among all cells."""
        return {
            "experiment": experiment,
            "scale": scale,
            "phase": phase,
            "setting": dict(self.setting),
            "arm": self.arm,
            "seed": self.cell.seed,
            "key": self.cell.key,
        }


@dataclass(frozen=True)
class Experiment:
    """One table or figure.

    Attributes:
        name: on the command line.
        title: in words.
        shows: which figure or question it is for.
        arms: options of every row, by its label.
        reference: the arm that others are held against.
        axes: options of every setting, by axis and label.
        pools: names of pools by scale; `SCALES` has the usual ones.
        by_pool: further options of a pool, by its name.
        arms_at: arms that have other options at a scale.
        axes_at: further options of an axis' label at a scale.
        claims: what it decides.
        metrics: columns of its table, names in `extras.METRICS`; what a cell measures beyond
            accuracies is for `measure.extras`.
        seeds: how many, unless the command says otherwise.
        line: the axis along which its figure runs, if its labels are numbers.
        target: an arm and a label of that axis; the page tells what the accuracy that it has there
            costs the other arms.
        ways: arms that are one way at several lengths, by its name: its line in the figures against
            seconds and images.

    A value in `axes` or `arms` may be a function of the options so far, those of the setting for an
    arm: half the epochs of a scale, for example.
    """

    name: str
    title: str
    shows: str
    arms: Mapping[str, Changes]
    reference: str
    axes: Mapping[str, Mapping[str, Changes]] = field(default_factory=dict)
    pools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_pool: Mapping[str, Changes] = field(default_factory=dict)
    arms_at: Mapping[str, Mapping[str, Changes]] = field(default_factory=dict)
    axes_at: Mapping[str, Mapping[str, Mapping[str, Changes]]] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    metrics: tuple[str, ...] = ("linear", "few_10", "few_1pct", "knn", "mean_classifier")
    seeds: int = 3
    line: str = ""
    target: tuple[str, str] | None = None
    ways: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that arms and metrics that are spoken of exist, and that a line has numbers."""
        check_choice(f"the reference of {self.name}", self.reference, self.arms)
        for claim in self.claims:
            for arm in claim.weights:
                check_choice(f"an arm in the claims of {self.name}", arm, self.arms)
        for arm in itertools.chain.from_iterable(self.ways.values()):
            check_choice(f"an arm in the figures of {self.name}", arm, self.arms)
        spoken_of = (metric for claim in self.claims for metric in claim.metrics)
        for metric in (*self.metrics, *spoken_of):
            check_choice(f"a metric of {self.name}", metric, METRICS)
        for label in self.axes.get(self.line, ()):
            if not _is_number(label):
                raise UsageError(f"numbers along the line of {self.name}", label)
        if self.target is not None:
            arm, label = self.target
            check_choice(f"the arm that is the target of {self.name}", arm, self.arms)
            check_choice(f"the place of the target of {self.name}", label, self.axes[self.line])

    def settings(self, scale: str) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
        """Labels and options of every combination of the axes, pools outermost."""
        pools = self.pools.get(scale, SCALES[scale].pools)
        further = self.axes_at.get(scale, {})
        for pool, labels in itertools.product(pools, self._combinations()):
            options = {**base_options(scale, pool), **self.by_pool.get(pool, {})}
            for axis, label in labels.items():
                options |= _settled(self.axes[axis][label], options)
                options |= further.get(axis, {}).get(label, {})
            yield {"pool": pool, **labels}, options

    def _combinations(self) -> Iterator[dict[str, str]]:
        for labels in itertools.product(*self.axes.values()):
            yield dict(zip(self.axes, labels, strict=True))

    def plan(
        self,
        scale: str,
        *,
        seeds: int | None = None,
        explore: bool = False,
        changes: Changes | None = None,
    ) -> list[PlannedCell]:
        """Every cell, seeds outermost so that whole early seeds are there first.

        Args:
            scale: `cpu`, `paper` or `tiny`.
            seeds: how many; default: the experiment's.
            explore: on the validation split; else on the test set with fresh seeds.
            changes: options that win over all others, as in `--set`; they become part of the
                setting's labels.

        Raises:
            UsageError: an unknown scale, option or metric.
        """
        check_choice("--scale", scale, SCALES)
        changes = changes or {}
        count = self.seeds if seeds is None else seeds
        if count < 1:
            raise UsageError("--seeds of at least 1", str(count))
        first = 0 if explore else _CONFIRMING_SEED
        given = {name: f"{value}" for name, value in changes.items()}
        tail = {"measure.explore": explore}
        arms = {**self.arms, **self.arms_at.get(scale, {})}
        places = [
            (labels | given, arm, Cell.of(fitting(values, changes) | tail, first))
            for labels, options in self.settings(scale)
            for arm, own in arms.items()
            for values in (options | _settled(own, options),)
        ]
        for _, _, cell in places:
            check_names(cell.measure.extra_metrics)
        return [
            PlannedCell(labels, arm, cell.with_seed(seed))
            for seed in range(first, first + count)
            for labels, arm, cell in places
        ]


def times_the_epochs(factor: float) -> Callable[[Mapping[str, Any]], int]:
    """So many times the epochs that a scale or a recipe has, at least one."""
    return lambda options: max(1, round(factor * options["train.epochs"]))


def _settled(changes: Changes, options: Mapping[str, Any]) -> dict[str, Any]:
    """Changes whose values do not depend on other options any more."""
    return {name: value(options) if callable(value) else value for name, value in changes.items()}


def fitting(options: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """Options with changes; what only another method takes is dropped.

    A recipe's queue, for example, when an axis makes of its MoCo a SimCLR.
    """
    values = {**options, **changes}
    method = METHODS[values.get("train.method", "simclr")]
    idle = {name for other in METHODS.values() for name in other.uses} - method.uses
    return {
        name: value for name, value in values.items() if name not in {f"train.{i}" for i in idle}
    }


def select_planned(planned: Sequence[PlannedCell], texts: Sequence[str]) -> list[PlannedCell]:
    """The cells that every text fits: a part of their arm or of a label of their setting.

    `arm=TEXT`, `seed=TEXT` or `AXIS=TEXT` is that arm, that seed or that label of the axis in whole.

    Raises:
        UsageError: there is none.
    """
    found = [one for one in planned if all(_fits(one, text) for text in texts)]
    if not found:
        arms = dict.fromkeys(one.arm for one in planned)
        axes = dict.fromkeys(axis for one in planned for axis in one.setting)
        raise UsageError(
            f"--only with a part of an arm ({', '.join(arms)}) or with one of {', '.join(axes)},"
            " arm, seed in whole, such as arm=random",
            ", ".join(texts),
        )
    return found


def _fits(one: PlannedCell, text: str) -> bool:
    axis, equals, label = text.partition("=")
    named = {**one.setting, "arm": one.arm, "seed": str(one.cell.seed)}
    if equals and axis in named:
        return named[axis] == label
    return any(text in label for label in (one.arm, *one.setting.values()))


def parse_changes(texts: list[str]) -> dict[str, Any]:
    """`train.epochs=80` and so on, values as in YAML.

    Raises:
        UsageError: no such form, or no such option.
    """
    import yaml

    changes = {}
    for text in texts:
        name, sign, value = text.partition("=")
        group, _, _ = name.partition(".")
        if not sign or group not in CELL_GROUPS:
            raise UsageError("--set GROUP.OPTION=VALUE, such as train.epochs=80", text)
        changes[name] = yaml.safe_load(value)
    return changes


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def place_name(place: Mapping[str, Any]) -> str:
    """One word for where a cell stands in its experiment; lines are sorted by it."""
    parts = [place["scale"], place["phase"], *place["setting"].values(), place["arm"]]
    return "_".join(slug(part) for part in [*parts, f"seed{place['seed']}"]) + f"_{place['key']}"


def slug(text: str) -> str:
    """A text as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.").lower() or "none"
