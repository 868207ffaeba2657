"""BYOL: one view predicts what a slowly moving copy of the network makes of the other."""

from __future__ import annotations

import torch
from lightly.models.modules.heads import BYOLPredictionHead
from lightly.models.utils import update_momentum
from lightly.utils.scheduler import cosine_schedule
from torch import nn
from torch.nn.functional import cosine_similarity

from contrasift.training.method import TwoViews, frozen_copy, in_float32, spread


def byol_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """2 − 2·cos(p, sg z), mean over the rows (arXiv 2006.07733, eq. 2); z gets no gradient."""
    return 2 - 2 * cosine_similarity(predicted, target.detach(), dim=1).mean()


class BYOL(TwoViews):
    """L = 2 − 2·cos(p(v), z_ξ(v')) and the same with both views swapped (arXiv 2006.07733).

    ξ ← m·ξ + (1 − m)·θ before each batch, m = 1 − (1 − m₀)·(cos(π·k/K) + 1)/2 at step k of K.
    """

    def build(self) -> None:
        """The predictor and the target network."""
        width, hidden = self.encoder.head_dim, 2 * self.encoder.feature_dim
        self.predictor: nn.Module = BYOLPredictionHead(
            width, self.options.predictor_dim or hidden, width
        )
        self.target: nn.Module = frozen_copy(self.encoder)

    def contrast(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The loss of both views of a batch, all first views before all second ones."""
        with torch.no_grad():
            update_momentum(self.encoder, self.target, self.target_momentum(self.step))
            targets = self.target(views)
        first, second = self.predictor(self.encoder(views)).chunk(2)
        self.note("spread", spread(targets))
        target_first, target_second = targets.chunk(2)
        forward = in_float32(byol_loss, first, target_second)
        return forward + in_float32(byol_loss, second, target_first)

    def target_momentum(self, step: int) -> float:
        """The momentum m at a step, from m₀ to 1."""
        return cosine_schedule(step, self.total_steps + 1, self.options.momentum, 1.0)
