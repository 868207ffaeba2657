"""Barlow Twins and VICReg: views agree, and no two features say the same.

Both losses are of the whole batch: processes that share one gather it, with its gradients.
"""

from __future__ import annotations

import torch
from lightly.loss import BarlowTwinsLoss, VICRegLoss

from contrasift.negatives.processes import gathered_rows
from contrasift.training.method import TwoViews, in_float32


class BarlowTwins(TwoViews):
    """L = Σ_i (1 − C_ii)² + 0.005·Σ_{i≠j} C_ij² (arXiv 2103.03230, eq. 1).

    C is the cross-correlation of both views' projections over the batch.
    """

    def build(self) -> None:
        """The loss."""
        self._loss = BarlowTwinsLoss()

    def contrast(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The loss of both views of a batch, all first views before all second ones."""
        return in_float32(self._loss, *_whole(self.encoder(views)))


class VICReg(TwoViews):
    """L = 25·s(Z, Z') + 25·[v(Z) + v(Z')]/2 + c(Z) + c(Z') (arXiv 2105.04906, eq. 6).

    s: mean squared difference of the views; v: mean of max(0, 1 − standard deviation) over the
    coordinates; c: sum of the squared covariances of different coordinates, over their number.
    """

    def build(self) -> None:
        """The loss."""
        self._loss = VICRegLoss()

    def contrast(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The loss of both views of a batch, all first views before all second ones."""
        return in_float32(self._loss, *_whole(self.encoder(views)))


def _whole(projected: torch.Tensor) -> list[torch.Tensor]:
    """Both views' projections of the whole batch."""
    return [gathered_rows(view, gradients=True) for view in projected.chunk(2)]
