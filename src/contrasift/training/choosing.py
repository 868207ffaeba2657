"""Which negatives a training learns from: its options as policies, and a log of what they left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightly.loss import NTXentLoss

from contrasift.errors import DataError, UsageError
from contrasift.negatives.candidates import Tags
from contrasift.negatives.losses import (
    ContrastiveLoss,
    Debiased,
    Decoupled,
    HardnessWeighted,
    InfoNCE,
)
from contrasift.negatives.parsing import parse_schedule
from contrasift.negatives.policies import everything
from contrasift.negatives.processes import n_processes, rank
from contrasift.options import TrainOptions, parse_loss
from contrasift.training.batches import ImagePool
from contrasift.training.views import counter_uniforms, moved

# Keeps the policy `random` apart from the views and the order.
_RANDOM_STREAM = -2


@dataclass(frozen=True)
class PoolTags:
    """What is known of a pool's examples, found by their stable index.

    Attributes:
        index: int64 [m], ascending.
        labels: int64 [m], negative where there is none; None when nothing is labelled.
        latent_classes: the same for latent classes.
    """

    index: np.ndarray
    labels: np.ndarray | None = None
    latent_classes: np.ndarray | None = None

    @classmethod
    def of(cls, pool: ImagePool, latent_classes: np.ndarray | None = None) -> PoolTags:
        """The labels of a pool, if it has any, and given latent classes.

        Raises:
            DataError: latent classes of another number of examples.
        """
        if latent_classes is not None and latent_classes.shape != pool.index.shape:
            raise DataError(
                f"a latent class for each of the {pool.index.size} examples",
                f"an array of shape {latent_classes.shape}",
            )
        return cls(pool.index, getattr(pool, "labels", None), latent_classes)

    def look_up(self, index: torch.Tensor, device: torch.device) -> Tags:
        """The tags of a batch, on a device."""
        rows = np.searchsorted(self.index, index.cpu().numpy())

        def part(values: np.ndarray | None) -> torch.Tensor | None:
            return None if values is None else moved(torch.from_numpy(values[rows]), device)

        return Tags(part(self.labels), part(self.latent_classes), moved(index, device))


def required_tags(options: TrainOptions, tags: PoolTags) -> dict[str, np.ndarray]:
    """The tags that the policies of a training compare: they decide what its weights will be.

    Raises:
        UsageError: no policy, or one that compares tags which the pool does not have.
    """
    schedule = parse_schedule(options.negatives, options.negatives_schedule)
    required = {}
    for name, remedy in (
        ("labels", "Use same_latent_class, which needs no labels"),
        ("latent_classes", "Find them first: contrasift classes RUN"),
    ):
        if not schedule.compares(name):
            continue
        values = getattr(tags, name)
        if values is None:
            raise UsageError(
                f"{name.replace('_', ' ')} for the policy "
                f"{options.negatives or options.negatives_schedule}",
                "a pool without them",
                remedy,
            )
        required[name] = values
    return required


def make_loss(text: str, temperature: float, *, gather: bool = False) -> ContrastiveLoss:
    """The loss that `--loss` names; InfoNCE for an empty text.

    Raises:
        UsageError: no such loss.
    """
    name, numbers = parse_loss(text)
    made = {"": InfoNCE, "decoupled": Decoupled, "debiased": Debiased, "hardness": HardnessWeighted}
    return made[name](*numbers, temperature=temperature, gather=gather)


class ChosenNegatives(torch.nn.Module):
    """The loss of a training under its policies; without either, lightly's NT-Xent."""

    def __init__(self, options: TrainOptions, tags: PoolTags | None, seed: int):
        super().__init__()
        self._schedule = parse_schedule(options.negatives, options.negatives_schedule)
        self._tags = tags
        self._seed = seed
        self._removed: list[torch.Tensor] = []
        self._reserve = options.queue_reserve
        temperature, gather = options.resolved().temperature or 0.0, options.devices > 1
        self._loss = make_loss(options.loss, temperature, gather=gather)
        self._plain = not options.loss
        self._nt_xent = NTXentLoss(temperature=temperature, gather_distributed=gather)

    def look_up(self, index: torch.Tensor, device: torch.device) -> Tags:
        """The tags of a batch, on a device."""
        if self._tags is None:
            return Tags(examples=moved(index, device))
        return self._tags.look_up(index, device)

    def loss(
        self,
        first: torch.Tensor,
        second: torch.Tensor,
        index: torch.Tensor,
        *,
        epoch: int,
        step: int,
        queue: Any = None,
    ) -> torch.Tensor:
        """The loss of one batch, in it or beside a queue, under the policy of the epoch."""
        policy = self._schedule.at(epoch)
        if queue is None and policy is None and self._plain:
            with torch.autocast(first.device.type, enabled=False):
                return self._nt_xent(first.float(), second.float())
        loss = self._loss
        loss.negatives = policy
        if self._reserve:  # before a policy begins, the reserve has nothing to replace
            loss.negatives, loss.mode, loss.reserve = policy or everything, "replace", self._reserve
        generator = None
        if policy is not None and policy.is_random:
            place = np.array([step * n_processes() + rank()])
            key = counter_uniforms(self._seed, epoch, place, _RANDOM_STREAM, 1)
            generator = torch.Generator(first.device).manual_seed(int(key[0, 0] * 2**53))
        value = loss(
            first, second, queue, tags=self.look_up(index, first.device), generator=generator
        )
        if loss.removed is not None:
            parts = (loss.removed.share, loss.removed.mass, loss.removed.same_class)
            self._removed.append(torch.stack([*parts, loss.removed.same_class_kept]))
        return value

    def log_and_clear(self) -> dict[str, float]:
        """What was left out in an epoch, for metrics.csv; nothing for a run without policies.

        Means over the steps: the share of the negatives, their share of the loss mass
        Σ e^{s/τ}, and which share of them and of the others is of the query's class (NaN where
        there are no labels or nothing was left out).
        """
        if not self._schedule.chooses:
            return {}
        names = ("removed_share", "removed_mass", "removed_same_class", "kept_same_class")
        if not self._removed:
            return dict.fromkeys(names, float("nan"))
        means = torch.stack(self._removed).nanmean(dim=0).tolist()
        self._removed.clear()
        return dict(zip(names, means, strict=True))
