"""Linear probe: logistic regression on frozen features, its regularisation chosen by validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from contrasift.errors import UsageError
from contrasift.evaluation.checks import (
    Hits,
    ProbeData,
    standardisation,
    standardise,
    validation_split,
)
from contrasift.evaluation.softmax import LinearFit, covariance_of, fit_softmax

# Weights of ½‖W‖² against the *mean* loss, strongest first: the same grid suits every n.
_REGULARISATIONS = (1e-1, 1e-2, 1e-3, 1e-4)
_FALLBACK_REGULARISATION = 1e-3
_CHOICE_ROWS = 20_000  # the regularisation is chosen on at most so many training rows


@dataclass(frozen=True)
class ProbeResult:
    """A linear probe's accuracy and how it was had.

    Attributes:
        accuracy: share of the test rows whose class came first, in [0, 1].
        top5: share whose class was among the first five; None with five classes or fewer.
        regularisation: weight of ½‖W‖² against the mean loss; 0 for the SGD protocol.
        converged: whether the optimiser stopped by itself, before its step limit.
        validation: accuracy on held-out training rows by the value that was chosen among; empty if
            it was given.
        learning_rate: of the SGD protocol; None for logistic regression.
    """

    accuracy: float
    top5: float | None
    regularisation: float
    converged: bool
    validation: Mapping[float, float] = field(default_factory=dict)
    learning_rate: float | None = None


def linear_probe(
    train_x: object,
    train_y: object,
    test_x: object,
    test_y: object,
    *,
    regularisation: float | None = None,
    seed: int = 0,
) -> ProbeResult:
    """Accuracy of multinomial logistic regression on frozen features (L-BFGS).

    min_{W,b} (1/n) Σ_i −log softmax(W x_i + b)_{y_i} + (λ/2) ‖W‖²

    Features are shifted and scaled by the training rows' mean and standard deviation. Without a
    λ, one of 10⁻¹ … 10⁻⁴ is chosen by the accuracy on a fifth of every training class (at most
    20,000 rows in all; the larger λ on a tie), then fitted on all training rows. Equal scores go
    to the lowest class.

    Args:
        train_x: real [n, d].
        train_y: int [n].
        test_x: real [m, d].
        test_y: int [m]; a class that training lacks counts as wrong.
        regularisation: λ > 0.
        seed: of the validation split.

    Returns:
        The accuracy, the top-5 accuracy with more than five classes, and λ.

    Raises:
        UsageError: λ ≤ 0.
        DataError: NaN, wrong shapes, unlabelled rows, fewer than two training classes.
    """
    data = ProbeData.of(train_x, train_y, test_x, test_y)
    data.require_two_classes()
    if regularisation is not None and not regularisation > 0:
        raise UsageError("a regularisation above 0", f"{regularisation}")
    centre, scale = standardisation(data.train)
    train = standardise(data.train, centre, scale)
    validation: dict[float, float] = {}
    start = None
    if regularisation is None:
        validation, fits = _validate(train, data.codes, data.classes.size, seed)
        regularisation = _FALLBACK_REGULARISATION
        if validation:
            regularisation = max(validation, key=lambda weight: (validation[weight], weight))
            start = fits[regularisation]
    fit = fit_softmax(train, data.codes, data.classes.size, regularisation, start)
    hits = Hits(data.classes)
    hits.add(fit.scores(standardise(data.test, centre, scale)), data.truth)
    accuracy = hits.accuracy()
    return ProbeResult(
        accuracy=accuracy.top1,
        top5=accuracy.top5,
        regularisation=float(regularisation),
        converged=fit.converged,
        validation=validation,
    )


def _validate(
    train: np.ndarray, codes: np.ndarray, n_classes: int, seed: int
) -> tuple[dict[float, float], dict[float, LinearFit]]:
    """Accuracy on held-out training rows for each λ, and the fits; empty with too few rows."""
    fit_rows, judge_rows = validation_split(codes, seed, _CHOICE_ROWS)
    if judge_rows.size == 0 or np.unique(codes[fit_rows]).size < 2:
        return {}, {}
    features, judged = train[fit_rows], train[judge_rows]
    covariance = covariance_of(features)
    accuracies: dict[float, float] = {}
    fits: dict[float, LinearFit] = {}
    fit = None
    for weight in _REGULARISATIONS:  # each begins where the last one ended
        fit = fit_softmax(features, codes[fit_rows], n_classes, weight, fit, covariance)
        accuracies[weight] = float(np.mean(fit.scores(judged).argmax(axis=1) == codes[judge_rows]))
        fits[weight] = fit
    return accuracies, fits
