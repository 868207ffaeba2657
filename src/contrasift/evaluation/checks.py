"""What every evaluation does first and last: check features and labels, scale, count hits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contrasift.arrays import check_finite_rows, check_matrix
from contrasift.errors import DataError

_TOP = 5


@dataclass(frozen=True)
class Accuracy:
    """Shares of the test rows that were judged right, in [0, 1].

    Attributes:
        top1: share whose class came first.
        top5: share whose class was among the first five; None with five classes or fewer.
    """

    top1: float
    top5: float | None


@dataclass(frozen=True)
class ProbeData:
    """Checked features and labels of one evaluation.

    Attributes:
        train: float32 [n, d].
        classes: int64 [K]; the classes of training, ascending.
        codes: int64 [n]; places in `classes`.
        test: float32 [m, d].
        truth: int64 [m]; classes of the test rows.
    """

    train: np.ndarray
    classes: np.ndarray
    codes: np.ndarray
    test: np.ndarray
    truth: np.ndarray

    @classmethod
    def of(cls, train_x: object, train_y: object, test_x: object, test_y: object) -> ProbeData:
        """Check everything.

        Raises:
            DataError: NaN, wrong shapes, unlabelled rows.
        """
        train, train_labels = _check_part(train_x, train_y, "training")
        test, test_labels = _check_part(test_x, test_y, "test")
        if train.shape[1] != test.shape[1]:
            raise DataError(
                f"test features of length {train.shape[1]}, as in training", f"{test.shape[1]}"
            )
        classes, codes = np.unique(train_labels, return_inverse=True)
        return cls(train, classes, codes.reshape(-1), test, test_labels)

    def require_two_classes(self) -> None:
        """A probe needs something to tell apart.

        Raises:
            DataError: all training rows are of one class.
        """
        if self.classes.size < 2:
            raise DataError(
                "at least two classes in the training labels",
                f"only class {self.classes[0]}",
                "A probe needs something to tell apart",
            )


class Hits:
    """Counts right answers over blocks of test rows; equal scores go to the lowest class."""

    def __init__(self, classes: np.ndarray) -> None:
        self._classes = classes
        self._rows = self._first = self._among = 0

    def add(self, scores: np.ndarray, truth: np.ndarray) -> None:
        """Count a block: scores [m, K] by class, truth [m]."""
        # Stable, so that of equal scores the lower class ranks first.
        ranked = self._classes[np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]]
        hits = ranked == truth[:, None]
        self._rows += truth.size
        self._first += int(hits[:, 0].sum())
        self._among += int(hits.any(axis=1).sum())

    def accuracy(self) -> Accuracy:
        """The shares so far."""
        top5 = self._among / self._rows if self._classes.size > _TOP else None
        return Accuracy(top1=self._first / self._rows, top5=top5)


def _check_part(x: object, y: object, part: str) -> tuple[np.ndarray, np.ndarray]:
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


def standardisation(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation by column, over float64 sums; constant columns keep scale 1."""
    centre = train.mean(axis=0, dtype=np.float64)
    scale = train.std(axis=0, dtype=np.float64)
    # A constant column has a deviation of rounding errors only, which must not be blown up.
    noise = 1e-6 * np.maximum(np.abs(centre), np.finfo(np.float32).tiny)
    return centre, np.where(scale > noise, scale, 1.0)


def standardise(features: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(features − centre) / scale, in float32."""
    out = features - centre.astype(np.float32)
    out /= scale.astype(np.float32)
    return out


def unit_or_zero(features: np.ndarray) -> np.ndarray:
    """Rows scaled to length one; rows of zeros (a dead network) stay as they are."""
    norms = np.sqrt(np.einsum("ij,ij->i", features, features, dtype=np.float64))
    return (features / np.where(norms > 0, norms, 1.0)[:, None]).astype(np.float32)


def validation_split(codes: np.ndarray, seed: int, at_most: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on and rows to judge by: a fifth of every class, of `at_most` rows in all."""
    order = np.random.default_rng(seed).permutation(codes.size)[:at_most]
    held: list[np.ndarray] = []
    for code in np.unique(codes[order]):
        members = order[codes[order] == code]
        held.append(members[: members.size // 5])
    validation = np.sort(np.concatenate(held))
    return np.setdiff1d(order, validation), validation
