"""Which of many numbers reach a bound."""

import numpy as np
import pytest

from contrasift.selection.kernels.reaching import LANES, reached_columns


@pytest.mark.parametrize("k", [0, 1, LANES - 1, LANES, LANES + 1, 5 * LANES + 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_columns_at_a_bound_or_above_are_found_in_order(rng, k, dtype):
    values = (rng.integers(-4, 5, (3, k)) / 2).astype(dtype)
    values[1] = np.nan
    found = np.empty(k, np.int64)
    for row in range(3):
        for bound in (-np.inf, -2.0, 0.0, 1.5, 2.0, np.inf):
            for width in (0, k // 2, k):
                count = reached_columns(values, row, width, dtype(bound), found)
                expected = [j for j in range(width) if values[row, j] >= bound]
                assert found[:count].tolist() == expected
