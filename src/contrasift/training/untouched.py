"""What belongs to the caller is left as it was: modules, and the random numbers of the process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def untouched(*modules: object) -> Iterator[None]:
    """Give modules back in their mode, device, type and memory format, and random states unchanged.

    Args:
        modules: what may be moved, converted or set to another mode meanwhile; anything that is no
            module is passed over.
    """
    parts = {part for one in modules if isinstance(one, nn.Module) for part in one.modules()}
    modes = {part: part.training for part in parts}
    buffers = {part: dict(part._buffers) for part in parts}
    weights = {
        weight: weight.data
        for part in parts
        for weight in part._parameters.values()
        if weight is not None
    }
    wants = {weight: weight.requires_grad for weight in weights}
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
            part._buffers.update(buffers[part])
        for weight, data in weights.items():
            weight.data = data
            weight.requires_grad_(wants[weight])
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
