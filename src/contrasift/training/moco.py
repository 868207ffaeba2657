"""MoCo v2 as a LightningModule: negatives are the keys of earlier batches."""

from __future__ import annotations

import copy
from typing import Any

import torch

from contrasift.negatives.queue import Queue
from contrasift.options import TrainOptions
from contrasift.training.choosing import PoolTags
from contrasift.training.encoders import Encoder
from contrasift.training.simclr import SimCLR
from contrasift.training.views import Augmentation

# Enough to tell which keys are hard.
_NOTED_QUERIES = 64


class MoCo(SimCLR):
    """One view of each image meets the other among the keys of a queue (arXiv 1911.05722, 2003.04297).

    Keys come from an encoder that follows the trained one, θ_k ← m·θ_k + (1 − m)·θ_q, updated
    before each batch is encoded; they enter the queue after the loss. Everything else is as in
    `SimCLR`. Batch statistics are those of the device's whole batch: there is no shuffling.
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
        super().__init__(
            encoder,
            options,
            augmentation=augmentation,
            mirror=mirror,
            seed=seed,
            total_steps=total_steps,
            tags=tags,
            checkpoint=checkpoint,
        )
        self._momentum = options.momentum
        self._key_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.queue = Queue(
            options.queue_size,
            encoder.head_dim,
            options.queue_reserve,
            keep_hard=options.queue_keep_hard,
            seed=seed,
        )
        if checkpoint is not None:
            self._key_encoder.load_state_dict(checkpoint["key_encoder"])
            self.queue.load_state_dict(checkpoint["queue"])

    def contrast(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The loss of queries against their keys and the queue; then the keys enter it."""
        first, second = views.chunk(2)
        queries = self.encoder(first)
        keys = self._keys(second)
        loss = self.negatives.loss(
            queries, keys, index, epoch=self.epoch, step=self.step, queue=self.queue
        )
        if self.queue.keep_hard:
            self.queue.note_hard(queries.detach()[:_NOTED_QUERIES])
        self.queue.push(keys, self.negatives.look_up(index))
        return loss

    @torch.no_grad()
    def _keys(self, views: torch.Tensor) -> torch.Tensor:
        followers, leaders = self._key_encoder.parameters(), self.encoder.parameters()
        for follower, leader in zip(followers, leaders, strict=True):
            follower.lerp_(leader, 1 - self._momentum)
        return self._key_encoder(views)

    def extra_state(self) -> dict[str, Any]:
        """The key encoder and the queue."""
        return {"key_encoder": self._key_encoder.state_dict(), "queue": self.queue.state_dict()}
