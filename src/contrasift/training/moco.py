"""MoCo v2: negatives are the keys of earlier batches."""

from __future__ import annotations

import torch
from lightly.models.utils import update_momentum
from torch import nn

from contrasift.negatives.processes import gathered_rows, n_processes
from contrasift.negatives.queue import Queue
from contrasift.training.method import frozen_copy
from contrasift.training.simclr import SimCLR
from contrasift.training.splitting import encoded_elsewhere, split_batch_norm

# Enough to tell which keys are hard.
_NOTED_QUERIES = 64


class MoCo(SimCLR):
    """One view of each image meets the other among the keys of a queue (arXiv 1911.05722, 2003.04297).

    Keys come from an encoder that follows the trained one, θ_k ← m·θ_k + (1 − m)·θ_q, updated
    before each batch is encoded; they enter the queue after the loss, those of all processes. With
    several devices, or `split_bn` > 1, batch statistics are those of parts of the batch, and keys
    are shuffled among all parts, so that nothing in them tells a query which key is its own.
    """

    def build(self) -> None:
        """The loss, the key encoder and the queue."""
        super().build()
        options = self.options
        if options.split_bn > 1:
            split_batch_norm(self.encoder, options.split_bn)
        self.key_encoder: nn.Module = frozen_copy(self.encoder)
        self.queue: Queue = Queue(
            options.queue_size,
            self.encoder.head_dim,
            options.queue_reserve,
            keep_hard=options.queue_keep_hard,
            seed=self.seed,
        )

    def contrast(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The loss of queries against their keys and the queue; then the keys enter it."""
        first, second = views.chunk(2)
        queries = self.encoder(first)
        keys = self._keys(second)
        loss = self.negatives.loss(
            queries, keys, index, epoch=self.epoch, step=self.step, queue=self.queue
        )
        if self.queue.keep_hard:
            self.queue.note_hard(gathered_rows(queries.detach())[:_NOTED_QUERIES])
        self.queue.push(keys, self.negatives.look_up(index, keys.device), gather=True)
        return loss

    @torch.no_grad()
    def _keys(self, views: torch.Tensor) -> torch.Tensor:
        update_momentum(self.encoder, self.key_encoder, self.options.momentum)
        if n_processes() * self.options.split_bn == 1:
            return self.key_encoder(views)
        return encoded_elsewhere(self.key_encoder, views, self.seed, self.step)
