"""A sampler for anybody's loader whose rows may be chosen anew between epochs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, Sampler

from contrasift.errors import DataError, UsageError
from contrasift.negatives.processes import n_processes
from contrasift.negatives.processes import rank as process_rank
from contrasift.options.arguments import checked_arguments
from contrasift.training.batches import OrderedPasses, check_positions, spread_among


class SelectedSampler(Sampler[int]):
    """Gives out the rows of a data set that are selected at the time; at first all of them.

    An epoch always has as many batches as a pass over the data set, so that nothing which a trainer
    has counted at its start changes; of few rows it is several passes. Each pass is in a new
    random order and leaves out what does not fill a batch: with the loader's `batch_size` no batch has
    a row twice. The order is a function of the seed, the epoch and the rows.

    The data set is not touched, and workers need not be restarted: they are told rows, whatever these
    are. In a distributed training each process gets its share of every batch.

    >>> sampler = SelectedSampler(dataset, batch_size=64)          # doctest: +SKIP
    >>> loader = DataLoader(dataset, batch_size=64, sampler=sampler)  # doctest: +SKIP
    >>> sampler.select(selection.indices)   # from the next epoch on   # doctest: +SKIP

    Args:
        data: the data set, or how many rows it has.
        batch_size: examples in a step, on all processes together.
        seed: of the order.
        mix: share of every batch drawn from the rows that are not selected, in [0, 1).
        num_replicas: processes that share each batch; default: those of `torch.distributed`.
            Give 1 where the trainer shares batches out itself, as Hugging Face's does.
        rank: of this process.

    Raises:
        DataError: a data set without stable rows.
        UsageError: a batch larger than the data set or not shared evenly, or a share outside [0, 1).

    Attributes:
        size: rows of the data set.
    """

    @checked_arguments
    def __init__(
        self,
        data: object,
        *,
        batch_size: int = 1,
        seed: int = 0,
        mix: float = 0.0,
        num_replicas: int | None = None,
        rank: int | None = None,
    ):
        self.size: int = data if isinstance(data, int) else _rows_of(data)
        self._replicas = n_processes() if num_replicas is None else num_replicas
        self._rank = process_rank() if rank is None else rank
        if not 1 <= batch_size <= self.size:
            raise UsageError(
                f"batch_size= between 1 and the {self.size} rows of the data set", f"{batch_size}"
            )
        if self._replicas < 1:
            raise UsageError("num_replicas= of at least 1", f"{self._replicas}")
        if batch_size % self._replicas:
            raise UsageError(
                f"batch_size= as a multiple of the {self._replicas} processes", f"{batch_size}"
            )
        if not 0 <= self._rank < self._replicas:
            expected = f"rank= from 0 to below num_replicas={self._replicas}"
            raise UsageError(expected, f"{self._rank}")
        if not 0 <= mix < 1:
            raise UsageError("mix= in [0, 1)", f"{mix}")
        if seed < 0:
            raise UsageError("seed= of at least 0", f"{seed}")
        self._batch_size, self._seed = batch_size, seed
        self._others = round(mix * batch_size)
        self._next_epoch, self._epoch, self._batch, self._resume = 0, 0, 0, 0
        self._active = _Rows(np.arange(self.size))
        self._chosen: _Rows | None = None

    @property
    def rows(self) -> np.ndarray:
        """Those that are selected, from the next epoch on if they were just chosen."""
        return (self._chosen or self._active).rows

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.size // self._batch_size

    def select(self, rows: object, weights: object = None) -> None:
        """Go on with these rows from the next epoch on.

        Args:
            rows: places in the data set, each once; `range(len(dataset))` for all of them again.
            weights: real, one a row, none negative: a batch draws its rows in proportion to them,
                in place of passes over all.

        Raises:
            UsageError: a row that is not in the data set, one given twice, or fewer than a batch
                takes; weights of another number, or that cannot be drawn by.
        """
        places = check_positions(rows, self.size)
        order = np.argsort(places)
        given = None if weights is None else _checked(weights, len(places))[order]
        chosen = _Rows(places[order], given)
        self._parts(chosen)  # what cannot fill a batch is told now
        self._chosen = chosen

    def check_count(self, count: int) -> None:
        """Whether so many rows can fill its batches.

        Raises:
            UsageError: they cannot.
        """
        self._parts(_Rows(np.arange(count)))

    def set_epoch(self, epoch: int) -> None:
        """Trainers call this before every epoch."""
        self._next_epoch = epoch

    def __len__(self) -> int:
        return self.steps * (self._batch_size // self._replicas)

    def __iter__(self) -> Iterator[int]:
        epoch, begin = self._next_epoch, self._resume
        self._next_epoch, self._resume = epoch + 1, 0
        self._epoch, self._batch = epoch, begin
        if self._chosen is not None:
            self._active = dataclasses.replace(self._chosen, first_step=epoch * self.steps)
            self._chosen = None
        batch_of = self._parts(self._active)
        own = self._batch_size // self._replicas
        for batch in range(begin, self.steps):
            self._batch = batch + 1
            found = batch_of(epoch * self.steps + batch)
            yield from found[self._rank * own : (self._rank + 1) * own].tolist()

    def _parts(self, chosen: _Rows) -> Callable[[int], np.ndarray]:
        """What gives the batch of a step."""
        count = self._batch_size - self._others
        rest = np.setdiff1d(np.arange(self.size), chosen.rows, assume_unique=True)
        others = (
            OrderedPasses(rest, rest, self._others, self._seed, chosen.first_step)
            if self._others and len(chosen.rows) < self.size
            else None
        )
        if others is None:
            count = self._batch_size
        if chosen.weights is None:
            first = OrderedPasses(chosen.rows, chosen.rows, count, self._seed, chosen.first_step).at
        else:
            first = _Drawn(chosen.rows, chosen.weights, count, self._seed).at
        if others is None:
            return first
        return lambda step: spread_among(first(step), others.at(step))

    def state_dict(self, batches: int | None = None) -> dict[str, Any]:
        """What to go on from, as plain numbers and tensors.

        Args:
            batches: how many of the epoch have been trained on; default: those given out, which
                workers fetch ahead.
        """
        done = self._batch if batches is None else batches
        epoch = self._epoch + done // self.steps
        return {
            "of": [self.size, self._batch_size, self._seed, self._others],
            "epoch": epoch,
            "batch": done % self.steps,
            "active": self._active.as_dict(),
            "chosen": None if self._chosen is None else self._chosen.as_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken.

        Raises:
            UsageError: of another data set, batch size, seed or mix.
        """
        own = [self.size, self._batch_size, self._seed, self._others]
        if list(state["of"]) != own:
            raise UsageError(
                f"the state of a sampler of {own} (rows, batch_size=, seed=, rows mixed in)",
                f"{list(state['of'])}",
            )
        self._next_epoch = self._epoch = int(state["epoch"])
        self._resume = self._batch = int(state["batch"])
        self._active = _Rows.of(state["active"])
        self._chosen = None if state["chosen"] is None else _Rows.of(state["chosen"])


