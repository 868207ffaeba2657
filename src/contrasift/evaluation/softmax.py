"""Multinomial logistic regression on a matrix: the solver that probes and few-label classes share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_STEPS = 200
TOLERANCE = 1e-5
_BLOCK_ROWS = 1024


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


def covariance_of(features: np.ndarray) -> np.ndarray:
    """XᵀX/n in float64; the products are float32."""
    return (features.T @ features).astype(np.float64) / features.shape[0]


def fit_softmax(
    features: np.ndarray,
    codes: np.ndarray,
    n_classes: int,
    regularisation: float,
    start: LinearFit | None = None,
    covariance: np.ndarray | None = None,
    *,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
    pairs: bool = False,
) -> LinearFit:
    """Multinomial logistic regression by L-BFGS, preconditioned.

    min_{W,b} (1/n) Σ_i −log softmax(W x_i + b)_{y_i} + (λ/2) ‖W‖²

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
        tolerance: a fit is done when no entry of its gradient in W and b is larger.
        max_steps: where it stops at the latest.
        pairs: minimise `mean_pair_loss` instead, which never sees more than two classes at once.

    Returns:
        Weights, bias, and whether it was done before its last step.
    """
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    d = features.shape[1]
    spread = covariance_of(features) if covariance is None else covariance
    spread = spread * (0.25 * (1 - 1 / n_classes) / n_classes)
    spread[np.diag_indices(d)] += regularisation
    # Here and below, a second thread gains nothing, and where cores are busy it waits for ages.
    with threadpool_limits(1, "blas"):
        factor = cholesky(spread, lower=True)
    largest = np.inf
    mean = mean_pair_loss if pairs else mean_loss

    def weights_of(point: np.ndarray) -> np.ndarray:
        return solve_triangular(factor, point, lower=True, trans=1)

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal largest
        point = flat.reshape(d + 1, n_classes)
        weights, bias = weights_of(point[:d]), point[d]
        loss, gradient = mean(features, codes, weights, bias)
        gradient[:d] += regularisation * weights
        largest = float(np.abs(gradient).max())
        gradient[:d] = solve_triangular(factor, gradient[:d], lower=True)
        return loss + 0.5 * regularisation * float((weights**2).sum()), gradient.ravel()

    def stop_when_flat(intermediate_result: object) -> None:
        # It follows the evaluation of the point that was accepted.
        if largest <= tolerance:
            raise StopIteration

    begin = np.zeros((d + 1, n_classes))
    if start is not None:
        begin[:d] = factor.T @ start.weights
        begin[d] = start.bias
    with threadpool_limits(1, "blas"):
        result = minimize(
            loss_and_gradient,
            begin.ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=stop_when_flat,
            options={"maxiter": max_steps, "gtol": 0.0, "ftol": 1e-10},
        )
    point = result.x.reshape(d + 1, n_classes)
    return LinearFit(
        weights=weights_of(point[:d]).astype(np.float32),
        bias=point[d].astype(np.float32),
        converged=bool(result.nit < max_steps),
    )


def mean_loss(
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


def mean_pair_loss(
    features: np.ndarray, codes: np.ndarray, weights: np.ndarray, bias: np.ndarray
) -> tuple[float, np.ndarray]:
    """The same of a class against one that is drawn evenly: E ln(1 + e^{g_j − g_y}), 0 for j = y.

    This is L_sub of arXiv 2102.06866 with one negative and even classes.
    """
    n, d = features.shape
    n_classes = weights.shape[1]
    weights, bias = weights.astype(np.float32), bias.astype(np.float32)
    gradient = np.zeros((d + 1, n_classes))
    loss = 0.0
    for begin in range(0, n, _BLOCK_ROWS):
        block, truth = features[begin : begin + _BLOCK_ROWS], codes[begin : begin + _BLOCK_ROWS]
        rows = np.arange(truth.size)
        scores = block @ weights
        scores += bias
        scores -= scores[rows, truth][:, None]
        losses = np.logaddexp(scores, np.float32(0))
        losses[rows, truth] = 0
        loss += float(losses.sum(dtype=np.float64))
        slopes = np.exp(scores - losses)  # e^g / (1 + e^g), without an overflow
        slopes[rows, truth] = 0
        slopes[rows, truth] = -slopes.sum(axis=1)
        gradient[:d] += (slopes.T @ block).T
        gradient[d] += slopes.sum(axis=0, dtype=np.float64)
    gradient /= n * n_classes
    return loss / (n * n_classes), gradient
