"""A supervised model is trained, and what it says of every example is recorded in every epoch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from contrasift.errors import ContrasiftError, DataError, RunFolderError
from contrasift.evaluation.difficulty_scores import error_norm, last_layer_gradient_norm
from contrasift.fingerprints import array_sha256
from contrasift.narration import Progress
from contrasift.options import DynamicsOptions
from contrasift.store.atomic import write_arrays, write_text
from contrasift.training.batches import (
    ImagePool,
    RowBatches,
    check_positions,
    epoch_order,
    load_batches,
)
from contrasift.training.checkpoints import save_state
from contrasift.training.devices import choose_device
from contrasift.training.encoders import Encoder, build_encoder
from contrasift.training.method import learning_rate_factor
from contrasift.training.progress import no_progress
from contrasift.training.views import Augmentation, random_views, to_unit_range

# Crops of three quarters and more, and flips where the pool allows them: labels stay what they are.
LIGHT = Augmentation(scale=(0.75, 1.0), ratio=(1.0, 1.0), jitter=0.0, grey=0.0)
_CHECKPOINT, _ABOUT = "last.ckpt", "run.json"
_RECORDED = ("correct", "probability", "error_norm", "gradient_norm")


@dataclass(frozen=True)
class Recorded:
    """What one training says of every example, one row an epoch.

    Attributes:
        correct: bool [T, n]; whether the example was right when it was in its minibatch, in its
            augmented view and before that step.
        probability: float32 [T, n]; of the true class at the end of the epoch, of the plain image.
        error_norm: float32 [T, n]; ‖p − y‖₂, likewise.
        gradient_norm: float32 [T, n]; ‖p − y‖₂ √(1 + ‖h‖²), likewise.
    """

    correct: np.ndarray
    probability: np.ndarray
    error_norm: np.ndarray
    gradient_norm: np.ndarray


class _Batches(RowBatches):
    """All positions of an epoch in random order, in pieces of at least the batch size."""

    def __init__(self, source: ImagePool, positions: np.ndarray, size: int, seed: int, epoch: int):
        order = epoch_order(seed, epoch, source.index[positions])
        # Nobody is left out, and no piece is so small that batch norm fails.
        self._batches = np.array_split(positions[order], max(1, len(positions) // size))


def record_dynamics(
    pool: ImagePool,
    positions: np.ndarray,
    codes: np.ndarray,
    options: DynamicsOptions,
    *,
    seed: int,
    folder: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> Recorded:
    """Train encoder and linear layer on the labels by cross-entropy; record every epoch.

    Adam with a cosine schedule on lightly augmented images. Every epoch ends with a checkpoint and
    a file of records; an interrupted training goes on from there, to the same bytes on the same
    machine.

    Args:
        pool: the images.
        positions: the labelled examples, places in the pool.
        codes: int [n]; their classes, 0..K−1.
        options: architecture, epochs and so on.
        seed: of weights, order and views.
        folder: gets run.json, last.ckpt and records/epoch-0001.npz and so on.
        device: `auto`, `cpu`, `cuda`, `mps`.
        progress: called with (steps done, steps in all).

    Returns:
        The records, columns in the order of `positions`.

    Raises:
        DataError: fewer than two classes, or not one class an example.
        RunFolderError: the folder holds another training.
        ContrasiftError: the loss became infinite or NaN; the last good epoch is kept.
    """
    places = check_positions(positions, len(pool))
    codes = np.asarray(codes, dtype=np.int64)
    if codes.shape != places.shape or (codes < 0).any():
        raise DataError(f"a class for each of {places.size} examples", f"shape {codes.shape}")
    if np.unique(codes).size < 2:
        raise DataError(
            "examples of at least two classes",
            f"{places.size} of one class",
            "Add examples of another class",
        )
    folder = Path(folder)
    _claim(folder, _describe(pool, places, codes, options, seed))
    where = choose_device(device)
    n_classes = int(codes.max()) + 1
    encoder = build_encoder(options.architecture, pool.channels, pool.image_size, 0, seed)
    layer = _linear_layer(encoder.feature_dim, n_classes, seed)
    model = nn.ModuleDict({"encoder": encoder, "layer": layer}).to(where)
    steps = max(1, len(places) // options.batch_size)
    total = options.epochs * steps
    optimizer = torch.optim.Adam(
        model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, max(1, total // 20), total)
    )
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    first = _resume(folder, parts)
    code_of = np.full(len(pool), -1, dtype=np.int64)
    code_of[places] = codes
    for epoch in range(first, options.epochs):
        correct = np.zeros(len(pool), dtype=bool)
        model.train()
        batches = _Batches(pool, places, options.batch_size, seed, epoch)
        loader = load_batches(pool, batches)
        for step, (batch, (images, index)) in enumerate(zip(batches, loader, strict=True)):
            views = random_views(
                images.to(where),
                index,
                [0],
                seed=seed,
                epoch=epoch,
                augmentation=LIGHT,
                mirror=bool(pool.mirror),
            )
            truth = torch.from_numpy(code_of[batch]).to(where)
            scores = layer(encoder.features(views))
            loss = nn.functional.cross_entropy(scores, truth)
            if not torch.isfinite(loss):
                raise ContrasiftError(
                    "a finite loss",
                    f"{loss.item()} at step {epoch * steps + step} (epoch {epoch})",
                    "Lower learning_rate=, in another folder or with update=True; the last good epoch "
                    "is kept",
                )
            correct[batch] = (scores.argmax(dim=1) == truth).cpu().numpy()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            (progress or no_progress)(epoch * steps + step + 1, total)
        end = _end_of_epoch(pool, places, codes, encoder, layer, where)
        _keep(folder, epoch + 1, {"correct": correct[places], **end}, parts)
    return _read(folder, options.epochs)


def _linear_layer(width: int, n_classes: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # layers draw from the global generator
        return nn.Linear(width, n_classes)


def _end_of_epoch(
    pool: ImagePool,
    places: np.ndarray,
    codes: np.ndarray,
    encoder: Encoder,
    layer: nn.Linear,
    where: torch.device,
) -> dict[str, np.ndarray]:
    """What the model says of the plain images."""
    encoder.eval()
    found: dict[str, list[np.ndarray]] = {name: [] for name in _RECORDED[1:]}
    done = 0
    with torch.inference_mode():
        for images, _ in load_batches(pool, RowBatches(places, 512)):
            hidden = encoder.features(to_unit_range(images.to(where)))
            p = layer(hidden).cpu().double().softmax(dim=1).numpy()
            truth, h = codes[done : done + len(p)], hidden.cpu().numpy()
            done += len(p)
            found["probability"].append(p[np.arange(len(p)), truth])
            found["error_norm"].append(error_norm(p, truth))
            found["gradient_norm"].append(last_layer_gradient_norm(p, truth, h))
    return {name: np.concatenate(parts).astype(np.float32) for name, parts in found.items()}


def _describe(
    pool: ImagePool, places: np.ndarray, codes: np.ndarray, options: DynamicsOptions, seed: int
) -> dict[str, Any]:
    """Everything that decides what is recorded."""
    about = options.as_dict()
    for name in ("seeds", "early_epoch"):  # how trainings are put together, not how one goes
        del about[name]
    return {
        "options": about,
        "seed": seed,
        "pool": str(getattr(pool, "fingerprint", "")),
        "index_sha256": array_sha256(pool.index[places]),
        "codes_sha256": array_sha256(codes),
    }


def _claim(folder: Path, about: dict[str, Any]) -> None:
    path = folder / _ABOUT
    if not path.is_file():
        (folder / "records").mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(about, indent=2))
    elif json.loads(path.read_text(encoding="utf-8")) != about:
        raise RunFolderError(
            "a folder that is new or belongs to this training",
            f"{folder}, which holds one with other options or examples",
            "Pass update=True to do it again in place",
        )


def _resume(folder: Path, parts: dict[str, Any]) -> int:
    """Load the checkpoint, if there is one; how many epochs are done."""
    path = folder / _CHECKPOINT
    if not path.is_file():
        return 0
    checkpoint = torch.load(path, "cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(checkpoint[name])
    return int(checkpoint["epochs"])


def _keep(folder: Path, epochs: int, records: dict[str, np.ndarray], parts: dict[str, Any]) -> None:
    """The records first: the checkpoint vouches for them."""
    write_arrays(_records_file(folder, epochs), records)
    state = {name: part.state_dict() for name, part in parts.items()} | {"epochs": epochs}
    save_state(state, folder / _CHECKPOINT)


def _records_file(folder: Path, epoch: int) -> Path:
    return folder / "records" / f"epoch-{epoch:04d}.npz"


def _read(folder: Path, epochs: int) -> Recorded:
    rows: dict[str, list[np.ndarray]] = {name: [] for name in _RECORDED}
    for epoch in range(1, epochs + 1):
        with np.load(_records_file(folder, epoch), allow_pickle=False) as stored:
            for name in _RECORDED:
                rows[name].append(stored[name])
    return Recorded(**{name: np.stack(parts) for name, parts in rows.items()})
