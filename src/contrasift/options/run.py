"""All options of a run, one group a stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contrasift.catalogue import nearest
from contrasift.errors import UsageError
from contrasift.options.choosing import ClassesOptions, EmbedOptions, PoolOptions
from contrasift.options.declaring import Options, option, require
from contrasift.options.selecting import SelectOptions
from contrasift.options.switching import SwitchOptions
from contrasift.options.training import TrainOptions
from contrasift.options.words import Matched


@dataclass(frozen=True)
class CompareOptions(Options):
    """What the selection is held against."""

    seeds: int = option(
        3, "Number of training seeds for every arm of the comparison.", legal="of at least 1"
    )
    match: Matched = option(
        "epochs",
        "Subsets are trained for as many `epochs` as the full pool, or for as many optimiser `steps`.",
    )
    labels_per_class: int = option(
        10,
        "Labels a class of the probe that knows few of them (mean of five draws); 0: none.",
        later=True,
        legal="of at least 0",
    )
    regularisation: float | None = option(
        None,
        "λ of the linear probe with all labels; default: chosen on a fifth of them, which takes most of its time.",
        later=True,
        legal="above 0",
    )
    first_seed: int = option(
        0, "Training seeds count from here.", later=True, legal="of at least 0"
    )
    against: str = option(
        "random-per-class,full",
        "What is trained beside the selection: of `random-per-class`, `random` and `full`, with commas.",
        later=True,
    )

    jobs: int = option(
        1,
        "Trainings at a time, each a process with its share of the cores: for networks that one core holds.",
        later=True,
        legal="of at least 1",
    )

    def __post_init__(self) -> None:
        """Check that something is compared."""
        super().__post_init__()
        known = ("random-per-class", "random", "full")
        unknown = [name for name in self.subsets[1:] if name not in known]
        require(not unknown, f"against= with some of {', '.join(known)}", self.against)

    @property
    def subsets(self) -> tuple[str, ...]:
        """The subsets that are trained on, each once, the selection first."""
        names = [name.strip() for name in self.against.split(",") if name.strip()]
        return tuple(dict.fromkeys(["selected", *names]))

    @property
    def training_seeds(self) -> range:
        """The seeds of the trainings that are compared."""
        return range(self.first_seed, self.first_seed + self.seeds)


GROUPS: dict[str, type[Options]] = {
    "pool": PoolOptions,
    "embed": EmbedOptions,
    "classes": ClassesOptions,
    "select": SelectOptions,
    "train": TrainOptions,
    "switch": SwitchOptions,
    "compare": CompareOptions,
}


@dataclass(frozen=True)
class RunOptions:
    """All options of a run, one group a stage: what `options.yaml` holds."""

    pool: PoolOptions
    embed: EmbedOptions = field(default_factory=EmbedOptions)
    classes: ClassesOptions = field(default_factory=ClassesOptions)
    select: SelectOptions = field(default_factory=lambda: SelectOptions(fraction=0.2))
    train: TrainOptions = field(default_factory=TrainOptions)
    switch: SwitchOptions = field(default_factory=SwitchOptions)
    compare: CompareOptions = field(default_factory=CompareOptions)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """The groups as plain nested mappings."""
        return {name: getattr(self, name).as_dict() for name in GROUPS}

    def resolved(self) -> RunOptions:
        """The same options with defaults that depend on others filled in."""
        return dataclasses.replace(self, train=self.train.resolved())

    @classmethod
    def from_mapping(cls, recipe: Mapping[str, Any]) -> RunOptions:
        """Build from a recipe; unknown sections and keys are errors that list the known ones."""
        for name, section in recipe.items():
            if name not in GROUPS:
                known = ", ".join(GROUPS)
                raise UsageError(f"one of the sections {known}", name, nearest(str(name), GROUPS))
            require(isinstance(section, Mapping), f"section {name} to hold options", section)
        sections: dict[str, Any] = {
            name: kind.from_mapping(recipe[name]) for name, kind in GROUPS.items() if name in recipe
        }
        return cls(**sections)
