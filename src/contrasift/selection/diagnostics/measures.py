"""What any selection reaches in the two aims that SAS stands for: alignment and centre.

In similarities of embeddings z:

    coverage C(S) = Σ_{i∈V} max_{j∈S} s_ij        centre A(S) = E_{i∈V, j∈S} s_ij = ⟨M, T⟩/(nk)
    gap ‖μ − μ_S‖ = ‖T/n − M/k‖

In distances, as ν_align and ν_div, they are in `curves` and `theory.guarantees`.
In short: docs/mathematics.md#coverage-and-centre.

Sums over i are whole, or estimated from rows drawn at random without replacement, with a normal 95 %
interval that is corrected for the finite pool.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from contrasift.arrays import row_blocks
from contrasift.errors import UsageError
from contrasift.selection.kernels import dots, linear_form

_NORMAL_95 = 1.959963984540054
_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Estimate:
    """A number, and where it lies with 95 % confidence.

    Attributes:
        value: the number, or its estimate.
        low: lower end; the number itself if it is whole.
        high: upper end.
        rows: how many rows i it was taken over.
        whole: over all of them: nothing is estimated.
    """

    value: float
    low: float
    high: float
    rows: int
    whole: bool


def coverage_of(
    values: Float32[np.ndarray, "n d"],
    selected: Int64[np.ndarray, " k"],
    *,
    self_similarity: float | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> Estimate:
    """C(S) = Σ_{i∈V} max_{j∈S} s_ij of any selection; 0 of an empty one.

    Time O(m·k·d) for m rows i, in float32 products: each maximum is within d·2⁻²⁴·max‖z‖².

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped.
        selected: S; row numbers.
        self_similarity: how well a selected row covers itself; None for ‖z_i‖².
        sample: how many rows i to draw; None for all.
        seed: of the draw.

    Raises:
        UsageError: a row that does not exist, or a sample below two rows.
    """
    rows = dots.embedding_rows(values)
    n = rows.shape[0]
    chosen = np.unique(linear_form.checked_rows(selected, n))
    if chosen.size == 0:
        return Estimate(0.0, 0.0, 0.0, n, True)
    drawn = _drawn(np.arange(n), sample, np.random.default_rng(seed))
    best = np.empty(drawn.size)
    for part in row_blocks(drawn.size, 4 * rows.shape[1], _BLOCK_BYTES):
        best[part] = _best_similarities(rows, drawn[part], chosen, self_similarity)
    return _scaled(_mean(best, n), float(n))


def _best_similarities(
    rows: np.ndarray, some: np.ndarray, chosen: np.ndarray, own: float | None
) -> np.ndarray:
    best = np.full(some.size, -np.inf)
    left = rows[some]
    for part in row_blocks(chosen.size, 4 * some.size, _BLOCK_BYTES):
        products = left @ rows[chosen[part]].T
        if own is not None:
            place = np.searchsorted(chosen[part], some)
            place[place == products.shape[1]] = 0
            same = np.flatnonzero(chosen[part][place] == some)
            products[same, place[same]] = own
        np.maximum(best, products.max(axis=1), out=best)
    return best


def centre_of(
    values: Float32[np.ndarray, "n d"],
    selected: Int64[np.ndarray, " k"],
    *,
    threads: int | None = None,
) -> float:
    """A(S) = E_{i∈V, j∈S} s_ij = ⟨M, T⟩/(nk), exact in O(n·d); 0 of an empty selection.

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped.
        selected: S; row numbers.
        threads: None for all processors.

    Raises:
        UsageError: a row that does not exist.
        DataError: NaN or infinity.
    """
    total, selected_sum, k = _sums(values, selected, threads)
    return float(dots.dot(selected_sum, total)) / (values.shape[0] * k) if k else 0.0


def herding_gap(
    values: Float32[np.ndarray, "n d"],
    selected: Int64[np.ndarray, " k"],
    *,
    threads: int | None = None,
) -> float:
    """‖μ − μ_S‖ = ‖T/n − M/k‖, exact in O(n·d); ‖μ‖ of an empty selection.

    Args:
        values: z, float32 [n, d], C-contiguous; may be memory-mapped.
        selected: S; row numbers.
        threads: None for all processors.

    Raises:
        UsageError: a row that does not exist.
        DataError: NaN or infinity.
    """
    total, selected_sum, k = _sums(values, selected, threads)
    gap = total / max(1, values.shape[0]) - selected_sum / max(1, k)
    return float(np.sqrt(dots.dot(gap, gap)))


def _sums(
    values: np.ndarray, selected: np.ndarray, threads: int | None
) -> tuple[np.ndarray, np.ndarray, int]:
    rows = dots.embedding_rows(values)
    chosen = np.unique(linear_form.checked_rows(selected, rows.shape[0]))
    scale = dots.fixed_point_scale(rows, threads)
    total = linear_form.fixed_total(rows, scale, threads) / scale
    return total, linear_form.sum_of(rows, chosen, scale, threads), chosen.size


def _drawn(rows: np.ndarray, sample: int | None, generator: np.random.Generator) -> np.ndarray:
    """Some of the rows, ascending."""
    if sample is None or sample >= rows.size:
        return rows
    if sample < 2:
        raise UsageError("a sample of at least two rows", f"{sample}", "One has no spread")
    return np.sort(generator.choice(rows, sample, replace=False))


def _mean(numbers: np.ndarray, population: int) -> Estimate:
    """The mean of a population, from all of its numbers or from some."""
    value = float(numbers.mean())
    if numbers.size >= population:
        return Estimate(value, value, value, numbers.size, True)
    left_out = 1.0 - numbers.size / population
    half = _NORMAL_95 * float(numbers.std(ddof=1)) * np.sqrt(left_out / numbers.size)
    return Estimate(value, value - float(half), value + float(half), numbers.size, False)


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(
        estimate.value * factor,
        estimate.low * factor,
        estimate.high * factor,
        estimate.rows,
        estimate.whole,
    )
