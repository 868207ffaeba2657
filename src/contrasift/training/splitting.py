"""Batch norm that sees a batch in parts, as if it lay on several devices (lightly's SplitBatchNorm)."""

from __future__ import annotations

import numpy as np
import torch
from lightly.models.batchnorm import SplitBatchNorm
from torch import nn

from contrasift.training.views import counter_uniforms

# Keeps the shuffling of keys apart from views, order and policies.
_SHUFFLE_STREAM = -3


class _SplitBatchNorm(SplitBatchNorm):
    """lightly's, for vectors and for images in channels-last order as well."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise each part of the batch by itself in training, all by the means of them later."""
        maps = input if input.ndim == 4 else input[:, :, None, None]
        return super().forward(maps.contiguous()).reshape(input.shape)


def split_batch_norm(module: nn.Module, parts: int) -> None:
    """Replace every batch norm within a module; weights and statistics are kept."""
    for name, child in module.named_children():
        split_batch_norm(child, parts)
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            split = _SplitBatchNorm(child.num_features, parts, eps=child.eps)
            split.momentum = child.momentum
            state = child.state_dict()
            for key in ("running_mean", "running_var"):
                state[key] = state[key].repeat(parts)
            split.load_state_dict(state)
            setattr(module, name, split)


def joined_statistics(
    state: dict[str, torch.Tensor], plain: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The weights of a network that was split, for the plain one: mean statistics of the parts."""
    return {
        name: value
        if value.shape == plain[name].shape
        else value.view(-1, *plain[name].shape).mean(dim=0)
        for name, value in state.items()
    }


def shuffled(count: int, seed: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A random order by seed and step, and the order that undoes it."""
    keys = counter_uniforms(seed, step, np.arange(count), _SHUFFLE_STREAM, 1)[:, 0]
    order = torch.from_numpy(np.argsort(keys, kind="stable"))
    return order, order.argsort()
