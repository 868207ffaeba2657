"""Shaped array types, and the checks at the door: every public function calls these on what it is given."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped

from contrasift.errors import DataError, UsageError

EmbeddingMatrix = Float32[np.ndarray, "n d"]
RowVector = Float64[np.ndarray, " n"]
IndexVector = Int64[np.ndarray, " k"]
RowMask = Bool[np.ndarray, " n"]
AnyVector = Shaped[np.ndarray, " n"]

_BLOCK_BYTES = 64 << 20


def row_blocks(n_rows: int, row_bytes: int, block_bytes: int = _BLOCK_BYTES) -> list[slice]:
    """Consecutive slices that cover 0..n_rows, each of at most `block_bytes`."""
    step = max(1, block_bytes // max(1, row_bytes))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def check_matrix(values: object, name: str = "embeddings") -> np.ndarray:
    """A real matrix with at least one row and one column, left in its own type and place.

    Raises:
        DataError: not a two-dimensional array of numbers, or an empty one.
    """
    array = np.asanyarray(values)
    if array.dtype.kind not in "fiu":
        raise DataError(
            f"{name} of real numbers", f"dtype {array.dtype}", "Convert them to float32 first"
        )
    if array.ndim != 2:
        raise DataError(
            f"{name} as a matrix with one row an example",
            f"an array of shape {array.shape}",
            "Flatten every example's features into one row",
        )
    if 0 in array.shape:
        raise DataError(f"{name} with at least one row and one column", f"shape {array.shape}")
    return array


def check_finite_rows(values: np.ndarray, name: str = "embeddings", first_row: int = 0) -> None:
    """Stop at the first row that holds NaN or infinity.

    Raises:
        DataError: names how many rows are bad and the first of them.
    """
    # The sum of a row is finite unless an entry is not, or it overflows: then look closely.
    suspicious = ~np.isfinite(values.sum(axis=1, dtype=np.float64))
    if not suspicious.any():
        return
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        raise DataError(
            f"{name} of finite numbers",
            f"NaN or infinity in {bad.size} row(s), the first of them row {first_row + bad[0]}",
            "Leave these examples out, or embed them again",
        )


def check_fraction(fraction: float) -> float:
    """A share in (0, 1].

    Raises:
        UsageError: outside it, or NaN.
    """
    if not 0.0 < fraction <= 1.0:
        raise UsageError("a fraction in (0, 1]", f"{fraction}", "A fifth of the pool is 0.2")
    return float(fraction)


def check_budget(budget: int, n: int) -> int:
    """A count of examples between 0 and n.

    Raises:
        UsageError: negative, or more than there are.
    """
    if not 0 <= budget <= n:
        raise UsageError(f"a budget between 0 and the {n} examples there are", f"{budget}")
    return int(budget)


def unit_rows(values: np.ndarray, first_row: int = 0) -> np.ndarray:
    """Rows scaled to length one, in float32, computed in float64.

    Raises:
        DataError: a row of zeros, which has no direction.
    """
    wide = np.asarray(values, dtype=np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    zero = np.flatnonzero(norms == 0)
    if zero.size:
        raise DataError(
            "rows that can be scaled to length one",
            f"{zero.size} row(s) of zeros, the first of them row {first_row + zero[0]}",
            "Leave these examples out, or pass `normalize='none'` if the rows are mean views",
        )
    return (wide / norms[:, None]).astype(np.float32)


def class_codes(classes: object, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Any labels (integers with gaps, strings) as codes 0..K-1 and the sorted names behind them.

    Args:
        classes: one label an example; None puts all in one class, named 0.
        n: the number of examples.

    Returns:
        codes int64 [n], and names [K] (int64 or str), so that names[codes] are the labels.

    Raises:
        DataError: another length, another shape, or labels that are neither integers nor text.
    """
    if classes is None:
        return np.zeros(n, dtype=np.int64), np.zeros(1, dtype=np.int64)
    labels = np.asarray(classes)
    if labels.ndim != 1:
        raise DataError("classes as one label an example", f"an array of shape {labels.shape}")
    if labels.shape[0] != n:
        raise DataError(
            f"one class for each of the {n} examples",
            f"{labels.shape[0]} classes",
            "Check that both files come from the same pool, in the same order",
        )
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == labels.round()).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind in "biu":
        labels = labels.astype(np.int64)
    elif labels.dtype.kind in "US":
        labels = labels.astype(str)
    else:
        raise DataError(
            "classes that are integers or text",
            f"dtype {labels.dtype}",
            "Save them as an int64 or a string array",
        )
    names, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.int64).reshape(-1), names
