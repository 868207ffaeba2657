"""Nearest class mean, the classifier of SAS's theory."""

from __future__ import annotations

import numpy as np

from contrasift.evaluation.checks import Accuracy, Hits, ProbeData, unit_or_zero


def mean_classifier(train_x: object, train_y: object, test_x: object, test_y: object) -> Accuracy:
    """Accuracy of the nearest class mean on unit-norm features (SAS, equation 3).

    g(x) = argmin_k ‖f(x) − μ_k‖,  μ_k = mean of f over training class k, not renormalised

    Equal distances go to the lowest class; a row of zeros stays one.

    Args:
        train_x: real [n, d].
        train_y: int [n].
        test_x: real [m, d].
        test_y: int [m]; a class that training lacks counts as wrong.

    Returns:
        The shares of the test rows whose class was first, or among the first five.

    Raises:
        DataError: NaN, wrong shapes, unlabelled rows.
    """
    data = ProbeData.of(train_x, train_y, test_x, test_y)
    train = unit_or_zero(data.train)
    means = np.zeros((data.classes.size, train.shape[1]))
    for code in range(data.classes.size):
        means[code] = train[data.codes == code].mean(axis=0, dtype=np.float64)
    # ‖f − μ‖² = ‖f‖² − 2(⟨f, μ⟩ − ‖μ‖²/2), and the first term is the same for every class.
    hits = Hits(data.classes)
    scores = unit_or_zero(data.test).astype(np.float64) @ means.T - np.sum(means**2, axis=1) / 2
    hits.add(scores, data.truth)
    return hits.accuracy()
