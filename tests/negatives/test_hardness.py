from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from contrasift.errors import DataError, UsageError
from contrasift.negatives import Candidates, contrasts, difficulty, profiles
from contrasift.negatives.class_pairs import class_pairs
from contrasift.negatives.contrasts import consistency, contrast, unpaired_t_test
from contrasift.negatives.false_negatives import (
    FalseNegatives,
    false_negatives,
    likeliest_false_negatives,
    suggest_band,
)
from contrasift.negatives.profiles import BANDS, Relation, difficulty_profile, shape_over_difficulty


def clustered(rng, n: int, n_classes: int = 4, spread: float = 1.0):
    """Vectors around class centres, and their classes."""
    centres = np.random.default_rng(99).normal(size=(n_classes, 8))
    labels = rng.integers(0, n_classes, n)
    return (centres[labels] + spread * rng.normal(size=(n, 8))).astype(np.float32), labels


def profiles_of(rng, count: int = 3, n: int = 200, spread: float = 1.0):
    found = []
    for _ in range(count):
        queries, query_labels = clustered(rng, n // 2, spread=spread)
        negatives, negative_labels = clustered(rng, n, spread=spread)
        relation = Relation(query_labels, negative_labels)
        found.append(difficulty_profile(queries, negatives, {"same class": relation}))
    return found


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("n", [1, 2, 19, 150])
def test_a_profile_is_what_loops_say(rng, monkeypatch, n):
    monkeypatch.setattr(profiles, "row_blocks", lambda count, _: [slice(0, 3), slice(3, count)])
    queries, negatives = rng.normal(size=(7, 5)), rng.normal(size=(n, 5))
    labels = rng.integers(0, 3, 7), rng.integers(0, 3, n)
    table = rng.random((3, 3)).astype(np.float32)
    relations = {"same": Relation(*labels), "depth": Relation(*labels, table)}
    profile = difficulty_profile(queries, negatives, relations, bins=20)
    cosines = unit(queries) @ unit(negatives).T
    measures = {
        "similarity": cosines,
        "same": labels[0][:, None] == labels[1],
        "depth": table[labels[0][:, None], labels[1]],
    }
    n_bins = min(20, n)
    for row in range(7):
        order = np.argsort(cosines[row], kind="stable")
        for name, values in measures.items():
            ranked = values[row][order].astype(float)
            for b in range(n_bins):
                inside = ranked[b * n // n_bins : (b + 1) * n // n_bins]
                assert profile.by_bin[name][row, b] == pytest.approx(inside.mean(), abs=1e-6)
            assert profile.overall[name][row] == pytest.approx(ranked.mean(), abs=1e-6)
    # Bands are those of the policy.
    for band in BANDS:
        mask = difficulty(*band).mask(Candidates(cosines))
        if not mask.any():
            assert band not in profile.by_band["same"]
            continue
        for name, values in measures.items():
            expected = np.where(mask, values, 0).sum(axis=1) / mask.sum(axis=1)
            np.testing.assert_allclose(profile.by_band[name][band], expected, atol=1e-6)
    hard = difficulty(95, 100).mask(Candidates(cosines))
    np.testing.assert_array_equal(profile.hard_counts, hard.sum(axis=0))
    assert profile.shuffled_counts.sum() == profile.hard_counts.sum() == 7 * profile.n_hard


def test_profile_of_bad_input(rng):
    good = rng.normal(size=(4, 3))
    bad = good.copy()
    bad[1, 2] = np.nan
    with pytest.raises(DataError, match="negatives of finite numbers.*row 1"):
        difficulty_profile(good, bad)
    with pytest.raises(DataError, match="one width"):
        difficulty_profile(good, rng.normal(size=(4, 5)))
    with pytest.raises(DataError, match="same of 4 queries and 4 negatives; got 3 and 4"):
        difficulty_profile(good, good, {"same": Relation(np.zeros(3, int), np.zeros(4, int))})
    with pytest.raises(UsageError, match="at least one bin"):
        difficulty_profile(good, good, bins=0)


def test_the_t_test_is_scipys(rng):
    for sizes in [(3, 3), (2, 9), (40, 7)]:
        first, second = rng.normal(0.4, 1, sizes[0]), rng.normal(0, 1, sizes[1])
        expected = stats.ttest_ind(first, second)
        t, p = unpaired_t_test(first, second)
        assert t == pytest.approx(expected.statistic)
        assert p == pytest.approx(expected.pvalue)
    assert unpaired_t_test([1, 1], [1, 1]) == (None, None)


def test_hard_negatives_share_the_class_and_both_tests_see_it(rng):
    result = contrast(profiles_of(rng), "same class")
    assert result.hard.mean > 0.6 > result.rest.mean
    assert result.p < 1e-3
    assert result.low > 0
    assert result.bootstrap_p == pytest.approx(2 / 2001)
    assert result.low < result.difference < result.high


def test_without_structure_no_test_sees_anything(rng):
    result = contrast(profiles_of(rng, count=4, spread=1e4), "same class")
    assert result.p > 0.01
    assert result.low < 0 < result.high
    assert contrast(profiles_of(rng, count=1), "same class").p is None


def test_the_bootstrap_interval_covers(rng):
    # Of 60 intervals around a true difference, about 95 % hold it: at least 50 do.
    held = 0
    for seed in range(60):
        profile = profiles_of(rng, count=1, n=200)[0]
        hard = rng.normal(0.3, 1, 100)
        profile.by_band["same class"][(95, 100)][:] = hard
        profile.by_band["same class"][(0, 95)][:] = 0
        result = contrast([profile], "same class", draws=300, seed=seed)
        held += result.low <= 0.3 <= result.high
    assert held >= 50


def test_cochrans_q(rng):
    profile = profiles_of(rng, count=1, n=120)[0]
    result = consistency(profile)
    # Cochran (1950): Q = (n − 1)(n ΣG² − (ΣG)²) / (n ΣL − ΣL²), L the marks of each query.
    g, n, m, q = profile.hard_counts, 120, profile.n_hard, 60
    expected = (n - 1) * (n * (g**2).sum() - g.sum() ** 2) / (n * q * m - q * m * m)
    assert result.q == pytest.approx(expected)
    assert result.log10_p == pytest.approx(
        stats.chi2.logsf(expected, n - 1) / math.log(10), rel=1e-3
    )
    assert result.shares.mean() == pytest.approx(result.shuffled.mean()) == pytest.approx(m / n)
    # Queries that all point one way find the same negatives hard.
    queries = np.eye(5)[[0]] + 0.1 * rng.normal(size=(60, 5))
    alike = consistency(difficulty_profile(queries, rng.normal(size=(120, 5))))
    assert alike.sd > 4 * alike.shuffled_sd
    assert alike.log10_p < -100
    assert alike.never > 0.8


def test_the_far_tail_of_chi_square():
    expected = stats.chi2.logsf(1300, 100) / math.log(10)
    assert contrasts._log10_chi2_tail(100, 1300.0) == pytest.approx(expected, rel=1e-4)


def test_the_null_of_cochrans_q_is_chi_square(rng):
    values = []
    for seed in range(60):
        queries, negatives = rng.normal(size=(2, 80, 60))
        profile = difficulty_profile(queries, negatives, seed=seed)
        shuffled = profiles.Profile(**{**vars(profile), "hard_counts": profile.shuffled_counts})
        values.append(consistency(shuffled).q)
    assert stats.kstest(values, stats.chi2(79).cdf).pvalue > 0.01
    baseline = consistency(profile)
    assert baseline.shuffled_sd == pytest.approx(baseline.expected_sd, rel=0.3)


def test_class_pairs_are_what_loops_say(rng):
    queries, query_labels = clustered(rng, 60)
    negatives, negative_labels = clustered(rng, 50)
    found = class_pairs(queries, negatives, query_labels, negative_labels, top=3, fewest=2)
    cosines = unit(queries) @ unit(negatives).T
    means = {}
    for a in range(4):
        for b in range(4):
            block = cosines[np.ix_(query_labels == a, negative_labels == b)]
            if a != b and block.size >= 2:
                means[a, b] = (block.mean(), block.size)
    ranked = sorted(means, key=lambda pair: means[pair][0])
    assert found.n_pairs == len(means)
    assert [(p.query, p.negative) for p in found.anticorrelated] == ranked[:3]
    assert [(p.query, p.negative) for p in found.correlated] == ranked[:-4:-1]
    for pair in (*found.correlated, *found.orthogonal):
        mean, count = means[pair.query, pair.negative]
        assert pair.similarity == pytest.approx(mean, abs=1e-6)
        assert pair.count == count
    smallest = sorted(means, key=lambda pair: abs(means[pair][0]))[:3]
    assert [(p.query, p.negative) for p in found.orthogonal] == smallest
    assert (
        class_pairs(queries, negatives, query_labels, negative_labels, fewest=10_000).n_pairs == 0
    )


def test_false_negatives_from_latent_classes(rng):
    profiles = []
    for _ in range(2):
        queries, query_labels = clustered(rng, 100, spread=0.7)
        negatives, negative_labels = clustered(rng, 300, spread=0.7)
        # Latent classes that are wrong for some, and never tell class 2 from class 3.
        latent = [np.minimum(part, 2) for part in (query_labels, negative_labels)]
        both = [4 * a + b for a, b in zip(latent, (query_labels, negative_labels), strict=True)]
        profiles.append(
            difficulty_profile(
                queries,
                negatives,
                {
                    "label": Relation(query_labels, negative_labels),
                    "latent": Relation(*latent),
                    "both": Relation(*both),
                },
            )
        )
    found = {item.band: item for item in false_negatives(profiles, "latent", "label", "both")}
    hard = found[(95, 100)]
    assert hard.recall == pytest.approx(1)  # latent classes only merge labels
    assert hard.truth == pytest.approx(hard.precision * hard.estimate)
    assert hard.estimate > found[(0, 100)].estimate
    assert hard.agreed is None
    twice = false_negatives(profiles, "latent", "label", "both", "label")
    assert [item.agreed for item in twice] == [item.truth for item in twice]
    alone = false_negatives(profiles, "latent")
    assert alone[-1] == FalseNegatives((0, 100), found[(0, 100)].estimate)


def test_the_suggestion():
    def estimates(*rates, overall, agreed=None):
        bands = [(95, 100), (99, 100), (99.9, 100)]
        agreed = [None] * 4 if agreed is None else [*agreed, 0.0]
        rows = zip([*bands, (0, 100)], [*rates, overall], agreed, strict=True)
        return [FalseNegatives(*row) for row in rows]

    # 1 % of all negatives are false: the hardest 5 % are more than that, however false they are.
    assert suggest_band(estimates(0.8, 0.8, 0.9, overall=0.011)).policy == "difficulty(0,99)"
    assert suggest_band(estimates(0.8, 0.8, 0.9, overall=0.2)).policy == "difficulty(0,95)"
    # One encoder's estimate errs upwards: half is not enough.
    wary = suggest_band(estimates(0.6, 0.7, 0.8, overall=0.2))
    assert wary.policy == "difficulty(0,99.9)"
    assert "an upper estimate" in wary.reason
    nothing = suggest_band(estimates(0.1, 0.2, 0.7, overall=0.2))
    assert nothing.policy == "all"
    assert "the hardest 0.1 %, only 70%" in nothing.reason
    # Where two encoders agree, half is enough, and the first one's excess counts for nothing.
    settings = {"overall": 0.2, "agreed": (0.3, 0.45, 0.6)}
    agreed = suggest_band(estimates(0.8, 0.9, 0.95, **settings))
    assert agreed.policy == "difficulty(0,99.9)"
    assert "60% share the query's latent class under two encoders" in agreed.reason


def test_likeliest_pairs(rng):
    queries, query_labels = clustered(rng, 30)
    negatives, negative_labels = clustered(rng, 40)
    cosines = unit(queries) @ unit(negatives).T
    same = Relation(query_labels, negative_labels)
    for relation in (None, same):
        found = likeliest_false_negatives(queries, negatives, relation, count=5)
        allowed = (
            cosines if relation is None else np.where(same.values(slice(0, 30)) > 0, cosines, -9)
        )
        best = allowed.max(axis=1)
        assert found.similarity[0] == pytest.approx(best.max(), abs=1e-6)
        assert len(set(found.queries)) == len(set(found.negatives)) == len(found.queries) == 5
        assert (np.diff(found.similarity) <= 0).all()
        for query, negative in zip(found.queries, found.negatives, strict=True):
            assert allowed[query].argmax() == negative
    nobody = Relation(np.zeros(30, int), np.ones(40, int))
    assert likeliest_false_negatives(queries, negatives, nobody).queries.size == 0


def test_the_shape_has_an_interval_over_replicates(rng):
    profiles = profiles_of(rng)
    shape = shape_over_difficulty(profiles, "similarity")
    assert shape.percentile[-1] == 100
    assert (np.diff(shape.mean) > 0).all()
    means = [profile.by_bin["similarity"].mean(axis=0) for profile in profiles]
    expected = stats.t.interval(0.95, 2, np.mean(means, axis=0), stats.sem(means))
    np.testing.assert_allclose(np.stack([shape.low, shape.high]), expected)
    assert shape_over_difficulty(profiles[:1], "similarity").low is None
