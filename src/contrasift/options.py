"""Every option of a run, once: dataclass fields become flags, recipe keys, canonical text and fingerprints."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from contrasift.catalogue import OBJECTIVES, check_choice, nearest, refuse_unused
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
            if choices:
                check_choice(f"--{item.name.replace('_', '-')}", str(value), choices)
            if item.name == "seed":
                _require(value >= 0, "--seed of at least 0", value)

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
            if key not in kinds:  # the nearest is only then looked for: it takes longest
                known = ", ".join(kinds)
                raise UsageError(f"one of the options {known}", key, nearest(str(key), kinds))
        return cls(**{key: _typed(key, value, kinds[key]) for key, value in values.items()})


@dataclass(frozen=True)
class PoolOptions(Options):
    """Which images, how many, at what size."""

    pool: str = option(
        "",
        "A named set (see `contrasift datasets`), a folder of images, tar or Parquet shards (a folder, a file, a pattern like 'shards/*.tar', or their address, s3://…), a Hugging Face data set (hf:NAME or hf:NAME:SPLIT), or a .npy/.npz file.",
    )
    limit: int | None = option(None, "Use only N examples of the pool, drawn with the seed.")
    image_size: int | None = option(
        None,
        "Side in pixels that images are brought to; default: the pool's own, or 64 for folders.",
    )
    labels: str = option(
        "auto",
        "Where labels come from: `auto` (what the pool has; folders of images have none), `folders` (class sub-folders), `none`, or a file with one label a line.",
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
class Method:
    """A pre-training method, as options, help, docs and the contract test know it.

    Attributes:
        says: how it learns, in a phrase.
        paper: where it is from.
        head: kind of projection head: see `training.encoders.HEADS`.
        uses: options that only some methods take; a method refuses those that it does not use.
        temperature: default of `--temperature`; unused by methods without negatives.
        projection_dim: default of `--projection-dim`, for CPUs; recipes have the papers' widths.
    """

    says: str
    paper: str
    head: str = "simclr"
    uses: frozenset[str] = frozenset()
    temperature: float = 0.5
    projection_dim: int = 128


_NEGATIVES = frozenset({"negatives", "negatives_schedule", "loss"})
_QUEUE = frozenset({"queue_reserve", "queue_keep_hard", "split_bn"})

METHODS: dict[str, Method] = {
    "simclr": Method("negatives from the batch", "arXiv 2002.05709", uses=_NEGATIVES),
    "moco": Method(
        "MoCo v2, negatives from a queue of older keys",
        "arXiv 1911.05722, 2003.04297",
        uses=_NEGATIVES | _QUEUE,
        temperature=0.2,
    ),
    "byol": Method(
        "no negatives; predicts a slowly moving copy of itself",
        "arXiv 2006.07733",
        head="byol",
        uses=frozenset({"predictor_dim"}),
        projection_dim=256,
    ),
    "simsiam": Method(
        "no negatives; predicts its own other view, whose gradient is stopped",
        "arXiv 2011.10566",
        head="simsiam",
        uses=frozenset({"predictor_dim"}),
        projection_dim=512,
    ),
    "barlowtwins": Method(
        "no negatives; uncorrelated features",
        "arXiv 2103.03230",
        head="barlowtwins",
        projection_dim=512,
    ),
    "vicreg": Method(
        "no negatives; features that vary and do not covary",
        "arXiv 2105.04906",
        head="vicreg",
        projection_dim=512,
    ),
}

# Peak learning rates at batch 256, where none is given.
LEARNING_RATES = {"adam": 3e-3, "sgd": 0.05, "lars": 0.3}


@dataclass(frozen=True)
class TrainOptions(Options):
    """One pre-training run (defaults: the SAS paper's settings, scaled to a CPU)."""

    method: str = option(
        "simclr",
        "How it learns: " + "; ".join(f"`{name}`: {it.says}" for name, it in METHODS.items()) + ".",
        choices=tuple(METHODS),
    )
    architecture: str = option(
        "narrow",
        "Encoder: `narrow` (for CPUs; `narrow:0.5` is half as wide), `resnet10`, `resnet18`, `resnet50`, or any timm name.",
    )
    epochs: int = option(20, "Passes over the training examples.")
    keep_epochs: str = option(
        "",
        "Epochs after which the encoder is kept as well: `1,4,10`, or `all`; --encoder RUN@epoch=4 embeds with one.",
    )
    batch_size: int = option(
        256,
        "Examples in a step, on all devices together; for simclr the other 2·(batch − 1) views are the negatives.",
    )
    optimizer_name: str = option(
        "adam",
        "`adam`, `sgd` (momentum 0.9) or `lars` (SGD with layer-wise rates, for large batches).",
        choices=tuple(LEARNING_RATES),
    )
    learning_rate: float | None = option(
        None, "Peak learning rate; default: 0.003 for adam, 0.05 for sgd, 0.3 for lars."
    )
    scale_learning_rate: bool = option(
        False, "Multiply the learning rate by batch / 256 (the linear rule of SGD and LARS)."
    )
    schedule: str = option(
        "cosine",
        "How the learning rate goes on after its warm-up: down along half a `cosine`, or `constant`.",
        choices=("cosine", "constant"),
    )
    warmup_epochs: int | None = option(
        None, "Epochs in which the learning rate rises; default: a twentieth of all steps."
    )
    weight_decay: float = option(1e-6, "Weight decay.")
    temperature: float | None = option(
        None, "Temperature of the loss with negatives; default: 0.5 for simclr, 0.2 for moco."
    )
    projection_dim: int | None = option(
        None,
        "Width of the projection head's output; default: "
        + ", ".join(f"{it.projection_dim} for {name}" for name, it in METHODS.items())
        + ".",
    )
    predictor_dim: int | None = option(
        None,
        "byol, simsiam: width of the predictor's hidden layer; default: twice the features' width for byol, a quarter of --projection-dim for simsiam.",
    )
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
    loss: str = option(
        "",
        "How negatives weigh; default: InfoNCE. `decoupled`: the positive does not compete with them; `debiased(SHARE)`: corrected for the SHARE of them expected to be of the query's class; `hardness(BETA,SHARE)`: so corrected, and harder ones weigh more, 0 as before.",
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
        0.99,
        "moco, byol: of the network that follows (0.999 for trainings of tens of thousands of steps); byol's rises to 1 along a cosine.",
    )
    split_bn: int = option(
        1,
        "moco: batch norm sees the batch in so many parts, and keys are shuffled among them, as on so many devices.",
    )
    devices: int = option(
        1, "Devices (on a CPU: processes) that share each batch; negatives are gathered from all."
    )
    precision: str = option(
        "32-true",
        "Arithmetic of the network; losses are always in float32.",
        choices=("32-true", "bf16-mixed", "16-mixed"),
    )

    def __post_init__(self) -> None:
        """Check that every number can be trained with."""
        super().__post_init__()
        _require(self.epochs >= 1, "--epochs of at least 1", self.epochs)
        parse_epochs(self.keep_epochs, self.epochs)
        parse_loss(self.loss)
        _require(
            self.batch_size >= 2,
            "--batch-size of at least 2 (a batch of one has no negatives)",
            self.batch_size,
        )
        for name in ("learning_rate", "temperature"):
            value = getattr(self, name)
            _require(value is None or value > 0, f"--{name.replace('_', '-')} above 0", value)
        for name in ("projection_dim", "predictor_dim"):
            value = getattr(self, name)
            _require(
                value is None or value >= 1, f"--{name.replace('_', '-')} of at least 1", value
            )
        _require(self.weight_decay >= 0, "--weight-decay of at least 0", self.weight_decay)
        _require(
            self.warmup_epochs is None or 0 <= self.warmup_epochs < self.epochs,
            "--warmup-epochs below --epochs",
            self.warmup_epochs,
        )
        self._check_devices()
        _require(self.queue_size >= 1, "--queue-size of at least 1", self.queue_size)
        _require(self.queue_reserve >= 0, "--queue-reserve of at least 0", self.queue_reserve)
        _require(0 <= self.queue_keep_hard < 1, "--queue-keep-hard in [0, 1)", self.queue_keep_hard)
        _require(0 <= self.momentum < 1, "--momentum in [0, 1)", self.momentum)
        self._refuse_unused()
        if self.queue_reserve:
            _require(
                bool(self.negatives or self.negatives_schedule),
                "--negatives for --queue-reserve",
                "none",
            )

    def _check_devices(self) -> None:
        _require(self.devices >= 1, "--devices of at least 1", self.devices)
        _require(self.split_bn >= 1, "--split-bn of at least 1", self.split_bn)
        parts = self.devices * self.split_bn
        _require(
            self.batch_size % parts == 0 and (parts == 1 or self.batch_size >= 2 * parts),
            f"--batch-size as a multiple of --devices × --split-bn ({parts}), two examples each",
            self.batch_size,
        )

    def _refuse_unused(self) -> None:
        """Refuse what another method would use: it would change nothing, unnoticed."""
        defaults = {item.name: item.default for item in dataclasses.fields(self)}
        uses = {name for method in METHODS.values() for name in method.uses}
        for name in sorted(uses - METHODS[self.method].uses):
            takers = [other for other, method in METHODS.items() if name in method.uses]
            _require(
                getattr(self, name) == defaults[name],
                f"--method {' or '.join(takers)} for --{name.replace('_', '-')}",
                self.method,
            )

    def resolved(self) -> TrainOptions:
        """The same options with what was left to the method and the optimiser filled in."""
        method = METHODS[self.method]
        rate = self.learning_rate or LEARNING_RATES[self.optimizer_name]
        return dataclasses.replace(
            self,
            learning_rate=rate,
            temperature=self.temperature or method.temperature,
            projection_dim=self.projection_dim or method.projection_dim,
        )

    def with_method(self, method: str) -> TrainOptions:
        """The same trained in another way: options of single methods are at their defaults."""
        if method == self.method:
            return self
        own = {name for other in METHODS.values() for name in other.uses}
        own |= {"method", "temperature", "projection_dim"}
        kept = {name: value for name, value in self.as_dict().items() if name not in own}
        return TrainOptions.from_mapping(kept | {"method": method})

    def fingerprint(self, *upstream: str) -> str:
        """Hash of the resolved options: a default that is written out is the same run."""
        return Options.fingerprint(self.resolved(), *upstream)


def parse_epochs(text: str, last: int) -> frozenset[int]:
    """The epochs that `1,4,10` or `all` name; those beyond the last are left out.

    Raises:
        UsageError: something else.
    """
    if text == "all":
        return frozenset(range(1, last + 1))
    parts = [part.strip() for part in text.split(",")] if text else []
    wrong = [part for part in parts if not (part.isdecimal() and int(part) >= 1)]
    _require(not wrong, "--keep-epochs like 1,4,10, or all", text)
    return frozenset(int(part) for part in parts if int(part) <= last)


def parse_loss(text: str) -> tuple[str, tuple[float, ...]]:
    """Name and numbers of a loss: `("hardness", (0.5, 0.016))`; InfoNCE's name is empty.

    Raises:
        UsageError: another loss, or numbers that it cannot have.
    """
    name, bracket, rest = text.replace(" ", "").partition("(")
    try:
        numbers = tuple(float(part) for part in rest.removesuffix(")").split(",") if bracket)
    except ValueError:
        numbers = (math.nan,)
    *betas, share = numbers or (0.0,)
    legal = (
        {"": 0, "decoupled": 0, "debiased": 1, "hardness": 2}.get(name) == len(numbers)
        and rest.endswith(")") == bool(bracket)
        and 0 <= share < 1
        and all(0 <= beta < math.inf for beta in betas)
    )
    _require(
        legal,
        "--loss decoupled, debiased(SHARE) or hardness(BETA,SHARE), a share in [0, 1), beta from 0 on",
        text,
    )
    return name, numbers


@dataclass(frozen=True)
class EmbedOptions(Options):
    """How the proxy turns the pool into a matrix."""

    encoder: str = option(
        "proxy",
        "`proxy` (train one here first); published weights: a timm name, `torchvision:NAME`, `open-clip:NAME/TAG`; weights in a file: `NAME=FILE`, `open-clip:FOLDER`; trained here: a run, `RUN@epoch=4`, or its .safetensors.",
    )
    classes_encoder: str = option(
        "same",
        "The encoder (named like --encoder; several with commas: their features side by side) in whose features classes are found; its embeddings of the images as they are go to class_embeddings.npy. `same`: that of --encoder; empty: classes are found in the views' embeddings, where similarities are.",
    )
    classes_layer: str = option(
        "backbone", "Layer of --classes-encoder.", choices=("head", "backbone")
    )
    classes_views: int = option(
        0, "Augmented views for --classes-encoder besides the image as it is."
    )
    proxy_epochs: int | None = option(
        None, "Epochs of the proxy trained here; default: half of --epochs."
    )
    proxy_method: str = option(
        "", "How the proxy learns; default: as --method.", choices=("", *METHODS)
    )
    proxy_architecture: str = option(
        "", "The proxy's network, named like --architecture; default: that."
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
        _require(self.classes_views >= 0, "--classes-views of at least 0", self.classes_views)
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
        "auto",
        "`graph`: communities among nearest neighbours, which find their own number (extra `graph`); `kmeans`; `auto`: graph where installed, up to 200,000 examples and unless --n-classes is given, else kmeans; `few-labels`: a linear classifier from few labels; `propagate`: few labels spread over the graph; the pool's `labels`; `zero-shot`: the name in --class-names that an image resembles most.",
        choices=("auto", "graph", "kmeans", "few-labels", "propagate", "labels", "zero-shot"),
    )
    class_names: str = option(
        "", "zero-shot: a file with the name of a class a line, or `imagenet-1k`."
    )
    templates: str = option(
        "",
        "zero-shot: a file of prompts, one a line, with {} for the name, or `openai` (80 prompts) or `simple` (7); default: `a photo of a {}.`",
    )
    clip: str = option(
        "",
        "zero-shot: where the open-clip model is that embedded the images, if it is no longer where it was.",
    )
    n_classes: str | int | None = option(
        None,
        "kmeans: a number, a range such as 50:400 or `auto` (√n / 10 to 2 √n): chosen by how few neighbours are cut apart; default: as many as the pool has labels, else `auto`.",
    )
    restarts: int = option(5, "k-means restarts; the best is kept.")
    metric: str = option(
        "spherical",
        "Without --whiten: examples are compared by direction (`spherical`) or as points (`euclidean`).",
        choices=("spherical", "euclidean"),
    )
    whiten: int = option(
        128, "Find classes in so many leading components, brought to equal variance; 0: not."
    )
    max_class_size: int | None = option(
        None, "kmeans, graph: split larger classes by k-means within them."
    )
    graph_neighbours: str | int = option(
        10,
        "graph, propagate: neighbours of an example; `auto` (graph): 10, 20 or 30, where two seeds agree best.",
    )
    graph: str = option(
        "union",
        "graph, propagate: join two examples if one is a neighbour of the other (`union`), or if each is (`mutual`).",
        choices=("union", "mutual"),
    )
    resolution: str | float | int = option(
        "3",
        "graph: higher makes more classes; `auto`: that at which two seeds agree best; `consensus`: what ten runs at five resolutions agree on, which hardly depends on the seed.",
    )
    label_share: float | None = option(
        None, "few-labels, propagate: share of the pool's own labels to use, e.g. 0.01."
    )
    few_labels: str = option(
        "",
        "few-labels, propagate: a file of labels, one `index,label` a line, instead of --label-share.",
    )
    classes_file: str = option(
        "", "labels: take the classes from this file (.npy, .parquet or lines) instead of the pool."
    )
    stability: int | None = option(
        None,
        "Seeds whose classes and selections are held against each other; default: 2 up to 20,000 examples, else none.",
    )
    rounds: int = option(
        0,
        "Refine in up to so many rounds: select, train the proxy anew on the selection, embed, find classes again; ends early when classes agree no better with those of the round before than these did.",
    )
    seed: int = option(0, "Seed of everything random.")

    def __post_init__(self) -> None:
        """Check counts."""
        super().__post_init__()
        _require(self.restarts >= 1, "--restarts of at least 1", self.restarts)
        _require(self.whiten >= 0, "--whiten of at least 0", self.whiten)
        _require(
            self.max_class_size is None or self.max_class_size >= 1,
            "--max-class-size of at least 1",
            self.max_class_size,
        )
        _require(
            self.stability is None or self.stability >= 0,
            "--stability of at least 0",
            self.stability,
        )
        _require(self.rounds >= 0, "--rounds of at least 0", self.rounds)
        _require(
            self.rounds == 0 or self.classes not in ("labels", "zero-shot"),
            "--rounds with --classes that are found in embeddings",
            self.classes,
        )
        self._settle_texts()
        self._check_n_classes()
        self._check_few_labels()
        zero_shot = self.classes == "zero-shot"
        _require(
            bool(self.class_names) or not zero_shot,
            "--class-names for --classes zero-shot",
            "none",
            "A file with one name a line, or imagenet-1k",
        )
        given = [self.class_names, self.templates, self.clip]
        _require(
            zero_shot or not any(given),
            "--classes zero-shot for --class-names, --templates and --clip",
            self.classes,
        )

    def fingerprint(self, *upstream: str) -> str:
        """Hash of these options, without `rounds`: every round is a stage with its own."""
        values = {name: value for name, value in self.as_dict().items() if name != "rounds"}
        text = json.dumps([type(self).__name__, values, upstream], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _settle_texts(self) -> None:
        """One spelling, whether a flag or a recipe gave it: the fingerprint sees the text."""
        if self.n_classes is not None:
            object.__setattr__(self, "n_classes", str(self.n_classes))
        if self.graph_neighbours != "auto":
            text = str(self.graph_neighbours)
            count = int(text) if text.isdecimal() else 0
            _require(count >= 1, "--graph-neighbours of at least 1, or auto", text)
            object.__setattr__(self, "graph_neighbours", count)
        _require(
            self.graph_neighbours != "auto" or self.classes != "propagate",
            "a number of --graph-neighbours for --classes propagate",
            "auto",
        )
        if self.resolution in ("auto", "consensus"):
            return
        try:
            value = float(self.resolution)
        except ValueError:
            value = 0.0
        _require(
            0 < value < float("inf"),
            "--resolution above 0, auto or consensus",
            repr(self.resolution),
        )
        object.__setattr__(self, "resolution", f"{value:g}")

    def _check_n_classes(self) -> None:
        if self.n_classes in (None, "auto"):
            return
        ends = str(self.n_classes).split(":")
        _require(
            len(ends) <= 2 and all(end.isdecimal() and int(end) >= 1 for end in ends),
            "--n-classes of at least 1, a range such as 50:400, or `auto`",
            self.n_classes,
        )
        _require(
            self.classes in ("auto", "kmeans"), "--classes kmeans for --n-classes", self.classes
        )

    def _check_few_labels(self) -> None:
        few = self.classes in ("few-labels", "propagate")
        _require(
            self.label_share is None or 0 < self.label_share <= 1,
            "--label-share in (0, 1]",
            self.label_share,
            "One in a hundred is 0.01",
        )
        _require(
            few == ((self.label_share is not None) or bool(self.few_labels))
            and not (self.label_share is not None and self.few_labels),
            "--label-share or --few-labels for --classes few-labels and propagate, and for no other",
            f"--classes {self.classes}, --label-share {self.label_share}, "
            f"--few-labels {self.few_labels or 'none'}",
        )
        _require(
            not self.classes_file or self.classes == "labels",
            "--classes labels for --classes-file",
            self.classes,
        )


@dataclass(frozen=True)
class SelectOptions(Options):
    """Which examples are kept."""

    fraction: float | None = option(None, "Share of the pool to keep, in (0, 1].")
    budget: int | None = option(None, "Number of examples to keep (instead of --fraction).")
    objective: str = option(
        "sas",
        "What is kept: "
        + "; ".join(f"`{one.name}`: {one.says}" for one in OBJECTIVES.values())
        + ".",
        choices=tuple(OBJECTIVES),
    )
    redundancy: float | None = option(
        None,
        "λ of F_λ: how much similarity among the selected counts against them; default: min(1, 1 / (2·fraction)).",
    )
    optimizer: str = option(
        "greedy",
        "`greedy` (nested ranking); for sas also `relaxed` (Frank–Wolfe: fastest, streams, leaves a linear rule); for coverage also `stochastic` (greedy over a random part of the candidates each time).",
        choices=("greedy", "relaxed", "stochastic"),
    )
    threshold: float | None = option(
        None,
        "τ: averaged similarities below it count zero; for sas and published (the papers' experiments used 0 and 0.5). Where no similarity can be below it the linear path runs.",
    )
    coverage_weight: float = option(1.0, "Weight of coverage in coverage-centre.")
    centre_weight: float = option(1.0, "Weight of centre in coverage-centre.")
    epsilon: float | None = option(
        None,
        "semantic-dedup: two examples whose similarity exceeds 1 − ε are one, and how many are distinct is told (the budget decides what is kept). --optimizer stochastic: the part of the optimum that chance may cost (0.1).",
    )
    neighbours: int = option(20, "typicality: how many nearest neighbours tell the density.")
    scores: str = option(
        "",
        "File with a score an example, for the objective scores: .parquet or .csv with columns `index` and the scores, .npy, or a number a line.",
    )
    scores_column: str = option("", "Column of the scores; default: the only one beside `index`.")
    scores_keep: str = option("high", "Which scores are kept.", choices=("high", "low"))
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
        _require(
            self.threshold is None or -1 <= self.threshold <= 1,
            "--threshold in [-1, 1], a cosine",
            self.threshold,
        )
        _require(
            0 < self.coverage_weight < float("inf"),
            "--coverage-weight above 0",
            self.coverage_weight,
            "--objective centre has none",
        )
        _require(
            0 <= self.centre_weight < float("inf"),
            "--centre-weight of at least 0",
            self.centre_weight,
        )
        _require(
            self.epsilon is None or 0 <= self.epsilon <= 2, "--epsilon in [0, 2]", self.epsilon
        )
        _require(self.neighbours >= 1, "--neighbours of at least 1", self.neighbours)
        refuse_unused(self.objective, self._further())
        _require(
            self.refine == "none" or self.optimizer == "greedy",
            "--optimizer greedy for --refine",
            self.optimizer,
        )

    def arguments(self) -> dict[str, Any]:
        """What `contrasift.select` takes of these; the file of scores is read by the caller."""
        return {
            name: value
            for name, value in self.as_dict().items()
            if name not in ("scores", "scores_column")
        }

    def _further(self) -> list[str]:
        """The options beyond their defaults that only some objectives take."""
        names = ("threshold", "refine", "coverage_weight", "centre_weight", "epsilon")
        names += ("neighbours", "scores", "scores_column", "scores_keep")
        defaults = {item.name: item.default for item in dataclasses.fields(self)}
        given = [name for name in names if getattr(self, name) != defaults[name]]
        return given + ([self.optimizer] if self.optimizer != "greedy" else [])


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


@dataclass(frozen=True)
class DynamicsOptions(Options):
    """The supervised model whose training scores the examples."""

    architecture: str = option(
        "narrow",
        "Encoder: `narrow` (for CPUs), `resnet10`, `resnet18`, `resnet50`, or any timm name.",
    )
    epochs: int = option(20, "Passes over the labelled examples.")
    seeds: int = option(3, "Number of trainings; scores are their mean.")
    batch_size: int = option(256, "Examples in a step.")
    learning_rate: float = option(3e-3, "Peak learning rate of Adam (cosine schedule).")
    weight_decay: float = option(1e-6, "Weight decay.")
    early_epoch: int | None = option(
        None, "Epoch after which EL2N and GraNd are taken; default: a tenth of --epochs."
    )

    def __post_init__(self) -> None:
        """Check that every number can be trained with."""
        super().__post_init__()
        for name in ("epochs", "seeds"):
            _require(getattr(self, name) >= 1, f"--{name} of at least 1", getattr(self, name))
        _require(self.batch_size >= 2, "--batch-size of at least 2", self.batch_size)
        _require(self.learning_rate > 0, "--learning-rate above 0", self.learning_rate)
        _require(self.weight_decay >= 0, "--weight-decay of at least 0", self.weight_decay)
        _require(
            self.early_epoch is None or 1 <= self.early_epoch <= self.epochs,
            f"--early-epoch between 1 and {self.epochs}",
            self.early_epoch,
        )

    @property
    def early(self) -> int:
        """The epoch, from 1, after which EL2N and GraNd are taken."""
        return self.early_epoch or max(1, round(self.epochs / 10))


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

    def resolved(self) -> RunOptions:
        """The same options with defaults that depend on others filled in."""
        return dataclasses.replace(self, train=self.train.resolved())

    @classmethod
    def from_mapping(cls, recipe: Mapping[str, Any]) -> RunOptions:
        """Build from a recipe; unknown sections and keys are errors that list the known ones."""
        for name, section in recipe.items():
            _require(
                name in GROUPS,
                f"one of the sections {', '.join(GROUPS)}",
                name,
                nearest(str(name), GROUPS),
            )
            _require(isinstance(section, Mapping), f"section {name} to hold options", section)
        sections: dict[str, Any] = {
            name: kind.from_mapping(recipe[name]) for name, kind in GROUPS.items() if name in recipe
        }
        return cls(**sections)
