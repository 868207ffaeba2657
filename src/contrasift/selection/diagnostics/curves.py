"""Coverage and centre of every prefix of a ranking, beside random selections of the same sizes.

A nested ranking is a selection for every fraction at once. One pass over the similarities between a
sample of examples and all members of their classes measures them all: a member counts from the first
fraction on that keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from contrasift.arrays import check_matrix, row_blocks
from contrasift.errors import UsageError
from contrasift.selection.budget import resolve_budget
from contrasift.selection.gather import ClassRows

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_NORMAL_95 = 1.959963984540054
_BLOCK_BYTES = 16 << 20
# Of a class of which nothing is kept, as C(∅) = 0 has it: no similarity, a right angle's distance.
_NOTHING = 0.0


@dataclass(frozen=True)
class FractionCurve:
    """One measure against the fraction kept.

    Attributes:
        value: float64 [f]; of the ranking's first examples.
        half_width: float64 [f]; of the 95 % interval for the rows that were drawn; 0 if all were.
        random: float64 [f]; mean over random selections with as many examples in every class.
        random_low: float64 [f]; random − 1.96 standard deviations between these selections.
        random_high: float64 [f]; random + 1.96 standard deviations.
    """

    value: np.ndarray
    half_width: np.ndarray
    random: np.ndarray
    random_low: np.ndarray
    random_high: np.ndarray


@dataclass(frozen=True)
class Curves:
    """Coverage and centre in similarities (larger is better) and in distances (smaller is better).

    Attributes:
        fractions: float64 [f]; budgets / n.
        budgets: int64 [f]; examples kept, ascending.
        coverage: mean similarity of an example to the nearest kept one of its class.
        centre: mean similarity of an example and a kept one of its class.
        nu_align: (2/n)·Σ_{i∉S} min_{j∈S} d_ij within classes; ν_align/η of theorem 4.3.
        nu_div: mean d_ij of an example and a kept one of its class.
        rows: how many examples i were drawn.
        whole: all of them: nothing is estimated.
        draws: random selections.
    """

    fractions: np.ndarray
    budgets: np.ndarray
    coverage: FractionCurve
    centre: FractionCurve
    nu_align: FractionCurve
    nu_div: FractionCurve
    rows: int
    whole: bool
    draws: int


def coverage_and_centre_curve(
    values: Float32[np.ndarray, "n d"],
    ranking: Int64[np.ndarray, " n"],
    codes: Int64[np.ndarray, " n"] | None = None,
    fractions: Sequence[float | int] = FRACTIONS,
    *,
    sample: int | None = 1000,
    draws: int = 10,
    seed: int = 0,
) -> Curves:
    """Measure the first examples of a ranking at every fraction, and random selections beside them.

    With s_ij = ⟨z_i, z_j⟩, d_ij = √(2 − 2 s_ij) and S the first b examples of the ranking, means over
    classes V weighted by n_V/n of

        coverage = (1/n_V) Σ_{i∈V} max_{j∈S} s_ij         ν_align/η = (2/n_V) Σ_{i∈V∖S} min_{j∈S} d_ij
        centre = E_{i∈V, j∈S} s_ij                         ν_div = E_{i∈V, j∈S} d_ij

    ((20), (36) of Joshi & Mirzasoleiman 2023). For means of several views d_ij is an upper bound of
    the papers' mean distance between views: ‖z̄_i − z̄_j‖ ≤ E‖x − x'‖ ≤ d_ij. A class of which nothing
    is kept counts with s = 0 and d = √2. Random selections keep as many of every class as the
    ranking does at that fraction. The centre is whole; the others are over the sample's rows i.

    Time O(m·n_V·(d + draws)) for the m rows drawn of each class; memory O(m·fractions·draws).

    Args:
        values: z, float32 [n, d]; unit rows or means of unit views; may be memory-mapped.
        ranking: row numbers, best first.
        codes: classes 0..K−1; None for one class.
        fractions: shares in (0, 1]; sorted, those that come to the same budget once.
        sample: how many rows i to draw over all classes, in proportion to their sizes and at least
            two of each; None for all.
        draws: random selections; 0 for none, which leaves NaN.
        seed: of both.

    Raises:
        UsageError: a ranking that is not one of all rows, no fraction, a sample below two rows.
    """
    n = len(check_matrix(values))
    if not np.array_equal(np.sort(ranking), np.arange(n)):
        raise UsageError(f"a ranking of all {n} rows", f"one of {len(ranking)} others")
    if sample is not None and sample < 2:
        raise UsageError("a sample of at least two rows", f"{sample}", "One has no spread")
    if not len(fractions) or draws < 0:
        raise UsageError("a fraction and no fewer than 0 draws", f"{list(fractions)} and {draws}")
    budgets = np.unique([resolve_budget(n, fraction=float(share)) for share in fractions])
    codes = np.zeros(n, dtype=np.int64) if codes is None else codes
    partition = ClassRows.of(codes, int(codes.max()) + 1)
    place = np.empty(n, dtype=np.int64)
    place[ranking] = np.arange(n)
    generator = np.random.default_rng(seed)
    means = np.zeros((4, 1 + draws, budgets.size))
    variances = np.zeros((4, budgets.size))
    rows = 0
    for code in range(partition.sizes.size):
        members = partition.of_class(code)
        if not members.size:
            continue
        share = members.size / n
        drawn = _drawn(members.size, n, sample, generator)
        ranked = np.argsort(place[members])
        counts = np.searchsorted(place[members][ranked], budgets)
        orders = [ranked, *(generator.permutation(members.size) for _ in range(draws))]
        measured = _measure_class(values, members, drawn, orders, counts)
        means += share * np.stack([part.mean(axis=-1) for part in measured])
        variances += share**2 * np.stack([_variance(part[0], members.size) for part in measured])
        rows += drawn.size
    halves = _NORMAL_95 * np.sqrt(variances)
    coverage, centre, nu_align, nu_div = (
        _curve(mean, half) for mean, half in zip(means, halves, strict=True)
    )
    return Curves(budgets / n, budgets, coverage, centre, nu_align, nu_div, rows, rows == n, draws)


def _drawn(size: int, n: int, sample: int | None, generator: np.random.Generator) -> np.ndarray:
    """Which members of a class are drawn, ascending."""
    wanted = size if sample is None else max(2, -(-sample * size // n))
    if wanted >= size:
        return np.arange(size)
    return np.sort(generator.choice(size, wanted, replace=False))


def _measure_class(
    values: np.ndarray,
    members: np.ndarray,
    drawn: np.ndarray,
    orders: Sequence[np.ndarray],
    counts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every measure of every order at every budget for every row drawn: float64 [1 + draws, f, m].

    Those of the centre have a last axis of one: it is the mean over all rows.
    """
    shape = (len(orders), counts.size, drawn.size)
    nearest, distance, centre = np.full(shape, -np.inf), np.zeros(shape), np.zeros((*shape[:2], 1))
    steps = [_steps(order, counts) for order in orders]
    # In float64: 2 − 2s of near examples would be rounding in float32.
    queries = np.asarray(values[members[drawn]], dtype=np.float64).T
    mean = _mean(values, members)
    for part in row_blocks(members.size, 8 * max(drawn.size, values.shape[1]), _BLOCK_BYTES):
        block = np.asarray(values[members[part]], dtype=np.float64)
        similarity = block @ queries
        apart = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * similarity))
        scores = block @ mean
        for number, step in enumerate(steps):
            by_step = np.argsort(step[part], kind="stable")
            found, starts = np.unique(step[part][by_step], return_index=True)
            inside = found < counts.size
            found = found[inside]
            if not found.size:
                continue
            last = np.count_nonzero(step[part] < counts.size)
            by_step, starts = by_step[:last], starts[inside]
            best = np.maximum.reduceat(similarity[by_step], starts, axis=0)
            nearest[number, found] = np.maximum(nearest[number, found], best)
            distance[number, found] += np.add.reduceat(apart[by_step], starts, axis=0)
            centre[number, found, 0] += np.add.reduceat(scores[by_step], starts)
    return _cumulated(nearest, distance, centre, counts, np.stack([step[drawn] for step in steps]))


