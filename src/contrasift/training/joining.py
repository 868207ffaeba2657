"""Batch norm of several processes: one batch's in all of them, or each its own and the mean kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytorch_lightning.plugins.layer_sync import LayerSync
from torch import Tensor, nn

from contrasift.negatives.processes import gathered_rows, n_processes
from contrasift.training.splitting import BatchNorm, replace_batch_norm

_STATISTICS = ("running_mean", "running_var")


class JoinedBatchNorm(LayerSync):
    """Lets Lightning take the statistics of batch norm over all processes.

    On GPUs by torch's SyncBatchNorm, which knows no CPUs; there by the layer below.

    Args:
        device_type: `cuda` or `cpu`.
    """

    def __init__(self, device_type: str):
        self._device_type = device_type

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace every batch norm; weights, statistics and their names stay."""
        if self._device_type == "cuda":
            # timm's own layers hold their activation, which torch's conversion would drop.
            from timm.layers.norm_act import convert_sync_batchnorm

            return convert_sync_batchnorm(model)
        replace_batch_norm(model, _BatchNormOfAll.like)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Nothing: the process that trained it ends."""
        return model


class _BatchNormOfAll(nn.BatchNorm2d):
    """Batch norm of a batch whose equal shares lie in several processes.

    μ and σ² are means over all rows of all processes; gradients flow through them to each.
    """

    drop: nn.Module
    act: nn.Module

    @classmethod
    def like(cls, plain: BatchNorm) -> _BatchNormOfAll:
        """The same layer with the same parameters, to be trained by several processes."""
        joined = cls(plain.num_features, plain.eps, plain.momentum, plain.affine)
        for name in ("weight", "bias", *_STATISTICS, "num_batches_tracked"):
            setattr(joined, name, getattr(plain, name))
        return joined

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the statistics of all in training, by the running ones later."""
        if self.training:
            result = self._normalised(input.float()).to(input.dtype)
        else:
            result = F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return self.act(self.drop(result))

    def _normalised(self, values: Tensor) -> Tensor:
        others = [axis for axis in range(values.ndim) if axis != 1]

        def along(vector: Tensor) -> Tensor:
            return vector.view(1, -1, *[1] * (values.ndim - 2))

        mean = _mean_of_all(values.mean(others))
        centred = values - along(mean)
        variance = _mean_of_all(centred.square().mean(others))
        self._remember(mean.detach(), variance.detach(), values.numel() // values.shape[1])
        result = centred * along((variance + self.eps).rsqrt())
        if self.affine:
            result = result * along(self.weight) + along(self.bias)
        return result

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, own: int) -> None:
        """Running statistics as torch keeps them: r ← (1 − m)·r + m·new, the variance unbiased."""
        rows, momentum = own * n_processes(), self.momentum or 0.0
        if isinstance(self.running_mean, Tensor) and isinstance(self.running_var, Tensor):
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * rows / (rows - 1), momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def _mean_of_all(vector: Tensor) -> Tensor:
    return gathered_rows(vector[None], gradients=True).mean(dim=0)


@torch.no_grad()
def average_statistics(module: nn.Module) -> None:
    """Give every process the mean of all processes' running statistics.

    What each of them learnt of its share of the batches is then kept, and a training that goes on
    from a checkpoint, which one process writes, goes on as if it had not been interrupted.
    """
    if n_processes() == 1:
        return
    for name, statistic in module.named_buffers():
        if name.rpartition(".")[2] in _STATISTICS:
            statistic.copy_(gathered_rows(statistic[None]).mean(dim=0))
