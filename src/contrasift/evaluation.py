"""How good a representation is: linear probe, kNN and mean classifier, on arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contrasift.arrays import check_finite_rows, check_matrix, row_blocks
from contrasift.errors import DataError, UsageError

# Weights of ½‖W‖² against the *mean* loss, strongest first: the same grid suits every n.
_REGULARISATIONS = (1e-1, 1e-2, 1e-3, 1e-4)
_FALLBACK_REGULARISATION = 1e-3
_VALIDATION_SHARE = 5  # one in five of every class
_CHOICE_ROWS = 20_000  # the regularisation is chosen on at most so many training rows
_MAX_STEPS = 200


@dataclass(frozen=True)
class ProbeResult:
    """A linear probe's accuracy and how it was had.

    Attributes:
        accuracy: share of the test rows whose class came first, in [0, 1].
        top5: share whose class was among the first five; None with five classes or fewer.
        regularisation: weight of ½‖W‖² against the mean loss.
        converged: whether the optimiser stopped by itself, before its step limit.
        validation: accuracy on held-out training rows by regularisation; empty if it was given.
    """

    accuracy: float
    top5: float | None
    regularisation: float
    converged: bool
    validation: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Three accuracies of one representation, each in [0, 1].

    Attributes:
        linear: logistic regression on frozen features.
        knn: weighted vote of the 200 nearest training rows.
        mean_classifier: nearest class mean, the classifier of SAS's theory.
        details: counts, the probe's regularisation, top-5 accuracy.
    """

    linear: float
    knn: float
    mean_classifier: float
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and how well it is known.

    Attributes:
        mean: of the values.
        standard_error: sample standard deviation / √n; None for one value.
        low: lower end of the 95 % interval by Student's t; None for one value.
        high: its upper end; None for one value.
        n: number of values.
    """

    mean: float
    standard_error: float | None
    low: float | None
    high: float | None
    n: int


def evaluate(
    train_x: object, train_y: object, test_x: object, test_y: object, seed: int = 0
) -> Evaluation:
    """Linear probe, kNN and mean classifier of one representation.

    Args:
        train_x: real [n, d]; features of the labelled training rows.
        train_y: int [n]; their classes.
        test_x: real [m, d]; features of the held-out rows.
        test_y: int [m]; their classes; one that training lacks counts as wrong.
        seed: of the split on which the probe's regularisation is chosen.

    Returns:
        The three accuracies and details.

    Raises:
        DataError: NaN, wrong shapes, unlabelled rows, fewer than two training classes.
    """
    probe = linear_probe(train_x, train_y, test_x, test_y, seed=seed)
    return Evaluation(
        linear=probe.accuracy,
        knn=knn_accuracy(train_x, train_y, test_x, test_y),
        mean_classifier=mean_classifier(train_x, train_y, test_x, test_y),
        details={
            "train": int(np.asarray(train_y).size),
            "test": int(np.asarray(test_y).size),
            "classes": int(np.unique(np.asarray(train_y)).size),
            "top5": probe.top5,
            "regularisation": probe.regularisation,
            "converged": probe.converged,
            "seed": seed,
        },
    )


def linear_probe(
    train_x: object,
    train_y: object,
    test_x: object,
    test_y: object,
    *,
    regularisation: float | None = None,
    seed: int = 0,
) -> ProbeResult:
    """Accuracy of multinomial logistic regression on frozen features (L-BFGS, scikit-learn).

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
    train, classes, codes, test, truth = _checked(train_x, train_y, test_x, test_y)
    if classes.size < 2:
        raise DataError(
            "at least two classes in the training labels",
            f"only class {classes[0]}",
            "A probe needs something to tell apart",
        )
    if regularisation is not None and not regularisation > 0:
        raise UsageError("a regularisation above 0", f"{regularisation}")
    centre, scale = _standardisation(train)
    train = _standardise(train, centre, scale)
    validation: dict[float, float] = {}
    if regularisation is None:
        validation = _validation_accuracies(train, codes, seed)
        regularisation = _FALLBACK_REGULARISATION
        if validation:
            regularisation = max(validation, key=lambda weight: (validation[weight], weight))
    fit = _fit_logistic(train, codes, regularisation)
    scores = _scores(fit, _standardise(test, centre, scale))
    # Stable, so that equal scores rank the lower class first.
    ranked = classes[np.argsort(-scores, axis=1, kind="stable")[:, :5]]
    return ProbeResult(
        accuracy=float(np.mean(ranked[:, 0] == truth)),
        top5=float(np.mean((ranked == truth[:, None]).any(axis=1))) if classes.size > 5 else None,
        regularisation=float(regularisation),
        converged=bool(fit.n_iter_.max() < _MAX_STEPS),
        validation=validation,
    )


