"""A cell: one training and its accuracies, with every option that decides it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from contrasift.errors import UsageError
from contrasift.options import (
    GROUPS,
    ClassesOptions,
    CompareOptions,
    DynamicsOptions,
    EmbedOptions,
    Options,
    RunOptions,
    SelectOptions,
    SwitchOptions,
    TrainOptions,
    option,
)
from reproduce.mixtures import MixtureOptions

# Which of the ranking is trained on; `labelled`: random ones among those that have a label;
# `looked-at`: the first where classes that are mostly junk were left out by hand.
KEPT = ("first", "last", "labelled", "looked-at")


@dataclass(frozen=True)
class ArmOptions(Options):
    """What a cell has beside a run: who is trained, and with which proxy."""

    trained: bool = option(True, "Whether the encoder is trained at all.")
    kept: str = option(
        "first",
        "Which end of the ranking is trained on; `labelled`: random examples among those with a label (the oracle of a pool whose junk has none); `looked-at`: the first of the latent classes most of whose examples have one, as if somebody had looked at every class and given junk a weight of 0.",
        choices=KEPT,
    )
    proxy_share: float = option(1.0, "Share of the proxy's epochs that it is really trained for.")
    steps: int = option(
        0, "Steps of every training, the proxy's too, whatever its epochs; 0: as epochs say."
    )


@dataclass(frozen=True)
class MeasureOptions(Options):
    """How the trained encoder is evaluated."""

    explore: bool = option(
        False,
        "Evaluate on a fifth of the training pool, set aside before anything else, in place of the test images.",
    )
    draws: int = option(5, "Draws of the few labels; their mean is taken.")
    per_class: int = option(10, "Labels a class.")
    share: float = option(0.01, "Share of the labels.")
    regularisation: float = option(
        1e-3,
        "Weight of ½‖W‖² against the mean loss of every linear probe; tuning costs more time than it changes.",
    )
    test_limit: int = option(5000, "Most images to evaluate on, always the same ones.")
    train_limit: int = option(
        0, "Most labelled images for probes and neighbours, always the same ones; 0: all."
    )
    extras: str = option(
        "",
        "Further metrics of the encoder, with commas: names in `reproduce.metrics.extras.EXTRAS`.",
    )

    def __post_init__(self) -> None:
        """Give further metrics one spelling, as the key sees the text."""
        super().__post_init__()
        object.__setattr__(self, "extras", ",".join(self.extra_metrics))

    @property
    def extra_metrics(self) -> list[str]:
        """The names of further metrics."""
        return [name.strip() for name in self.extras.split(",") if name.strip()]


CELL_GROUPS: dict[str, type[Options]] = {
    **GROUPS,
    "mixture": MixtureOptions,
    "arm": ArmOptions,
    "measure": MeasureOptions,
    "dynamics": DynamicsOptions,
}
# The groups that a run does not have.
_OWN_GROUPS = ("mixture", "arm", "measure", "dynamics")
# As `select.scores`: those of supervised trainings under the options of `dynamics`.
DYNAMICS = "dynamics"
# As `measure.extras`: reads those scores.
SUBSET_DIFFICULTY = "subset_difficulty"


@dataclass(frozen=True)
class Cell:
    """One training, evaluated.

    Attributes:
        options: of the pool, proxy, classes, selection and training, as of a run.
        mixture: what is mixed into the pool.
        arm: what is trained.
        measure: how it is evaluated.
        dynamics: the supervised trainings whose scores choose (`select.scores=dynamics`) or are
            read (`measure.extras=subset_difficulty`).
        seed: of weights, batches, views and draws of labels; `with_seed` gives it to the proxy, the
            classes and the selection as well.
    """

    options: RunOptions
    mixture: MixtureOptions = field(default_factory=MixtureOptions)
    arm: ArmOptions = field(default_factory=ArmOptions)
    measure: MeasureOptions = field(default_factory=MeasureOptions)
    dynamics: DynamicsOptions = field(default_factory=DynamicsOptions)
    seed: int = 0

    @classmethod
    def of(cls, values: Mapping[str, Any], seed: int) -> Cell:
        """A cell from flat options such as `{"train.method": "moco", "select.fraction": 0.2}`.

        Options that cannot change its result go back to their defaults, so that equal cells are
        recognised.

        Raises:
            UsageError: an unknown option or a value that it cannot have.
        """
        groups = nested(values)
        run = RunOptions.from_mapping({name: groups[name] for name in GROUPS if name in groups})
        parts: dict[str, Any] = {
            name: CELL_GROUPS[name].from_mapping(groups.get(name, {})) for name in _OWN_GROUPS
        }
        return cls(run, **parts).with_seed(seed)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Every option, by group; defaults that depend on others are filled in."""
        return self._groups(dataclasses.replace(self.options.resolved(), select=self.select))

    def _groups(self, options: RunOptions) -> dict[str, dict[str, Any]]:
        own = {name: getattr(self, name).as_dict() for name in _OWN_GROUPS}
        return {**options.as_dict(), **own}

    @cached_property
    def key(self) -> str:
        """Hash of the seed and of every option that is not at its default.

        An option that is new, at a default without effect, leaves the keys of finished cells as
        they are; that an older default has changed shows in `agrees`.
        """
        text = json.dumps([self.given(), self.seed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def given(self) -> dict[str, Any]:
        """The options that are not at their defaults, flat: `{"train.epochs": 400}`."""
        return {
            f"{group}.{name}": value
            for group, values in self._groups(self.options).items()
            for name, value in values.items()
            if value != default_of(CELL_GROUPS[group], name)
        }

    def agrees(self, options: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether the options of a finished cell are these; those it did not know are at defaults."""
        return all(
            _now(value)
            == _now(options.get(group, {}).get(name, default_of(CELL_GROUPS[group], name)))
            for group, values in self.as_dict().items()
            for name, value in values.items()
        )

    @property
    def select(self) -> SelectOptions:
        """How it selects, with λ filled in where it matters."""
        select = self.options.select
        fraction = select.fraction or 1.0
        if select.objective != "sas" or fraction == 1 or select.redundancy is not None:
            return select
        from contrasift.selection.kernels.linear_form import default_redundancy

        return dataclasses.replace(select, redundancy=default_redundancy(fraction))

    @property
    def proxy_epochs(self) -> int:
        """How many epochs the proxy is trained for."""
        embed, train = self.options.embed, self.options.train
        epochs = embed.proxy_epochs or max(1, train.epochs // 2)
        return max(1, round(self.arm.proxy_share * epochs))

    @property
    def chooses_by_dynamics(self) -> bool:
        """Whether supervised trainings choose."""
        return self.arm.trained and self.options.select.scores == DYNAMICS

    @property
    def needs_dynamics(self) -> bool:
        """Whether supervised trainings choose, or are read."""
        return self.chooses_by_dynamics or SUBSET_DIFFICULTY in self.measure.extra_metrics

    @property
    def switches(self) -> bool:
        """Whether the training selects on its way."""
        return self.arm.trained and self.options.switch.select_after is not None

    @property
    def needs_proxy(self) -> bool:
        """Whether anything is chosen by the embeddings of a proxy."""
        select, classes = self.options.select, self.options.classes
        by_classes = "same_latent_class" in (
            self.options.train.negatives + self.options.train.negatives_schedule
        )
        if by_classes:
            return True
        if self.switches:
            return False
        if not self.arm.trained or self.arm.kept == "labelled" or select.fraction == 1:
            return False
        by_labels = classes.classes == "labels" and not classes.classes_file
        return select.objective != "random" and not (
            select.objective == "random-per-class" and by_labels
        )

    def with_seed(self, seed: int) -> Cell:
        """The same with this seed, also where a run has one of its own; the pool stays as drawn."""
        run = self.options
        seeded = {
            name: dataclasses.replace(getattr(run, name), seed=seed)
            for name in ("embed", "classes", "select")
        }
        options = dataclasses.replace(run, **seeded)
        return dataclasses.replace(self, options=options, seed=seed)._without_idle_options()

    def _without_idle_options(self) -> Cell:
        """The same cell with what has no effect on it at its default."""
        run, arm = self.options, self.arm
        if not arm.trained:
            train = TrainOptions(
                architecture=run.train.architecture, projection_dim=run.train.projection_dim
            )
            run = dataclasses.replace(run, train=train, select=SelectOptions(fraction=1.0))
            arm = ArmOptions(trained=False)
        if run.select.fraction == 1:
            run = dataclasses.replace(run, switch=SwitchOptions())
        # How many seeds there are is the experiment's.
        compare = dataclasses.replace(run.compare, seeds=CompareOptions().seeds)
        cell = dataclasses.replace(self, options=dataclasses.replace(run, compare=compare), arm=arm)
        if not cell.needs_dynamics:
            cell = dataclasses.replace(cell, dynamics=DynamicsOptions())
        return cell if cell.needs_proxy else cell._without_proxy()

    def _without_proxy(self) -> Cell:
        run = self.options
        if self.switches and run.select.objective != "random":
            embed = dataclasses.replace(run.embed, proxy_epochs=None, proxy_method="")
            return dataclasses.replace(self, options=dataclasses.replace(run, embed=embed))
        select, classes = run.select, ClassesOptions()
        if select.fraction == 1:
            select = SelectOptions(fraction=1.0)
        elif select.objective == "random-per-class":
            classes = ClassesOptions(classes="labels")
        run = dataclasses.replace(run, embed=EmbedOptions(), classes=classes, select=select)
        arm = dataclasses.replace(self.arm, proxy_share=1.0)
        return dataclasses.replace(self, options=run, arm=arm)


def nested(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`{"train.method": "moco"}` as `{"train": {"method": "moco"}}`.

    Raises:
        UsageError: a name without a known group.
    """
    for name in values:
        group, dot, _ = name.partition(".")
        if not dot or group not in CELL_GROUPS:
            raise UsageError(f"an option such as train.epochs, of {', '.join(CELL_GROUPS)}", name)
    return nested_options(values)


def nested_options(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """As `nested`, also for groups that are not known any more."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        group, _, key = name.partition(".")
        groups.setdefault(group, {})[key] = value
    return groups


def current_defaults() -> dict[str, Any]:
    """The default of every option, flat: `{"train.epochs": 100, …}`."""
    return {
        f"{group}.{name}": value
        for group, kind in CELL_GROUPS.items()
        for name, value in _defaults(kind).items()
    }


def default_of(group: type[Options], name: str) -> Any:
    """The default of one option; None for one that does not exist."""
    return _defaults(group).get(name)


@cache
def _defaults(group: type[Options]) -> dict[str, Any]:
    return {item.name: item.default for item in dataclasses.fields(group)}


def _now(value: Any) -> Any:
    """What a value is called now: `auto` does what `greedy` did when that was the default."""
    return "auto" if value == "greedy" else value
