"""contrasift sifts the examples and the negatives that contrastive pre-training really needs.

    images ──views──> embeddings ──> latent classes ──> selection ──> pre-training ──> evaluation
     (pool)   (proxy encoder)              │                │
                                           └── similarity ──┘

    >>> import contrasift as cs
    >>> selection = cs.select(embeddings, classes, fraction=0.2)   # doctest: +SKIP
    >>> selection.indices, selection.ranking, selection.certificate.share   # doctest: +SKIP

Every name below is imported when it is first used: selecting never loads torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from contrasift.errors import missing_extra

_HOME = {
    "AugmentationSimilaritySelector": "contrasift.estimator",
    "Certificate": "contrasift.results",
    "ContrasiftError": "contrasift.errors",
    "Embeddings": "contrasift.results",
    "LatentClasses": "contrasift.results",
    "NegativeStatistics": "contrasift.training.callbacks",
    "Selection": "contrasift.results",
    "Sifter": "contrasift.inference.stream",
    "embed": "contrasift.embedding.embed",
    "evaluate": "contrasift.evaluation",
    "latent_classes": "contrasift.classes",
    "load_encoder": "contrasift.training.loading",
    "load_matrix": "contrasift.store.inputs",
    "open_embeddings": "contrasift.matrices",
    "open_pool": "contrasift.pools",
    "pretrain": "contrasift.training.pretrain",
    "select": "contrasift.selection.select",
    "sift": "contrasift.inference.stream",
}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"contrasift has no {name!r}; it has {', '.join(__all__)}")
    try:
        return getattr(importlib.import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from error


def __dir__() -> list[str]:
    return __all__
