"""What Lightning is given beside a method: its loader, and what records and saves every epoch."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from torch.utils.data import DataLoader, Sampler

from contrasift.narration import Progress
from contrasift.negatives.processes import gathered_rows, n_processes
from contrasift.store.atomic import atomic_path
from contrasift.training.batches import ImagePool, load_batches
from contrasift.training.checkpoints import save_state
from contrasift.training.encoder_files import save_encoder
from contrasift.training.encoders import Encoder
from contrasift.training.joining import average_statistics
from contrasift.training.method import TwoViews
from contrasift.training.sources import epoch_file
from contrasift.training.splitting import joined_statistics
from contrasift.training.views import moved


class LoaderInPlace(lightning.LightningDataModule):
    """Makes the loader in the process that reads from it: its generator cannot be sent to another.

    And says what of a batch goes to the device.
    """

    def __init__(self, source: ImagePool, batches: Sampler[Any], workers: int):
        super().__init__()
        self._about = source, batches, workers

    def train_dataloader(self) -> DataLoader[Any]:
        """The loader."""
        return load_batches(*self._about)

    def transfer_batch_to_device(
        self, batch: list[torch.Tensor], device: torch.device, dataloader_idx: int
    ) -> list[torch.Tensor]:
        """Images go to the device; indices stay, since views are drawn by them on the CPU.

        Fetching them back would make the CPU wait until a GPU has done all its work.
        """
        images, index = batch
        return [moved(images, device), index]


class EpochRecorder(lightning.Callback):
    """At the end of every epoch: one checkpoint, one row of metrics.csv; both whole or not at all.

    A checkpoint holds weights, optimiser, schedule, the scale of 16-bit gradients and this history:
    plain tensors and numbers, which `torch.load(weights_only=True)` reads. Lightning's own also
    hold the state of its loops, and a run that was resumed from one taken here came out a step
    short (Lightning 2.6). Of several processes the first writes; what differs between them, the
    statistics of batch norm and the figures of an epoch, is averaged over all.

    `kept` is a plain encoder to save the weights with, and after which epochs to do so;
    `trained_on` are columns on the examples, `selected` hashes of the selections so far.

    Attributes:
        history: one row an epoch, also those of earlier sittings.
    """

    def __init__(
        self,
        checkpoint_file: Path,
        metrics_file: Path,
        report: Progress,
        checkpoint: dict[str, Any] | None = None,
        kept: tuple[Encoder, frozenset[int]] | None = None,
        trained_on: Mapping[str, int] | None = None,
        selected: Mapping[str, str] | None = None,
    ):
        self.history: list[dict[str, Any]] = [] if checkpoint is None else checkpoint["history"]
        self._precision = {} if checkpoint is None else checkpoint.get("precision", {})
        self._kept = kept
        self._checkpoint_file = checkpoint_file
        self._metrics_file = metrics_file
        self._report = report
        self._trained_on = dict(trained_on or {})
        self._selected = dict(selected or {})
        self._tick, self._cpu = time.perf_counter(), time.process_time()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to count the time, in the process that does the work, with the scale it had."""
        if self._precision:
            trainer.precision_plugin.load_state_dict(self._precision)
        self._tick, self._cpu = time.perf_counter(), time.process_time()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the step."""
        if trainer.is_global_zero:
            self._report(pl_module.step, pl_module.total_steps)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Record and save."""
        now, cpu = time.perf_counter(), time.process_time()
        seconds, self._tick = now - self._tick, now
        cpu_seconds, self._cpu = cpu - self._cpu, cpu
        losses = torch.stack(pl_module.losses)
        pl_module.losses.clear()
        row = {
            "epoch": pl_module.epoch,
            "steps": pl_module.step,
            "loss": gathered_rows(losses).cpu().double().mean().item(),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "images_per_second": len(losses) * pl_module.options.batch_size / seconds,
            **self._trained_on,
            **_mean_of_all(pl_module.epoch_figures(), losses.device),
        }
        average_statistics(pl_module)
        self.history.append(row)
        for logger in trainer.loggers:
            logger.log_metrics(row, step=pl_module.epoch)
        if trainer.is_global_zero:
            self._save(trainer, pl_module)

    def _save(self, trainer: Any, module: TwoViews) -> None:
        # The table first: a row too many is rewritten on resuming, one too few would stay lost.
        text = io.StringIO()
        # Epochs of an earlier version may have fewer columns.
        writer = csv.DictWriter(text, self.history[-1].keys(), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        with atomic_path(self._metrics_file) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")
        self._keep_encoder(module)
        checkpoint = {
            **module.state(),
            "epochs": len(self.history),
            "optimizer": trainer.optimizers[0].state_dict(),
            "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "precision": trainer.precision_plugin.state_dict(),
            "history": self.history,
            "selected": self._selected,
        }
        save_state(checkpoint, self._checkpoint_file)

    def _keep_encoder(self, module: TwoViews) -> None:
        """Write the encoder of an epoch that is wanted, with plain batch norm."""
        if self._kept is None or len(self.history) not in self._kept[1]:
            return
        encoder, weights = self._kept[0], module.encoder.state_dict()
        encoder.load_state_dict(joined_statistics(weights, encoder.state_dict()))
        save_encoder(encoder, epoch_file(self._checkpoint_file.parent, len(self.history)))


def _mean_of_all(figures: dict[str, float], device: torch.device) -> dict[str, float]:
    """Means over the processes, each of which has the figures of its share."""
    if n_processes() == 1 or not figures:
        return figures
    rows = torch.tensor([list(figures.values())], dtype=torch.float64, device=device)
    return dict(zip(figures, gathered_rows(rows).nanmean(dim=0).tolist(), strict=True))
