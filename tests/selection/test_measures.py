"""Coverage and centre of any selection, whole and sampled; ν against its naive version."""

from __future__ import annotations

import numpy as np
import pytest

import reference
from contrasift.errors import DataError, UsageError
from contrasift.selection.diagnostics.measures import centre_of, coverage_of, herding_gap
from contrasift.selection.objectives.coverage import greedy_coverage
from contrasift.selection.objectives.herding import herding
from contrasift.theory.guarantees import subset_class


def make_rows(n, d, seed):
    rows = np.random.default_rng(seed).standard_normal((n, d)) + 0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make_views(n, m, d, seed, spread=0.3):
    rng = np.random.default_rng(seed)
    views = rng.standard_normal((n, 1, d)) + spread * rng.standard_normal((n, m, d))
    return views / np.linalg.norm(views, axis=2, keepdims=True)


def flags(n, rows):
    kept = np.zeros(n, dtype=bool)
    kept[list(rows)] = True
    return kept


def circle():
    """Views at {0°, 20°}, {10°, 50°}, {70°, 80°}: docs/mathematics.md#example-three-examples-on-the-circle."""
    angles = np.deg2rad([[0.0, 20.0], [10.0, 50.0], [70.0, 80.0]])
    return np.stack([np.cos(angles), np.sin(angles)], axis=2)


@pytest.mark.parametrize(
    ("chosen", "align", "div"),
    [([1], 0.7873, 0.5076), ([0, 2], 0.2852, 0.5968), ([0, 1, 2], 0.0, 0.5671)],
)
def test_example_on_the_circle(chosen, align, div):
    kept = flags(3, chosen)
    found = subset_class(circle(), kept)
    assert found.nu_align == pytest.approx(align, abs=5e-5)
    assert found.nu_div == pytest.approx(div, abs=5e-5)
    _, _, naive_align, naive_div = reference.nu(reference.view_distances(circle()), kept)
    assert (found.nu_align, found.nu_div) == pytest.approx((naive_align, naive_div))
    low, high = reference.mean_distances(circle().mean(axis=1))
    for place, whole in ((2, naive_align), (3, naive_div)):
        assert reference.nu(low, kept)[place] <= whole + 1e-12
        assert whole <= reference.nu(high, kept)[place] + 1e-12


def test_every_class_on_its_own_and_between_what_means_tell():
    views = make_views(30, 3, 4, seed=1)
    codes = np.repeat([0, 1, 2], [5, 10, 15])
    kept = flags(30, [0, 3, 7, 8, 20, 21, 22])
    align, div, *_ = reference.nu(reference.view_distances(views), kept, codes)
    parts = [subset_class(views[codes == k], kept[codes == k]) for k in range(3)]
    assert [part.nu_align for part in parts] == pytest.approx(align)
    assert [part.nu_div for part in parts] == pytest.approx(div)
    low, high = (
        reference.nu(table, kept, codes) for table in reference.mean_distances(views.mean(axis=1))
    )
    for k in range(3):
        assert low[0][k] <= align[k] <= high[0][k]
        assert low[1][k] <= div[k] <= high[1][k]


def test_means_of_single_views_tell_all():
    views = make_views(20, 1, 4, seed=2)
    kept = flags(20, [1, 4, 9])
    found = subset_class(views, kept)
    for table in reference.mean_distances(views[:, 0]):
        _, _, align, div = reference.nu(table, kept)
        assert align == pytest.approx(found.nu_align, abs=1e-6)
        assert div == pytest.approx(found.nu_div, abs=1e-6)


@pytest.mark.parametrize("own", [None, 1.0, -1.0])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_coverage_is_the_sum_of_best_similarities(own, k):
    rows = make_rows(40, 5, seed=4) * np.float32(0.9)
    chosen = np.random.default_rng(k).permutation(40)[:k]
    s = rows.astype(np.float64) @ rows.astype(np.float64).T
    if own is not None:
        np.fill_diagonal(s, own)
    found = coverage_of(rows, chosen, self_similarity=own)
    assert found.value == pytest.approx(s[:, chosen].max(axis=1).sum(), abs=1e-4)
    assert (found.low, found.high, found.whole) == (found.value, found.value, True)


def test_coverage_in_small_blocks(monkeypatch):
    rows, chosen = make_rows(60, 5, seed=5), np.arange(0, 60, 4)
    whole = coverage_of(rows, chosen, self_similarity=0.5)
    monkeypatch.setattr("contrasift.selection.diagnostics.measures._BLOCK_BYTES", 200)
    assert coverage_of(rows, chosen, self_similarity=0.5).value == pytest.approx(whole.value)


def test_agrees_with_the_optimisers():
    rows = make_rows(80, 6, seed=6)
    path = greedy_coverage(rows, 12, centre_weight=3.0)
    value = coverage_of(rows, path.order).value + 3.0 * centre_of(rows, path.order)
    assert path.value == pytest.approx(value, abs=1e-4)
    herded = herding(rows, 12)
    assert herding_gap(rows, herded.order) == pytest.approx(herded.value, abs=1e-12)


def test_coverage_of_samples_covers_the_whole():
    rows, chosen = make_rows(300, 4, seed=7), np.arange(20)
    whole = coverage_of(rows, chosen).value
    found = [coverage_of(rows, chosen, sample=60, seed=seed) for seed in range(100)]
    assert sum(one.low <= whole <= one.high for one in found) >= 86
    assert np.mean([one.value for one in found]) == pytest.approx(whole, rel=0.01)


def test_centre_and_gap_from_scratch():
    rows, chosen = make_rows(30, 4, seed=8), np.array([3, 9, 9, 20])
    wide = rows.astype(np.float64)
    some = wide[[3, 9, 20]]  # a set: repeats count once
    assert centre_of(rows, chosen) == pytest.approx((wide @ some.T).mean())
    assert herding_gap(rows, chosen) == pytest.approx(
        np.linalg.norm(wide.mean(axis=0) - some.mean(axis=0))
    )
    for threads in (1, 2):
        assert centre_of(rows, chosen, threads=threads) == centre_of(rows, chosen)


def test_of_nothing():
    rows, nothing = make_rows(5, 3, seed=9), np.zeros(0, np.int64)
    assert coverage_of(rows, nothing).value == centre_of(rows, nothing) == 0.0
    assert herding_gap(rows, nothing) == pytest.approx(
        np.linalg.norm(rows.astype(np.float64).mean(axis=0))
    )


def test_bad_input():
    rows, views = make_rows(5, 3, seed=9), make_views(5, 2, 3, seed=9)
    with pytest.raises(UsageError, match="between 0 and 4"):
        coverage_of(rows, np.array([5]))
    with pytest.raises(UsageError, match="at least two rows"):
        coverage_of(rows, np.array([1]), sample=1)
    with pytest.raises(DataError, match="nothing is kept"):
        subset_class(views, flags(5, []))
    rows[1, 1] = np.nan
    with pytest.raises(DataError, match="NaN or infinity"):
        centre_of(rows, np.array([0]))
