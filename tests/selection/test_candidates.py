"""Candidates and the limit of all other rows, several rows at a time, are those of one after another."""

import numpy as np
import pytest

from contrasift.selection.kernels.greedy_passes import candidates_block, outlook_block
from contrasift.selection.kernels.greedy_steps import FAR, FAR_WIDE, NEAR, NEAR_WIDE, SPREAD

MOVED = {"along": 0.7, "across": 0.2, "horizon": 1.5, "width": 0.4, "reach": 2.0}


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    gains = rng.standard_normal(n)
    gains[rng.random(n) < 0.2] = -np.inf  # closed
    return gains, rng.random(n).astype(np.float32), rng.random(n).astype(np.float32)


def bounds(gains, alpha, spread):
    near = gains - 0.7 * (2.0 * alpha.astype(float)) + 2.0 * 0.2 * spread
    far = near - 1.5 * (2.0 * alpha.astype(float))
    return near, far, 2.0 * 0.4 * spread


@pytest.mark.parametrize("capacity", [0, 3, 1000])
@pytest.mark.parametrize("floor", [-np.inf, 0.3, np.inf])
@pytest.mark.parametrize("span", [(0, 101), (7, 60), (5, 5)])
def test_candidates_are_those_of_a_plain_loop(capacity, floor, span):
    columns = rows(101)
    near, far, aside = bounds(*columns)
    inside = np.arange(*span)
    reaching = (near >= floor) | (far + aside >= floor)
    wanted = [i for i in inside if np.isfinite(columns[0][i]) and reaching[i]]
    wanted = wanted[: min(capacity + 1, span[1] - span[0])]
    others = np.setdiff1d(inside[np.isfinite(columns[0][inside])], wanted)
    found, limit = candidates_block(*columns, *MOVED.values(), floor, floor, capacity, *span)
    assert found.tolist() == wanted
    expected = {NEAR: near, FAR: far, NEAR_WIDE: near + aside, FAR_WIDE: far + aside}
    for place, values in (expected | {SPREAD: columns[2]}).items():
        assert limit[place] == pytest.approx(max(values[others], default=-np.inf))


def test_the_outlook_is_the_largest_of_all():
    gains, alpha, spread = rows(50, 1)
    now = gains - 2.0 * 0.7 * alpha
    later = now - 2.0 * 1.5 * alpha + 2.0 * (0.2 + 0.4) * spread
    found = outlook_block(gains, alpha, spread, *MOVED.values(), 0, 50)
    assert found == pytest.approx((now.max(), later.max()))
