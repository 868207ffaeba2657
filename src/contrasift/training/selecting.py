"""A selection within anybody's training: when it is due, the rows of its sampler are chosen anew."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from contrasift.catalogue import check_choice, nearest
from contrasift.classes.agreement import selection_overlap
from contrasift.classes.find import latent_classes
from contrasift.errors import DataError, UsageError
from contrasift.negatives.processes import n_processes
from contrasift.options.arguments import checked_arguments
from contrasift.options.matrix import METHODS_OF_A_MATRIX
from contrasift.options.selecting import ChoiceOptions
from contrasift.results import Selection
from contrasift.selection.budget import resolve_budget
from contrasift.selection.select import select
from contrasift.training.sampler import SelectedSampler
from contrasift.training.untouched import untouched


class SelectWithin:
    """Embeds, finds classes and selects after some epochs of a training, with the model of then.

    In a loop of one's own `epoch_ended` is called after every epoch. `lightning()` and
    `transformers()` are callbacks that do so.

    >>> within = SelectWithin(sampler, embed, after=5, fraction=0.4)    # doctest: +SKIP
    >>> for epoch in range(20):                                          # doctest: +SKIP
    ...     ...
    ...     within.epoch_ended(epoch, model)

    Args:
        sampler: of the training's loader.
        embed: gives the model's vectors of all rows, real [n, d], row i that of `dataset[i]`; called
            without gradients and with the model in evaluation mode.
        after: epochs on everything.
        every: select anew after so many further epochs each; default: once.
        fraction: share of the rows that is kept, in (0, 1].
        budget: how many rows are kept, instead of a fraction.
        classes: how latent classes are found, as in `contrasift.latent_classes`.
        options: further arguments of `contrasift.select`.

    Raises:
        UsageError: numbers below 1, neither a fraction nor a budget, fewer rows than a batch takes,
            or options that `contrasift.select` has not, or does not take.

    Attributes:
        selections: what was selected, by the number of epochs before it.
        overlaps: |A ∩ B| / max(|A|, |B|) of each selection with the one before it.
    """

    @checked_arguments
    def __init__(
        self,
        sampler: SelectedSampler,
        embed: Any,
        *,
        after: int,
        every: int | None = None,
        fraction: float | None = None,
        budget: int | None = None,
        classes: str = "auto",
        options: Mapping[str, Any] | None = None,
    ):
        if after < 1 or (every is not None and every < 1):
            raise UsageError("after= and every= of at least 1", f"{after} and {every}")
        if not isinstance(options, Mapping | None):
            raise UsageError("options= as a mapping", repr(options))
        if not callable(embed):
            raise UsageError(
                "embed= as a function from the model to a vector for every row",
                type(embed).__name__,
                "For example: lambda model: torch.cat([model(x) for x in loader])",
            )
        if fraction is None and budget is None:
            raise UsageError("fraction= or budget=", "neither", "A fifth is fraction=0.2")
        check_choice("classes=", classes, METHODS_OF_A_MATRIX)
        self._sampler, self._embed = sampler, embed
        self._after, self._every = after, every
        self._classes = classes
        self._options = {"fraction": fraction, "budget": budget, **(options or {})}
        sampler.check_count(_count(sampler.size, self._options))
        self.selections: dict[int, Selection] = {}
        self.overlaps: dict[int, float] = {}

    def due(self, epochs: int) -> bool:
        """Whether it selects after so many epochs."""
        late = epochs - self._after
        return late == 0 or (self._every is not None and late > 0 and late % self._every == 0)

    def epoch_ended(self, epoch: int, model: Any) -> None:
        """Select, if it is time.

        Args:
            epoch: which has ended, from 0.
            model: given to `embed`.

        Raises:
            DataError: other than a finite vector for every row.
        """
        if not self.due(epoch + 1):
            return
        with untouched(model), torch.no_grad():
            if isinstance(model, torch.nn.Module):
                model.eval()
            vectors = _rows(self._embed(model))
        if len(vectors) != self._sampler.size:
            raise DataError(
                f"a vector from embed= for each of the {self._sampler.size} rows", f"{len(vectors)}"
            )
        codes = latent_classes(vectors, method=cast(Any, self._classes)).codes
        found = select(vectors, codes, **self._options)
        self._sampler.select(_of_the_first(found.indices))
        if self.selections:
            before = list(self.selections.values())[-1].indices
            self.overlaps[epoch + 1] = selection_overlap([before, found.indices])
        self.selections[epoch + 1] = found

    def _state(self, batches: int) -> dict[str, Any]:
        """What a checkpoint after so many batches of an epoch holds."""
        return {"sampler": self._sampler.state_dict(batches), "selected": [*self.selections]}

    def _go_on(self, state: Mapping[str, Any], model: Any) -> None:
        """Where a checkpoint was written.

        Trainers may write one after the last batch of an epoch, before they say that it has ended,
        and do not say it again: the selection of that epoch is made now.
        """
        self._sampler.load_state_dict(state["sampler"])
        epochs, batch = state["sampler"]["epoch"], state["sampler"]["batch"]
        if batch == 0 and epochs and epochs not in state["selected"]:
            self.epoch_ended(epochs - 1, model)

    def lightning(self) -> Any:
        """A callback for Lightning's `Trainer`, whose checkpoints then hold the sampler's state."""
        import pytorch_lightning

        within = self

        class SelectsInLightning(pytorch_lightning.Callback):
            trained, state = 0, None

            def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
                self.trained = 0

            def on_train_batch_end(self, trainer: Any, *given: Any, **more: Any) -> None:
                self.trained = trainer.fit_loop.epoch_loop.batch_progress.current.ready

            def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
                within.epoch_ended(trainer.current_epoch, pl_module)

            def state_dict(self) -> dict[str, Any]:
                # Workers fetch more than was trained on.
                return within._state(self.trained)

            def load_state_dict(self, state_dict: dict[str, Any]) -> None:
                self.state = state_dict

            def on_train_start(self, trainer: Any, pl_module: Any) -> None:
                if self.state is not None:
                    within._go_on(self.state, pl_module)

        return SelectsInLightning()

    def transformers(self) -> Any:
        """A callback for Hugging Face's `Trainer` and for that of sentence-transformers.

        Their checkpoints then hold the sampler's state.

        Raises:
            DataError: at a resumption, from a checkpoint without it.
        """
        try:
            from transformers import TrainerCallback  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UsageError(
                "the package transformers", "an installation without it", "pip install transformers"
            ) from error
        within = self

        class SelectsInTransformers(TrainerCallback):
            def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
                within.epoch_ended(round(state.epoch) - 1, given["model"])

            def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
                if state.is_world_process_zero:
                    # Within an epoch the trainer itself passes over what was trained on.
                    ended = float(state.epoch).is_integer()
                    batches = within._sampler.steps if ended else 0
                    torch.save(within._state(batches), _kept(args, state))

            def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
                if state.global_step:
                    within._go_on(_load(_kept(args, state)), given["model"])

        return SelectsInTransformers()


def _count(n: int, given: Mapping[str, Any]) -> int:
    """How many of n rows are selected by these arguments of `select`: told now, not hours later."""
    known = inspect.signature(select).parameters
    for name in given:
        if name not in known:
            raise UsageError("options= that contrasift.select has", name, nearest(name, known))
    own = {item.name for item in dataclasses.fields(ChoiceOptions)} - {"levels"}
    ChoiceOptions.from_mapping({name: value for name, value in given.items() if name in own})
    return resolve_budget(n, fraction=given["fraction"], budget=given["budget"])


def _kept(args: Any, state: Any) -> Path:
    """The sampler's file in the checkpoint of a step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / "selected_sampler.pt"


def _load(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise DataError(
            f"the rows that this training goes on with in {file}",
            "a checkpoint without them",
            "Put the file back, or train from the beginning",
        )
    return torch.load(file, weights_only=True)


def _of_the_first(rows: np.ndarray) -> np.ndarray:
    """The rows of the first of several processes: all must go on with the same."""
    if n_processes() == 1:
        return rows
    held = [rows]
    torch.distributed.broadcast_object_list(held, src=0)
    return held[0]


def _rows(found: object) -> np.ndarray:
    """What `embed` gave, as rows."""
    if isinstance(found, torch.Tensor):
        found = found.detach().float().cpu().numpy()
    values = np.asarray(found)
    if values.ndim != 2 or values.dtype.kind != "f":
        raise DataError(
            "real vectors [n, d] from embed=", f"shape {values.shape}, dtype {values.dtype}"
        )
    return values
