"""How an encoder is trained: the methods, and every option of a training."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from contrasift.options.declaring import Options, option, require
from contrasift.options.words import AugmentationName, Precision, Schedule, StepRule, TrainingMethod


@dataclass(frozen=True)
class Method:
    """A pre-training method, as options, help, docs and the contract test know it.

    Attributes:
        description: how it learns, in a phrase.
        paper: where it is from.
        head: kind of projection head: see `training.encoders.HEADS`.
        uses: options that only some methods take; a method refuses those that it does not use.
        temperature: default of `--temperature`; unused by methods without negatives.
        projection_dim: default of `--projection-dim`, for CPUs; recipes have the papers' widths.
    """

    description: str
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

    method: TrainingMethod = option(
        "simclr",
        "How it learns: "
        + "; ".join(f"`{name}`: {it.description}" for name, it in METHODS.items())
        + ".",
    )
    architecture: str = option(
        "narrow",
        "Encoder: `narrow` (for CPUs; `narrow:0.5` is half as wide), `resnet10`, `resnet18`, `resnet50`, or any timm name.",
    )
    epochs: int = option(20, "Passes over the training examples.", legal="of at least 1")
    keep_epochs: str = option(
        "",
        "Epochs after which the encoder is kept as well: `1,4,10`, or `all`; --encoder RUN@epoch=4 embeds with one.",
    )
    batch_size: int = option(
        256,
        "Examples in a step, on all devices together; for simclr the other 2·(batch − 1) views are the negatives.",
        legal="of at least 2 (a batch of one has no negatives)",
    )
    optimizer_name: StepRule = option(
        "adam",
        "`adam`, `sgd` (momentum 0.9) or `lars` (SGD with layer-wise rates, for large batches).",
    )
    learning_rate: float | None = option(
        None,
        "Peak learning rate; default: 0.003 for adam, 0.05 for sgd, 0.3 for lars.",
        legal="above 0",
    )
    scale_learning_rate: bool = option(
        False, "Multiply the learning rate by batch / 256 (the linear rule of SGD and LARS)."
    )
    schedule: Schedule = option(
        "cosine",
        "How the learning rate goes on after its warm-up: down along half a `cosine`, or `constant`.",
    )
    warmup_epochs: int | None = option(
        None, "Epochs in which the learning rate rises; default: a twentieth of all steps."
    )
    decay_after: int | None = option(
        None,
        "Epochs before the cosine begins, the warm-up among them; default: it follows the warm-up.",
        later=True,
    )
    weight_decay: float = option(1e-6, "Weight decay.", legal="of at least 0")
    temperature: float | None = option(
        None,
        "Temperature of the loss with negatives; default: 0.5 for simclr, 0.2 for moco.",
        legal="above 0",
    )
    projection_dim: int | None = option(
        None,
        "Width of the projection head's output; default: "
        + ", ".join(f"{it.projection_dim} for {name}" for name, it in METHODS.items())
        + ".",
        legal="of at least 1",
    )
    predictor_dim: int | None = option(
        None,
        "byol, simsiam: width of the predictor's hidden layer; default: twice the features' width for byol, a quarter of --projection-dim for simsiam.",
        legal="of at least 1",
    )
    augmentation: AugmentationName = option(
        "auto",
        "How views are made; `auto`: `small-grey` for grey images up to 32 pixels, else `simclr`.",
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
    queue_size: int = option(
        4096, "MoCo: how many older keys are the negatives.", legal="of at least 1"
    )
    queue_reserve: int = option(
        0,
        "MoCo: so many still older keys replace what --negatives leaves out, so that the number of negatives stays; 0: they are left out.",
        legal="of at least 0",
    )
    queue_keep_hard: float = option(
        0.0,
        "MoCo: share of the queue, its oldest part, within which the easiest keys go first.",
        legal="in [0, 1)",
    )
    momentum: float = option(
        0.99,
        "moco, byol: of the network that follows (0.999 for trainings of tens of thousands of steps); byol's rises to 1 along a cosine.",
        legal="in [0, 1)",
    )
    split_bn: int = option(
        1,
        "moco: batch norm sees the batch in so many parts, and keys are shuffled among them, as on so many devices.",
        legal="of at least 1",
    )
    devices: int = option(
        1,
        "Devices (on a CPU: processes) that share each batch; negatives are gathered from all.",
        legal="of at least 1",
    )
    precision: Precision = option(
        "32-true",
        "Arithmetic of the network; losses are always in float32.",
    )

    def __post_init__(self) -> None:
        """Check that every number can be trained with."""
        super().__post_init__()
        parse_epochs(self.keep_epochs, self.epochs)
        parse_loss(self.loss)
        for name in ("warmup_epochs", "decay_after"):
            value = getattr(self, name)
            require(value is None or 0 <= value < self.epochs, f"{name}= below epochs=", value)
        self._check_devices()
        self._refuse_unused()
        if self.queue_reserve:
            require(
                bool(self.negatives or self.negatives_schedule),
                "negatives= for queue_reserve=",
                "none",
            )

    def _check_devices(self) -> None:
        parts = self.devices * self.split_bn
        require(
            self.batch_size % parts == 0 and (parts == 1 or self.batch_size >= 2 * parts),
            f"batch_size= as a multiple of devices= × split_bn= ({parts}), two examples each",
            self.batch_size,
        )

    def _refuse_unused(self) -> None:
        """Refuse what another method would use: it would change nothing, unnoticed."""
        defaults = {item.name: item.default for item in dataclasses.fields(self)}
        uses = {name for method in METHODS.values() for name in method.uses}
        for name in sorted(uses - METHODS[self.method].uses):
            takers = [f"method='{other}'" for other, it in METHODS.items() if name in it.uses]
            require(
                getattr(self, name) == defaults[name],
                f"{' or '.join(takers)} for {name}=",
                f"method='{self.method}'",
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
    require(not wrong, "keep_epochs= like 1,4,10, or all", text)
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
    require(
        legal,
        "loss= as decoupled, debiased(SHARE) or hardness(BETA,SHARE), a share in [0, 1), beta from 0 on",
        text,
    )
    return name, numbers


@dataclass(frozen=True)
class DynamicsOptions(Options):
    """The supervised model whose training scores the examples."""

    architecture: str = option(
        "narrow",
        "Encoder: `narrow` (for CPUs), `resnet10`, `resnet18`, `resnet50`, or any timm name.",
    )
    epochs: int = option(20, "Passes over the labelled examples.", legal="of at least 1")
    seeds: int = option(3, "Number of trainings; scores are their mean.", legal="of at least 1")
    batch_size: int = option(256, "Examples in a step.", legal="of at least 2")
    learning_rate: float = option(
        3e-3, "Peak learning rate of Adam (cosine schedule).", legal="above 0"
    )
    weight_decay: float = option(1e-6, "Weight decay.", legal="of at least 0")
    early_epoch: int | None = option(
        None, "Epoch after which EL2N and GraNd are taken; default: a tenth of --epochs."
    )

    def __post_init__(self) -> None:
        """Check that every number can be trained with."""
        super().__post_init__()
        require(
            self.early_epoch is None or 1 <= self.early_epoch <= self.epochs,
            f"early_epoch= between 1 and {self.epochs}",
            self.early_epoch,
        )

    @property
    def early(self) -> int:
        """The epoch, from 1, after which EL2N and GraNd are taken."""
        return self.early_epoch or max(1, round(self.epochs / 10))
