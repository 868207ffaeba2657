"""A training that selects on its way: what is asked at each switch, and the batches after it.

A switch is a stop and a resume. The checkpoint that ends the epoch before it is what the training
goes on from: weights, optimiser with its moments, learning rate, batch norm's statistics, and the
queue or the moving average of a method pass it unchanged. Only the examples change.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from contrasift.classes.agreement import selection_overlap
from contrasift.errors import RunFolderError, UsageError
from contrasift.fingerprints import array_sha256
from contrasift.negatives.processes import n_processes, rank
from contrasift.options import SwitchOptions
from contrasift.store.atomic import load_array, read_json, write_array, write_json
from contrasift.training.batches import (
    EpochBatches,
    ImagePool,
    OrderedPasses,
    check_positions,
    spread_among,
)
from contrasift.training.encoder_files import save_encoder
from contrasift.training.encoders import Encoder
from contrasift.training.splitting import joined_statistics

_FOLDER, _CHOSEN, _FACTS = "selections", "selected.npy", "switch.json"
# What a checkpoint calls the moving average of the encoder.
_AVERAGES = ("key_encoder", "target")


@dataclass(frozen=True)
class Moment:
    """When a training selects.

    Attributes:
        number: of the selection, from 1.
        epoch: after how many epochs.
        encoder: a file with the encoder of that moment.
        folder: where what the selection is made of may be kept.
    """

    number: int
    epoch: int
    encoder: Path
    folder: Path


@dataclass(frozen=True)
class Choice:
    """What was selected: places in the pool, and what is to be told of it."""

    positions: np.ndarray
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Switch:
    """A selection within a training.

    Attributes:
        options: when, how often, how much.
        choose: selects by an encoder; called again if it was interrupted, so it should resume.
        identity: hash of everything besides the encoder that decides what is chosen.
    """

    options: SwitchOptions
    choose: Callable[[Moment], Choice]
    identity: str

    def describe(self) -> dict[str, Any]:
        """What of it decides the weights."""
        return {**self.options.as_dict(), "identity": self.identity}


class SelectedBatches(Sampler[np.ndarray]):
    """Epochs of selected examples, each as many batches as a pass over the pool has.

    An epoch is several passes over the selection, or the end of one and the beginning of the next;
    each pass is in a new order, a function of the seed and of the step at which it begins, and leaves out what does
    not fill a batch. No batch holds an example twice. A share of every batch may come from the
    examples that are not selected, which are passed over in the same way at their own pace.

    Args:
        source: the pool.
        everything: int64; the places that the training began with.
        selected: int64; those that it goes on with.
        batch_size: examples in a step.
        seed: of the run.
        steps: batches in an epoch.
        first_step: the step of the run at which the selection took over.
        mix: share of every batch from what is not selected.

    Raises:
        UsageError: fewer selected examples, or others, than a batch takes.
    """

    def __init__(
        self,
        source: ImagePool,
        everything: np.ndarray,
        selected: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        steps: int,
        first_step: int,
        mix: float = 0.0,
    ):
        others = round(mix * batch_size)
        rest = np.setdiff1d(everything, selected)
        index = np.asarray(source.index)
        first = OrderedPasses(selected, index[selected], batch_size - others, seed, first_step)
        second = OrderedPasses(rest, index[rest], others, seed, first_step) if others else None
        self._parts = (first, second)
        self._batch_size, self._steps = batch_size, steps
        self._epoch = 0
        self.first_epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch, counting those of this sitting."""
        self._epoch = self.first_epoch + epoch

    def __len__(self) -> int:
        return self._steps

    def batch(self, step: int) -> np.ndarray:
        """The places of a step of the run, those of all processes."""
        first, second = self._parts
        return first.at(step) if second is None else spread_among(first.at(step), second.at(step))

    def __iter__(self) -> Iterator[np.ndarray]:
        own = self._batch_size // n_processes()
        for step in range(self._epoch * self._steps, (self._epoch + 1) * self._steps):
            yield self.batch(step)[rank() * own : (rank() + 1) * own]


