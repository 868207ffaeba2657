"""Batches spread over processes."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def n_processes() -> int:
    """How many processes train together; 1 where none were started."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return distributed.get_rank() if n_processes() > 1 else 0


def gathered_rows(values: Tensor, *, gradients: bool = False) -> Tensor:
    """Rows of all processes, in the order of their ranks; all must have as many.

    Args:
        values: [b, ...].
        gradients: whether gradients flow back to each process (by lightly's gather).

    Returns:
        [b · processes, ...]; the rows themselves where there is one process.
    """
    if n_processes() == 1:
        return values
    if gradients:
        from lightly.utils.dist import gather

        return torch.cat(gather(values.contiguous()))
    parts = [torch.empty_like(values) for _ in range(n_processes())]
    distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)
