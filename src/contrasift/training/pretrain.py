"""One pre-training run in one folder: started, interrupted, resumed, finished, never redone."""

from __future__ import annotations

import copy
import json
import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contrasift.errors import RunFolderError, UsageError
from contrasift.fingerprints import array_sha256, json_fingerprint
from contrasift.narration import Progress
from contrasift.options import METHODS, TrainOptions, parse_epochs
from contrasift.options.arguments import checked_arguments
from contrasift.store.atomic import write_text
from contrasift.training.batches import EpochBatches, ImagePool, check_positions
from contrasift.training.choosing import PoolTags, required_tags
from contrasift.training.devices import choose_device, errors_of_processes, reports, where_to_train
from contrasift.training.encoder_files import save_encoder
from contrasift.training.encoders import Encoder, build_encoder
from contrasift.training.progress import show_progress
from contrasift.training.splitting import joined_statistics
from contrasift.training.switching import SelectedBatches, Selections, Switch
from contrasift.training.views import AUGMENTATIONS, choose_augmentation

ENCODER = "encoder.safetensors"
CHECKPOINT = "last.ckpt"
METRICS = "metrics.csv"
_RUN, _RESULT = "run.json", "result.json"


@dataclass(frozen=True)
class TrainingResult:
    """A finished run.

    Attributes:
        folder: where it is.
        encoder: the file of the trained encoder.
        steps: optimiser steps.
        epochs: passes over the examples, the last perhaps in part.
        examples: how many there were to train on.
        seconds: time of the training, over all sittings; work that was lost is not counted.
        loss: mean of the last epoch.
        cpu_seconds: of this process during the training.
        selections: what was selected on the way, in order; their seconds are no part of `seconds`.
    """

    folder: Path
    encoder: Path
    steps: int
    epochs: int
    examples: int
    seconds: float
    loss: float
    cpu_seconds: float = 0.0
    selections: list[dict[str, Any]] = field(default_factory=list)


