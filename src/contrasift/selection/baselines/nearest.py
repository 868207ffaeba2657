"""The nearest of many rows: found by float32 matrix products, decided by one exact kernel.

A float32 product of two rows errs by no more than a known amount. So the products only say which
pairs *may* be nearest; those few are computed again by `kernels.row_dot`, in float64 and always in
the same order. What comes out does not depend on blocks, threads or the BLAS.
"""

from __future__ import annotations

import numpy as np

from contrasift.selection.kernels.dots import compiled, row_dot
from contrasift.selection.kernels.reaching import reached_columns

_LOWEST = -3e38


def product_slack(d: int, largest_square: float) -> float:
    """How far float32 arithmetic may be from ⟨z_i, z_j⟩ − h_j, where h_j ≤ ‖z‖²/2.

    More than the classic bound (d + 2)·2⁻²⁴·(‖z_i‖‖z_j‖ + h_j) for the sum of d + 1 products in any
    order, with a term for rounding h_j and for products that underflow.

    Args:
        d: length of a row.
        largest_square: the largest ‖z‖².
    """
    return 2.0**-23 * (d + 8) * largest_square + d * 2.0**-125


def with_offsets(rows: np.ndarray, offsets: np.ndarray | None = None) -> np.ndarray:
    """Rows with one more coordinate: −h_j, or 1 where there are no offsets.

    The product of two such matrices, one of each kind, is ⟨z_i, z_j⟩ − h_j at once.
    """
    longer = np.empty((rows.shape[0], rows.shape[1] + 1), dtype=np.float32)
    longer[:, :-1] = rows
    longer[:, -1] = 1.0 if offsets is None else -offsets
    return longer


@compiled
def improve(products, rows, values, others, offsets, slack, closest, widths):
    """Raise closest[i] to the largest ⟨z_i, z_j⟩ − h_j over the columns of a product.

    Args:
        products: float32 [r, c]; ⟨z_i, z_j⟩ − h_j as a matrix product made them, see `with_offsets`.
        rows: int64 [r]; i of each.
        values: float32 [n, d].
        others: int64 [c]; j of each column.
        offsets: float64 [n]; h.
        slack: see `product_slack`.
        closest: float64 [n]; changed in place.
        widths: int64 [r]; how many columns count for each.
    """
    wide = np.empty(values.shape[1])
    near = np.empty(products.shape[1], np.int64)
    for a in range(rows.size):
        i = rows[a]
        # Only an entry that is not below what its row has may decide, and if many are not, only one
        # near the largest of its row. No column that is left out, and not raised as a float32.
        limit = max(closest[i] - slack, _LOWEST)
        cut = np.nextafter(np.float32(limit), np.float32(-np.inf))
        count = reached_columns(products, a, widths[a], cut, near)
        if count == 0:
            continue
        limit = np.float64(cut)
        if count > 2:
            largest = products[a, near[0]]
            for b in range(1, count):
                largest = max(largest, products[a, near[b]])
            limit = max(limit, np.float64(largest) - 2.0 * slack)
        for t in range(wide.size):
            wide[t] = values[i, t]
        for b in range(count):
            if products[a, near[b]] >= limit:
                j = others[near[b]]
                closest[i] = max(closest[i], row_dot(values, j, wide) - offsets[j])
