"""Latent classes: the groups within which SAS selects, found without labels, with few, or given."""

from __future__ import annotations

from contrasift.classes.agreement import class_agreement, class_stability, selection_overlap
from contrasift.classes.find import METHODS, latent_classes

__all__ = [
    "METHODS",
    "class_agreement",
    "class_stability",
    "latent_classes",
    "selection_overlap",
]
