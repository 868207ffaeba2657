"""Which negatives a contrastive loss learns from: policies, losses that take them, and analyses.

    >>> from contrasift.negatives import InfoNCE, difficulty, same_class     # doctest: +SKIP
    >>> loss = InfoNCE(0.2, negatives=difficulty(95, 100) & ~same_class)     # doctest: +SKIP
    >>> loss(query, key, queue)                                              # doctest: +SKIP

Losses and `Queue` are imported, with torch, when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from contrasift.negatives.candidates import Candidates, Tags
from contrasift.negatives.parsing import Schedule, parse_policy, parse_schedule
from contrasift.negatives.policies import (
    Policy,
    above,
    above_positive,
    difficulty,
    duplicates,
    everything,
    margin,
    random,
    relevant,
    same_class,
    same_latent_class,
)

if TYPE_CHECKING:
    from contrasift.negatives.chunks import in_chunks
    from contrasift.negatives.losses import Debiased, Decoupled, HardnessWeighted, InfoNCE
    from contrasift.negatives.queue import Queue

_HOME = {
    "Debiased": "contrasift.negatives.losses",
    "Decoupled": "contrasift.negatives.losses",
    "HardnessWeighted": "contrasift.negatives.losses",
    "InfoNCE": "contrasift.negatives.losses",
    "Queue": "contrasift.negatives.queue",
    "in_chunks": "contrasift.negatives.chunks",
}

__all__ = [
    "Candidates",
    "Debiased",
    "Decoupled",
    "HardnessWeighted",
    "InfoNCE",
    "Policy",
    "Queue",
    "Schedule",
    "Tags",
    "above",
    "above_positive",
    "difficulty",
    "duplicates",
    "everything",
    "in_chunks",
    "margin",
    "parse_policy",
    "parse_schedule",
    "random",
    "relevant",
    "same_class",
    "same_latent_class",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"contrasift.negatives has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)