def knn_accuracy(
    train_x: object,
    train_y: object,
    test_x: object,
    test_y: object,
    *,
    k: int = 200,
    temperature: float = 0.1,
) -> float:
    """Accuracy of the weighted vote of the k nearest training rows by cosine (Wu et al. 2018).

    class(x) = argmax_c Σ_{i ∈ kNN(x), y_i = c} exp(cos(x, x_i) / T)

    Of equally near training rows the first come first; equal votes go to the lowest class. A row
    of zeros has cosine 0 with everything.

    Args:
        train_x: real [n, d].
        train_y: int [n].
        test_x: real [m, d].
        test_y: int [m]; a class that training lacks counts as wrong.
        k: neighbours; at most n are used.
        temperature: T > 0; smaller lets near neighbours weigh more.

    Returns:
        Share of the test rows that got their class, in [0, 1].

    Raises:
        UsageError: k < 1 or T ≤ 0.
        DataError: NaN, wrong shapes, unlabelled rows.
    """
    if k < 1:
        raise UsageError("k of at least 1", f"{k}")
    if not temperature > 0:
        raise UsageError("a temperature above 0", f"{temperature}")
    train, classes, codes, test, truth = _checked(train_x, train_y, test_x, test_y)
    train, test = _unit(train), _unit(test)
    k = min(k, train.shape[0])
    right = 0
    for block in row_blocks(test.shape[0], 12 * train.shape[0]):
        cosines = test[block] @ train.T
        near = _nearest(cosines, k)
        # exp((cos − 1)/T) orders classes as exp(cos/T) does and cannot overflow.
        weights = np.exp((np.take_along_axis(cosines, near, axis=1) - 1.0) / temperature)
        rows = np.arange(near.shape[0])[:, None] * classes.size
        votes = np.bincount(
            (rows + codes[near]).ravel(),
            weights=weights.astype(np.float64).ravel(),
            minlength=near.shape[0] * classes.size,
        ).reshape(near.shape[0], classes.size)
        right += int((classes[votes.argmax(axis=1)] == truth[block]).sum())
    return right / test.shape[0]


def mean_classifier(train_x: object, train_y: object, test_x: object, test_y: object) -> float:
    """Accuracy of the nearest class mean on unit-norm features (SAS, equation 3).

    g(x) = argmin_k ‖f(x) − μ_k‖,  μ_k = mean of f over training class k, not renormalised

    Equal distances go to the lowest class; a row of zeros stays one.

    Args:
        train_x: real [n, d].
        train_y: int [n].
        test_x: real [m, d].
        test_y: int [m]; a class that training lacks counts as wrong.

    Returns:
        Share of the test rows that got their class, in [0, 1].

    Raises:
        DataError: NaN, wrong shapes, unlabelled rows.
    """
    train, classes, codes, test, truth = _checked(train_x, train_y, test_x, test_y)
    train = _unit(train)
    means = np.zeros((classes.size, train.shape[1]))
    for code in range(classes.size):
        means[code] = train[codes == code].mean(axis=0, dtype=np.float64)
    # ‖f − μ‖² = ‖f‖² − 2(⟨f, μ⟩ − ‖μ‖²/2), and the first term is the same for every class.
    scores = _unit(test).astype(np.float64) @ means.T - np.sum(means**2, axis=1) / 2
    return float(np.mean(classes[scores.argmax(axis=1)] == truth))


def mean_and_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Mean, standard error and 95 % interval: mean ± t_{0.975, n−1} · s/√n.

    Args:
        values: one number a seed.

    Returns:
        The interval; without ends when there is one value.

    Raises:
        DataError: no value, or one that is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if numbers.size == 0 or not np.isfinite(numbers).all():
        raise DataError("at least one value, all finite", f"{numbers.tolist()}")
    mean = float(numbers.mean())
    if numbers.size == 1:
        return Interval(mean, None, None, None, 1)
    from scipy.special import stdtrit

    error = float(numbers.std(ddof=1) / np.sqrt(numbers.size))
    reach = float(stdtrit(numbers.size - 1, 0.975)) * error
    return Interval(mean, error, mean - reach, mean + reach, numbers.size)


def paired_difference(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray
) -> Interval:
    """Mean of first − second over the same seeds, with its interval.

    Pairing removes what the seeds have in common, so the interval is narrower than that of two
    separate means.

    Args:
        first: one number a seed.
        second: one number a seed, in the same order.

    Returns:
        The interval of the difference.

    Raises:
        DataError: different lengths, no value, or one that is not finite.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.shape != right.shape:
        raise DataError("two values for every seed", f"{left.size} and {right.size} values")
    return mean_and_interval(left - right)


def _checked(
    train_x: object, train_y: object, test_x: object, test_y: object
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features as float32, sorted training classes, their codes, test features, test classes."""
    train, train_labels = _checked_part(train_x, train_y, "training")
    test, test_labels = _checked_part(test_x, test_y, "test")
    if train.shape[1] != test.shape[1]:
        raise DataError(
            f"test features of length {train.shape[1]}, as in training", f"{test.shape[1]}"
        )
    classes, codes = np.unique(train_labels, return_inverse=True)
    return train, classes, codes.reshape(-1), test, test_labels


