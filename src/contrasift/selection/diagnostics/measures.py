"""What any selection reaches in the two aims that SAS stands for: alignment and centre.

In similarities of embeddings z:

    coverage C(S) = Σ_{i∈V} max_{j∈S} s_ij        centre A(S) = E_{i∈V, j∈S} s_ij = ⟨M, T⟩/(nk)
    gap ‖μ − μ_S‖ = ‖T/n − M/k‖

In distances, as in (20) and (36) of Joshi & Mirzasoleiman 2023, for each class k:

    ν_align^k/η = (2/n_k) Σ_{i∈V_k∖S_k} min_{j∈S_k} d_ij       ν_div^k = E_{i∈V_k, j∈S_k} d_ij

with d_ij = E‖f(x) − f(x')‖ over views x of i and x' of j. Where only means of unit views are at hand, the
triangle inequality and Jensen's give ‖z̄_i − z̄_j‖ ≤ d_ij ≤ √(2 − 2z̄_iᵀz̄_j).

Sums over i are whole, or estimated from rows drawn at random without replacement, with a normal 95 %
interval that is corrected for the finite pool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from contrasift.arrays import row_blocks
from contrasift.errors import DataError, UsageError
from contrasift.selection.kernels import dots as kernels
from contrasift.selection.kernels import linear_form as objectives

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


@dataclass(frozen=True)
class ClassMeasures:
    """ν of every class, and the average weighted by p_k = n_k/n.

    Attributes:
        align: ν_align^k/η.
        div: ν_div^k.
        total_align: Σ_k p_k ν_align^k/η; ν_R/η of theorem 4.3.
        total_div: Σ_k p_k ν_div^k.
    """

    align: tuple[Estimate, ...]
    div: tuple[Estimate, ...]
    total_align: Estimate
    total_div: Estimate


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
    rows = kernels.embedding_rows(values)
    n = rows.shape[0]
    chosen = np.unique(objectives.checked_rows(selected, n))
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
    return float(kernels.dot(selected_sum, total)) / (values.shape[0] * k) if k else 0.0


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
    return float(np.sqrt(kernels.dot(gap, gap)))


def _sums(
    values: np.ndarray, selected: np.ndarray, threads: int | None
) -> tuple[np.ndarray, np.ndarray, int]:
    rows = kernels.embedding_rows(values)
    chosen = np.unique(objectives.checked_rows(selected, rows.shape[0]))
    scale = kernels.fixed_point_scale(rows, threads)
    total = objectives.fixed_total(rows, scale, threads) / scale
    return total, objectives.sum_of(rows, chosen, scale, threads), chosen.size


def nu_of_views(
    views: Float[np.ndarray, "n m d"],
    kept: Bool[np.ndarray, " flags"],
    codes: Int64[np.ndarray, " labels"] | None = None,
    *,
    sample: int | None = None,
    seed: int = 0,
) -> ClassMeasures:
    """ν_align/η (20) and ν_div (36) of any selection, from the views' embeddings.

    Args:
        views: [n, m, d]; unit rows.
        kept: S; one flag an example.
        codes: int64 [n]; classes 0..K−1; None for one class.
        sample: how many rows i to draw of each class; None for all.
        seed: of the draw.

    Returns:
        The same as `theory.guarantees.subset_class` without `sample`.

    Raises:
        UsageError: lengths that differ, or a sample below two rows.
        DataError: a class of which nothing is kept, or without members.
    """

    def distances(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return _view_distances(views[i], views[j])

    m = views.shape[1]
    return _measured(distances, 8 * m * m, views.shape[0], kept, codes, sample, seed)


def nu_bracket(
    means: Float[np.ndarray, "n d"],
    kept: Bool[np.ndarray, " flags"],
    codes: Int64[np.ndarray, " labels"] | None = None,
    *,
    sample: int | None = None,
    seed: int = 0,
) -> tuple[ClassMeasures, ClassMeasures]:
    """Between which numbers ν_align/η and ν_div lie, from means of unit views alone.

    From ‖z̄_i − z̄_j‖ ≤ d_ij ≤ √(2 − 2z̄_iᵀz̄_j); both are d_ij where every example has one view. Both
    are over the same rows, so that lower ≤ upper holds for samples too.

    Args:
        means: z̄, [n, d]; at most of length one.
        kept: S; one flag an example.
        codes: int64 [n]; classes 0..K−1; None for one class.
        sample: how many rows i to draw of each class; None for all.
        seed: of the draw.

    Returns:
        Lower and upper.

    Raises:
        UsageError: lengths that differ, or a sample below two rows.
        DataError: a class of which nothing is kept, or without members.
    """
    # In float64: squares that cancel would be rounding in float32.
    wide = np.asarray(means)

    def products(i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, b = wide[i].astype(np.float64), wide[j].astype(np.float64)
        return a @ b.T, (a * a).sum(axis=1), (b * b).sum(axis=1)

    def lower(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        cross, a, b = products(i, j)
        return np.sqrt(np.maximum(0.0, a[:, None] + b - 2.0 * cross))

    def upper(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(0.0, 2.0 - 2.0 * products(i, j)[0]))

    low, high = (
        _measured(each, 32, wide.shape[0], kept, codes, sample, seed) for each in (lower, upper)
    )
    return low, high


def _view_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """d_ij = E‖x − x'‖ over views x of i and x' of j (14), float64 [p, q]."""
    p, m, d = first.shape
    q, other, _ = second.shape
    # In float64: 2 − 2 cos of near views would be rounding in float32.
    left, right = first.reshape(p * m, d), second.reshape(q * other, d)
    cosines = left.astype(np.float64) @ right.T.astype(np.float64)
    distances = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * cosines))
    return distances.reshape(p, m, q, other).mean(axis=(1, 3))


def _measured(
    distances: Callable[[np.ndarray, np.ndarray], np.ndarray],
    pair_bytes: int,
    n: int,
    kept: np.ndarray,
    codes: np.ndarray | None,
    sample: int | None,
    seed: int,
) -> ClassMeasures:
    codes = np.zeros(n, dtype=np.int64) if codes is None else codes
    if kept.shape != (n,) or codes.shape != (n,):
        raise UsageError(
            f"a flag and a class for each of the {n} examples",
            f"{kept.shape} flags and {codes.shape} classes",
        )
    generator = np.random.default_rng(seed)
    align, div, shares = [], [], []
    for code in range(int(codes.max(initial=-1)) + 1):
        members = np.flatnonzero(codes == code)
        chosen = members[kept[members]]
        if chosen.size == 0:
            raise DataError(
                "something kept of every class",
                "a class of which nothing is kept",
                "Select with --min-per-class 1",
            )
        drawn = _drawn(members, sample, generator)
        nearest, mean = np.empty(drawn.size), np.empty(drawn.size)
        for part in row_blocks(drawn.size, pair_bytes * chosen.size):
            block = distances(drawn[part], chosen)
            nearest[part] = np.where(kept[drawn[part]], 0.0, block.min(axis=1))
            mean[part] = block.mean(axis=1)
        align.append(_scaled(_mean(nearest, members.size), 2.0))
        div.append(_mean(mean, members.size))
        shares.append(members.size / n)
    return ClassMeasures(tuple(align), tuple(div), _total(align, shares), _total(div, shares))


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


def _total(parts: list[Estimate], shares: list[float]) -> Estimate:
    """Σ p_k x_k; classes are drawn independently, so that variances add."""
    value = sum(share * part.value for share, part in zip(shares, parts, strict=True))
    halves = [share * (part.high - part.value) for share, part in zip(shares, parts, strict=True)]
    half = float(np.sqrt(np.square(halves).sum()))
    rows, whole = sum(part.rows for part in parts), all(part.whole for part in parts)
    return Estimate(float(value), float(value) - half, float(value) + half, rows, whole)
