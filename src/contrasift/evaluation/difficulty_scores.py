"""How hard examples are for a supervised model: scores from what was recorded while it trained.

Numbers to check against: docs/mathematics.md#difficulty-scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contrasift.errors import DataError, UsageError


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ between two scores of the same examples.

    Attributes:
        value: ρ in [−1, 1]; None where one of the scores does not vary.
        low: lower end of its 95 % interval; None where there is none.
        high: its upper end.
        n: number of examples.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


def forgetting_events(correct: object) -> np.ndarray:
    """How often each example was classified rightly and then wrongly (Toneva et al. 2019, Def. 1).

    #{t : acc_t = 1, acc_{t+1} = 0},  ∞ for an example that was never right

    The accuracy of an example is recorded when it is in the minibatch, once an epoch. Never learned
    is hardest, hence ∞ (DeepCore's code gives these examples 0).

    Args:
        correct: bool or 0/1 [T, n]; one row an epoch.

    Returns:
        float64 [n].

    Raises:
        DataError: not a matrix of 0 and 1 with at least one epoch.
    """
    right = np.asarray(correct)
    if right.ndim != 2 or right.shape[0] == 0 or not np.isin(right, (0, 1)).all():
        raise DataError(
            "a matrix of 0 and 1, epochs × examples, with at least one epoch",
            f"shape {right.shape}, dtype {right.dtype}",
        )
    right = right.astype(bool)
    events = (right[:-1] & ~right[1:]).sum(axis=0).astype(np.float64)
    events[~right.any(axis=0)] = np.inf
    return events


def confidence_and_variability(probabilities: object) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over epochs of the true class's probability.

    μ_i = (1/T) Σ_t p_t(y_i | x_i),  σ_i = √((1/T) Σ_t (p_t(y_i | x_i) − μ_i)²)

    Swayamdipta et al. 2020 (Dataset Cartography), equations 1 and 2. Low confidence is hard, high
    variability ambiguous.

    Args:
        probabilities: real [T, n], each in [0, 1].

    Returns:
        μ and σ, float64 [n].

    Raises:
        DataError: not a matrix of probabilities with at least one epoch.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] == 0 or not ((values >= 0) & (values <= 1)).all():
        raise DataError(
            "a matrix of numbers in [0, 1], epochs × examples, with at least one epoch",
            f"shape {values.shape}, or numbers outside",
        )
    return values.mean(axis=0), values.std(axis=0)


def error_norm(probabilities: object, labels: object) -> np.ndarray:
    """‖p(x) − y‖₂ at one state of a model; its mean over models is EL2N (Paul et al. 2021, Def. 3.3).

    Args:
        probabilities: real [n, K]; p, rows that sum to 1.
        labels: int [n]; the place of the 1 in y.

    Returns:
        float64 [n] in [0, √2]; high is hard.

    Raises:
        DataError: other shapes, or labels outside 0..K−1.
    """
    wrong = _residuals(probabilities, labels)
    return np.sqrt(np.einsum("ij,ij->i", wrong, wrong))


def last_layer_gradient_norm(probabilities: object, labels: object, features: object) -> np.ndarray:
    """‖∇ℓ‖₂ in weights and bias of the last layer; its mean over models is GraNd's last-layer part.

    ∇_W ℓ = (p − y) hᵀ and ∇_b ℓ = p − y, so that ‖∇ℓ‖ = ‖p − y‖ · √(1 + ‖h‖²)

    GraNd (Paul et al. 2021, Def. 3.1) takes the gradient in all weights; the last layer's is the
    part that needs no backward pass.

    Args:
        probabilities: real [n, K].
        labels: int [n].
        features: real [n, d]; h, what the last layer sees.

    Returns:
        float64 [n]; high is hard.

    Raises:
        DataError: other shapes, or labels outside 0..K−1.
    """
    norms = error_norm(probabilities, labels)
    hidden = np.asarray(features, dtype=np.float64)
    if hidden.ndim != 2 or hidden.shape[0] != norms.size:
        raise DataError(f"a row of features for each of {norms.size} examples", f"{hidden.shape}")
    return norms * np.sqrt(1 + np.einsum("ij,ij->i", hidden, hidden))


def _residuals(probabilities: object, labels: object) -> np.ndarray:
    """The residuals p − y."""
    wrong = np.array(probabilities, dtype=np.float64)
    codes = np.asarray(labels)
    if wrong.ndim != 2 or codes.shape != wrong.shape[:1] or codes.dtype.kind not in "iu":
        raise DataError(
            "probabilities [n, K] and n labels", f"shapes {wrong.shape} and {codes.shape}"
        )
    if codes.size and (codes.min() < 0 or codes.max() >= wrong.shape[1]):
        raise DataError(
            f"labels between 0 and {wrong.shape[1] - 1}", f"{codes.min()} to {codes.max()}"
        )
    wrong[np.arange(codes.size), codes] -= 1
    return wrong


def rank_correlation(first: object, second: object) -> RankCorrelation:
    """Spearman's ρ (ties share their mean rank) with a 95 % interval.

    tanh(artanh ρ ± 1.96·√((1 + ρ²/2)/(n − 3)))   (Bonett and Wright 2000)

    Args:
        first: real [n]; ∞ is the largest.
        second: real [n].

    Returns:
        ρ and its interval, which needs four examples.

    Raises:
        UsageError: different lengths, or NaN.
    """
    from scipy.stats import rankdata

    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.ndim != 1 or left.shape != right.shape:
        raise UsageError("two scores for every example", f"shapes {left.shape} and {right.shape}")
    if np.isnan(left).any() or np.isnan(right).any():
        raise UsageError("scores without NaN", "NaN")
    n = left.size
    ranks = rankdata(left) - (n + 1) / 2, rankdata(right) - (n + 1) / 2
    scale = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    if scale == 0:
        return RankCorrelation(None, None, None, n)
    value = float(np.clip((ranks[0] * ranks[1]).sum() / scale, -1, 1))
    if n < 4:
        return RankCorrelation(value, None, None, n)
    if abs(value) == 1:
        return RankCorrelation(value, value, value, n)
    centre, reach = np.arctanh(value), 1.959964 * np.sqrt((1 + value**2 / 2) / (n - 3))
    return RankCorrelation(value, float(np.tanh(centre - reach)), float(np.tanh(centre + reach)), n)
