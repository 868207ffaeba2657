"""Labels: taken as the classes, or known of a few rows only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contrasift.arrays import class_codes
from contrasift.classes.agreement import label_codes
from contrasift.errors import DataError, UsageError
from contrasift.results import LatentClasses


def classes_from_labels(n: int, labels: object, label_names: Sequence[str] = ()) -> LatentClasses:
    """Every row's label as its class, score 1.

    Args:
        n: rows.
        labels: [n], integers or text.
        label_names: what integers stand for.

    Raises:
        UsageError: no labels.
        DataError: another length, a missing label, a label without a name.
    """
    if labels is None:
        raise UsageError(
            "labels for the method `labels`", "none", "Give them, or use the method `kmeans`"
        )
    codes, names = class_codes(labels, n)
    unlabelled = int((label_codes(labels, n) < 0).sum())
    if unlabelled:
        raise DataError(
            "a label for every example",
            f"{unlabelled} of {n} without one (a negative label)",
            "Leave these examples out, or use a method that needs few labels or none",
        )
    facts = {"sizes": np.bincount(codes).tolist()}
    score = np.ones(n, dtype=np.float32)
    return LatentClasses(codes, named(names, label_names), score, "labels", facts)


def one_class(n: int) -> LatentClasses:
    """The whole as one class, score 1."""
    codes = np.zeros(n, dtype=np.int64)
    return LatentClasses(
        codes, np.zeros(1, np.int64), np.ones(n, np.float32), "none", {"sizes": [n]}
    )


def named(values: np.ndarray, label_names: Sequence[str]) -> np.ndarray:
    """The names of sorted label values, where integers have names.

    Raises:
        DataError: an integer without a name.
    """
    if values.dtype.kind not in "iu" or not len(label_names):
        return values
    if values.max() >= len(label_names):
        raise DataError(
            f"labels below {len(label_names)}, the number of label names",
            f"label {values.max()}",
            "Give one name for each label",
        )
    return np.asarray([str(label_names[value]) for value in values])


def draw_known(labels: object, n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels of a random share of the rows, at least one of every label.

    Of every label round(share · its rows) are drawn, at least 1.

    Args:
        labels: [n], integers (negative: none) or text.
        n: rows.
        share: in (0, 1].
        seed: of the draw.

    Returns:
        codes int64 [n] of the sorted labels, −1 for those not drawn, and the values behind them.

    Raises:
        UsageError: no labels to draw from, or a share outside (0, 1].
        DataError: labels of one class only.
    """
    if not 0 < share <= 1:
        raise UsageError("a share of labels in (0, 1]", f"{share}")
    if labels is None:
        raise UsageError("labels to draw a share from", "a pool without any", "Give them as known=")
    codes, values = check_known(labels, n)
    rng = np.random.default_rng(seed)
    known = np.full(n, -1, dtype=np.int64)
    for code in range(values.size):
        members = np.flatnonzero(codes == code)
        count = max(1, round(share * members.size))
        drawn = rng.choice(members, size=count, replace=False)
        known[drawn] = code
    return known, values


def check_known(known: object, n: int, n_names: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The few labels as codes, −1 where there is none, and the values behind them.

    Args:
        known: [n]; integers, negative where there is none, or text (then all are known).
        n: rows.
        n_names: how many classes have names; 0: the labels say which there are.

    Raises:
        UsageError: no labels at all.
        DataError: another length, fewer than two labels, a class without a label.
    """
    if known is None:
        raise UsageError(
            "a few labels",
            "none",
            "Draw them from the pool's own (label_share=0.01), or give them as known=",
        )
    _, values = class_codes(known, n)
    codes = label_codes(known, n)
    if values.dtype.kind in "iu":
        values = values[values >= 0]
    if values.size < 2:
        raise DataError(
            "labels of at least two classes",
            f"{int((codes >= 0).sum())} label(s) of {values.size} class(es)",
            "Label more examples",
        )
    if n_names and values.dtype.kind in "iu":
        absent = np.setdiff1d(np.arange(n_names), values)
        if absent.size:
            raise DataError(
                "at least one labelled example of every class",
                f"{absent.size} of {n_names} classes without any, the first of them class "
                f"{absent[0]}; {int((codes >= 0).sum())} labels in all",
                "Label one example of each",
            )
    return codes, values
