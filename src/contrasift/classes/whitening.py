"""Whitening: directions in which a network hardly varies count as much as its loudest ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from contrasift.arrays import check_finite_rows, row_blocks

# Variance below this share of the largest, or of the squared mean, is rounding.
_RANK_TOLERANCE = 1e-10
_MEAN_TOLERANCE = 1e-16


@dataclass(frozen=True)
class Whitening:
    """x ↦ w / ‖w‖ with w = (x − μ) V diag(s)^{−1/2}, for the covariance Σ = U diag(s) Uᵀ.

    Attributes:
        mean: μ, float64 [d].
        projection: V diag(s)^{−1/2}, float64 [d, D]; V are the D leading columns of U.
        explained: share of the variance that lies in these D directions.
    """

    mean: np.ndarray
    projection: np.ndarray
    explained: float

    @property
    def width(self) -> int:
        """Columns of a whitened row: D, or one column of zeros if the rows did not vary."""
        return max(1, self.projection.shape[1])

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Whitened unit rows, float32; a row at the mean has no direction and stays zero."""
        out = np.zeros((rows.shape[0], self.width), dtype=np.float32)
        if self.projection.shape[1]:
            wide = (rows - self.mean) @ self.projection
            norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
            np.divide(wide, norms, out=out, where=norms > 0, casting="same_kind")
        return out


def fit_whitening(
    values: Any, width: int, which: np.ndarray | None = None, shift: int = 0
) -> Whitening:
    """Mean and leading directions, summed in float64 over blocks.

    Args:
        values: real [n, d].
        width: D; directions without variance are left out, so fewer may come.
        which: ascending rows to fit on; default: all.
        shift: of rows times 2^shift.

    Returns:
        The map. Signs of directions are fixed: the largest entry of each is positive.

    Raises:
        DataError: NaN or infinity in a row.
    """
    n, d = values.shape
    count = n if which is None else which.size
    blocks = row_blocks(count, 24 * d)

    def part(block: slice) -> np.ndarray:
        rows = values[block] if which is None else values[which[block]]
        wide = np.asarray(rows, dtype=np.float64)
        return np.ldexp(wide, shift) if shift else wide

    total = np.zeros(d)
    for block in blocks:
        rows = part(block)
        check_finite_rows(rows, first_row=block.start if which is None else int(which[block.start]))
        total += rows.sum(axis=0)
    mean = total / count
    scatter = np.zeros((d, d))
    for block in blocks:
        centred = part(block) - mean
        scatter += centred.T @ centred
    variances, directions = np.linalg.eigh(scatter / count)
    variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.where(directions[largest, np.arange(d)] < 0, -1.0, 1.0)
    floor = max(_RANK_TOLERANCE * variances[0], _MEAN_TOLERANCE * float(mean @ mean), 1e-300)
    rank = min(width, int((variances > floor).sum()))
    explained = float(variances[:rank].sum() / variances.sum()) if rank else 0.0
    return Whitening(mean, directions[:, :rank] / np.sqrt(variances[:rank]), explained)
