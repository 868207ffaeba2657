"""What is drawn from: classes with their probabilities, put back or not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from contrasift.errors import DataError, UsageError

_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Urn:
    """What is drawn from: classes, grouped where they are equally likely.

    Attributes:
        shares: float64 [g]; the different class probabilities, ascending.
        multiplicity: int64 [g]; how many classes have each of them.
        counts: int64 [g]; examples in each such class, when draws are not put back; else None.
    """

    shares: np.ndarray
    multiplicity: np.ndarray
    counts: np.ndarray | None = None

    @property
    def n_classes(self) -> int:
        """C, the number of classes."""
        return int(self.multiplicity.sum())

    @property
    def size(self) -> int | None:
        """Examples in the urn; None when draws are put back."""
        return None if self.counts is None else int(self.counts @ self.multiplicity)

    @property
    def uniform(self) -> bool:
        """Whether all classes are equally likely."""
        return self.shares.size == 1


def uniform_urn(n_classes: int) -> Urn:
    """C equally likely classes, drawn with replacement.

    Raises:
        UsageError: no class.
    """
    if n_classes < 1:
        raise UsageError("at least one class", str(n_classes))
    return Urn(np.array([1.0 / n_classes]), np.array([n_classes], dtype=np.int64))


def urn_from_priors(priors: object) -> Urn:
    """Classes with these probabilities, drawn with replacement.

    Args:
        priors: [C]; each above 0, together 1 (up to 1e-6, then scaled to 1).

    Raises:
        DataError: not numbers, none, zeros or negatives among them, or another sum.
    """
    values = _vector(priors, "priors")
    bad = np.flatnonzero(~(values > 0))
    if bad.size:
        raise DataError(
            "priors above 0",
            f"{values[bad[0]]} for class {bad[0]}",
            "A class that is never drawn is never seen: leave it out",
        )
    total = math.fsum(values)
    if abs(total - 1) > _SUM_TOLERANCE:
        raise DataError(
            "priors that sum to one", f"a sum of {total:.9g}", "Divide each of them by this sum"
        )
    shares, multiplicity = np.unique(values / total, return_counts=True)
    return Urn(shares, multiplicity.astype(np.int64))


def urn_from_counts(counts: object) -> Urn:
    """A finite pool with so many examples of each class, drawn without replacement.

    Args:
        counts: [C]; whole numbers of at least 1.

    Raises:
        DataError: not whole numbers, none, or a class without examples.
    """
    values = _vector(counts, "class counts")
    bad = np.flatnonzero((values < 1) | (values != np.round(values)))
    if bad.size:
        raise DataError(
            "class counts that are whole numbers of at least 1",
            f"{values[bad[0]]:g} for class {bad[0]}",
            "A class without examples is never seen: leave it out",
        )
    unique, multiplicity = np.unique(values.astype(np.int64), return_counts=True)
    multiplicity = multiplicity.astype(np.int64)
    return Urn(unique / (unique @ multiplicity), multiplicity, unique)


def _vector(values: object, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "fiu":
        raise DataError(
            f"{name} as a list of numbers, one a class",
            f"an array of shape {array.shape} and dtype {array.dtype}",
        )
    wide = array.astype(np.float64)
    if not np.isfinite(wide).all():
        raise DataError(f"finite {name}", "NaN or infinity among them")
    return wide