def _checked_part(x: object, y: object, part: str) -> tuple[np.ndarray, np.ndarray]:
    features = check_matrix(x, f"{part} features")
    check_finite_rows(features, f"{part} features")
    labels = np.asarray(y)
    if labels.shape != (features.shape[0],) or labels.dtype.kind not in "biu":
        raise DataError(
            f"{features.shape[0]} {part} labels, all integers",
            f"shape {labels.shape}, dtype {labels.dtype}",
        )
    labels = labels.astype(np.int64)
    if (labels < 0).any():
        raise DataError(
            f"a class for every {part} row",
            f"{int((labels < 0).sum())} without one (a negative label)",
            "Leave these rows out of the evaluation",
        )
    return np.ascontiguousarray(features, dtype=np.float32), labels


def _standardisation(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation by column, over float64 sums; constant columns keep scale 1."""
    centre = train.mean(axis=0, dtype=np.float64)
    scale = train.std(axis=0, dtype=np.float64)
    # A constant column has a deviation of rounding errors only, which must not be blown up.
    noise = 1e-6 * np.maximum(np.abs(centre), np.finfo(np.float32).tiny)
    return centre, np.where(scale > noise, scale, 1.0)


def _standardise(features: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    out = features - centre.astype(np.float32)
    out /= scale.astype(np.float32)
    return out


def _unit(features: np.ndarray) -> np.ndarray:
    """Rows scaled to length one; rows of zeros (a dead network) stay as they are."""
    norms = np.sqrt(np.einsum("ij,ij->i", features, features, dtype=np.float64))
    return (features / np.where(norms > 0, norms, 1.0)[:, None]).astype(np.float32)


def _nearest(cosines: np.ndarray, k: int) -> np.ndarray:
    """The k largest of each row, in any order; of equal ones the first."""
    n = cosines.shape[1]
    if k == n:
        return np.broadcast_to(np.arange(n), cosines.shape)
    near = np.argpartition(cosines, n - k, axis=1)[:, n - k :]
    least = np.take_along_axis(cosines, near, axis=1).min(axis=1)
    tied = np.flatnonzero((cosines >= least[:, None]).sum(axis=1) > k)
    near[tied] = np.argsort(-cosines[tied], axis=1, kind="stable")[:, :k]
    return near


def _validation_split(codes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on and rows to judge by: a fifth of every class, at most 20,000 rows in all."""
    order = np.random.default_rng(seed).permutation(codes.size)[:_CHOICE_ROWS]
    held: list[np.ndarray] = []
    for code in np.unique(codes[order]):
        members = order[codes[order] == code]
        held.append(members[: members.size // _VALIDATION_SHARE])
    validation = np.sort(np.concatenate(held))
    return np.setdiff1d(order, validation), validation


def _validation_accuracies(train: np.ndarray, codes: np.ndarray, seed: int) -> dict[float, float]:
    """Accuracy on held-out training rows for each regularisation; empty when there are too few."""
    fit_rows, judge_rows = _validation_split(codes, seed)
    if judge_rows.size == 0 or np.unique(codes[fit_rows]).size < 2:
        return {}
    accuracies: dict[float, float] = {}
    start = None
    for weight in _REGULARISATIONS:
        start = _fit_logistic(train[fit_rows], codes[fit_rows], weight, start)
        best = start.classes_[_scores(start, train[judge_rows]).argmax(axis=1)]
        accuracies[weight] = float(np.mean(best == codes[judge_rows]))
    return accuracies


def _fit_logistic(
    features: np.ndarray, codes: np.ndarray, regularisation: float, start: Any = None
) -> Any:
    """A fitted scikit-learn LogisticRegression, begun at an earlier fit if one is given."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = start or LogisticRegression(solver="lbfgs", max_iter=_MAX_STEPS, warm_start=True)
    # scikit-learn weighs the *sum* of the losses by C against ½‖W‖².
    model.set_params(C=1.0 / (regularisation * codes.size))
    with warnings.catch_warnings():
        # Reported as `converged`: near the optimum more steps hardly move an accuracy.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, codes)


def _scores(model: Any, features: np.ndarray) -> np.ndarray:
    """One score a class, also for two classes, where scikit-learn gives their difference."""
    scores = model.decision_function(features)
    return np.stack([np.zeros_like(scores), scores], axis=1) if scores.ndim == 1 else scores
