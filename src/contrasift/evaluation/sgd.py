"""Linear probe by stochastic gradient descent, the protocol of MoCo's linear evaluation."""

from __future__ import annotations

import numpy as np

from contrasift.errors import UsageError
from contrasift.evaluation.checks import (
    Hits,
    ProbeData,
    standardisation,
    standardise,
    validation_split,
)
from contrasift.evaluation.linear import ProbeResult
from contrasift.evaluation.softmax import LinearFit

_LEARNING_RATES = (0.3, 1.0, 3.0, 10.0, 30.0)  # the smallest wins a tie; 30 is MoCo's own
_FALLBACK_LEARNING_RATE = 3.0
_EPOCHS = 100
_CHOICE_EPOCHS = 20  # rates are compared over a schedule of a fifth
_CHOICE_ROWS = 20_000
_BATCH = 256
_MOMENTUM = 0.9


def sgd_probe(
    train_x: object,
    train_y: object,
    test_x: object,
    test_y: object,
    *,
    learning_rate: float | None = None,
    epochs: int = _EPOCHS,
    seed: int = 0,
) -> ProbeResult:
    """Accuracy of a linear classifier trained as MoCo trains its own (arXiv 1911.05722, §4.1).

    SGD with momentum 0.9 on batches of 256, without weight decay, for 100 epochs; the learning
    rate falls to a tenth after 60 % of them and again after 80 %. MoCo's rate of 30 belongs to the
    scale of its features. Here they are frozen, standardised by the training rows and divided by
    √d, so that ‖x‖² is 1 on average, and the rate is chosen among 0.3 … 30 on a fifth of every
    training class (of at most 20,000 rows, over a fifth of the epochs; the smaller on a tie).
    Images are not augmented.

    Args:
        train_x: real [n, d].
        train_y: int [n].
        test_x: real [m, d].
        test_y: int [m]; a class that training lacks counts as wrong.
        learning_rate: above 0, instead of a choice.
        epochs: at least 1.
        seed: of the order of examples and of the validation split.

    Returns:
        The accuracy after the last epoch, the top-5 accuracy, and the rate.

    Raises:
        UsageError: a rate that is not above 0, no epochs.
        DataError: NaN, wrong shapes, unlabelled rows, fewer than two training classes.
    """
    if learning_rate is not None and not learning_rate > 0:
        raise UsageError("a learning rate above 0", f"{learning_rate}")
    if epochs < 1:
        raise UsageError("at least one epoch", f"{epochs}")
    data = ProbeData.of(train_x, train_y, test_x, test_y)
    data.require_two_classes()
    centre, scale = standardisation(data.train)
    scale = scale * np.sqrt(data.train.shape[1])
    train, n_classes = standardise(data.train, centre, scale), data.classes.size
    validation: dict[float, float] = {}
    if learning_rate is None:
        validation = _validate(train, data.codes, n_classes, seed)
        learning_rate = _FALLBACK_LEARNING_RATE
        if validation:
            learning_rate = max(validation, key=lambda rate: (validation[rate], -rate))
    fit = fit_by_sgd(train, data.codes, n_classes, learning_rate, epochs, seed)
    hits = Hits(data.classes)
    hits.add(fit.scores(standardise(data.test, centre, scale)), data.truth)
    accuracy = hits.accuracy()
    return ProbeResult(
        accuracy=accuracy.top1,
        top5=accuracy.top5,
        regularisation=0.0,
        converged=fit.converged,
        validation=validation,
        learning_rate=float(learning_rate),
    )


def _validate(
    train: np.ndarray, codes: np.ndarray, n_classes: int, seed: int
) -> dict[float, float]:
    """Accuracy on held-out training rows by learning rate; empty when there are too few."""
    fit_rows, judge_rows = validation_split(codes, seed, _CHOICE_ROWS)
    if judge_rows.size == 0:
        return {}
    accuracies = {}
    for rate in _LEARNING_RATES:
        fit = fit_by_sgd(train[fit_rows], codes[fit_rows], n_classes, rate, _CHOICE_EPOCHS, seed)
        guesses = fit.scores(train[judge_rows]).argmax(axis=1)
        accuracies[rate] = float(np.mean(guesses == codes[judge_rows]))
    return accuracies


def fit_by_sgd(
    features: np.ndarray,
    codes: np.ndarray,
    n_classes: int,
    learning_rate: float,
    epochs: int,
    seed: int,
) -> LinearFit:
    """Train the classifier of `sgd_probe`, from zeros, for exactly these epochs.

    v ← 0.9·v + ∇,  θ ← θ − rate·v  (momentum as torch has it)

    Args:
        features: float32 [n, d], of mean square norm 1.
        codes: int [n] in 0..K−1.
        n_classes: K.
        learning_rate: at the start.
        epochs: how many.
        seed: of the order of examples.

    Returns:
        Weights and bias; `converged` is always true, as the protocol has no criterion.
    """
    from threadpoolctl import threadpool_limits

    n, d = features.shape
    rng = np.random.default_rng(seed)
    weights, speed = np.zeros((2, d + 1, n_classes), dtype=np.float32)
    gradient = np.empty_like(weights)
    with threadpool_limits(1, "blas"):  # the products are small
        for epoch in range(epochs):
            rate = np.float32(learning_rate * 0.1 ** sgd_drops(epoch, epochs))
            order = rng.permutation(n)
            for begin in range(0, n, _BATCH):
                batch = order[begin : begin + _BATCH]
                block, rows = features[batch], np.arange(batch.size)
                scores = block @ weights[:d] + weights[d]
                np.exp(scores - scores.max(axis=1, keepdims=True), out=scores)
                scores /= scores.sum(axis=1, keepdims=True)
                scores[rows, codes[batch]] -= 1
                scores /= batch.size
                gradient[:d], gradient[d] = block.T @ scores, scores.sum(axis=0)
                speed *= np.float32(_MOMENTUM)
                speed += gradient
                weights -= rate * speed
    return LinearFit(weights=weights[:d], bias=weights[d], converged=True)


def sgd_drops(epoch: int, epochs: int) -> int:
    """How often the learning rate has fallen to a tenth: after 60 % and after 80 % of the epochs."""
    return (5 * epoch >= 3 * epochs) + (5 * epoch >= 4 * epochs)
