"""The rows of a matrix as a method sees them: checked, whitened or of unit length, read in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from contrasift.arrays import check_finite_rows, check_matrix, row_blocks, unit_rows
from contrasift.classes.whitening import Whitening, fit_whitening
from contrasift.errors import DataError, UsageError

METRICS = ("spherical", "euclidean")

# Whitening is fitted on all rows up to this many; beyond, on a sample of as many.
_WHITENING_ROWS = 262_144
# Entries from 2^-40 to 2^40 can be squared and summed in float32, however many there are.
_USUAL_EXPONENT = 40
# Rows for each component that is kept. With as many components as rows, whitened rows would all be
# equally far from each other: there would be nothing to find.
_ROWS_A_COMPONENT = 8


@dataclass(frozen=True)
class Rows:
    """A matrix, perhaps memory-mapped, and what happens to a row before it is compared.

    Attributes:
        values: real [n, d].
        whitening: applied to every row, or None.
        spherical: without whitening, rows are scaled to length one (whitened ones always are).
        shift: rows are taken times 2^shift, which changes no comparison, and what float32 can
            square is neither too large nor too small for it.
    """

    values: Any
    whitening: Whitening | None = None
    spherical: bool = True
    shift: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and columns after whitening."""
        n, d = self.values.shape
        return n, d if self.whitening is None else self.whitening.width

    @property
    def row_bytes(self) -> int:
        """What reading a row takes: a float64 copy and its float32 result, with their temporaries."""
        return 24 * self.values.shape[1] + 12 * self.shape[1]

    def read(self, which: slice | np.ndarray) -> np.ndarray:
        """Some rows as float32 [m, D], ready to be compared.

        Raises:
            DataError: NaN, infinity, or a row of zeros where directions are compared.
        """
        rows = np.asarray(self.values[which])
        first = (
            (which.start or 0) if isinstance(which, slice) else int(which[0]) if len(which) else 0
        )
        check_finite_rows(rows, first_row=first)
        if self.shift:
            rows = np.ldexp(np.asarray(rows, dtype=np.float64), self.shift)
        if self.whitening is not None:
            return self.whitening.apply(rows)
        if self.spherical:
            remedy = "cluster points: metric='euclidean'"
            return unit_rows(rows, first, "rows that have a direction", remedy)
        with np.errstate(over="ignore"):
            narrow = np.ascontiguousarray(rows, dtype=np.float32)
        if not np.isfinite(narrow).all():
            raise DataError(
                "rows that float32 can hold, on the scale of those that classes were found in",
                f"an entry of {np.abs(rows).max():.3g} times as much",
                "Check the units of these rows",
            )
        return narrow

    def gather(self, which: np.ndarray | None = None) -> np.ndarray:
        """All rows, or those at ascending positions, read in blocks into one float32 matrix."""
        n = self.shape[0] if which is None else which.size
        out = np.empty((n, self.shape[1]), dtype=np.float32)
        for block in row_blocks(n, self.row_bytes):
            out[block] = self.read(block if which is None else which[block])
        return out


def prepare_rows(embeddings: object, *, whiten: int, metric: str, seed: int) -> Rows:
    """Check a matrix and fit its whitening.

    Args:
        embeddings: real [n, d].
        whiten: leading components to keep, but one for 8 rows at most (2 if that is more); 0: rows
            are left as they are.
        metric: `spherical` or `euclidean`.
        seed: of the sample on which whitening is fitted when there are more than 262,144 rows.

    Raises:
        UsageError: an unknown metric, or a negative number of components.
        DataError: no matrix, or NaN or infinity in it.
    """
    if metric not in METRICS:
        raise UsageError(f"a metric among {', '.join(METRICS)}", repr(metric))
    if whiten < 0:
        raise UsageError("a number of components to whiten to, or 0 for none", f"{whiten}")
    values = check_matrix(embeddings)
    spherical = metric == "spherical"
    shift = 0 if spherical and not whiten else _shift_of(values)
    if not whiten:
        return Rows(values, None, spherical, shift)
    which = sample_of(values.shape[0], _WHITENING_ROWS, seed)
    width = min(whiten, max(2, values.shape[0] // _ROWS_A_COMPONENT))
    return Rows(values, fit_whitening(values, width, which, shift), spherical, shift)


def _shift_of(values: Any) -> int:
    """The power of two that brings the largest entry below 1; 0 where it is of a usual size."""
    if values.dtype == np.float16:
        return 0
    largest = 0.0
    for block in row_blocks(values.shape[0], 16 * values.shape[1]):
        largest = max(largest, float(np.abs(np.asarray(values[block], dtype=np.float64)).max()))
    if not (0 < largest < np.inf):  # said where rows are read
        return 0
    exponent = int(np.frexp(largest)[1])
    return -exponent if abs(exponent) > _USUAL_EXPONENT else 0


def sample_of(n: int, limit: int, seed: int) -> np.ndarray | None:
    """Ascending positions of a random sample, or None if all rows fit the limit."""
    if n <= limit:
        return None
    return np.sort(np.random.default_rng(seed).choice(n, size=limit, replace=False))
