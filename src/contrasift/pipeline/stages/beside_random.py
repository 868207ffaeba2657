"""What a selection from a matrix reaches, beside random selections of its size: for its card."""

from __future__ import annotations

from typing import Any

import numpy as np

from contrasift.arrays import class_codes, directions
from contrasift.matrices import Matrix
from contrasift.pipeline.stages.measure import RANDOM_RANKINGS, rows_to_draw
from contrasift.results import Selection

# Rows are taken into memory as float32; of more than this nothing is measured.
_MOST_BYTES = 1 << 30
_RANDOM_BALANCES = 100


def beside_random(matrix: Matrix, chosen: Selection, seed: int) -> dict[str, Any]:
    """Coverage, centre and balance of a selection, and of random ones.

    Coverage and centre are similarities within classes, of `coverage_and_centre_curve`; random
    selections there keep as many of every class. The balance is how far the shares of the classes
    are from the pool's (½ Σ |p − q|), where random selections are blind to classes.

    Args:
        matrix: the rows that were selected from.
        chosen: the selection.
        seed: of what is drawn.

    Returns:
        by measure: `value`, and `random`, `random_low`, `random_high` (95 % of them). Empty for an
        empty selection; without coverage and centre for rows of more than 1 GiB.
    """
    if not chosen.budget:
        return {}
    found = {"balance": _balance(chosen, seed)}
    n, d = matrix.shape
    if 4 * n * d > _MOST_BYTES:
        return found
    return found | _coverage(matrix, chosen, seed)


def _balance(chosen: Selection, seed: int) -> dict[str, float]:
    sizes = np.array([part.size for part in chosen.classes])
    kept = np.array([part.budget for part in chosen.classes])
    pool = sizes / sizes.sum()
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(
        sizes, chosen.budget, size=_RANDOM_BALANCES
    )
    apart = np.abs(drawn / chosen.budget - pool).sum(axis=1) / 2
    low, high = np.quantile(apart, [0.025, 0.975])
    return {
        "value": float(np.abs(kept / chosen.budget - pool).sum() / 2),
        "random": float(apart.mean()),
        "random_low": float(low),
        "random_high": float(high),
    }


def _coverage(matrix: Matrix, chosen: Selection, seed: int) -> dict[str, Any]:
    from contrasift.selection.diagnostics.curves import coverage_and_centre_curve

    scaled = chosen.facts["rows"] == "scaled to length one"
    values = directions(matrix[:])[0] if scaled else np.asarray(matrix[:], dtype=np.float32)
    index = np.arange(len(matrix)) if matrix.index is None else matrix.index
    rows = np.argsort(index, kind="stable")[np.searchsorted(np.sort(index), chosen.index)]
    usable = np.asarray(np.isfinite(values).all(axis=1))
    # The relaxation's own choice need not be the first of its ranking: what is kept comes first.
    order = chosen.order[np.argsort(~chosen.selected[chosen.order], kind="stable")]
    order = order[usable[rows[order]]]
    number = np.atleast_1d(np.cumsum(usable) - 1)
    labels = np.empty(len(matrix), dtype=chosen.latent_class.dtype)
    labels[rows] = chosen.latent_class
    codes, _ = class_codes(labels[usable], int(usable.sum()))
    curves = coverage_and_centre_curve(
        values[usable],
        number[rows[order]],
        codes,
        [chosen.budget / int(usable.sum())],
        sample=rows_to_draw(codes),
        draws=RANDOM_RANKINGS,
        seed=seed,
    )
    return {
        name: {
            "value": float(curve.value[0]),
            "half_width": float(curve.half_width[0]),
            "random": float(curve.random[0]),
            "random_low": float(curve.random_low[0]),
            "random_high": float(curve.random_high[0]),
        }
        for name, curve in (("coverage", curves.coverage), ("centre", curves.centre))
    }
