"""The order of numbers from the largest is NumPy's stable one, ties and NaN included."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.arrays import largest_first

_NUMBERS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan])


@settings(max_examples=100, deadline=None)
@given(st.lists(_NUMBERS, max_size=40))
def test_ties_keep_their_order(numbers):
    values = np.array(numbers, dtype=float)
    assert largest_first(values).tolist() == np.argsort(-values, kind="stable").tolist()


def test_many_numbers_with_and_without_ties():
    rng = np.random.default_rng(0)
    for values in (rng.random(5000), rng.integers(0, 50, 5000).astype(float)):
        assert largest_first(values).tolist() == np.argsort(-values, kind="stable").tolist()
