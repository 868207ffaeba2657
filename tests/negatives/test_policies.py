from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.errors import DataError, UsageError
from contrasift.negatives import (
    Candidates,
    Tags,
    above,
    difficulty,
    duplicates,
    everything,
    parse_policy,
    random,
    same_class,
    same_latent_class,
)
from contrasift.negatives.ranks import _last_ranks, band_counts, band_mask, hardest_columns

BANDS = [(0, 5), (0, 95), (95, 100), (99.9, 100), (0, 99.9), (85, 90), (33.3, 66.6), (0, 100)]


def naive_band(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Sort every row, stable; keep ranks in (low·k/100, high·k/100]."""
    mask = np.zeros(values.shape, dtype=bool)
    k = values.shape[1]
    for row, entries in enumerate(values):
        for rank, column in enumerate(np.argsort(entries, kind="stable"), start=1):
            mask[row, column] = (
                Fraction(str(low)) * k < 100 * rank and 100 * rank <= Fraction(str(high)) * k
            )
    return mask


def both(values: np.ndarray, low: float, high: float, reserve: int = 0) -> np.ndarray:
    """The mask of an array, after checking that a tensor gives the same."""
    mask = band_mask(values, low, high, reserve)
    tensor = band_mask(torch.from_numpy(values.copy()), low, high, reserve)
    assert isinstance(mask, np.ndarray)
    assert mask.dtype == bool
    assert tensor.dtype == torch.bool
    np.testing.assert_array_equal(mask, tensor.numpy())
    return mask


@pytest.mark.parametrize("k", [0, 1, 2, 3, 7, 20, 64, 333, 1001])
@pytest.mark.parametrize("distinct", [1, 2, 5, 10_000])
def test_a_band_is_what_a_stable_sort_says(rng, k, distinct):
    values = rng.integers(0, distinct, (6, k)).astype(np.float32) / distinct
    for low, high in BANDS:
        np.testing.assert_array_equal(both(values, low, high), naive_band(values, low, high))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.0]), min_size=9, max_size=9), max_size=4),
    low=st.integers(0, 99),
    width=st.integers(1, 100),
)  # fmt: skip
def test_bands_with_many_ties(rows, low, width):
    values = np.array(rows, dtype=np.float64).reshape(-1, 9)
    high = min(100, low + width)
    np.testing.assert_array_equal(both(values, low, high), naive_band(values, low, high))


@pytest.mark.parametrize("k", [0, 1, 63, 700, 1001, 2111, 20_000])
@pytest.mark.parametrize("distinct", [1, 2, 40, 10_000_000])
def test_the_few_hardest_columns_are_those_of_a_stable_sort(rng, k, distinct):
    values = rng.integers(0, distinct, (13, k)).astype(np.float32)
    values[3].sort()  # all large ones side by side
    values[5] = -np.sort(-values[5])
    if k > 400:
        values[7, ::15] += distinct  # all large ones in one part
    ranked = np.argsort(values, axis=1, kind="stable")
    for low, high in [(99.9, 100), (99.5, 100), (98.4, 99), (85, 90), (50, 51), (0, 1), (99, 99)]:
        below, up_to = band_counts(low, high, k)
        found = hardest_columns(values, low, high)
        if found is None:
            assert below == up_to or 6 * (k - below) > k
            continue
        assert 6 * (k - below) <= k
        np.testing.assert_array_equal(hardest_columns(values.astype(np.float64), low, high), found)
        np.testing.assert_array_equal(found, np.sort(ranked[:, below:up_to], axis=1))
        tensor = hardest_columns(torch.from_numpy(values), low, high)
        assert tensor is not None
        np.testing.assert_array_equal(tensor.numpy(), found)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([60, 61, 200, 523]), st.integers(1, 60),
       st.integers(0, 30), st.sampled_from([0.0, 1.0, 8.0]))  # fmt: skip
def test_the_few_hardest_of_any_spread(seed, k, count, skip, spread):
    # Numbers of many sizes: halving where a bound may lie ends before it is near.
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((2, k)) * 10 ** (spread * rng.standard_normal((2, k)))).round(2)
    values[1, rng.integers(0, k)] = np.inf
    values[0, rng.integers(0, k, 50)] *= -0.0
    values[1, rng.integers(0, k, 50)] = -np.inf
    count = min(count, k - skip)
    ranked = np.argsort(values, axis=1, kind="stable")[:, k - skip - count : k - skip]
    np.testing.assert_array_equal(_last_ranks(values, count, skip), np.sort(ranked, axis=1))


@pytest.mark.parametrize("row", [0, 2])
def test_the_hardest_of_what_is_no_number_are_refused(row):
    values = np.zeros((3, 700), np.float32)
    values[row] = np.nan
    with pytest.raises(DataError, match="NaN"):
        hardest_columns(values, 99.5)


def test_half_precision_has_no_short_way():
    assert hardest_columns(np.zeros((3, 700), np.float16), 99.5) is None


def test_the_short_way_says_what_the_mask_says(rng):
    candidates = Candidates(rng.integers(0, 50, (4, 3000)) / 50)
    short = [difficulty(0, 99.9), difficulty(99.9, 100), difficulty(85, 90)]
    for policy in [*short, *(~policy for policy in short)]:
        columns, named = policy.few(candidates)
        mask = np.full((4, 3000), not named)
        np.put_along_axis(mask, columns, named, axis=1)
        np.testing.assert_array_equal(mask, policy.mask(candidates))
    long = [difficulty(80, 100), ~difficulty(0, 80), difficulty(0, 50), ~difficulty(5, 95)]
    for policy in [*long, ~difficulty(0, 100), everything, short[0] & short[1], above(0.5)]:
        assert policy.few(candidates) is None
    assert short[0].few(Candidates(candidates.similarity, reserve=9)) is None


def test_the_way_of_other_devices_is_the_same(rng, monkeypatch):
    # Devices without NumPy's partition go by topk.
    from contrasift.negatives import ranks

    values = rng.integers(0, 9, (5, 40)) / 8
    tensor = torch.from_numpy(values)
    for count in range(1, 40):
        expected = np.sort(values, axis=1)
        threshold, following = ranks._two_ranks_by_topk(tensor, count)
        np.testing.assert_array_equal(threshold[:, 0], expected[:, count - 1])
        np.testing.assert_array_equal(following[:, 0], expected[:, count])


def test_half_precision_tensors(rng):
    values = torch.from_numpy(rng.integers(0, 9, (3, 50)) / 8).bfloat16()
    mask = band_mask(values, 20, 80)
    np.testing.assert_array_equal(mask.numpy(), naive_band(values.float().numpy(), 20, 80))


def test_percentiles_are_exact_decimals():
    # In floats 64.1 · 1000 / 100 is 640.99….
    assert band_counts(64.1, 100, 1000) == (641, 1000)
    assert band_counts(99.9, 100, 1000) == (999, 1000)
    assert band_counts(7, 29, 100) == (7, 29)
    # arXiv 2010.06682, §3: 5 % of 65,536 is 3276.8; we keep 3277, and their complement is exact.
    assert band_counts(95, 100, 65536) == (65536 - 3277, 65536)
    assert band_counts(0, 95, 65536) == (0, 65536 - 3277)


def test_the_easier_and_the_harder_part_are_complements(rng):
    values = rng.integers(0, 6, (5, 77)) / 5
    for cut in (0.1, 5, 33.3, 95, 99.9):
        candidates = Candidates(values)
        np.testing.assert_array_equal(
            difficulty(0, cut).mask(candidates), ~difficulty(cut, 100).mask(candidates)
        )


@pytest.mark.parametrize(("low", "high"), [(0, 80), (80, 100), (20, 60), (0, 100)])
def test_the_reserve_is_judged_by_the_thresholds(rng, low, high):
    values = rng.normal(size=(4, 30))
    values[:, 25] = np.sort(values[:, :20])[:, 15]  # exactly at a threshold of 80 %
    mask = both(values, low, high, reserve=10)
    np.testing.assert_array_equal(mask[:, :20], naive_band(values[:, :20], low, high))
    ranked = np.sort(values[:, :20])
    first, last = band_counts(low, high, 20)
    bottom = ranked[:, first - 1, None] if first else -np.inf
    top = ranked[:, last - 1, None] if last < 20 else np.inf
    np.testing.assert_array_equal(mask[:, 20:], (values[:, 20:] > bottom) & (values[:, 20:] <= top))


def test_tags_are_compared_and_unknown_ones_are_no_class():
    similarity = np.zeros((3, 4))
    queries = Tags(np.array([0, 1, -1]), np.array([5, 5, 6]), np.array([10, 11, 12]))
    negatives = Tags(np.array([0, 1, -1, 0]), np.array([5, 6, -1, 6]), np.array([12, 99, 10, -1]))
    candidates = Candidates(similarity, queries, negatives)
    expected = [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(same_class.mask(candidates), np.array(expected, dtype=bool))
    expected = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1]]
    np.testing.assert_array_equal(
        same_latent_class.mask(candidates), np.array(expected, dtype=bool)
    )
    expected = [[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    np.testing.assert_array_equal(duplicates.mask(candidates), np.array(expected, dtype=bool))


def test_above_is_strict_and_all_is_all():
    candidates = Candidates(np.array([[0.1, 0.5, 0.6]]))
    assert above(0.5).mask(candidates).tolist() == [[False, False, True]]
    assert everything.mask(candidates).all()


@pytest.mark.parametrize("share", [0.05, 0.001, 0.5, 1])
@pytest.mark.parametrize("k", [1, 10, 510, 1000])
def test_random_names_as_many_as_the_hardest(rng, share, k):
    candidates = Candidates(rng.normal(size=(7, k)), draws=rng.random((7, k)))
    chosen = random(share).mask(candidates).sum(axis=1)
    assert set(chosen) == {-(-Fraction(str(share)) * k // 1)}
    if share < 1:
        low = float(100 - 100 * Fraction(str(share)))
        assert set(chosen) == set(difficulty(low, 100).mask(candidates).sum(axis=1))


def test_random_is_even(rng):
    candidates = Candidates(np.zeros((4000, 10)), draws=rng.random((4000, 10)))
    share = random(0.3).mask(candidates).mean(axis=0)
    assert np.abs(share - 0.3).max() < 4 * np.sqrt(0.21 / 4000)


def test_composition_is_set_algebra(rng):
    labels = rng.integers(0, 3, 30)
    candidates = Candidates(rng.normal(size=(5, 30)), Tags(labels[:5]), Tags(labels))
    hard, same = difficulty(80, 100).mask(candidates), same_class.mask(candidates)
    pairs = [
        (difficulty(80, 100) & same_class, hard & same),
        (difficulty(80, 100) & ~same_class, hard & ~same),
        (same_class & ~difficulty(80, 100), same & ~hard),
        (same_class | difficulty(80, 100), same | hard),
        (~(same_class | difficulty(80, 100)), ~(same | hard)),
        (~~same_class, same),
    ]
    for policy, expected in pairs:
        np.testing.assert_array_equal(policy.mask(candidates), expected, str(policy))


# Text -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("difficulty( 95 ,100.0)&~same_class", "difficulty(95,100) & ~same_class"),
        ("all", "all"),
        ("~(~duplicates)", "duplicates"),
        ("(above(-0.5)) | same_latent_class", "above(-0.5) | same_latent_class"),
        ("(same_class | above(.9)) & random(1)", "(same_class | above(0.9)) & random(1)"),
        ("same_class | (above(.9) & random(.05))", "same_class | above(0.9) & random(0.05)"),
        ("~(same_class & duplicates)", "~(same_class & duplicates)"),
        ("same_class & (duplicates & all)", "same_class & duplicates & all"),
        ("difficulty(0, 99.9)", "difficulty(0,99.9)"),
        ("difficulty(1e-3, 1e2)", "difficulty(0.001,100)"),
    ],
)
def test_canonical_text(text, canonical):
    assert str(parse_policy(text)) == canonical
    assert str(parse_policy(canonical)) == canonical


# Plain values, of which policies are made in the test: beartype draws random numbers to look into
# containers, and hypothesis forbids that while it generates.
LEAVES = st.one_of(
    st.sampled_from([(same_class,), (same_latent_class,), (duplicates,), (everything,)]),
    st.tuples(st.just(above), st.floats(-1, 1)),
    st.tuples(st.just(random), st.floats(0, 1, exclude_min=True)),
    st.tuples(st.just(difficulty), st.floats(0, 49), st.floats(50, 100)),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.just("~"), inner), st.tuples(st.sampled_from("&|"), inner, inner)
    ),
    max_leaves=8,
)


def grown(tree: tuple):
    head, *rest = tree
    if head == "~":
        return ~grown(rest[0])
    if head in ("&", "|"):
        left, right = map(grown, rest)
        return left & right if head == "&" else left | right
    return head(*rest) if rest else head


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_every_policy_round_trips(tree):
    policy = grown(tree)
    again = parse_policy(policy.text)
    assert again == policy
    assert again.text == policy.text


@pytest.mark.parametrize(
    "text",
    [
        "", "hard", "difficulty(95)", "difficulty(1,2,3)", "same_class()", "~", "same_class same_class",
        "__import__('os')", "difficulty(low=1, high=2)", "random('a')", "above(True)",
        "same_class and duplicates", "difficulty(95,100) - same_class", "(" * 300 + ")" * 300,
    ],
)  # fmt: skip
def test_what_is_no_policy(text):
    with pytest.raises(UsageError, match="a policy made of difficulty"):
        parse_policy(text)


def test_bad_numbers():
    with pytest.raises(UsageError, match=r"0 ≤ low < high ≤ 100; got difficulty\(100,95\)"):
        difficulty(100, 95)
    for low, high in [(5, 5), (-1, 5), (5, 101), (float("nan"), 5)]:
        with pytest.raises(UsageError, match="percentiles in order"):
            difficulty(low, high)
    for share in (0, 1.1, float("nan")):
        with pytest.raises(UsageError, match="a share in"):
            random(share)
    with pytest.raises(UsageError, match=r"a cosine in \[-1, 1\]"):
        above(1.5)


def test_missing_tags_and_draws():
    candidates = Candidates(np.zeros((2, 3)), Tags(labels=np.array([0, 1])))
    with pytest.raises(UsageError, match="labels of queries and negatives.*negatives without"):
        same_class.mask(candidates)
    with pytest.raises(UsageError, match="latent classes of .*queries without"):
        same_latent_class.mask(candidates)
    with pytest.raises(UsageError, match="random numbers"):
        random(0.1).mask(candidates)


def test_policies_do_not_load_torch():
    code = "import sys, contrasift.negatives as n; n.parse_policy('same_class'); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
