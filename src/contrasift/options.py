"""Every option of a run, once: dataclass fields become flags, recipe keys, canonical text and fingerprints."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from contrasift.errors import UsageError

# Not typing.Self: the type checker of the tests looks at methods one by one.
OptionsT = TypeVar("OptionsT", bound="Options")


def option(default: Any, help: str, choices: Sequence[str] = (), short: str = "") -> Any:
    """A dataclass field that carries its help text, its legal values and a one-letter flag."""
    return dataclasses.field(
        default=default, metadata={"help": help, "choices": tuple(choices), "short": short}
    )


def _require(condition: bool, expected: str, got: object, remedy: str = "") -> None:
    if not condition:
        raise UsageError(expected, str(got), remedy)


def _typed(name: str, value: object, kind: Any) -> object:
    """A recipe's value as the option's type; `1` may stand for `1.0`, nothing else is converted."""
    kinds = typing.get_args(kind) or (kind,)
    if float in kinds and type(value) is int:
        return float(value)
    wanted = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in kinds)
    _require(type(value) in kinds, f"option {name} to be {wanted}", repr(value))
    return value


@dataclass(frozen=True)
class Options:
    """Base of all option groups: legal values are checked on construction."""

    def __post_init__(self) -> None:
        """Check every field that lists its choices."""
        for item in dataclasses.fields(self):
            choices = item.metadata.get("choices", ())
            value = getattr(self, item.name)
            if choices and value not in choices:
                raise UsageError(
                    f"--{item.name.replace('_', '-')} to be one of {', '.join(choices)}", str(value)
                )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, in the order in which they are declared."""
        return dataclasses.asdict(self)

    def fingerprint(self, *upstream: str) -> str:
        """Hash of these options and of what they were applied to."""
        text = json.dumps([type(self).__name__, self.as_dict(), upstream], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def from_mapping(cls: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
        """Build from a recipe's section; an unknown key is an error that lists the known ones."""
        kinds = typing.get_type_hints(cls)
        for key in values:
            _require(key in kinds, f"one of the options {', '.join(kinds)}", key)
        return cls(**{key: _typed(key, value, kinds[key]) for key, value in values.items()})


@dataclass(frozen=True)
class PoolOptions(Options):
    """Which images, how many, at what size."""

    pool: str = option(
        "", "A named set (see `contrasift datasets`), a folder of images, or a .npy/.npz file."
    )
    limit: int | None = option(None, "Use only N examples of the pool, drawn with the seed.")
    image_size: int | None = option(
        None,
        "Side in pixels that images are brought to; default: the pool's own, or 64 for folders.",
    )
    labels: str = option(
        "auto",
        "Where labels come from: `auto` (named sets and arrays have their own; folders none), `folders` (class sub-folders), `none`, or a file with one label a line.",
    )
    holdout: float = option(
        0.2, "Share of a labelled pool without a test set that is held out for evaluation."
    )
    seed: int = option(0, "Seed of everything random.")

    def __post_init__(self) -> None:
        """Check counts and shares."""
        super().__post_init__()
        _require(self.limit is None or self.limit >= 1, "--limit of at least 1", self.limit)
        _require(
            self.image_size is None or self.image_size >= 8,
            "--image-size of at least 8",
            self.image_size,
        )
        _require(0 < self.holdout < 1, "--holdout in (0, 1)", self.holdout)


@dataclass(frozen=True)
class TrainOptions(Options):
    """One pre-training run (defaults: the SAS paper's settings, scaled to a CPU)."""

    method: str = option(
        "simclr",
        "Contrastive method: `simclr` (negatives from the batch) or `moco` (MoCo v2: from a queue).",
        choices=("simclr", "moco"),
    )
    architecture: str = option(
        "narrow",
        "Encoder: `narrow` (for CPUs), `resnet10`, `resnet18`, `resnet50`, or any timm name.",
    )
    epochs: int = option(20, "Passes over the training examples.")
    batch_size: int = option(
        256, "Examples in a step; the other 2·(batch − 1) views are the negatives."
    )
    learning_rate: float = option(3e-3, "Peak learning rate of Adam (cosine schedule).")
    weight_decay: float = option(1e-6, "Weight decay.")
    temperature: float = option(0.5, "Temperature of NT-Xent.")
    projection_dim: int = option(128, "Width of the projection head's output.")
    augmentation: str = option(
        "auto",
        "How views are made; `auto`: `small-grey` for grey images up to 32 pixels, else `simclr`.",
        choices=("auto", "simclr", "small-grey", "moco-v2"),
    )

    negatives: str = option(
        "",
        "Which negatives the loss uses, e.g. `difficulty(95,100) & ~same_class`; default: all. Also above(COSINE), random(SHARE), same_latent_class, duplicates.",
    )
    negatives_schedule: str = option(
        "", "Other policies from later epochs on: `10: difficulty(50,100); 20: difficulty(95,100)`."
    )
    queue_size: int = option(4096, "MoCo: how many older keys are the negatives.")
    queue_reserve: int = option(
        0,
        "MoCo: so many still older keys replace what --negatives leaves out, so that the number of negatives stays; 0: they are left out.",
    )
    queue_keep_hard: float = option(
        0.0, "MoCo: share of the queue, its oldest part, within which the easiest keys go first."
    )
    momentum: float = option(
        0.99, "MoCo: of the key encoder (0.999 for trainings of tens of thousands of steps)."
    )

    def __post_init__(self) -> None:
        """Check that every number can be trained with."""
        super().__post_init__()
        _require(self.epochs >= 1, "--epochs of at least 1", self.epochs)
        _require(
            self.batch_size >= 2,
            "--batch-size of at least 2 (a batch of one has no negatives)",
            self.batch_size,
        )
        _require(self.learning_rate > 0, "--learning-rate above 0", self.learning_rate)
        _require(self.weight_decay >= 0, "--weight-decay of at least 0", self.weight_decay)
        _require(self.temperature > 0, "--temperature above 0", self.temperature)
        _require(self.projection_dim >= 1, "--projection-dim of at least 1", self.projection_dim)
        _require(self.queue_size >= 1, "--queue-size of at least 1", self.queue_size)
        _require(self.queue_reserve >= 0, "--queue-reserve of at least 0", self.queue_reserve)
        _require(0 <= self.queue_keep_hard < 1, "--queue-keep-hard in [0, 1)", self.queue_keep_hard)
        _require(0 <= self.momentum < 1, "--momentum in [0, 1)", self.momentum)
        if self.queue_reserve:
            _require(self.method == "moco", "--method moco for --queue-reserve", self.method)
            _require(
                bool(self.negatives or self.negatives_schedule),
                "--negatives for --queue-reserve",
                "none",
            )


@dataclass(frozen=True)
class EmbedOptions(Options):
    """How the proxy turns the pool into a matrix."""

    encoder: str = option(
        "proxy",
        "`proxy` (train one here first), a timm name with pretrained weights, or a checkpoint of `contrasift train` (.safetensors).",
    )
    proxy_epochs: int | None = option(
        None, "Epochs of the proxy trained here; default: half of --epochs."
    )
    layer: str = option(
        "head",
        "Embed with the encoder's `backbone` or with the projection `head` (encoders without one: backbone).",
        choices=("head", "backbone"),
    )
    views: int = option(4, "Augmented views an example; their unit embeddings are averaged.")
    plain_view: bool = option(False, "Average in the un-augmented view as well.")
    embed_batch_size: int = option(256, "Examples embedded at a time.")
    seed: int = option(0, "Seed of everything random.")

    def __post_init__(self) -> None:
        """Check that there is at least one view."""
        super().__post_init__()
        _require(self.views >= 0, "--views of at least 0", self.views)
        _require(
            self.views > 0 or self.plain_view, "at least one view", "--views 0 without --plain-view"
        )
        _require(
            self.embed_batch_size >= 1, "--embed-batch-size of at least 1", self.embed_batch_size
        )
        _require(
            self.proxy_epochs is None or self.proxy_epochs >= 1,
            "--proxy-epochs of at least 1",
            self.proxy_epochs,
        )


@dataclass(frozen=True)
class ClassesOptions(Options):
    """How latent classes are found."""

    classes: str = option(
        "kmeans",
        "`kmeans` on the embeddings, or the pool's `labels`.",
        choices=("kmeans", "labels"),
    )
    n_classes: int | None = option(
        None, "Number of k-means classes; default: as many as the pool has labels, else √n / 2."
    )
    restarts: int = option(5, "k-means restarts; the best is kept.")
    seed: int = option(0, "Seed of everything random.")

    def __post_init__(self) -> None:
        """Check counts."""
        super().__post_init__()
        _require(
            self.n_classes is None or self.n_classes >= 1,
            "--n-classes of at least 1",
            self.n_classes,
        )
        _require(self.restarts >= 1, "--restarts of at least 1", self.restarts)


@dataclass(frozen=True)
class SelectOptions(Options):
    """Which examples are kept."""

    fraction: float | None = option(None, "Share of the pool to keep, in (0, 1].")
    budget: int | None = option(None, "Number of examples to keep (instead of --fraction).")
    objective: str = option(
        "sas",
        "`sas`; `published` (the ranking that the SAS code really makes); `random`; `random-per-class`.",
        choices=("sas", "published", "random", "random-per-class"),
    )
    redundancy: float | None = option(
        None,
        "λ of F_λ: how much similarity among the selected counts against them; default: min(1, 1 / (2·fraction)).",
    )
    optimizer: str = option(
        "greedy",
        "`greedy` (nested ranking) or `relaxed` (Frank–Wolfe: fastest, streams, leaves a linear rule).",
        choices=("greedy", "relaxed"),
    )
    refine: str = option(
        "none",
        "After greedy: `swaps` (same size), or the paper's `double-greedy` or `double-greedy-random` (both may shrink the set).",
        choices=("none", "swaps", "double-greedy", "double-greedy-random"),
    )
    allocate: str = option(
        "proportional",
        "How the budget is shared among classes: `proportional`, `equal`, or `global` (one objective over the whole pool).",
        choices=("proportional", "equal", "global"),
    )
    min_per_class: int = option(0, "At least this many from every class that has them.")
    seed: int = option(0, "Seed of everything random.")

    def __post_init__(self) -> None:
        """Check the budget and that the choices go together."""
        super().__post_init__()
        if self.fraction is not None and self.budget is not None:
            raise UsageError("--fraction or --budget", "both", "Give only one of them")
        if self.fraction is not None:
            _require(
                0 < self.fraction <= 1,
                "--fraction in (0, 1]",
                self.fraction,
                "A fifth of the pool is 0.2",
            )
        _require(self.budget is None or self.budget >= 0, "--budget of at least 0", self.budget)
        _require(
            self.redundancy is None or 0 <= self.redundancy < float("inf"),
            "--redundancy of at least 0",
            self.redundancy,
        )
        _require(self.min_per_class >= 0, "--min-per-class of at least 0", self.min_per_class)
        linear = self.objective == "sas"
        _require(
            linear or self.optimizer == "greedy",
            "--objective sas for --optimizer relaxed",
            self.objective,
        )
        _require(linear or self.refine == "none", "--objective sas for --refine", self.objective)
        _require(
            self.refine == "none" or self.optimizer == "greedy",
            "--optimizer greedy for --refine",
            self.optimizer,
        )


@dataclass(frozen=True)
class CompareOptions(Options):
    """What the selection is held against."""

    seeds: int = option(3, "Number of training seeds for every arm of the comparison.")
    match: str = option(
        "epochs",
        "Subsets are trained for as many `epochs` as the full pool, or for as many optimiser `steps`.",
        choices=("epochs", "steps"),
    )

    def __post_init__(self) -> None:
        """Check that something is compared."""
        super().__post_init__()
        _require(self.seeds >= 1, "--seeds of at least 1", self.seeds)


GROUPS: dict[str, type[Options]] = {
    "pool": PoolOptions,
    "embed": EmbedOptions,
    "classes": ClassesOptions,
    "select": SelectOptions,
    "train": TrainOptions,
    "compare": CompareOptions,
}


@dataclass(frozen=True)
class RunOptions:
    """All options of a run, one group a stage: what `options.yaml` holds."""

    pool: PoolOptions
    embed: EmbedOptions = EmbedOptions()
    classes: ClassesOptions = ClassesOptions()
    select: SelectOptions = SelectOptions(fraction=0.2)
    train: TrainOptions = TrainOptions()
    compare: CompareOptions = CompareOptions()

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """The groups as plain nested mappings."""
        return {name: getattr(self, name).as_dict() for name in GROUPS}

    @classmethod
    def from_mapping(cls, recipe: Mapping[str, Any]) -> RunOptions:
        """Build from a recipe; unknown sections and keys are errors that list the known ones."""
        for name, section in recipe.items():
            _require(name in GROUPS, f"one of the sections {', '.join(GROUPS)}", name)
            _require(isinstance(section, Mapping), f"section {name} to hold options", section)
        sections: dict[str, Any] = {
            name: kind.from_mapping(recipe[name]) for name, kind in GROUPS.items() if name in recipe
        }
        return cls(**sections)
