"""What needs a look at the whole pool before its classes are solved one by one, block by block.

An order of all rows (`random`, `balanced`), a score for every row (margins, nearness to a target),
and how much of the budget a class can claim by its complexity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from contrasift.arrays import check_finite_rows, check_matrix, plain_tensor, unit_rows
from contrasift.errors import DataError, UsageError
from contrasift.selection.baselines import random_order
from contrasift.selection.baselines.balanced import balanced
from contrasift.selection.gather import gather, in_blocks
from contrasift.selection.kernels import linear_form
from contrasift.selection.kernels.dots import compiled, row_dot, row_square
from contrasift.selection.kernels.nearest_rows import nearest_rows
from contrasift.selection.plan import Limits, SelectionPool, rows_of_examples
from contrasift.selection.task import SettledOptions

QUOTA_NEIGHBOURS = 20


def order_of_pool(
    pool: SelectionPool, limits: Limits, options: SettledOptions, threads: int | None = None
) -> np.ndarray:
    """The order of all rows by an objective that is blind to classes."""
    if options.objective == "balanced":
        order = balanced(
            pool.n,
            lambda rows: gather(pool.values, rows, scale=pool.scale, threads=threads),
            lambda: _blocks(pool, threads),
            levels=options.level_counts(),
            keep=limits.keep,
            eligible=limits.first,
            seed=options.seed,
            threads=threads,
        )
    else:
        order = random_order(pool.n, options.seed)
    return limits.order(order)


def _blocks(pool: SelectionPool, threads: int | None) -> Iterator[tuple[int, np.ndarray]]:
    return in_blocks(pool.values, scale=pool.scale, threads=threads)


def class_directions(pool: SelectionPool, threads: int | None = None) -> np.ndarray:
    """Mean direction of the rows of every class, float64 [K, d]: Σ_i z_i/‖z_i‖ / n_c, in row order."""
    sums = np.zeros((len(pool.names), pool.values.shape[1]))
    for start, rows in _blocks(pool, threads):
        _add_directions(rows, pool.codes[start : start + len(rows)], sums)
    return sums / np.maximum(pool.sizes, 1)[:, None]


@compiled
def _add_directions(rows, codes, sums):
    """Add every row, divided by its length, to the sum of its class, one after the other."""
    for i in range(rows.shape[0]):
        length = np.sqrt(row_square(rows, i))
        if length > 0:
            for j in range(rows.shape[1]):
                sums[codes[i], j] += rows[i, j] / length


def _unit(means: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.divide(means, lengths, out=np.zeros_like(means), where=lengths > 0)


def margins(pool: SelectionPool, threads: int | None = None) -> np.ndarray:
    """How much nearer every row is to its own class than to any other.

        margin_i = cos(z_i, μ_c(i)) − max over c ≠ c(i) of cos(z_i, μ_c),      μ_c the mean direction

    Rows with a small margin lie between classes: the difficult examples, of which contrastive
    pre-training learns better without the 8 to 20 % most difficult (arXiv 2501.01317, where they
    are found by the similarities of pairs). Where there is one class, the similarity to its mean.

    Args:
        pool: what is selected from.
        threads: None for all processors.

    Returns:
        float64 [n].
    """
    means = np.ascontiguousarray(_unit(class_directions(pool, threads)))
    narrow = means.astype(np.float32)
    found = np.empty(pool.n)
    for start, rows in _blocks(pool, threads):
        near = nearest_rows(rows, narrow, min(2, len(means)), threads=threads)
        codes = pool.codes[start : start + len(rows)]
        other = np.where(near[:, 0] == codes, near[:, -1], near[:, 0])
        _margins_of(rows, codes, other, means, found[start : start + len(rows)])
    return found


@compiled
def _margins_of(rows, codes, others, means, found):
    for i in range(rows.shape[0]):
        length = np.sqrt(row_square(rows, i))
        if length == 0:
            found[i] = 0.0
            continue
        found[i] = row_dot(rows, i, means[codes[i]])
        if others[i] != codes[i]:
            found[i] -= row_dot(rows, i, means[others[i]])
        found[i] /= length


def nearness(pool: SelectionPool, target: np.ndarray, threads: int | None = None) -> np.ndarray:
    """The similarity of every row to the nearest row of a target: retrieval as curation does it.

        score_i = max over t of ⟨z_i, t⟩,      ‖t‖ = 1

    Args:
        pool: what is selected from.
        target: float32 [m, d]; of length one.
        threads: None for all processors.

    Returns:
        float64 [n].
    """
    wide = target.astype(np.float64)
    found = np.empty(pool.n)
    for start, rows in _blocks(pool, threads):
        near = nearest_rows(rows, target, 1, threads=threads)[:, 0]
        _products_with(rows, near, wide, found[start : start + len(rows)])
    return found


@compiled
def _products_with(rows, which, wide, found):
    for i in range(rows.shape[0]):
        found[i] = row_dot(rows, i, wide[which[i]])


def complexity(pool: SelectionPool, threads: int | None = None) -> np.ndarray:
    """How much there is in every class: how wide it is times how far from its neighbours.

        C_c = intra_c · inter_c
        intra_c = mean over its rows of 1 − cos(z_i, μ_c),
        inter_c = mean over the 20 classes nearest to it of 1 − cos(μ_c, μ_k)

    (Density-based pruning, Abbas et al. 2024, arXiv 2401.04578.)

    Args:
        pool: what is selected from.
        threads: None for all processors.

    Returns:
        float64 [K].
    """
    means = class_directions(pool, threads)
    # The mean cosine of unit rows with the direction of their mean is the mean's length.
    intra = np.maximum(1 - np.linalg.norm(means, axis=1), 0)
    count = len(means)
    if count == 1:
        return intra
    unit = _unit(means)
    narrow = unit.astype(np.float32)
    own = np.arange(count)
    near = nearest_rows(narrow, narrow, min(QUOTA_NEIGHBOURS, count - 1), own=own, threads=threads)
    gaps = np.array([np.mean(1 - unit[near[c]] @ unit[c]) for c in range(count)])
    return intra * np.maximum(gaps, 0)


def density_quota(
    pool: SelectionPool, temperature: float, threads: int | None = None
) -> np.ndarray:
    """The claim of every class on the budget by its complexity: softmax(C / τ), float64 [K].

    The paper shares N places as near to N·P_c as the sizes allow, by a quadratic program. Here
    Webster's divisors give every place in turn to the class with the largest claim left, up to its
    size: exact in total, and the places of a smaller budget are the first ones of a larger. What a
    class cannot take goes to others in proportion to their claims, where the program shares it
    equally among them.

    Args:
        pool: what is selected from.
        temperature: τ.
        threads: None for all processors.
    """
    found = complexity(pool, threads) / temperature
    claims = np.exp(found - found.max())
    return claims / claims.sum()


def scores_of_pool(
    pool: SelectionPool,
    options: SettledOptions,
    given: np.ndarray | None,
    target: np.ndarray | None,
    threads: int | None = None,
) -> np.ndarray | None:
    """The score by which an objective ranks, where that is one number a row: of a file, or made here."""
    makers: dict[str, Callable[[], np.ndarray]] = {
        "easy-removal": lambda: -margins(pool, threads),
        "hard-removal": lambda: margins(pool, threads),
        "target": lambda: nearness(pool, _needed(target), threads),
    }
    return makers[options.objective]() if options.objective in makers else given


def _needed(target: np.ndarray | None) -> np.ndarray:
    if target is None:
        raise DataError("a target", "none")
    return target


def target_rows(pool: SelectionPool, target: Any) -> np.ndarray:
    """What is to be near: examples of the pool or other vectors, float32 [m, d] of length one.

    Raises:
        UsageError: examples that there are not, or none.
        DataError: vectors of another width, or without a direction.
    """
    given = np.asarray(plain_tensor(target)) if not isinstance(target, np.ndarray) else target
    if given.ndim != 2:
        rows = rows_of_examples(pool, target, "target")
        if not rows.size:
            raise UsageError("target= of at least one example", "none")
        return unit_rows(gather(pool.values, rows, scale=pool.scale))
    vectors = np.asarray(check_matrix(given, "target"))
    check_finite_rows(vectors, "target")
    width = pool.values.shape[1]
    if vectors.shape[1] != width:
        raise DataError(
            f"a target of vectors of width {width}, as the embeddings",
            f"width {vectors.shape[1]}",
            "Embed the target with the same encoder and layer as the pool",
        )
    return unit_rows(vectors)


def aim_of(target: np.ndarray, weight: float) -> np.ndarray:
    """W · mean of the target's rows, float64 [d]: what one example of a class adds to its sum."""
    rows = np.ascontiguousarray(target, dtype=np.float32)
    return weight * linear_form.total_of(rows) / len(rows)