def _steps(order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The first budget that keeps each member; as many as there are budgets if none does."""
    place = np.empty(order.size, dtype=np.int64)
    place[order] = np.arange(order.size)
    return np.searchsorted(counts, place, side="right")


def _cumulated(
    nearest: np.ndarray,
    distance: np.ndarray,
    centre: np.ndarray,
    counts: np.ndarray,
    step: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """From what each budget adds to what it has."""
    nothing = (counts == 0)[:, None]
    size = np.maximum(counts, 1)[:, None]
    covered = np.maximum.accumulate(nearest, axis=1)
    covered = np.where(nothing, _NOTHING, covered)
    kept = step[:, None, :] <= np.arange(counts.size)[:, None]
    align = 2.0 * np.where(kept, 0.0, np.sqrt(np.maximum(0.0, 2.0 - 2.0 * covered)))
    centre = np.cumsum(centre, axis=1) / size
    apart = np.where(nothing, np.sqrt(2.0), np.cumsum(distance, axis=1) / size)
    return covered, centre, align, apart


def _mean(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    total = np.zeros(values.shape[1])
    for part in row_blocks(members.size, 8 * values.shape[1], _BLOCK_BYTES):
        total += values[members[part]].sum(axis=0, dtype=np.float64)
    return total / members.size


def _variance(numbers: np.ndarray, population: int) -> np.ndarray:
    """Of the mean over rows drawn without replacement, float64 [f]; 0 where all were drawn."""
    drawn = numbers.shape[-1]
    if drawn in (1, population):  # one number: of all rows, or of a class of one
        return np.zeros(len(numbers))
    return numbers.var(axis=-1, ddof=1) / drawn * (1.0 - drawn / population)


def _curve(means: np.ndarray, half_width: np.ndarray) -> FractionCurve:
    """The ranking's own numbers first, then those of the draws."""
    chance = means[1:]
    if not len(chance):
        nothing = np.full(means.shape[1], np.nan)
        return FractionCurve(means[0], half_width, nothing, nothing, nothing)
    middle = chance.mean(axis=0)
    reach = _NORMAL_95 * chance.std(axis=0, ddof=min(1, len(chance) - 1))
    return FractionCurve(means[0], half_width, middle, middle - reach, middle + reach)
