"""How good a representation is, on arrays: kNN, few labels, linear probe, mean classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contrasift.errors import UsageError
from contrasift.evaluation.checks import Accuracy
from contrasift.evaluation.few_labels import few_label_accuracy, few_label_rows
from contrasift.evaluation.intervals import Interval, mean_and_interval, paired_difference
from contrasift.evaluation.knn import knn_accuracy
from contrasift.evaluation.linear import ProbeResult, linear_probe
from contrasift.evaluation.means import mean_classifier
from contrasift.evaluation.sgd import sgd_probe
from contrasift.options.arguments import checked_arguments

__all__ = [
    "METRICS",
    "METRIC_NAMES",
    "PROBES",
    "Accuracy",
    "Evaluation",
    "Interval",
    "ProbeResult",
    "evaluate",
    "few_label_accuracy",
    "few_label_rows",
    "knn_accuracy",
    "linear_probe",
    "mean_and_interval",
    "mean_classifier",
    "paired_difference",
    "sgd_probe",
]

# Those first that see most of what a choice of examples is worth.
METRICS = ("knn", "few_labels", "linear", "mean_classifier")
METRIC_NAMES = {
    "knn": "kNN",
    "few_labels": "few labels a class",
    "linear": "linear probe",
    "mean_classifier": "class means",
}
PROBES: dict[str, Callable[..., ProbeResult]] = {"logistic": linear_probe, "sgd": sgd_probe}


@dataclass(frozen=True)
class Evaluation:
    """Accuracies of one representation, each in [0, 1].

    Attributes:
        linear: logistic regression on frozen features, or the SGD protocol.
        knn: weighted vote of the 200 nearest training rows.
        mean_classifier: nearest class mean, the classifier of SAS's theory.
        few_labels: linear probe with few labels a class, mean over draws; None if not asked for.
        details: counts, what the probe chose, and `top5`: the top-5 accuracies, None with five
            classes or fewer.
    """

    linear: float
    knn: float
    mean_classifier: float
    few_labels: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@checked_arguments
def evaluate(
    train_x: object,
    train_y: object,
    test_x: object,
    test_y: object,
    seed: int = 0,
    probe: str = "logistic",
    labels_per_class: int = 10,
    regularisation: float | None = None,
) -> Evaluation:
    """Linear probe, kNN, mean classifier and few labels, of one representation.

    Args:
        train_x: real [n, d]; features of the labelled training rows.
        train_y: int [n]; their classes.
        test_x: real [m, d]; features of the held-out rows.
        test_y: int [m]; their classes; one that training lacks counts as wrong.
        seed: of the split on which the probe is tuned, of the SGD protocol and of few labels.
        probe: `logistic`, or `sgd` for MoCo's protocol.
        labels_per_class: of the probe with few labels; 0: none.
        regularisation: λ of the logistic probe with all labels; default: chosen.

    Returns:
        The accuracies and details.

    Raises:
        UsageError: an unknown probe.
        DataError: NaN, wrong shapes, unlabelled rows, fewer than two training classes.
    """
    if probe not in PROBES:
        raise UsageError(f"a probe: {' or '.join(PROBES)}", probe)
    if seed < 0:
        raise UsageError("seed= of at least 0", f"{seed}")
    given = {} if regularisation is None else {"regularisation": regularisation}
    if given and probe != "logistic":
        raise UsageError("the probe logistic for a regularisation", probe)
    linear = PROBES[probe](train_x, train_y, test_x, test_y, seed=seed, **given)
    near = knn_accuracy(train_x, train_y, test_x, test_y)
    means = mean_classifier(train_x, train_y, test_x, test_y)
    top5 = {"linear": linear.top5, "knn": near.top5, "mean_classifier": means.top5}
    few = None
    if labels_per_class:
        few = few_label_accuracy(
            train_x, train_y, test_x, test_y, per_class=labels_per_class, seed=seed
        )
        top5["few_labels"] = few.top5
    return Evaluation(
        linear=linear.accuracy,
        knn=near.top1,
        mean_classifier=means.top1,
        few_labels=None if few is None else few.top1,
        details={
            "train": int(np.asarray(train_y).size),
            "test": int(np.asarray(test_y).size),
            "classes": int(np.unique(np.asarray(train_y)).size),
            "labels_per_class": labels_per_class,
            "top5": top5,
            "probe": probe,
            "regularisation": linear.regularisation,
            "learning_rate": linear.learning_rate,
            "converged": linear.converged,
            "seed": seed,
        },
    )
