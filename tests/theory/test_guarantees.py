"""SAS's quantities on the unit circle, and theorems 4.1 and 4.3 with numbers."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from contrasift.errors import DataError, UsageError
from contrasift.theory.guarantees import (
    Constants,
    class_means,
    expected_distances,
    full_condition,
    main_parts,
    mean_classifier_error,
    measure_constants,
    nearest_view_distances,
    subset_class,
    subset_condition,
    view_spread,
)


def on_circle(degrees: object) -> np.ndarray:
    angles = np.radians(np.asarray(degrees, dtype=float))
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


# docs/mathematics.md#example-three-examples-on-the-circle
# The identity as encoder, views {0°,20°}, {10°,50°}, {70°,80°}.
THREE = on_circle([[0, 20], [10, 50], [70, 80]])


def test_expected_augmentation_distance() -> None:
    expected = [[0.1736, 0.4279, 1.0695], [0.4279, 0.3420, 0.7530], [1.0695, 0.7530, 0.0872]]
    np.testing.assert_allclose(expected_distances(THREE, THREE), expected, atol=5e-5)
    np.testing.assert_allclose(view_spread(THREE)[0], np.diag(expected), atol=5e-5)


@pytest.mark.parametrize(
    ("kept", "numbers"),
    [
        ([1], (0.2009, 1.1293, 0.7873, 0.1481, 0.5076)),
        ([0, 2], (0.2009, None, 0.2852, 0.0740, 0.5968)),
        ([0, 1, 2], (0.2009, None, 0.0, 0.0, 0.5671)),
    ],
)
def test_subset_on_the_circle(kept: list[int], numbers: tuple) -> None:
    # docs/mathematics.md#alignment-and-divergence: (16)/η ≤ (19)/η, ν_align/η; ‖μ − μ^S‖ ≤ ν_div.
    mask = np.isin(np.arange(3), kept)
    found = subset_class(THREE, mask)
    alignment, bound, nu_align, shift, nu_div = numbers
    assert found.alignment == pytest.approx(alignment, abs=5e-5)
    assert bound is None or found.alignment_bound == pytest.approx(bound, abs=5e-5)
    assert found.nu_align == pytest.approx(nu_align, abs=6e-5)
    assert found.center_shift == pytest.approx(shift, abs=5e-5)
    assert found.nu_div == pytest.approx(nu_div, abs=5e-5)


def test_alignment_bound_of_two_ends() -> None:
    # (19)/η = .4301 for S = {1, 3}: docs/mathematics.md#example-three-examples-on-the-circle
    found = subset_class(THREE, np.array([True, False, True]))
    assert found.alignment_bound == pytest.approx(0.4301, abs=5e-5)


def test_distances_against_loops(rng: np.random.Generator) -> None:
    first, second = on_circle(rng.uniform(0, 360, (7, 3))), on_circle(rng.uniform(0, 360, (4, 3)))
    for i, j in itertools.product(range(7), range(4)):
        pairs = [np.linalg.norm(a - b) for a in first[i] for b in second[j]]
        assert expected_distances(first, second)[i, j] == pytest.approx(np.mean(pairs))
        assert nearest_view_distances(first, second)[i, j] == pytest.approx(min(pairs), abs=1e-7)


def test_bounds_hold_on_random_subsets(rng: np.random.Generator) -> None:
    for _ in range(100):
        n, m, d = rng.integers(1, 12), rng.integers(1, 5), rng.integers(2, 6)
        views = rng.normal(size=(n, m, d))
        views /= np.linalg.norm(views, axis=2, keepdims=True)
        kept = rng.random(n) < 0.5
        kept[rng.integers(n)] = True
        found = subset_class(views, kept)
        assert found.alignment <= found.alignment_bound + 1e-12
        assert found.center_shift <= found.nu_div + 1e-12
        largest = view_spread(views)[0][kept].max()
        assert found.alignment <= largest + found.nu_align + 1e-12


CONSTANTS = Constants(
    shares=np.full(10, 0.1),
    sigma=0.995,
    delta=0.001,
    epsilon=0.0005,
    misaligned=0.0005,
    min_mean_norm=0.95,
)


def test_theorem_4_1() -> None:
    # docs/mathematics.md#theorem-41
    means = 0.95 * np.eye(10)
    printed, safe = (full_condition(means, CONSTANTS, safe=safe) for safe in (False, True))
    np.testing.assert_allclose(CONSTANTS.rho(), 0.01699, atol=5e-6)
    np.testing.assert_allclose(CONSTANTS.rho(safe=True), 0.02198, atol=5e-6)
    np.testing.assert_allclose(printed.thresholds, 0.74992, atol=5e-6)
    np.testing.assert_allclose(safe.thresholds, 0.71960, atol=5e-6)
    assert printed.error_bound == pytest.approx(0.0055)
    assert printed.excess == pytest.approx(0.0 - 0.74992, abs=5e-6)
    assert "not refuted" in printed.verdict
    assert "no proof" in printed.verdict


def test_theorem_4_3() -> None:
    # docs/mathematics.md#theorem-43: ν = .03, ν_R = .0002.
    means, nu = 0.95 * np.eye(10), np.full(10, 0.03)
    exact = subset_condition(means, CONSTANTS, nu, 0.0002)
    linear = subset_condition(means, CONSTANTS, nu, 0.0002, linear=True)
    np.testing.assert_allclose(exact.thresholds, 0.67648, atol=5e-6)
    np.testing.assert_allclose(linear.thresholds, 0.67617, atol=5e-6)
    assert exact.error_bound == pytest.approx(0.0057)
    # Without a surcharge it is theorem 4.1.
    none = subset_condition(means, CONSTANTS, np.zeros(10), 0.0)
    np.testing.assert_allclose(none.thresholds, full_condition(means, CONSTANTS).thresholds)


def test_unequal_surcharges_take_the_larger_of_a_pair() -> None:
    constants = dataclasses.replace(CONSTANTS, shares=np.array([0.2, 0.3, 0.5]))
    nu = np.array([0.0, 0.1, 0.2])
    base = 1 - constants.rho() - np.sqrt(2 * constants.rho()) - constants.mean_gap / 2
    found = subset_condition(np.eye(3), constants, nu, 0.0)
    expected = [
        min(base[a] - (2 * v + v * v) for v in np.maximum(nu[a], np.delete(nu, a)))
        for a in range(3)
    ]
    np.testing.assert_allclose(found.thresholds, expected)
    pairs = [
        base[a] - 2 * max(nu[a], nu[b]) - max(nu[a], nu[b]) ** 2
        for a, b in itertools.permutations(range(3), 2)
    ]
    assert found.excess == pytest.approx(0 - min(pairs))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"delta": 0.1}, "fails by"),
        ({"delta": 2.0, "epsilon": 1.0}, "no unit vectors"),
    ],
)
def test_verdicts(change: dict, words: str) -> None:
    means = np.full((10, 10), 0.25) + 0.6 * np.eye(10)
    condition = full_condition(means, dataclasses.replace(CONSTANTS, **change))
    assert words in condition.verdict
    assert not condition.verdict.startswith("holds")


def test_nothing_follows_from_a_useless_bound() -> None:
    condition = full_condition(
        np.eye(3), dataclasses.replace(CONSTANTS, shares=np.full(3, 1 / 3), misaligned=0.7)
    )
    assert condition.vacuous
    assert "vacuous" in condition.verdict


def test_measured_constants_of_tight_classes() -> None:
    # Two classes at 0° and 120°, every example at its centre, views ± 0.01°: nothing is lost.
    views = on_circle([[centre - 0.01, centre + 0.01] for centre in (0, 120) for _ in range(5)])
    codes = np.repeat([0, 1], 5)
    found = measure_constants(views, codes)
    assert found.sigma == 1.0
    assert found.delta == 0.05
    assert found.misaligned == 0.0
    assert found.epsilon == pytest.approx(2 * math.sin(math.radians(0.01)), rel=1e-3)
    assert found.min_mean_norm == pytest.approx(1.0, abs=1e-6)
    condition = full_condition(class_means(views, codes), found)
    assert condition.excess < 0
    assert "not refuted" in condition.verdict
    assert mean_classifier_error(views, codes, class_means(views, codes)) == 0.0


def test_measured_misalignment_counts_examples() -> None:
    views = on_circle([[0, 0], [0, 30], [120, 121], [120, 120]])
    found = measure_constants(views, np.array([0, 0, 1, 1]), [0.1])
    assert found.misaligned == 0.25


def test_main_parts_leave_out_the_lonely() -> None:
    views = on_circle([[0, 0], [1, 1], [2, 2], [90, 90]])
    sigmas, deltas = main_parts(views, np.zeros(4, dtype=np.int64))
    assert sigmas[np.searchsorted(deltas, 0.04)] == 0.75
    assert sigmas[-1] == 1.0
    assert (np.diff(sigmas) >= 0).all()


def test_the_conclusion_of_theorem_4_1_on_random_circles(rng: np.random.Generator) -> None:
    met = 0
    for _ in range(200):
        width, jitter = rng.uniform(0, 6), rng.uniform(0, 1)
        centres = rng.uniform(0, 360, 2)
        samples = (centres[:, None] + rng.uniform(-width, width, (2, 20))).ravel()
        views = on_circle(samples[:, None] + rng.uniform(-jitter, jitter, (40, 3)))
        codes = np.repeat([0, 1], 20)
        condition = full_condition(
            class_means(views, codes), measure_constants(views, codes), safe=True
        )
        if condition.excess < 0:
            met += 1
            assert (
                mean_classifier_error(views, codes, class_means(views, codes))
                <= condition.error_bound
            )
    assert met > 20


def test_bad_input() -> None:
    with pytest.raises(DataError, match="nothing is kept"):
        subset_class(THREE, np.zeros(3, dtype=bool))
    with pytest.raises(DataError, match="two views"):
        measure_constants(THREE[:, :1], np.zeros(3, dtype=np.int64))
    with pytest.raises(UsageError, match="every ε"):
        measure_constants(THREE, np.zeros(3, dtype=np.int64), [-0.1])
    with pytest.raises(DataError, match="two classes"):
        full_condition(np.eye(1), CONSTANTS)
