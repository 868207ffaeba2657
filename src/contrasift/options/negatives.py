"""What `contrasift negatives` is asked."""

from __future__ import annotations

from dataclasses import dataclass

from contrasift.errors import UsageError
from contrasift.options import Options, option


@dataclass(frozen=True)
class NegativesRequest(Options):
    """What to analyse."""

    arm: str = option(
        "",
        "A training of the run, e.g. `full-seed0` or `proxy`; default: the first there is.",
    )
    encoder: str = option("", "A timm name or a .safetensors file instead of an arm.")
    layer: str = option(
        "head", "`head` (where the loss is) or `backbone`.", choices=("head", "backbone")
    )
    latent: str = option(
        "own",
        "Latent classes for the estimate without labels: `own` (k-means on these vectors) or `run` (classes.parquet). Where they come from two encoders, the estimate is what both say.",
        choices=("own", "run"),
    )
    queries: int = option(2000, "Queries a draw.", legal="of at least 1")
    negatives: int = option(2000, "Negatives a draw.", legal="of at least 1")
    replicates: int = option(5, "Draws; intervals are over them.", legal="of at least 1")
    seed: int = option(0, "Seed of the draws.")
    wordnet: str = option("", "WordNet's data.noun; default: the machine's.")
    synsets: str = option(
        "",
        "File of lines `class<TAB>n02084071`; built in for ImageNet-1k, CIFAR-10/100, Fashion-MNIST.",
    )

    def __post_init__(self) -> None:
        """Check that one encoder is named."""
        super().__post_init__()
        if self.arm and self.encoder:
            raise UsageError("arm= or encoder=", "both", "Give only one of them")
