"""The figures of SAS (arXiv 2302.09195) that look further than accuracies, and its other label sets."""

from __future__ import annotations

from reproduce.declared.declaring import Claim, Experiment
from reproduce.declared.selection import (
    BOTH,
    FULL,
    GRAPH,
    KMEANS,
    LABELS,
    PER_CLASS,
)

# Where the scores are those of supervised trainings, under the options of the group `dynamics`.
_BY_FORGETTING = {
    **LABELS,
    "select.objective": "scores",
    "select.scores": "dynamics",
    "select.scores_column": "forgetting_events",
}
_SUBSET_DIFFICULTY = {"measure.extras": "subset_difficulty"}
_WORST = {**LABELS, "arm.kept": "last"}

FORGETTABLE = Experiment(
    name="forgettable",
    title="How difficult the chosen examples are for supervised models",
    shows="SAS, Fig. 5d: the least and the most forgettable; Fig. 7: forgetting events and confidence",
    arms={
        name: {**own, **_SUBSET_DIFFICULTY}
        for name, own in {
            "random per class": PER_CLASS,
            "SAS, true classes": LABELS,
            "SAS, graph": GRAPH,
            "worst by SAS, true classes": _WORST,
            "least forgettable": {**_BY_FORGETTING, "select.scores_keep": "low"},
            "most forgettable": {**_BY_FORGETTING, "select.scores_keep": "high"},
        }.items()
    },
    reference="random per class",
    metrics=(
        "linear",
        "few_10",
        "knn",
        "mean_classifier",
        "subset_difficulty.forgetting_events",
        "subset_difficulty.confidence",
        "subset_difficulty.never_learned",
    ),
    claims=(
        Claim(
            "SAS with true classes beats the least forgettable examples",
            {"SAS, true classes": 1, "least forgettable": -1},
            ("linear", "few_10", "knn"),
            source="SAS, Fig. 5d",
        ),
        Claim(
            "SAS with true classes beats the most forgettable examples",
            {"SAS, true classes": 1, "most forgettable": -1},
            ("linear", "few_10", "knn"),
            source="SAS, Fig. 5d",
        ),
        Claim(
            "The least forgettable beat the most forgettable: what is hard for supervised learning "
            "serves contrastive learning least",
            {"least forgettable": 1, "most forgettable": -1},
            ("linear", "few_10", "knn"),
            source="SAS, Fig. 5d and 7",
        ),
        Claim(
            "SAS selects what is forgotten less often than random examples are",
            {"random per class": 1, "SAS, true classes": -1},
            ("subset_difficulty.forgetting_events",),
            source="SAS, Fig. 7",
        ),
        Claim(
            "SAS selects what supervised models are more confident of than of random examples",
            {"SAS, true classes": 1, "random per class": -1},
            ("subset_difficulty.confidence",),
            source="SAS, Fig. 7",
        ),
    ),
)

ALIGNMENT = Experiment(
    name="alignment",
    title="Alignment and centres under the trained encoders",
    shows="SAS, Fig. 8: how near views of a label are, and labels to one another, on the whole pool",
    arms={
        name: {**own, "measure.extras": "alignment"}
        for name, own in {
            "untrained": {"arm.trained": False},
            "random per class": PER_CLASS,
            "SAS, true classes": LABELS,
            "SAS, graph": GRAPH,
            "worst by SAS, true classes": _WORST,
            "full pool": FULL,
        }.items()
    },
    reference="random per class",
    metrics=(
        "linear",
        "knn",
        "mean_classifier",
        "alignment.views",
        "alignment.labels",
        "alignment.product",
        "alignment.nearest",
    ),
    claims=(
        Claim(
            "Trained on SAS's choice an encoder aligns the views of a label better than on a random one",
            {"random per class": 1, "SAS, true classes": -1},
            ("alignment.labels",),
            source="SAS, Fig. 8",
        ),
        Claim(
            "Trained on SAS's choice an encoder keeps the nearest labels further apart",
            {"random per class": 1, "SAS, true classes": -1},
            ("alignment.nearest",),
            source="SAS, Fig. 8",
        ),
        Claim(
            "Trained on SAS's choice an encoder aligns the views of a label as the full pool's does, "
            "within 0.05",
            {"SAS, true classes": 1, "full pool": -1},
            ("alignment.labels",),
            margin=0.05,
            rule="within",
            source="SAS, Fig. 8",
        ),
    ),
)

FINER = Experiment(
    name="finer-classes",
    title="Latent classes finer than the labels",
    shows="SAS, Fig. 5b asks for another label set; here the classes are split",
    pools=BOTH,
    arms={
        "random per class": PER_CLASS,
        "SAS, true classes": LABELS,
        "k-means, as many as labels": KMEANS,
        "k-means, at most 100 in a class": {**KMEANS, "classes.max_class_size": 100},
        "k-means, at most 25 in a class": {**KMEANS, "classes.max_class_size": 25},
        "graph": GRAPH,
        "graph, resolution 10": {**GRAPH, "classes.resolution": "10"},
        "graph, at most 25 in a class": {**GRAPH, "classes.max_class_size": 25},
    },
    reference="k-means, as many as labels",
    claims=(
        Claim.as_good(
            "Many times as many k-means classes as labels select as well, within a point",
            "k-means, at most 25 in a class",
            "k-means, as many as labels",
            source="SAS, Fig. 5b",
        ),
        Claim(
            "The graph's communities are better left whole than split",
            {"graph": 1, "graph, at most 25 in a class": -1},
        ),
    ),
)