@dataclass(frozen=True)
class _Rows:
    """Selected rows, and the step from which on."""

    rows: np.ndarray
    weights: np.ndarray | None = None
    first_step: int = 0

    def as_dict(self) -> dict[str, Any]:
        weights = None if self.weights is None else torch.from_numpy(self.weights)
        rows = torch.from_numpy(self.rows)
        return {"rows": rows, "weights": weights, "first_step": self.first_step}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> _Rows:
        weights = None if state["weights"] is None else np.asarray(state["weights"])
        return cls(np.asarray(state["rows"]), weights, int(state["first_step"]))


class _Drawn:
    """Distinct rows for every step, each drawn in proportion to the weights of those left."""

    def __init__(self, rows: np.ndarray, weights: np.ndarray, count: int, seed: int):
        if np.count_nonzero(weights) < count:
            raise UsageError(
                f"at least {count} rows with a weight above 0, as many as a batch takes",
                f"{np.count_nonzero(weights)}",
            )
        self._rows, self._count, self._seed = rows, count, seed
        self._ends = np.cumsum(weights) / weights.sum()
        self._ends[-1] = 1.0

    def at(self, step: int) -> np.ndarray:
        generator = np.random.default_rng([self._seed, step])
        found = np.empty(0, np.int64)
        while len(found) < self._count:
            # To reject what was drawn before is to draw from what is left.
            more = np.searchsorted(self._ends, generator.random(self._count), side="right")
            _, first = np.unique(together := np.concatenate([found, more]), return_index=True)
            found = together[np.sort(first)][: self._count]
        return self._rows[found]


def _checked(weights: object, count: int) -> np.ndarray:
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (count,) or not np.isfinite(values).all() or (values < 0).any():
        raise UsageError(f"a weight of at least 0 for each of the {count} rows", f"{values!r:.80}")
    return values


def _rows_of(data: object) -> int:
    """How many rows a data set has.

    Raises:
        DataError: rows that have no lasting numbers.
    """
    try:
        if not isinstance(data, IterableDataset) and hasattr(data, "__getitem__"):
            return len(data)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise DataError(
        "a data set whose row i stays row i: with len() and dataset[i]",
        f"{type(data).__name__}, which only streams",
        "Keep its rows in a list, or in a datasets.Dataset; or store an id with each row and sort by it",
    )