@checked_arguments
def pretrain(
    pool: ImagePool,
    positions: np.ndarray,
    options: TrainOptions,
    *,
    seed: int,
    folder: Path,
    device: str = "auto",
    progress: bool | Progress = True,
    max_steps: int | None = None,
    workers: int = 0,
    latent_classes: np.ndarray | None = None,
    switch: Switch | None = None,
) -> TrainingResult:
    """Train a new encoder on part of a pool, or go on with the run that the folder holds.

    The weights depend on the images, the options and the seed, not on interruptions: a checkpoint
    is written after every epoch, and the rest of an epoch that was cut short is done again, bit
    for bit the same on the same machine. Batches are full: each epoch leaves out another few
    examples, fewer than a batch.

    Args:
        pool: the images.
        positions: the training examples, places in the pool; their order does not matter.
        options: architecture, epochs and so on.
        seed: of weights, order and views.
        folder: gets run.json, metrics.csv, last.ckpt while it runs, then encoder.safetensors and
            result.json; and the encoders of epochs that `options.keep_epochs` names.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        progress: whether to show it, or a callback `(steps done, steps in all)`.
        max_steps: train for this many steps instead of `options.epochs` (to compare subsets of
            different sizes at equal cost); the learning rate follows.
        workers: processes that read images in the background, for pools on disk.
        latent_classes: int [m]; class code by place in the pool, −1 for none; for the policy
            `same_latent_class`.
        switch: selects among the examples on the way: see `contrasift.training.switching`. An
            epoch keeps its number of steps.

    Returns:
        What was trained; at once, if the folder holds this very run, finished.

    Raises:
        UsageError: a batch larger than the training set, an unknown architecture or device, a
            policy for negatives that is none or that lacks labels or latent classes.
        RunFolderError: the folder holds another run.
        ContrasiftError: the loss became infinite or NaN.
        KeyboardInterrupt: Ctrl-C; the folder can be resumed.
    """
    options = options.resolved()
    places = check_positions(positions, len(pool))
    if max_steps is not None and max_steps < 1:
        raise UsageError("max_steps of at least 1", str(max_steps))
    folder = Path(folder)
    batches = EpochBatches(pool, places, options.batch_size, seed)
    total_steps = max_steps or options.epochs * len(batches)
    tags = PoolTags.of(pool, latent_classes)
    run = _describe_run(
        pool, places, options, seed, total_steps, required_tags(options, tags), switch
    )
    epochs = -(-total_steps // len(batches))
    moments = switch.options.epochs(epochs) if switch is not None else ()
    finished = _claim_folder(folder, run)
    if finished is not None:
        return finished
    encoder = untrained_encoder(options, pool.channels, pool.image_size, seed)
    encoder.description.update(augmentation=run["augmentation"], trained_with=options.method)
    shown = progress if isinstance(progress, bool) else False
    with show_progress("training", "steps", shown) as bar:
        report = bar if isinstance(progress, bool) else progress
        work = _Work(
            encoder, pool, tags, options, run, folder, choose_device(device), report, workers
        )
        selections = Selections(switch, folder, moments) if switch is not None else None
        history = _fit(work, batches, selections)
    return _finish(folder, encoder, run, history, selections)


@checked_arguments
def untrained_encoder(options: TrainOptions, channels: int, image_size: int, seed: int) -> Encoder:
    """The encoder that a training with these options and this seed begins with."""
    options = options.resolved()
    return build_encoder(
        options.architecture,
        channels,
        image_size,
        options.projection_dim or 0,
        seed,
        METHODS[options.method].head,
    )


def _describe_run(
    pool: ImagePool,
    places: np.ndarray,
    options: TrainOptions,
    seed: int,
    total_steps: int,
    tags: dict[str, np.ndarray],
    switch: Switch | None,
) -> dict[str, Any]:
    """Everything that decides what the weights will be, and a fingerprint of it."""
    run = {
        "options": options.as_dict(),
        "seed": seed,
        "total_steps": total_steps,
        "examples": len(places),
        "index_sha256": array_sha256(np.sort(pool.index[places])),
        "pool": str(getattr(pool, "fingerprint", "")),
        "image": [pool.channels, pool.image_size],
        "mirror": bool(pool.mirror),
        "augmentation": choose_augmentation(options.augmentation, pool.channels, pool.image_size),
        "tags_sha256": {name: array_sha256(values) for name, values in tags.items()},
        **({} if switch is None else {"switch": switch.describe()}),
    }
    return {**run, "fingerprint": json_fingerprint(run)}


def _claim_folder(folder: Path, run: dict[str, Any]) -> TrainingResult | None:
    """Make the folder this run's own; give its result if it has one.

    Raises:
        RunFolderError: it belongs to another run.
    """
    about = folder / _RUN
    if about.is_file():
        theirs = json.loads(about.read_text(encoding="utf-8"))["fingerprint"]
        if theirs != run["fingerprint"]:
            raise RunFolderError(
                "a training folder that is new or belongs to this run",
                f"{folder}, which holds a run with other options, examples or seed",
                "Choose another folder, or delete this one: update=True does so in a run",
            )
        if (folder / _RESULT).is_file() and (folder / ENCODER).is_file():
            kept = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
            return TrainingResult(folder=folder, encoder=folder / ENCODER, **kept)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(about, run)
    return None


def _finish(
    folder: Path,
    encoder: Encoder,
    run: dict[str, Any],
    history: list[dict[str, Any]],
    selections: Selections | None,
) -> TrainingResult:
    """Write the encoder, then the result that vouches for it; the checkpoint has done its duty."""
    save_encoder(encoder, folder / ENCODER)
    kept = {
        "steps": int(run["total_steps"]),
        "epochs": len(history),
        "examples": int(run["examples"]),
        "seconds": sum(row["seconds"] for row in history),
        "loss": history[-1]["loss"],
        "cpu_seconds": sum(row.get("cpu_seconds", 0.0) for row in history),
        "selections": [] if selections is None else selections.facts(),
    }
    _write_json(folder / _RESULT, kept)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return TrainingResult(folder=folder, encoder=folder / ENCODER, **kept)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2, sort_keys=True) + "\n")


