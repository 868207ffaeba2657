"""Batch norm that sees a batch in parts, and keys that lie in other parts than their queries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from lightly.models.batchnorm import SplitBatchNorm
from torch import Tensor, nn

from contrasift.negatives.processes import gathered_rows, rank
from contrasift.training.views import counter_uniforms, moved

# Keeps the shuffling of keys apart from views, order and policies.
_SHUFFLE_STREAM = -3

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


class _SplitBatchNorm(SplitBatchNorm):
    """lightly's, for vectors and for images in channels-last order as well.

    A part is a block of rows, as the share of a device is.
    """

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each part of the batch by itself in training, all by the means of them later."""
        maps = input if input.ndim == 4 else input[:, :, None, None]
        if self.training:
            # lightly's parts are interleaved: row i is of part i modulo their number.
            rows = maps.unflatten(0, (self.num_splits, -1)).transpose(0, 1).flatten(0, 1)
            rows = super().forward(rows.contiguous())
            maps = rows.unflatten(0, (-1, self.num_splits)).transpose(0, 1)
        else:
            maps = super().forward(maps.contiguous())
        return self.act(self.drop(maps.reshape(input.shape)))


def replace_batch_norm(module: nn.Module, make: Callable[[BatchNorm], nn.Module]) -> None:
    """Replace every batch norm within a module by another layer.

    Some of timm's hold the activation that follows them; the new layer gets it as `drop` and `act`,
    which are the identity for all others.
    """
    for name, child in module.named_children():
        replace_batch_norm(child, make)
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            layer = make(child)
            layer.drop, layer.act = (getattr(child, it, nn.Identity()) for it in ("drop", "act"))
            setattr(module, name, layer)


def split_batch_norm(module: nn.Module, parts: int) -> None:
    """Replace every batch norm within a module; weights and statistics are kept."""

    def split(plain: BatchNorm) -> nn.Module:
        layer = _SplitBatchNorm(plain.num_features, parts, eps=plain.eps)
        layer.momentum = plain.momentum
        for name in ("weight", "bias", "num_batches_tracked"):
            setattr(layer, name, getattr(plain, name))
        for name in ("running_mean", "running_var"):
            setattr(layer, name, getattr(plain, name).repeat(parts))
        return layer

    replace_batch_norm(module, split)


def joined_statistics(state: dict[str, Tensor], plain: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network that was split, for the plain one: mean statistics of the parts."""
    return {
        name: value
        if value.shape == plain[name].shape
        else value.view(-1, *plain[name].shape).mean(dim=0)
        for name, value in state.items()
    }


def shuffled(count: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """A random order by seed and step, and the order that undoes it."""
    keys = counter_uniforms(seed, step, np.arange(count), _SHUFFLE_STREAM, 1)[:, 0]
    order = torch.from_numpy(np.argsort(keys, kind="stable"))
    return order, order.argsort()


@torch.no_grad()
def encoded_elsewhere(
    encode: Callable[[Tensor], Tensor], views: Tensor, seed: int, step: int
) -> Tensor:
    """What an encoder makes of views that are dealt out anew to all processes and then brought back.

    The batch of all processes is shuffled, so that its parts, on one device or on several, are
    other parts than before (arXiv 1911.05722, §3.3).

    Args:
        encode: [b, ...] to [b, d], each row dependent on the others of its part.
        views: [b, ...]; this process's share of the batch.
        seed: of the run, the same in all processes.
        step: of the run.

    Returns:
        [b, d]; row i is what came of view i.
    """
    everyone = gathered_rows(views.contiguous())
    own = slice(rank() * len(views), (rank() + 1) * len(views))
    order, back = (moved(places, views.device) for places in shuffled(len(everyone), seed, step))
    return gathered_rows(encode(everyone[order[own]]))[back[own]]
