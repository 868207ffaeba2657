"""How good a representation is: linear probe, kNN and mean classifier, on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contrasift.errors import UsageError
from contrasift.evaluation.checks import Accuracy
from contrasift.evaluation.intervals import Interval, mean_and_interval, paired_difference
from contrasift.evaluation.knn import knn_accuracy
from contrasift.evaluation.linear import ProbeResult, linear_probe
from contrasift.evaluation.means import mean_classifier
from contrasift.evaluation.sgd import sgd_probe

__all__ = [
    "METRICS",
    "METRIC_NAMES",
    "PROBES",
    "Accuracy",
    "Evaluation",
    "Interval",
    "ProbeResult",
    "evaluate",
    "knn_accuracy",
    "linear_probe",
    "mean_and_interval",
    "mean_classifier",
    "paired_difference",
    "sgd_probe",
]

METRICS = ("linear", "knn", "mean_classifier")
METRIC_NAMES = {"linear": "linear probe", "knn": "kNN", "mean_classifier": "class means"}
PROBES = {"logistic": linear_probe, "sgd": sgd_probe}


@dataclass(frozen=True)
class Evaluation:
    """Three accuracies of one representation, each in [0, 1].

    Attributes:
        linear: logistic regression on frozen features, or the SGD protocol.
        knn: weighted vote of the 200 nearest training rows.
        mean_classifier: nearest class mean, the classifier of SAS's theory.
        details: counts, what the probe chose, and `top5`: the three top-5 accuracies, None with
            five classes or fewer.
    """

    linear: float
    knn: float
    mean_classifier: float
    details: Mapping[str, Any] = field(default_factory=dict)


def evaluate(
    train_x: object,
    train_y: object,
    test_x: object,
    test_y: object,
    seed: int = 0,
    probe: str = "logistic",
) -> Evaluation:
    """Linear probe, kNN and mean classifier of one representation.

    Args:
        train_x: real [n, d]; features of the labelled training rows.
        train_y: int [n]; their classes.
        test_x: real [m, d]; features of the held-out rows.
        test_y: int [m]; their classes; one that training lacks counts as wrong.
        seed: of the split on which the probe is tuned, and of the SGD protocol.
        probe: `logistic`, or `sgd` for MoCo's protocol.

    Returns:
        The three accuracies and details.

    Raises:
        UsageError: an unknown probe.
        DataError: NaN, wrong shapes, unlabelled rows, fewer than two training classes.
    """
    if probe not in PROBES:
        raise UsageError(f"a probe: {' or '.join(PROBES)}", probe)
    linear = PROBES[probe](train_x, train_y, test_x, test_y, seed=seed)
    near = knn_accuracy(train_x, train_y, test_x, test_y)
    means = mean_classifier(train_x, train_y, test_x, test_y)
    return Evaluation(
        linear=linear.accuracy,
        knn=near.top1,
        mean_classifier=means.top1,
        details={
            "train": int(np.asarray(train_y).size),
            "test": int(np.asarray(test_y).size),
            "classes": int(np.unique(np.asarray(train_y)).size),
            "top5": {"linear": linear.top5, "knn": near.top5, "mean_classifier": means.top5},
            "probe": probe,
            "regularisation": linear.regularisation,
            "learning_rate": linear.learning_rate,
            "converged": linear.converged,
            "seed": seed,
        },
    )
