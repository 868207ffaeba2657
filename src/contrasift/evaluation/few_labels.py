"""Linear probe where only few labels are known, averaged over draws of them."""

from __future__ import annotations

import numpy as np

from contrasift.errors import UsageError
from contrasift.evaluation.checks import Accuracy
from contrasift.evaluation.linear import linear_probe

_DRAWS = 5
_REGULARISATION = 1e-3  # a choice among others would need labels that are not there


def few_label_accuracy(
    train_x: object,
    train_y: object,
    test_x: object,
    test_y: object,
    *,
    per_class: int = 10,
    draws: int = _DRAWS,
    regularisation: float = _REGULARISATION,
    seed: int = 0,
) -> Accuracy:
    """Mean accuracy of linear probes that know few labels of every class.

    Each draw takes `per_class` training rows of every class at random (all, where there are
    fewer) and fits `linear_probe` to them with a fixed λ; all test rows are judged.

    Args:
        train_x: real [n, d].
        train_y: int [n].
        test_x: real [m, d].
        test_y: int [m]; a class that training lacks counts as wrong.
        per_class: labels a class, at least 1.
        draws: how many are averaged, at least 1.
        regularisation: λ > 0.
        seed: of the draws.

    Returns:
        Means over the draws of the shares of test rows whose class was first, or among the first
        five.

    Raises:
        UsageError: a number below 1, λ ≤ 0.
        DataError: NaN, wrong shapes, unlabelled rows, fewer than two training classes.
    """
    if per_class < 1:
        raise UsageError("at least one label a class", f"{per_class}")
    train_x, train_y = np.asarray(train_x), np.asarray(train_y)
    probes = [
        linear_probe(train_x[rows], train_y[rows], test_x, test_y, regularisation=regularisation)
        for rows in few_label_rows(train_y, per_class=per_class, draws=draws, seed=seed)
    ]
    fifths = [probe.top5 for probe in probes if probe.top5 is not None]
    return Accuracy(
        top1=float(np.mean([probe.accuracy for probe in probes])),
        top5=float(np.mean(fifths)) if fifths else None,
    )


def few_label_rows(
    labels: np.ndarray,
    *,
    per_class: int = 0,
    share: float = 0.0,
    draws: int = _DRAWS,
    seed: int = 0,
) -> list[np.ndarray]:
    """Rows whose labels may be used, a list for every draw.

    Of a class with m rows max(1, `per_class`, round(`share` · m)) are drawn, at most m.

    Args:
        labels: int [n].
        per_class: rows of every class, from 0 on.
        share: of every class, in [0, 1].
        draws: how many, at least 1.
        seed: of the draws; with one seed a larger number of rows holds a smaller one.

    Returns:
        `draws` arrays of rows, int64, ascending.

    Raises:
        UsageError: a number outside its range.
    """
    if per_class < 0 or not 0 <= share <= 1 or draws < 1:
        raise UsageError(
            "labels a class from 0 on, a share in [0, 1] and at least one draw",
            f"{per_class}, {share} and {draws}",
        )
    found = []
    for draw in range(draws):
        shuffled = np.random.default_rng([seed, draw, 11]).permutation(labels.size)
        grouped = shuffled[np.argsort(labels[shuffled], kind="stable")]
        _, starts, sizes = np.unique(labels[grouped], return_index=True, return_counts=True)
        place = np.arange(labels.size) - np.repeat(starts, sizes)
        wanted = np.maximum(max(1, per_class), np.rint(share * sizes))
        found.append(np.sort(grouped[place < np.repeat(wanted, sizes)]))
    return found