class Selections:
    """The selections of a training in their folders: made once each, read again on resuming.

    Attributes:
        moments: after which epochs.
    """

    def __init__(self, switch: Switch, folder: Path, moments: tuple[int, ...]):
        self._switch = switch
        self._folder = folder / _FOLDER
        self.moments = moments

    def batches(
        self,
        number: int,
        checkpoint: Mapping[str, Any],
        encoder: Encoder,
        source: ImagePool,
        before: EpochBatches,
        *,
        first_step: int,
    ) -> SelectedBatches:
        """The batches after selection 1, 2, …, which is made if it is not there.

        Args:
            number: which.
            checkpoint: of the epoch before it, or of a later one.
            encoder: a plain encoder that its weights fit.
            source: the pool.
            before: the batches of the whole.
            first_step: the step of the run at which it takes over.
        """
        chosen = self._selected(number, checkpoint, encoder, source, before.positions)
        return SelectedBatches(
            source,
            before.positions,
            chosen,
            batch_size=before.batch_size,
            seed=before.seed,
            steps=len(before),
            first_step=first_step,
            mix=self._switch.options.mix,
        )

    def about(self, number: int, before: EpochBatches) -> dict[str, Any]:
        """What the log and the checkpoints say of the epochs after selection 1, 2, …, or before."""
        examples = len(before.positions)
        if number:
            examples = len(load_array(self._home(number) / _CHOSEN, memory_map=False))
        return {
            "trained_on": {"selection": number, "examples": examples},
            "selected": self._digests(number),
        }

    def _home(self, number: int) -> Path:
        return self._folder / str(number)

    def _selected(
        self,
        number: int,
        checkpoint: Mapping[str, Any],
        encoder: Encoder,
        source: ImagePool,
        everything: np.ndarray,
    ) -> np.ndarray:
        """The places that a selection goes on with.

        Raises:
            RunFolderError: others than those that the training has gone on with.
        """
        home = self._home(number)
        kept = home / _CHOSEN
        if not kept.is_file():
            self._select(number, checkpoint, encoder, source, everything)
        index = load_array(kept, memory_map=False)
        known = checkpoint.get("selected", {}).get(str(number))
        if known is not None and known != array_sha256(index):
            raise RunFolderError(
                f"in {kept} the examples that this training went on with",
                "others",
                "Put the file back, or train in another folder",
            )
        order = np.argsort(source.index, kind="stable")
        return order[np.searchsorted(source.index, index, sorter=order)]

    def _select(
        self,
        number: int,
        checkpoint: Mapping[str, Any],
        encoder: Encoder,
        source: ImagePool,
        everything: np.ndarray,
    ) -> None:
        epoch, home = self.moments[number - 1], self._home(number)
        if checkpoint["epochs"] != epoch:
            raise RunFolderError(
                f"the selection of epoch {epoch} in {home}",
                f"none, and a training of {checkpoint['epochs']} epochs",
                "Put it back, or train in another folder",
            )
        file = home / "encoder.safetensors"
        home.mkdir(parents=True, exist_ok=True)
        if not file.is_file():
            save_encoder(_encoder_at(checkpoint, encoder, self._switch.options), file)
        begun, cpu = time.perf_counter(), time.process_time()
        choice = self._switch.choose(Moment(number, epoch, file, home))
        places = check_positions(choice.positions, len(source))
        index = np.sort(np.asarray(source.index)[places])
        facts = {
            "number": number,
            "epoch": epoch,
            "steps": int(checkpoint["steps"]),
            "examples": len(places),
            "share": len(places) / len(everything),
            "seconds": time.perf_counter() - begun,
            "cpu_seconds": time.process_time() - cpu,
            **choice.facts,
        }
        if number > 1:
            before = load_array(self._home(number - 1) / _CHOSEN, memory_map=False)
            facts["overlap_with_previous"] = selection_overlap([before, index])
        write_json(home / _FACTS, facts)
        write_array(home / _CHOSEN, index)

    def facts(self) -> list[dict[str, Any]]:
        """What is told of every selection that was made."""
        homes = [self._home(number) for number in range(1, len(self.moments) + 1)]
        return [read_json(home / _FACTS) for home in homes if (home / _CHOSEN).is_file()]

    def _digests(self, upto: int) -> dict[str, str]:
        """Hashes of the first selections, by their numbers."""
        return {
            str(number): array_sha256(load_array(self._home(number) / _CHOSEN, memory_map=False))
            for number in range(1, upto + 1)
        }


def _encoder_at(checkpoint: Mapping[str, Any], encoder: Encoder, options: SwitchOptions) -> Encoder:
    """The encoder of a checkpoint, or the moving average of it, with plain batch norm."""
    weights = checkpoint["encoder"]
    if options.select_with == "average":
        found = [checkpoint["parts"][name] for name in _AVERAGES if name in checkpoint["parts"]]
        if not found:
            raise UsageError(
                "method='moco' or method='byol' for select_with='average'", "another method"
            )
        weights = found[0]
    plain = copy.deepcopy(encoder)
    plain.load_state_dict(joined_statistics(weights, plain.state_dict()))
    return plain
