"""The arithmetic of `contrasift compare`, beside naive versions of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.errors import UsageError
from contrasift.pipeline.studies import compare_runs as comparing_runs
from contrasift.pipeline.studies.compare_runs import (
    overlap,
    overlap_curve,
    rank_agreement,
    similarity_agreement,
)
from contrasift.report.figures.runs import rank_density


def naive_correlations(first, second):
    """Over all pairs, as the definitions read."""
    n = len(first)
    pairs = list(itertools.combinations(range(n), 2))
    if not pairs:
        return None, None
    signs = [np.sign(first[i] - first[j]) * np.sign(second[i] - second[j]) for i, j in pairs]
    places = [sorted(values).index for values in (list(first), list(second))]
    squares = sum((places[0](a) - places[1](b)) ** 2 for a, b in zip(first, second, strict=True))
    return 1 - 6 * squares / (n * (n**2 - 1)), sum(signs) / len(pairs)


def equal(found, expected):
    if expected is None or found is None:
        return found is expected
    return found == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 14), st.integers(1, 5))
def test_rank_correlations(seed, n, k):
    rng = np.random.default_rng(seed)
    first, second = rng.permutation(n), rng.permutation(n)
    codes = rng.integers(0, k, size=n)
    found = rank_agreement(first, second, codes)
    spearman, kendall = naive_correlations(first, second)
    assert equal(found["spearman"], spearman)
    assert equal(found["kendall"], kendall)
    parts = [np.flatnonzero(codes == code) for code in range(k)]
    parts = [part for part in parts if part.size > 1]
    within = [naive_correlations(first[part], second[part]) for part in parts]
    for name, place in (("spearman_within", 0), ("kendall_within", 1)):
        mean = None
        if parts:
            total = sum(part.size for part in parts)
            mean = sum(p.size * w[place] for p, w in zip(parts, within, strict=True)) / total
        assert equal(found[name], mean)


def test_ranks_the_other_way_round():
    ranks = np.arange(30)
    same, opposite = rank_agreement(ranks, ranks), rank_agreement(ranks, ranks[::-1].copy())
    assert same["spearman"] == same["kendall"] == pytest.approx(1)
    assert opposite["spearman"] == opposite["kendall"] == pytest.approx(-1)
    assert same["spearman_within"] is None


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 5))
def test_overlap(seed, n, k):
    rng = np.random.default_rng(seed)
    first, second = rng.random(n) < 0.4, rng.random(n) < 0.6
    codes = rng.integers(0, k, size=n)
    found = overlap(first, second, codes)
    one, two = set(np.flatnonzero(first).tolist()), set(np.flatnonzero(second).tolist())
    smaller = min(len(one), len(two))
    assert found["budgets"] == [len(one), len(two)]
    assert found["common"] == len(one & two)
    if not smaller:
        assert found["share"] is found["chance"] is found["chance_within"] is None
        return
    assert found["share"] == len(one & two) / smaller
    assert found["jaccard"] == len(one & two) / len(one | two)
    assert found["chance"] == pytest.approx(max(len(one), len(two)) / n)
    expected = 0.0
    for code in range(k):
        part = set(np.flatnonzero(codes == code).tolist())
        if part:
            expected += len(one & part) * len(two & part) / len(part)
    assert found["chance_within"] == pytest.approx(expected / smaller)


def test_chance_is_what_random_selections_share():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], [20, 30, 50])
    budgets, shares = {0: (10, 4), 1: (3, 15), 2: (25, 25)}, []
    for _ in range(2000):
        chosen = np.zeros((2, 100), dtype=bool)
        for code, counts in budgets.items():
            rows = np.flatnonzero(codes == code)
            for mask, count in zip(chosen, counts, strict=True):
                mask[rng.choice(rows, count, replace=False)] = True
        shares.append(overlap(*chosen, codes)["share"])
    expected = overlap(*chosen, codes)["chance_within"]
    assert np.mean(shares) == pytest.approx(expected, abs=4 * np.std(shares) / 2000**0.5)


@pytest.mark.parametrize("n", [1, 2, 10, 99, 1000])
def test_the_curve_counts_common_prefixes(n):
    rng = np.random.default_rng(n)
    first, second = rng.permutation(n), rng.permutation(n)
    curve = overlap_curve(first, second)
    assert len(curve["fractions"]) == len(curve["overlaps"])
    for fraction, share in zip(curve["fractions"], curve["overlaps"], strict=True):
        k = round(fraction * n)
        assert share == np.sum((first < k) & (second < k)) / k
    if n >= 100:
        assert curve["fractions"] == list(comparing_runs.CURVE)


def test_random_pairs_are_pairs_of_a_class_and_all_are_drawn():
    codes = np.array([2, 0, 1, 0, 0, 1, 3])
    one, other = comparing_runs._random_pairs(codes, 4000, np.random.default_rng(0))
    drawn, counts = np.unique(np.stack([one, other]), axis=1, return_counts=True)
    possible = {(i, j) for i, j in itertools.permutations(range(7), 2) if codes[i] == codes[j]}
    assert {(int(i), int(j)) for i, j in drawn.T} == possible
    # Firsts are uniform among the five with company: 4,000/5 in each, shared by their partners.
    for (i, _), count in zip(drawn.T, counts, strict=True):
        expected = 800 / (np.sum(codes == codes[i]) - 1)
        assert abs(count - expected) < 5 * expected**0.5
    assert comparing_runs._random_pairs(np.arange(4), 10, np.random.default_rng(0)) is None
    assert comparing_runs._random_pairs(np.zeros(1, int), 10, np.random.default_rng(0)) is None


def test_correlations_of_similarities_approach_those_of_all_pairs(monkeypatch):
    rng = np.random.default_rng(3)
    first = rng.normal(size=(40, 6)).astype(np.float32)
    second = np.hstack([first[:, :3], rng.normal(size=(40, 4))]).astype(np.float32)
    codes = rng.integers(0, 3, size=40)
    found = similarity_agreement(first, second, codes, pairs=60_000)
    i, j = np.nonzero(~np.eye(40, dtype=bool))
    a, b = (np.sum(rows[i].astype(float) * rows[j], axis=1) for rows in (first, second))
    assert found["pearson"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=0.02)
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    assert found["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=0.02)
    same = codes[i] == codes[j]
    assert found["pearson_within"] == pytest.approx(np.corrcoef(a[same], b[same])[0, 1], abs=0.03)
    assert found == similarity_agreement(first, second, codes, pairs=60_000)
    monkeypatch.setattr(comparing_runs, "row_blocks", lambda n, size: [slice(0, 7), slice(7, n)])
    assert found == similarity_agreement(first, second, codes, pairs=60_000)


def test_similarities_without_variation_have_no_correlation():
    rows = np.ones((5, 2), dtype=np.float32)
    found = similarity_agreement(rows, rows, np.arange(5))
    assert found["pearson"] is found["spearman"] is found["pearson_within"] is None
    alone = similarity_agreement(rows[:1], rows[:1], np.zeros(1, dtype=np.int64))
    assert alone["pearson"] is alone["pearson_within"] is None
    with pytest.raises(UsageError, match="at least two pairs"):
        similarity_agreement(rows, rows, pairs=1)


@pytest.mark.parametrize("n", [1, 5, 1000])
def test_the_density_counts_every_example_once(n):
    rng = np.random.default_rng(0)
    counts = rank_density(rng.permutation(n), np.arange(n))
    assert counts.sum() == n
    assert counts.sum(axis=0).max() <= -(-n // counts.shape[0])