@dataclass(frozen=True)
class _Work:
    """What stays the same from the first step of a training to the last."""

    encoder: Encoder
    pool: ImagePool
    tags: PoolTags
    options: TrainOptions
    run: dict[str, Any]
    folder: Path
    device: torch.device
    report: Progress
    workers: int

    def checkpoint(self) -> dict[str, Any] | None:
        """What there is to go on from."""
        saved = self.folder / CHECKPOINT
        return torch.load(saved, "cpu", weights_only=True) if saved.is_file() else None


def _fit(work: _Work, batches: EpochBatches, selections: Selections | None) -> list[dict[str, Any]]:
    """Train from the last checkpoint to the end, one selection after the other; gives the log."""
    encoder, total = work.encoder, work.run["total_steps"]
    starts = [epoch * len(batches) for epoch in (selections.moments if selections else ())]
    with _quiet_lightning(), reports(work.report, work.options.devices) as reported:
        for number, end in enumerate([*starts, total]):
            checkpoint = work.checkpoint()
            if checkpoint is not None and checkpoint["steps"] >= end:
                continue
            order: EpochBatches | SelectedBatches = batches
            if number:
                assert selections is not None
                assert checkpoint is not None
                order = selections.batches(
                    number, checkpoint, encoder, work.pool, batches, first_step=starts[number - 1]
                )
            about = selections.about(number, batches) if selections else {}
            _fit_until(work, end, order, starts, reported, about)
        # It may have been trained in another process, or with split batch norm.
        trained = work.checkpoint()
        assert trained is not None
        encoder.load_state_dict(joined_statistics(trained["encoder"], encoder.state_dict()))
        return trained["history"]


def _fit_until(
    work: _Work,
    end: int,
    batches: EpochBatches | SelectedBatches,
    starts: list[int],
    report: Progress,
    about: dict[str, Any],
) -> None:
    """Let Lightning train up to a step, from the last checkpoint if there is one."""
    import pytorch_lightning as lightning

    from contrasift.training.methods import MODULES
    from contrasift.training.recording import EpochRecorder, LoaderInPlace

    options, run, folder = work.options, work.run, work.folder
    checkpoint = work.checkpoint()
    wanted = parse_epochs(options.keep_epochs, options.epochs)
    kept = (copy.deepcopy(work.encoder), wanted) if wanted else None
    recorder = EpochRecorder(
        folder / CHECKPOINT, folder / METRICS, report, checkpoint, kept, **about
    )
    module = MODULES[options.method](
        copy.deepcopy(work.encoder),
        options,
        augmentation=AUGMENTATIONS[run["augmentation"]],
        mirror=run["mirror"],
        seed=run["seed"],
        total_steps=run["total_steps"],
        tags=work.tags,
        checkpoint=checkpoint,
        switched_at=starts[0] if starts else None,
    )
    left = end - module.steps_before
    batches.first_epoch = module.epochs_before
    trainer = lightning.Trainer(
        **where_to_train(work.device, options),
        max_epochs=-(-left // len(batches)),
        max_steps=left,
        callbacks=[recorder],
        logger=_tensorboard(folder),
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    with _keyboard_interrupt(trainer), errors_of_processes():
        trainer.fit(module, datamodule=LoaderInPlace(work.pool, batches, work.workers))


def _tensorboard(folder: Path) -> Any:
    """A TensorBoard log beside metrics.csv, where TensorBoard is installed."""
    if find_spec("tensorboard") is None:
        return False
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's hints out of the way, for what is done here only."""
    import pytorch_lightning  # noqa: F401  (sets the levels that are changed here)
    from lightning_fabric.utilities.warnings import PossibleUserWarning

    names = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            for category in (FutureWarning, DeprecationWarning):  # its own calls to torch
                warnings.filterwarnings(
                    "ignore", "", category, r"pytorch_lightning|lightning_fabric"
                )
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _keyboard_interrupt(trainer: Any) -> Iterator[None]:
    """Lightning turns Ctrl-C into an exit and deafens the process to the next: undo both.

    It also leaves the processes of several devices at work: end them.
    """
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except SystemExit as error:
        if trainer.interrupted and type(error) is SystemExit:  # a subclass stands for SIGTERM
            launcher = trainer.strategy.launcher
            if launcher is not None:
                launcher.kill(signal.SIGKILL)
                for process in launcher.procs:
                    process.join()
            raise KeyboardInterrupt from None
        raise
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
