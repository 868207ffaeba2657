"""contrasift sifts the examples and the negatives that contrastive pre-training really needs.

    images ──views──> embeddings ──> latent classes ──> selection ──> pre-training ──> evaluation
     (pool)   (proxy encoder)              │                │
                                           └── similarity ──┘

    >>> import contrasift as cs
    >>> selection = cs.select(embeddings, "auto", fraction=0.2)   # doctest: +SKIP
    >>> selection.indices, selection.ranking, selection.certificate.share   # doctest: +SKIP

Every name below is imported when it is first used: selecting never loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers read; at run time `__getattr__` imports
    from contrasift import negatives
    from contrasift.classes import latent_classes
    from contrasift.embedding.embed import embed
    from contrasift.errors import (
        ContrasiftError,
        DataError,
        DegenerateObjectiveWarning,
        MissingExtraError,
        RunFolderError,
        UsageError,
        WorseThanRandomWarning,
    )
    from contrasift.estimator import AugmentationSimilaritySelector
    from contrasift.evaluation import Evaluation, evaluate
    from contrasift.inference.stream import Sifted, Sifter, sift
    from contrasift.matrices import open_embeddings
    from contrasift.mining import Mined, mine
    from contrasift.options import TrainOptions
    from contrasift.pools import Pool, open_pool
    from contrasift.results import Certificate, ClassSummary, Embeddings, LatentClasses, Selection
    from contrasift.selection.select import select  # with classes found by name: see `_HOME`
    from contrasift.store.embeddings import load_matrix
    from contrasift.training.callbacks import NegativeStatistics
    from contrasift.training.encoders import Encoder
    from contrasift.training.loading import load_encoder
    from contrasift.training.pretrain import TrainingResult, pretrain, untrained_encoder
    from contrasift.training.sampler import SelectedSampler
    from contrasift.training.selecting import SelectWithin

    __version__: str

_HOME = {
    "AugmentationSimilaritySelector": "contrasift.estimator",
    "Certificate": "contrasift.results",
    "ClassSummary": "contrasift.results",
    "ContrasiftError": "contrasift.errors",
    "DataError": "contrasift.errors",
    "DegenerateObjectiveWarning": "contrasift.errors",
    "Embeddings": "contrasift.results",
    "Encoder": "contrasift.training.encoders",
    "Evaluation": "contrasift.evaluation",
    "LatentClasses": "contrasift.results",
    "Mined": "contrasift.mining",
    "MissingExtraError": "contrasift.errors",
    "NegativeStatistics": "contrasift.training.callbacks",
    "Pool": "contrasift.pools",
    "RunFolderError": "contrasift.errors",
    "SelectWithin": "contrasift.training.selecting",
    "SelectedSampler": "contrasift.training.sampler",
    "Selection": "contrasift.results",
    "Sifted": "contrasift.inference.stream",
    "Sifter": "contrasift.inference.stream",
    "TrainOptions": "contrasift.options",
    "TrainingResult": "contrasift.training.pretrain",
    "UsageError": "contrasift.errors",
    "WorseThanRandomWarning": "contrasift.errors",
    "embed": "contrasift.embedding.embed",
    "evaluate": "contrasift.evaluation",
    "latent_classes": "contrasift.classes",
    "load_encoder": "contrasift.training.loading",
    "load_matrix": "contrasift.store.embeddings",
    "mine": "contrasift.mining",
    "open_embeddings": "contrasift.matrices",
    "open_pool": "contrasift.pools",
    "pretrain": "contrasift.training.pretrain",
    "select": "contrasift.classes.selecting",
    "sift": "contrasift.inference.stream",
    "untrained_encoder": "contrasift.training.pretrain",
}

__all__ = [
    "AugmentationSimilaritySelector",
    "Certificate",
    "ClassSummary",
    "ContrasiftError",
    "DataError",
    "DegenerateObjectiveWarning",
    "Embeddings",
    "Encoder",
    "Evaluation",
    "LatentClasses",
    "Mined",
    "MissingExtraError",
    "NegativeStatistics",
    "Pool",
    "RunFolderError",
    "SelectWithin",
    "SelectedSampler",
    "Selection",
    "Sifted",
    "Sifter",
    "TrainOptions",
    "TrainingResult",
    "UsageError",
    "WorseThanRandomWarning",
    "__version__",
    "embed",
    "evaluate",
    "latent_classes",
    "load_encoder",
    "load_matrix",
    "mine",
    "negatives",
    "open_embeddings",
    "open_pool",
    "pretrain",
    "select",
    "sift",
    "untrained_encoder",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("contrasift")
    if name == "negatives":
        return importlib.import_module("contrasift.negatives")
    if name not in _HOME:
        raise AttributeError(f"contrasift has no {name!r}; it has {', '.join(__all__)}")
    try:
        return getattr(importlib.import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        from contrasift.errors import missing_extra

        raise missing_extra(error) or error from error


def __dir__() -> list[str]:
    return __all__
