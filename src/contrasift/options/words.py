"""The words that options may take, each list once: editors complete them, options check them."""

from typing import Literal

ObjectiveName = Literal[
    "sas",
    "published",
    "coverage",
    "centre",
    "coverage-centre",
    "herding",
    "k-center",
    "prototype-near",
    "prototype-far",
    "semantic-dedup",
    "typicality",
    "scores",
    "easy-removal",
    "hard-removal",
    "target",
    "balanced",
    "random",
    "random-per-class",
]
Optimizer = Literal["auto", "greedy", "relaxed", "stochastic"]
Refinement = Literal["none", "swaps", "double-greedy", "double-greedy-random"]
Allocation = Literal["proportional", "equal", "density-quota", "global"]
Copies = Literal["one", "keep"]
Scaling = Literal["auto", "none", "rows"]
ScoresEnd = Literal["high", "low"]

Layer = Literal["head", "backbone"]

# Of `latent_classes`; a run also finds classes by names.
ClassMethod = Literal["auto", "graph", "kmeans", "few-labels", "propagate", "labels", "none"]
RunClassMethod = Literal[
    "auto", "graph", "kmeans", "few-labels", "propagate", "labels", "none", "zero-shot"
]
Metric = Literal["spherical", "euclidean"]
GraphKind = Literal["union", "mutual"]

TrainingMethod = Literal["simclr", "moco", "byol", "simsiam", "barlowtwins", "vicreg"]
AugmentationName = Literal["auto", "simclr", "small-grey", "moco-v2"]
StepRule = Literal["adam", "sgd", "lars"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Matched = Literal["epochs", "steps"]
SelectWith = Literal["encoder", "average"]

Search = Literal["auto", "exact", "approximate"]
# As sentence-transformers spells them.
MinedForm = Literal["triplet", "n-tuple", "labeled-list"]
