"""Which examples make a step, and how their pixels get there.

The order of an epoch is a pure function of (seed, epoch), so that a run that was interrupted sees
the batches it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64
from torch.utils.data import DataLoader, Dataset, Sampler

from contrasift.errors import DataError, UsageError
from contrasift.negatives.processes import n_processes, rank
from contrasift.training.views import counter_uniforms

# Keeps the shuffling apart from the views, which use view numbers from 0 upwards.
_ORDER_STREAM = -1


@runtime_checkable
class ImagePool(Protocol):
    """What training and embedding need to know of a pool."""

    @property
    def index(self) -> np.ndarray:
        """The stable index of every example, int64 [m]."""
        ...

    @property
    def channels(self) -> int:
        """How many channels an image has, 1 or 3."""
        ...

    @property
    def image_size(self) -> int:
        """Side of the square images, in pixels."""
        ...

    @property
    def mirror(self) -> bool:
        """Whether an image and its mirror image mean the same, so that views may be flipped."""
        ...

    def __len__(self) -> int: ...

    def images(self, positions: np.ndarray) -> np.ndarray:
        """The images at these positions, uint8 [b, channels, size, size]."""
        ...


def check_positions(positions: object, size: int) -> np.ndarray:
    """Distinct places in the pool, as int64.

    Raises:
        UsageError: none, not whole numbers, one outside the pool, or one given twice.
    """
    places = np.asarray(positions)
    if places.ndim != 1 or places.size == 0 or places.dtype.kind not in "iu":
        raise UsageError(
            "positions as a list of at least one whole number",
            f"an array of shape {places.shape} and dtype {places.dtype}",
        )
    places = places.astype(np.int64)
    if places.min() < 0 or places.max() >= size:
        raise UsageError(f"positions between 0 and {size - 1}", f"{places.min()} to {places.max()}")
    if np.unique(places).size != places.size:
        raise UsageError("every position once", "a position that is given twice")
    return places


def epoch_order(seed: int, epoch: int, index: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """A random order of n examples: the sorting order of one uniform number for each of them."""
    keys = counter_uniforms(seed, epoch, index, _ORDER_STREAM, 1)[:, 0]
    return np.argsort(keys, kind="stable").astype(np.int64)


class EpochBatches(Sampler[list[int]]):
    """The batches of one epoch: full batches only, what is left over waits for another epoch.

    Every epoch leaves out other examples, fewer than one batch of them. Processes that train
    together share each batch: the first takes the first rows, and so on.

    Attributes:
        first_epoch: how many epochs earlier sittings have finished.
        positions: places in the pool, by their index.
        batch_size: examples in a step.
        seed: of the order.
    """

    def __init__(self, source: ImagePool, positions: np.ndarray, batch_size: int, seed: int):
        if batch_size > len(positions):
            raise UsageError(
                "a batch size of at most the number of training examples",
                f"batch_size={batch_size} for {len(positions)} examples",
                f"Pass batch_size={len(positions)} or smaller, or train on more examples",
            )
        # Sorted by index: the same set of examples is the same run, however it was listed.
        self.positions = positions[np.argsort(source.index[positions], kind="stable")]
        self._index = source.index[self.positions]
        self.batch_size = batch_size
        self.seed = seed
        self._epoch = 0
        self.first_epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch, counting those of this sitting."""
        self._epoch = self.first_epoch + epoch

    def __len__(self) -> int:
        return len(self.positions) // self.batch_size

    def __iter__(self) -> Iterator[np.ndarray]:
        order = epoch_order(self.seed, self._epoch, self._index)
        own = self.batch_size // n_processes()
        for step in range(len(self)):
            start = step * self.batch_size + rank() * own
            yield self.positions[order[start : start + own]]


class OrderedPasses:
    """Pass after pass over some places, so many a step; each pass leaves out what fills no step.

    A pass has a new order, a function of the seed and of the step at which it begins.

    Args:
        places: int64 [m].
        index: int64 [m]; their stable indices.
        count: how many a step takes, at least 1.
        seed: of the order.
        first_step: at which the first pass begins.

    Raises:
        UsageError: fewer than a step takes.
    """

    def __init__(
        self, places: np.ndarray, index: np.ndarray, count: int, seed: int, first_step: int = 0
    ):
        if len(places) < count:
            raise UsageError(
                f"at least {count} examples, as many as a batch takes of them",
                f"{len(places)}",
                "Select more, or pass a smaller batch_size= or another mix=",
            )
        by_index = np.argsort(index, kind="stable")
        self._places, self._index = places[by_index], index[by_index]
        self._count, self._seed, self._first = count, seed, first_step
        self._steps = len(places) // count
        self._begun, self._order = -1, self._places

    def at(self, step: int) -> np.ndarray:
        """The places of a step, `first_step` or a later one."""
        place = (step - self._first) % self._steps
        if step - place != self._begun:
            self._begun = step - place
            self._order = self._places[epoch_order(self._seed, self._begun, self._index)]
        return self._order[place * self._count : (place + 1) * self._count]


def spread_among(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Both together, the second spread evenly, so that equal shares of a batch have as many of it."""
    size = len(first) + len(second)
    theirs = np.zeros(size, dtype=bool)
    theirs[np.arange(len(second)) * size // max(len(second), 1)] = True
    joined = np.empty(size, dtype=first.dtype)
    joined[theirs], joined[~theirs] = second, first
    return joined


class RowBatches(Sampler[list[int]]):
    """Consecutive batches in the order given, from batch number `first` on; the last may be short."""

    def __init__(self, positions: np.ndarray, batch_size: int, first: int = 0):
        starts = range(first * batch_size, len(positions), batch_size)
        self._batches = [positions[start : start + batch_size] for start in starts]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._batches)


class _SourceBatches(Dataset):
    """Positions in, (uint8 images, stable indices) out: a whole batch in one read."""

    def __init__(self, source: ImagePool):
        self._source = source

    def __getitem__(self, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        found = np.asarray(self._source.images(positions))
        if found.dtype != np.uint8:  # a cast would turn floats in [0, 1] into black
            raise DataError("the images of a pool as uint8", f"dtype {found.dtype}")
        # torch wants memory that it may write to, which a memory-mapped pool does not give.
        images = np.require(found, requirements=["C", "W"])
        return torch.from_numpy(images), torch.from_numpy(self._source.index[positions])


def load_batches(
    source: ImagePool, batches: Sampler[list[int]], workers: int = 0
) -> DataLoader[Any]:
    """Read the batches of a sampler, in the background if there are workers (for pools on disk)."""
    return DataLoader(
        _SourceBatches(source),
        batch_size=None,  # type: ignore[arg-type]
        sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=workers > 0 and torch.cuda.is_available(),  # else who needs it pins it
        generator=torch.Generator(),  # or the loader would draw from the global one
    )
