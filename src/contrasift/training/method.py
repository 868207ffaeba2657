"""What every pre-training method shares: views, loss, optimiser, schedule, what a checkpoint holds."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import nn

from contrasift.errors import ContrasiftError
from contrasift.options import TrainOptions
from contrasift.training.choosing import PoolTags
from contrasift.training.encoders import Encoder
from contrasift.training.views import Augmentation, random_views

# Keeps the weights of a method's own parts apart from those of the encoder.
_PARTS_SEED = 1 << 40


def learning_rate_factor(
    step: int, warmup: int, total: int, schedule: str = "cosine", decay_from: int = 0
) -> float:
    """Share of the peak learning rate at a step: a linear rise, then half a cosine down to 0.

    (step + 1)/warmup for step < warmup, then 1 up to step d, then
    (1 + cos(π·(step − d)/(total − d)))/2; d is `decay_from`, or the end of the warm-up if that is
    later, or never for the schedule `constant`.
    """
    if step < warmup:
        return (step + 1) / warmup
    begin = max(warmup, decay_from)
    if schedule == "constant" or step < begin:
        return 1.0
    return (1 + math.cos(math.pi * (step - begin) / max(1, total - begin))) / 2


class TwoViews(lightning.LightningModule, ABC):
    """Learns from two views of each image. A method adds `build` and `contrast`.

    Nothing in it draws from a global generator: views are counted from (seed, epoch, example), and
    the weights of a method's own parts follow from the seed.

    Args:
        encoder: what is trained.
        options: resolved options.
        augmentation: how views differ.
        mirror: whether they may be flipped.
        seed: of the run.
        total_steps: of the run, over all sittings.
        tags: labels and latent classes, for policies that compare them.
        checkpoint: what `EpochRecorder` saved, to go on from.
        switched_at: the step of the first selection within the training, if there is one.
    """

    def __init__(
        self,
        encoder: Encoder,
        options: TrainOptions,
        *,
        augmentation: Augmentation,
        mirror: bool,
        seed: int,
        total_steps: int,
        tags: PoolTags | None = None,
        checkpoint: dict[str, Any] | None = None,
        switched_at: int | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.options: TrainOptions = options.resolved()
        self.total_steps = total_steps
        self.steps_before: int = 0 if checkpoint is None else int(checkpoint["steps"])
        self.epochs_before: int = 0 if checkpoint is None else int(checkpoint["epochs"])
        self.losses: list[torch.Tensor] = []
        self.tags = tags
        self.seed = seed
        self._notes: dict[str, list[torch.Tensor]] = {}
        self._augmentation = augmentation
        self._mirror = mirror
        self._checkpoint = checkpoint
        self._switched_at = switched_at
        with torch.random.fork_rng(devices=[]):
            # Layers draw their weights from the global generator; there is no other way in torch.
            torch.default_generator.manual_seed(seed + _PARTS_SEED)
            self.build()
        if checkpoint is not None:
            self._load(checkpoint)

    def build(self) -> None:
        """Make the method's own parts; those that are modules are kept in checkpoints."""

    @abstractmethod
    def contrast(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The loss of both views of a batch, all first views before all second ones.

        Args:
            views: [2b, channels, size, size], on the device that trains.
            index: int64 [b], on the CPU; the examples by their stable index.
        """

    def note(self, name: str, value: torch.Tensor) -> None:
        """Keep a figure of a step, to be logged as the mean over the epoch."""
        self._notes.setdefault(name, []).append(value.detach())

    def epoch_figures(self) -> dict[str, float]:
        """What was noted of an epoch beside its loss, for metrics.csv; then forgotten."""
        means = {name: torch.stack(kept).mean().item() for name, kept in self._notes.items()}
        self._notes.clear()
        return means

    @property
    def epoch(self) -> int:
        """The epoch of the run; Lightning counts those of this sitting."""
        return self.epochs_before + self.current_epoch

    @property
    def step(self) -> int:
        """The step of the run."""
        return self.steps_before + self.global_step

    @property
    def draw(self) -> int:
        """What views are drawn by: the epoch; the step once an epoch may show an example twice."""
        step = self.step
        switched = self._switched_at is not None and step >= self._switched_at
        return step if switched else self.epoch

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """The loss of one batch."""
        images, index = batch
        views = random_views(
            images,
            index,
            (0, 1),
            seed=self.seed,
            epoch=self.draw,
            augmentation=self._augmentation,
            mirror=self._mirror,
        )
        loss = self.contrast(views, index)
        if not torch.isfinite(loss):
            raise ContrasiftError(
                "a finite loss",
                f"{loss.item()} at step {self.step} (epoch {self.epoch})",
                "Lower learning_rate= or raise temperature=, in another folder or, of a run, with "
                "update=True; the last good epoch is kept",
            )
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimiser; a twentieth of the steps warms up (or so many epochs), then the schedule."""
        options, total = self.options, self.total_steps
        optimizer = _optimizer(self, options)
        if options.warmup_epochs is None:
            warmup = max(1, total // 20)
        else:
            warmup = round(options.warmup_epochs / options.epochs * total)
        decay_from = round((options.decay_after or 0) / options.epochs * total)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: learning_rate_factor(step, warmup, total, options.schedule, decay_from),
        )
        if self._checkpoint is not None:
            # A copy: spawned processes of several devices share the memory of what they were sent.
            optimizer.load_state_dict(copy.deepcopy(self._checkpoint["optimizer"]))
            schedule.load_state_dict(self._checkpoint["schedule"])
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def state(self) -> dict[str, Any]:
        """Steps, encoder and the method's own parts, for a checkpoint."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {"steps": self.step, "encoder": self.encoder.state_dict(), "parts": parts}

    def _load(self, checkpoint: dict[str, Any]) -> None:
        self.encoder.load_state_dict(checkpoint["encoder"])
        for name, part in self._parts().items():
            part.load_state_dict(checkpoint["parts"][name])

    def _parts(self) -> dict[str, nn.Module]:
        return {name: part for name, part in self.named_children() if name != "encoder"}


def _optimizer(module: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """Adam, or SGD or LARS with momentum 0.9, over everything that gradients reach."""
    rate = options.learning_rate or 0.0
    if options.scale_learning_rate:
        rate *= options.batch_size / 256
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if options.optimizer_name == "adam":
        return torch.optim.Adam(learned, lr=rate, weight_decay=options.weight_decay)
    if options.optimizer_name == "sgd":
        return torch.optim.SGD(learned, lr=rate, momentum=0.9, weight_decay=options.weight_decay)
    from lightly.utils.lars import LARS

    # Biases and batch norm (vectors) are neither decayed nor scaled (arXiv 2002.05709, B.1).
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return LARS(groups, lr=rate, momentum=0.9)


def in_float32(loss: Callable[..., torch.Tensor], *vectors: torch.Tensor) -> torch.Tensor:
    """A loss of vectors, in full precision whatever that of the network is."""
    with torch.autocast(vectors[0].device.type, enabled=False):
        return loss(*(part.float() for part in vectors))


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy that no gradient reaches, to follow the original."""
    return copy.deepcopy(module).requires_grad_(False)


def spread(vectors: torch.Tensor) -> torch.Tensor:
    """√d · mean over the coordinates of the unit vectors' standard deviation.

    1 for directions that are spread evenly, 0 when all are the same: collapse (arXiv 2011.10566,
    figure 2).
    """
    units = torch.nn.functional.normalize(vectors.detach().float(), dim=1)
    return units.std(dim=0).mean() * math.sqrt(units.shape[1])
