"""Linear probe: logistic regression on frozen features, its regularisation chosen by validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from contrasift.errors import UsageError
from contrasift.evaluation.checks import Hits, Task, standardisation, standardise, validation_split

# Weights of ½‖W‖² against the *mean* loss, strongest first: the same grid suits every n.
_REGULARISATIONS = (1e-1, 1e-2, 1e-3, 1e-4)
_FALLBACK_REGULARISATION = 1e-3
_CHOICE_ROWS = 20_000  # the regularisation is chosen on at most so many training rows
_MAX_STEPS = 200
_GRADIENT = 1e-5  # a fit is done when no entry of its gradient is larger
_BLOCK_ROWS = 1024


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


@dataclass(frozen=True)
class LinearFit:
    """A fitted linear classifier: scores are x·weights + bias.

    Attributes:
        weights: float32 [d, K].
        bias: float32 [K].
        converged: whether the gradient became small enough within the steps.
    """

    weights: np.ndarray
    bias: np.ndarray
    converged: bool

    def scores(self, features: np.ndarray) -> np.ndarray:
        """One score a class, [m, K]."""
        return features @ self.weights + self.bias


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
    task = Task.of(train_x, train_y, test_x, test_y)
    task.require_two_classes()
    if regularisation is not None and not regularisation > 0:
        raise UsageError("a regularisation above 0", f"{regularisation}")
    centre, scale = standardisation(task.train)
    train = standardise(task.train, centre, scale)
    validation: dict[float, float] = {}
    start = None
    if regularisation is None:
        validation, fits = _validate(train, task.codes, task.classes.size, seed)
        regularisation = _FALLBACK_REGULARISATION
        if validation:
            regularisation = max(validation, key=lambda weight: (validation[weight], weight))
            start = fits[regularisation]
    fit = fit_logistic(train, task.codes, task.classes.size, regularisation, start)
    hits = Hits(task.classes)
    hits.add(fit.scores(standardise(task.test, centre, scale)), task.truth)
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
    covariance = _covariance(features)
    accuracies: dict[float, float] = {}
    fits: dict[float, LinearFit] = {}
    fit = None
    for weight in _REGULARISATIONS:  # each begins where the last one ended
        fit = fit_logistic(features, codes[fit_rows], n_classes, weight, fit, covariance)
        accuracies[weight] = float(np.mean(fit.scores(judged).argmax(axis=1) == codes[judge_rows]))
        fits[weight] = fit
    return accuracies, fits


def _covariance(features: np.ndarray) -> np.ndarray:
    """XᵀX/n in float64; the products are float32."""
    return (features.T @ features).astype(np.float64) / features.shape[0]


def fit_logistic(
    features: np.ndarray,
    codes: np.ndarray,
    n_classes: int,
    regularisation: float,
    start: LinearFit | None = None,
    covariance: np.ndarray | None = None,
) -> LinearFit:
    """Minimise the loss of `linear_probe` by L-BFGS, preconditioned.

    The Hessian's part of one class is Σ_i p_i(1 − p_i) x_i x_iᵀ/n + λI. With it replaced by
    A = c·XᵀX/n + λI = LLᵀ, c = ¼·(1 − 1/K)/K, and W = L⁻ᵀV, the problem in V is round enough for
    a few dozen steps even where the features are strongly correlated. The large products are
    float32, sums of losses and the optimiser float64.

    Args:
        features: float32 [n, d], standardised.
        codes: int [n] in 0..K−1.
        n_classes: K ≥ 2.
        regularisation: λ > 0.
        start: where to begin; default: zeros.
        covariance: XᵀX/n, if it is known.

    Returns:
        Weights, bias, and whether the largest entry of the gradient in W and b fell to 10⁻⁵.
    """
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    d = features.shape[1]
    spread = _covariance(features) if covariance is None else covariance
    spread = spread * (0.25 * (1 - 1 / n_classes) / n_classes)
    spread[np.diag_indices(d)] += regularisation
    factor = cholesky(spread, lower=True)
    largest = np.inf

    def weights_of(point: np.ndarray) -> np.ndarray:
        return solve_triangular(factor, point, lower=True, trans=1)

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal largest
        point = flat.reshape(d + 1, n_classes)
        weights, bias = weights_of(point[:d]), point[d]
        loss, gradient = _mean_loss(features, codes, weights, bias)
        gradient[:d] += regularisation * weights
        largest = float(np.abs(gradient).max())
        gradient[:d] = solve_triangular(factor, gradient[:d], lower=True)
        return loss + 0.5 * regularisation * float((weights**2).sum()), gradient.ravel()

    def stop_when_flat(intermediate_result: object) -> None:
        # It follows the evaluation of the point that was accepted.
        if largest <= _GRADIENT:
            raise StopIteration

    begin = np.zeros((d + 1, n_classes))
    if start is not None:
        begin[:d] = factor.T @ start.weights
        begin[d] = start.bias
    # The products are bound by memory: a second thread gains nothing, and on busy cores costs all.
    with threadpool_limits(1, "blas"):
        result = minimize(
            loss_and_gradient,
            begin.ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=stop_when_flat,
            options={"maxiter": _MAX_STEPS, "gtol": 0.0, "ftol": 1e-10},
        )
    point = result.x.reshape(d + 1, n_classes)
    return LinearFit(
        weights=weights_of(point[:d]).astype(np.float32),
        bias=point[d].astype(np.float32),
        converged=bool(result.nit < _MAX_STEPS),
    )


def _mean_loss(
    features: np.ndarray, codes: np.ndarray, weights: np.ndarray, bias: np.ndarray
) -> tuple[float, np.ndarray]:
    """Mean cross-entropy, and its gradient in weights and bias as one matrix [d + 1, K]."""
    n, d = features.shape
    weights, bias = weights.astype(np.float32), bias.astype(np.float32)
    gradient = np.zeros((d + 1, weights.shape[1]))
    loss = 0.0
    # Products of a tall matrix with a narrow one run five times as fast in pieces that fit a cache.
    for begin in range(0, n, _BLOCK_ROWS):
        block, truth = features[begin : begin + _BLOCK_ROWS], codes[begin : begin + _BLOCK_ROWS]
        rows = np.arange(truth.size)
        scores = block @ weights
        scores += bias
        scores -= scores.max(axis=1, keepdims=True)
        loss -= float(scores[rows, truth].sum(dtype=np.float64))
        np.exp(scores, out=scores)
        sums = scores.sum(axis=1, keepdims=True)
        loss += float(np.log(sums).sum(dtype=np.float64))
        scores /= sums
        scores[rows, truth] -= 1
        gradient[:d] += (scores.T @ block).T
        gradient[d] += scores.sum(axis=0, dtype=np.float64)
    gradient /= n
    return loss / n, gradient
