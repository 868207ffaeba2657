"""Experiments on the choices that SAS's users face: similarities, thresholds, aims, steps, cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reproduce.declared.declaring import Claim, Experiment, times_the_epochs
from reproduce.declared.selection import (
    FRACTIONS,
    FULL,
    GRAPH,
    KMEANS,
    LABELS,
    PER_CLASS,
    PER_FOUND,
    RANDOM,
    worth_of_the_found,
)

_CLASSES = {"true": LABELS, "graph": GRAPH}

THRESHOLDS = Experiment(
    name="thresholds",
    title="Similarities below a threshold",
    shows="τ: averaged similarities below it count zero; the papers' experiments used 0 and 0.5",
    axes={"classes": _CLASSES},
    arms={
        "random": RANDOM,
        "no threshold": {},
        **{f"τ = {tau:g}": {"select.threshold": tau} for tau in (0.0, 0.25, 0.5, 0.75)},
        "published": {"select.objective": "published"},
        "published, τ = 0.5": {"select.objective": "published", "select.threshold": 0.5},
    },
    reference="no threshold",
    claims=(
        Claim.as_good(
            "A threshold of 0.5 selects as well as none, within a point",
            "τ = 0.5",
            "no threshold",
        ),
        Claim(
            "F_λ beats what the published code ranks by",
            {"no threshold": 1, "published": -1},
        ),
    ),
)

SIMILARITIES = Experiment(
    name="similarities",
    title="What similarities are taken between",
    shows="one view against 2, 4 and 8; the image as it is; the backbone against the head",
    axes={"classes": _CLASSES},
    arms={
        "random": RANDOM,
        **{
            f"{count} view{'s' * (count > 1)} after the head": {"embed.views": count}
            for count in (1, 2, 4, 8)
        },
        "the image as it is": {"embed.views": 0, "embed.plain_view": True},
        "4 views, backbone": {"embed.layer": "backbone", "embed.views": 4},
    },
    reference="4 views after the head",
    claims=(
        Claim.as_good(
            "One view selects as well as four, within a point",
            "1 view after the head",
            "4 views after the head",
        ),
        Claim.as_good(
            "Eight views are no better than four, within a point",
            "8 views after the head",
            "4 views after the head",
        ),
        Claim(
            "The backbone selects better than the head",
            {"4 views, backbone": 1, "4 views after the head": -1},
        ),
    ),
)

AIMS = Experiment(
    name="aims",
    title="Coverage, centre, and both",
    shows="the two aims of SAS's theorems by themselves, their sum (37), and F_λ, which stands for both",
    axes={"classes": _CLASSES},
    arms={
        "random per class": {"select.objective": "random-per-class"},
        "SAS": {},
        "coverage": {"select.objective": "coverage"},
        "centre": {"select.objective": "centre"},
        "coverage and centre": {"select.objective": "coverage-centre"},
        "coverage and a tenth of centre": {
            "select.objective": "coverage-centre",
            "select.centre_weight": 0.1,
        },
    },
    reference="SAS",
    claims=(
        Claim("Coverage alone beats random", {"coverage": 1, "random per class": -1}),
        Claim("Centre alone beats random", {"centre": 1, "random per class": -1}),
        Claim(
            "Both aims together beat coverage alone",
            {"coverage and centre": 1, "coverage": -1},
            source="SAS, (37)",
        ),
        Claim.as_good(
            "F_λ selects as well as coverage and centre (37), within a point",
            "SAS",
            "coverage and centre",
            source="SAS, (37) to (39)",
        ),
    ),
)

STEPS = Experiment(
    name="steps",
    title="Equal epochs, and equal steps",
    shows="whether a subset does worse than the pool because it is seen for fewer steps",
    axes={
        "match": {"epochs": {"compare.match": "epochs"}, "steps": {"compare.match": "steps"}},
        "fraction": {f"{share:g}": {"select.fraction": share} for share in (0.1, 0.2, 0.4)},
    },
    arms={
        "random": RANDOM,
        "random per class": PER_CLASS,
        "random per graph class": PER_FOUND,
        "SAS, true classes": LABELS,
        "SAS, graph": GRAPH,
        "full pool": FULL,
    },
    reference="random per class",
    line="fraction",
    claims=(
        *worth_of_the_found(("few_10", "knn")),
        Claim(
            "In as many steps as the full pool a random fifth does as well, within a point",
            {"random per class": 1, "full pool": -1},
            margin=-1.0,
            where={"match": "steps", "fraction": "0.2"},
        ),
        Claim(
            "In as many steps as the full pool SAS's fifth with true classes does as well, within a point",
            {"SAS, true classes": 1, "full pool": -1},
            margin=-1.0,
            where={"match": "steps", "fraction": "0.2"},
        ),
    ),
)


COST = Experiment(
    name="cost",
    title="What the full pool's accuracy costs",
    shows="accuracy against epochs, and the seconds, proxy and selection included, until an arm has "
    "what the full pool has after its usual epochs",
    axes={"epochs, times the usual": {f"{k:g}": {"train.epochs": times_the_epochs(k)} for k in (0.5, 1.0, 2.0, 4.0)}},
    arms={
        "random per class": PER_CLASS,
        "SAS, true classes": LABELS,
        "SAS, graph": GRAPH,
        "full pool": FULL,
    },
    reference="random per class",
    line="epochs, times the usual",
    target=("full pool", "1"),
    claims=(
        Claim(
            "After four times the epochs, four fifths of the full pool's steps, SAS's fifth with true "
            "classes does as well as the full pool trained as long, within a point",
            {"SAS, true classes": 1, "full pool": -1},
            margin=-1.0,
            where={"epochs, times the usual": "4"},
            source="SAS, Fig. 3",
        ),
    ),
)  # fmt: skip

# By the network that a scale or a recipe has.
_WIDER = {
    "narrow": "narrow:2",
    "narrow:0.25": "narrow:0.5",
    "resnet18": "resnet50",
    "resnet50": "wide_resnet50_2",
}


def _wider(options: Mapping[str, Any]) -> str:
    return _WIDER[options["train.architecture"]]


_FEW_AND_NEAR = ("few_10", "few_1pct", "knn")

WHOLE_POOL = Experiment(
    name="whole-pool",
    title="Latent classes of three hundred thousand",
    shows="whether what holds for pools of 10,000 holds where people need a selection: every glyph of "
    "every font, in equally many steps",
    pools={"cpu": ("glyphs-many",), "paper": ("imagenet",)},
    by_pool={
        "glyphs-many": {
            "pool.limit": None,
            "embed.proxy_epochs": 1,
            "embed.views": 2,
            "arm.steps": 300,
            "measure.train_limit": 10_000,
            "measure.draws": 2,
        }
    },
    axes={"fraction": FRACTIONS},
    arms={
        "random": RANDOM,
        "SAS, graph": GRAPH,
        "SAS, k-means, as many as labels": KMEANS,
        "SAS, true classes": LABELS,
        "full pool": FULL,
    },
    reference="random",
    claims=(
        Claim("SAS without labels beats random", {"SAS, graph": 1, "random": -1}, _FEW_AND_NEAR),
        Claim(
            "SAS on the graph's classes beats SAS on those of k-means",
            {"SAS, graph": 1, "SAS, k-means, as many as labels": -1},
            _FEW_AND_NEAR,
        ),
        Claim(
            "SAS with true classes beats random",
            {"SAS, true classes": 1, "random": -1},
            _FEW_AND_NEAR,
        ),
        Claim(
            "SAS without labels does as well as the full pool, within a point",
            {"SAS, graph": 1, "full pool": -1},
            _FEW_AND_NEAR,
            margin=-1.0,
        ),
    ),
    seeds=2,
)

MANY_CLASSES = Experiment(
    name="many-classes",
    title="Several hundred classes, and a wider encoder",
    shows="headroom where a class has few examples: 417 letters, one label of each at 1 %",
    pools={"cpu": ("glyphs-many",), "paper": ("cifar100", "tiny-imagenet")},
    axes={"encoder": {"as usual": {}, "wider": {"train.architecture": _wider}}},
    arms={
        "untrained": {"arm.trained": False},
        "worst by SAS, true classes": {**LABELS, "arm.kept": "last"},
        "random": RANDOM,
        "random per class": PER_CLASS,
        "random per graph class": PER_FOUND,
        "SAS, true classes": LABELS,
        "SAS, graph": GRAPH,
        "full pool": FULL,
    },
    reference="random per class",
    claims=(
        *worth_of_the_found(_FEW_AND_NEAR),
        Claim(
            "SAS with true classes beats random per class",
            {"SAS, true classes": 1, "random per class": -1},
            _FEW_AND_NEAR,
            source="SAS, Fig. 3",
        ),
        Claim(
            "The range between a random choice and the full pool exceeds five points",
            {"full pool": 1, "random per class": -1},
            _FEW_AND_NEAR,
            margin=5.0,
        ),
    ),
)
