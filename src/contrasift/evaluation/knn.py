"""Weighted vote of the nearest neighbours."""

from __future__ import annotations

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.errors import UsageError
from contrasift.evaluation.checks import Accuracy, Hits, ProbeData, unit_or_zero


def knn_accuracy(
    train_x: object,
    train_y: object,
    test_x: object,
    test_y: object,
    *,
    k: int = 200,
    temperature: float = 0.1,
) -> Accuracy:
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
        The shares of the test rows whose class was first, or among the first five.

    Raises:
        UsageError: k < 1 or T ≤ 0.
        DataError: NaN, wrong shapes, unlabelled rows.
    """
    if k < 1:
        raise UsageError("k of at least 1", f"{k}")
    if not temperature > 0:
        raise UsageError("a temperature above 0", f"{temperature}")
    data = ProbeData.of(train_x, train_y, test_x, test_y)
    train, test, codes = unit_or_zero(data.train), unit_or_zero(data.test), data.codes
    k = min(k, train.shape[0])
    hits = Hits(data.classes)
    for block in row_blocks(test.shape[0], 12 * train.shape[0]):
        cosines = test[block] @ train.T
        near = _nearest(cosines, k)
        # exp((cos − 1)/T) orders classes as exp(cos/T) does and cannot overflow.
        weights = np.exp((np.take_along_axis(cosines, near, axis=1) - 1.0) / temperature)
        rows = np.arange(near.shape[0])[:, None] * data.classes.size
        votes = np.bincount(
            (rows + codes[near]).ravel(),
            weights=weights.astype(np.float64).ravel(),
            minlength=near.shape[0] * data.classes.size,
        ).reshape(near.shape[0], data.classes.size)
        hits.add(votes, data.truth[block])
    return hits.accuracy()


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
