"""SimSiam: one view predicts the other, whose gradient is stopped."""

from __future__ import annotations

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import SimSiamPredictionHead
from torch import nn

from contrasift.training.method import TwoViews, in_float32, spread


class SimSiam(TwoViews):
    """L = −½·cos(p₁, sg z₂) − ½·cos(p₂, sg z₁) (arXiv 2011.10566, eq. 2)."""

    def build(self) -> None:
        """The predictor."""
        width = self.encoder.head_dim
        hidden = self.options.predictor_dim or max(1, width // 4)
        self.predictor: nn.Module = SimSiamPredictionHead(width, hidden, width)
        self._similarity = NegativeCosineSimilarity()

    def contrast(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The loss of both views of a batch, all first views before all second ones."""
        projected = self.encoder(views)
        first, second = self.predictor(projected).chunk(2)
        target_first, target_second = projected.detach().chunk(2)
        self.note("spread", spread(projected))
        forward = in_float32(self._similarity, first, target_second)
        return (forward + in_float32(self._similarity, second, target_first)) / 2
