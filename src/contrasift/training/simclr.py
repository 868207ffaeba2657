"""SimCLR: two views of an image attract, all other views in the batch repel."""

from __future__ import annotations

import torch

from contrasift.training.choosing import ChosenNegatives
from contrasift.training.method import TwoViews


class SimCLR(TwoViews):
    """NT-Xent over the 2B views of a batch (arXiv 2002.05709), or what a policy leaves of it."""

    def build(self) -> None:
        """The loss under its policies."""
        self.negatives: ChosenNegatives = ChosenNegatives(self.options, self.tags, self.seed)

    def contrast(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The loss of both views of a batch, all first views before all second ones."""
        first, second = self.encoder(views).chunk(2)
        return self.negatives.loss(first, second, index, epoch=self.epoch, step=self.step)

    def epoch_figures(self) -> dict[str, float]:
        """What the policies left out."""
        return self.negatives.log_and_clear()
