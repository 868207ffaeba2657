"""The SAS objective in linear form: value, gain, and its mean over random subsets.

With s_ij = ⟨z_i, z_j⟩, T = Σ_{i∈V} z_i and M = Σ_{j∈S} z_j,

    F_λ(S) = Σ_{i∈V} Σ_{j∈S} s_ij − λ Σ_{i,j∈S} s_ij = ⟨M, T⟩ − λ‖M‖²
    gain(e | S) = F(S∪e) − F(S) = ⟨z_e, T − 2λM⟩ − λ‖z_e‖²

λ = 1 is equation (39) of Joshi & Mirzasoleiman 2023. In short: docs/mathematics.md#the-objective.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from contrasift.arrays import check_fraction
from contrasift.errors import UsageError
from contrasift.selection.kernels import dots

Rows = Float32[np.ndarray, "n d"]
Sum = Float64[np.ndarray, " d"]


def total_of(values: Rows, threads: int | None = None) -> Sum:
    """T = Σ_i z_i, the same for every order of the rows.

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped.
        threads: None for all processors.

    Returns:
        float64 [d]; off by at most n·2^-43·2^e per entry for a million rows below 2^e (see
        `dots.fixed_point_scale`).

    Raises:
        DataError: NaN or infinity.
    """
    rows = dots.embedding_rows(values)
    scale = dots.fixed_point_scale(rows, threads)
    return fixed_total(rows, scale, threads) / scale


def sum_of(
    values: Rows,
    rows: Int64[np.ndarray, " k"],
    scale: float | None = None,
    threads: int | None = None,
) -> Sum:
    """M = Σ_{j∈S} z_j, the same for every order of S, and summed as T is: over all rows it is T.

    Args:
        values: z, float32 [n, d].
        rows: S, int64 [k].
        scale: `dots.fixed_point_scale(values)`, if it is known: saves a pass over the rows.
        threads: None for all processors.

    Raises:
        DataError: NaN or infinity.
        UsageError: a row that does not exist.
    """
    z = dots.embedding_rows(values)
    if scale is None:
        scale = dots.fixed_point_scale(z, threads)
    return fixed_sum(z, checked_rows(rows, z.shape[0]), scale, threads) / scale


def fixed_total(values: Rows, scale: float, threads: int | None = None) -> Int64[np.ndarray, " d"]:
    """Σ_i round(z_i · scale), int64."""
    parts = dots.map_blocks(
        lambda start, stop: dots.sum_block(values, start, stop, scale), values.shape[0], threads
    )
    return dots.add_exactly(parts, values.shape[1])


def fixed_sum(
    values: Rows, rows: Int64[np.ndarray, " k"], scale: float, threads: int | None = None
) -> Int64[np.ndarray, " d"]:
    """Σ_{j∈rows} round(z_j · scale), int64; rows must exist."""
    parts = dots.map_blocks(
        lambda start, stop: dots.sum_rows_block(values, rows, start, stop, scale),
        rows.shape[0],
        threads,
    )
    return dots.add_exactly(parts, values.shape[1])


def checked_rows(rows: np.ndarray, n: int, name: str = "rows") -> Int64[np.ndarray, " k"]:
    """Row numbers as int64, all within 0..n−1.

    Raises:
        UsageError: one that is not.
    """
    numbers = np.ascontiguousarray(rows, dtype=np.int64).reshape(-1)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= n):
        raise UsageError(f"{name} between 0 and {n - 1}", f"{numbers.min()} to {numbers.max()}")
    return numbers


def squared_norms(values: Rows, threads: int | None = None) -> Float64[np.ndarray, " n"]:
    """‖z_i‖² of every row."""
    rows = dots.embedding_rows(values)
    squares = np.empty(rows.shape[0])
    dots.map_blocks(
        lambda start, stop: dots.squares_block(rows, start, stop, squares),
        rows.shape[0],
        threads,
    )
    return squares


class RowSizes(NamedTuple):
    """How large rows are.

    Attributes:
        squares: float64 [n]; ‖z_i‖².
        peak: the largest |entry|; not finite if any is not.
    """

    squares: np.ndarray
    peak: np.floating


def row_sizes(values: Rows, threads: int | None = None) -> RowSizes:
    """‖z_i‖² of every row, and the largest |entry|, in one pass."""
    rows = dots.embedding_rows(values)
    bits = rows.view(np.uint32)
    squares = np.empty(rows.shape[0])
    peaks = dots.map_blocks(
        lambda start, stop: dots.squares_and_peak_block(rows, bits, start, stop, squares),
        rows.shape[0],
        threads,
    )
    peak = np.uint32(max((int(peak) for peak in peaks), default=0)).view(np.float32)
    return RowSizes(squares, peak)


def largest_norm(values: Rows, threads: int | None = None) -> float:
    """Largest ‖z_i‖; 0 of no rows."""
    rows = dots.embedding_rows(values)
    squares = dots.map_blocks(
        lambda start, stop: dots.largest_square_block(rows, start, stop), rows.shape[0], threads
    )
    return float(np.sqrt(max(squares, default=0.0)))


def scores(values: Rows, direction: Sum, threads: int | None = None) -> Float64[np.ndarray, " n"]:
    """⟨z_i, direction⟩ of every row, by the one kernel."""
    rows = dots.embedding_rows(values)
    result = np.empty(rows.shape[0])
    vector = np.ascontiguousarray(direction, dtype=np.float64)
    dots.map_blocks(
        lambda start, stop: dots.scores_block(rows, start, stop, vector, result),
        rows.shape[0],
        threads,
    )
    return result


def value(total: Sum, selected_sum: Sum, redundancy: float) -> float:
    """F_λ(S) = ⟨M, T⟩ − λ‖M‖².

    Args:
        total: T.
        selected_sum: M.
        redundancy: λ.
    """
    return float(dots.dot(selected_sum, total) - redundancy * dots.dot(selected_sum, selected_sum))


def random_value(
    total: Sum, sum_of_squares: float, n: int, budget: int, redundancy: float
) -> float:
    """The exact mean of F_λ over all subsets of a size, were one drawn uniformly.

        E = (k/n)‖T‖² − λ[k(n−k)Σ‖z‖² + k(k−1)‖T‖²] / (n(n−1))

    Args:
        total: T.
        sum_of_squares: Σ_i ‖z_i‖².
        n: the number of rows.
        budget: k.
        redundancy: λ.
    """
    if n == 0:
        return 0.0
    square = float(dots.dot(total, total))
    if n == 1:
        return budget * (square - redundancy * square)
    overlap = budget * (n - budget) * sum_of_squares + budget * (budget - 1) * square
    return budget / n * square - redundancy * overlap / (n * (n - 1))


def default_redundancy(fraction: float) -> float:
    """λ = min(1, 1/(4·fraction)): at most half of the λ at which gains turn negative at that fraction.

    A gain is ⟨z_e, T − 2λM⟩ − λ‖z_e‖². With M near fraction·T the weight of what is central is
    1 − 2λ·fraction: none is left at λ = 1/(2·fraction), where random subsets are as good as any;
    at half of it, half. From a fraction of one half on λ is at most ½, and F rises with every
    example that is added, where similarities are not negative.

    Raises:
        UsageError: a fraction outside (0, 1].
    """
    return min(1.0, 1.0 / (4.0 * check_fraction(fraction)))
