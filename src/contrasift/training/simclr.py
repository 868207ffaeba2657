"""SimCLR as a LightningModule, and the callback that records and saves every epoch."""

from __future__ import annotations

import csv
import io
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch

from contrasift.errors import ContrasiftError
from contrasift.options import TrainOptions
from contrasift.training.choosing import ChosenNegatives, PoolTags
from contrasift.training.encoders import Encoder
from contrasift.training.views import Augmentation, random_views


def learning_rate_factor(step: int, warmup: int, total: int) -> float:
    """Share of the peak learning rate at a step: a linear rise, then half a cosine down to 0.

    (step + 1)/warmup for step < warmup, then (1 + cos(π·(step − warmup)/(total − warmup)))/2.
    """
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) / 2


class SimCLR(lightning.LightningModule):
    """Two views of each image attract, all other views in the batch repel (arXiv 2002.05709).

    Nothing in it draws from a global generator: views are counted from (seed, epoch, example).
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
    ):
        super().__init__()
        self.encoder = encoder
        self.total_steps = total_steps
        self.steps_before = 0 if checkpoint is None else int(checkpoint["steps"])
        self.epochs_before = 0 if checkpoint is None else int(checkpoint["epochs"])
        self.batch_size = options.batch_size
        self.losses: list[torch.Tensor] = []
        self._options = options
        self._augmentation = augmentation
        self._mirror = mirror
        self._seed = seed
        self._checkpoint = checkpoint
        self.negatives = ChosenNegatives(options, tags, seed)
        if checkpoint is not None:
            encoder.load_state_dict(checkpoint["encoder"])

    @property
    def epoch(self) -> int:
        """The epoch of the run; Lightning counts those of this sitting."""
        return self.epochs_before + self.current_epoch

    @property
    def step(self) -> int:
        """The step of the run."""
        return self.steps_before + self.global_step

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """The loss of one batch."""
        images, index = batch
        views = random_views(
            images,
            index,
            (0, 1),
            seed=self._seed,
            epoch=self.epoch,
            augmentation=self._augmentation,
            mirror=self._mirror,
        )
        loss = self.contrast(views, index)
        if not torch.isfinite(loss):
            raise ContrasiftError(
                "a finite loss",
                f"{loss.item()} at step {self.step} (epoch {self.epoch})",
                "Lower --learning-rate or raise --temperature; the last good epoch is kept",
            )
        self.losses.append(loss.detach())
        return loss

    def contrast(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The loss of both views of a batch, all first views before all second ones."""
        first, second = self.encoder(views).chunk(2)
        return self.negatives.loss(first, second, index, epoch=self.epoch, step=self.step)

    def extra_state(self) -> dict[str, Any]:
        """What a checkpoint must hold besides encoder, optimiser and schedule."""
        return {}

    def configure_optimizers(self) -> dict[str, Any]:
        """Adam; a twentieth of the steps warms up, the rest follows a cosine."""
        options, total = self._options, self.total_steps
        optimizer = torch.optim.Adam(
            self.encoder.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        warmup = max(1, total // 20)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, warmup, total)
        )
        if self._checkpoint is not None:
            optimizer.load_state_dict(self._checkpoint["optimizer"])
            schedule.load_state_dict(self._checkpoint["schedule"])
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class EpochRecorder(lightning.Callback):
    """At the end of every epoch: one checkpoint, one row of metrics.csv; both whole or not at all.

    A checkpoint holds weights, optimiser, schedule and this history: plain tensors and numbers,
    which `torch.load(weights_only=True)` reads. Lightning's own also hold the state of its loops,
    and a run that was resumed from one taken here came out a step short (Lightning 2.6).

    Attributes:
        history: one row an epoch, also those of earlier sittings.
        seconds: time of all sittings up to the last finished epoch.
    """

    def __init__(
        self,
        checkpoint_file: Path,
        metrics_file: Path,
        report: Callable[[int, int], None],
        checkpoint: dict[str, Any] | None = None,
    ):
        self.history: list[dict[str, Any]] = [] if checkpoint is None else checkpoint["history"]
        self.seconds: float = sum(row["seconds"] for row in self.history)
        self._checkpoint_file = checkpoint_file
        self._metrics_file = metrics_file
        self._report = report
        self._tick = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the step."""
        self._report(pl_module.step, pl_module.total_steps)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Record and save."""
        now = time.perf_counter()
        seconds, self._tick = now - self._tick, now
        self.seconds += seconds
        losses = torch.stack(pl_module.losses)
        pl_module.losses.clear()
        row = {
            "epoch": pl_module.epoch,
            "steps": pl_module.step,
            "loss": losses.cpu().double().mean().item(),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": seconds,
            "images_per_second": len(losses) * pl_module.batch_size / seconds,
            **pl_module.negatives.log_and_clear(),
        }
        self.history.append(row)
        for logger in trainer.loggers:
            logger.log_metrics(row, step=pl_module.epoch)
        self._save(trainer, pl_module)

    def _save(self, trainer: Any, module: SimCLR) -> None:
        # The table first: a row too many is rewritten on resuming, one too few would stay lost.
        text = io.StringIO()
        writer = csv.DictWriter(text, self.history[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        with _replacing(self._metrics_file) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")
        checkpoint = {
            "epochs": len(self.history),
            "steps": module.step,
            "encoder": module.encoder.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "history": self.history,
            **module.extra_state(),
        }
        with _replacing(self._checkpoint_file) as temporary:
            torch.save(checkpoint, temporary)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary path; what is written there replaces `path` when it is whole."""
    temporary = path.with_name(path.name + ".partial")
    yield temporary
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
