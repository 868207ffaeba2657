"""Double greedy and swaps against their definitions on similarity matrices, and known examples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from contrasift.selection.kernels.linear_form import sum_of, total_of, value
from contrasift.selection.optimizers.refine import double_greedy, replay, swap

# docs/mathematics.md#example-four-examples
# s12 = .8, s13 = .6, s14 = .1, s23 = .4, s24 = .2, s34 = .3; unit diagonal.
EXAMPLE = np.array([[1, 0.8, 0.6, 0.1], [0.8, 1, 0.4, 0.2], [0.6, 0.4, 1, 0.3], [0.1, 0.2, 0.3, 1]])


def rows_with_gram(gram):
    return np.linalg.cholesky(gram).astype(np.float32)


def unit(rng, n, d=8):
    z = np.abs(rng.normal(size=(n, d)))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def naive_value(gram, chosen, redundancy=1.0):
    chosen = list(chosen)
    return gram[:, chosen].sum() - redundancy * gram[np.ix_(chosen, chosen)].sum()


def naive_greedy(gram, budget, redundancy=1.0):
    order = []
    for _ in range(budget):
        rest = [e for e in range(len(gram)) if e not in order]
        order.append(max(rest, key=lambda e: (naive_value(gram, [*order, e], redundancy), -e)))
    return np.array(order, dtype=np.int64)


def naive_double_greedy(gram, order, redundancy=1.0, coins=None):
    lower, upper = [], [int(e) for e in order]
    trace = []
    for i, e in enumerate(int(e) for e in order):
        without = [other for other in upper if other != e]
        add = naive_value(gram, [*lower, e], redundancy) - naive_value(gram, lower, redundancy)
        remove = naive_value(gram, without, redundancy) - naive_value(gram, upper, redundancy)
        trace.append((add, remove))
        if coins is None:
            keep = add >= remove
        else:
            a, b = max(add, 0), max(remove, 0)
            keep = a + b == 0 or coins[i] * (a + b) < a
        if keep:
            lower.append(e)
        else:
            upper = without
    return lower, trace


def test_the_papers_example():
    # docs/mathematics.md#example-four-examples
    # Greedy 1, 4, 3, 2 with F 1.5, 1.9, 1.4, 0; double greedy on (1, 4, 3):
    # (a, b) = (1.5, -.1) keep, (.4, .2) keep, (-.5, .5) drop.
    assert naive_greedy(EXAMPLE, 4).tolist() == [0, 3, 2, 1]
    z = rows_with_gram(EXAMPLE)
    order = np.array([0, 3, 2])
    stays = double_greedy(z, order, total=total_of(z), redundancy=1.0)
    assert stays.tolist() == [True, True, False]
    kept, trace = naive_double_greedy(EXAMPLE, order)
    assert kept == [0, 3]
    np.testing.assert_allclose(trace, [(1.5, -0.1), (0.4, 0.2), (-0.5, 0.5)], atol=1e-12)


def test_replay_gives_the_papers_values():
    z = rows_with_gram(EXAMPLE)
    gains = replay(z, np.array([0, 3, 2, 1]), total=total_of(z), redundancy=1.0)
    np.testing.assert_allclose(np.cumsum(gains), [1.5, 1.9, 1.4, 0], atol=1e-6)


def test_randomised_rule_keeps_with_the_papers_probability():
    # Second element of the example: (.4, .2), kept with probability 2/3.
    z = rows_with_gram(EXAMPLE)
    kept = [
        double_greedy(
            z,
            np.array([0, 3, 2]),
            total=total_of(z),
            redundancy=1.0,
            generator=np.random.default_rng(seed),
        )
        for seed in range(2000)
    ]
    share = np.mean(kept, axis=0)
    assert share[0] == 1
    assert share[1] == pytest.approx(2 / 3, abs=0.04)


@pytest.mark.parametrize("redundancy", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_double_greedy_is_the_naive_one(rng, n, redundancy):
    for _ in range(5):
        z = unit(rng, n)
        gram = z.astype(np.float64) @ z.T.astype(np.float64)
        order = naive_greedy(gram, max(1, 4 * n // 5), redundancy)
        stays = double_greedy(z, order, total=total_of(z), redundancy=redundancy)
        assert order[stays].tolist() == naive_double_greedy(gram, order, redundancy)[0]
        stays = double_greedy(
            z,
            order,
            total=total_of(z),
            redundancy=redundancy,
            generator=np.random.default_rng(3),
        )
        coins = np.random.default_rng(3).random(order.size)
        assert order[stays].tolist() == naive_double_greedy(gram, order, redundancy, coins)[0]


def test_double_greedy_keeps_what_must_stay():
    z = rows_with_gram(EXAMPLE)
    stays = double_greedy(
        z, np.array([0, 3, 2]), total=total_of(z), redundancy=1.0, keep=np.array([2])
    )
    assert stays[2]


def test_double_greedy_of_nothing():
    z = rows_with_gram(EXAMPLE)
    empty = np.empty(0, dtype=np.int64)
    assert double_greedy(z, empty, total=total_of(z), redundancy=1.0).size == 0


def test_past_half_of_a_class_double_greedy_shrinks_it(rng):
    # docs/mathematics.md#double-greedy: of 100 random cosine sets 20 and 40 stay, 80 fall to 49.
    z = unit(rng, 100, 16)
    gram = z.astype(np.float64) @ z.T.astype(np.float64)
    kept = {}
    for budget in (20, 40, 80):
        order = naive_greedy(gram, budget)
        kept[budget] = int(double_greedy(z, order, total=total_of(z), redundancy=1.0).sum())
    assert (kept[20], kept[40]) == (20, 40)
    assert 45 <= kept[80] <= 55


@pytest.mark.parametrize("redundancy", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("n", [1, 2, 6, 9])
def test_swaps_end_where_no_swap_gains(rng, n, redundancy):
    for _ in range(10):
        z = unit(rng, n, 3)
        gram = z.astype(np.float64) @ z.T.astype(np.float64)
        start = np.sort(rng.choice(n, n // 2, replace=False))
        done = swap(z, start, total=total_of(z), redundancy=redundancy)
        assert done.exhausted
        assert done.selected.size == start.size
        assert done.value >= naive_value(gram, start, redundancy) - 1e-6
        assert done.value == pytest.approx(naive_value(gram, done.selected, redundancy), abs=1e-5)
        for e, f in itertools.product(done.selected, np.setdiff1d(np.arange(n), done.selected)):
            other = [f if row == e else row for row in done.selected]
            assert naive_value(gram, other, redundancy) <= done.value + 1e-6


def test_swaps_repair_a_bad_start(rng):
    z = unit(rng, 400, 12)
    total = total_of(z)
    worst = np.argsort(z @ total.astype(np.float32))[:80]
    before = value(total, sum_of(z, worst), 1.0)
    done = swap(z, worst, total=total, redundancy=1.0, candidates=16)
    assert done.swaps > 0
    assert done.value > before
    assert done.value == pytest.approx(value(total, sum_of(z, done.selected), 1.0))


def test_swaps_respect_limits(rng):
    z = unit(rng, 40, 5)
    start = np.arange(10)
    eligible = np.ones(40, dtype=bool)
    eligible[20:] = False
    done = swap(
        z, start, total=total_of(z), redundancy=1.0, keep=np.array([2, 3]), eligible=eligible
    )
    assert {2, 3} <= set(done.selected.tolist())
    assert done.selected.max() < 20


def test_swaps_stop_at_the_limit_of_sweeps(rng):
    z = unit(rng, 200, 12)
    done = swap(z, np.arange(50), total=total_of(z), redundancy=1.0, candidates=1, sweeps=2)
    assert done.sweeps == 2
    assert not done.exhausted
