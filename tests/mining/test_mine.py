"""Mining against every pair looked at one by one; rows without rounding, so that ties are many."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import contrasift as cs
from contrasift.errors import DataError, UsageError
from contrasift.mining import exact, numbers, ranking
from contrasift.mining import miner as module
from contrasift.mining.numbers import hashed, number_at, smallest_rows
from contrasift.negatives import policies
from tests import reference


def signs(n: int, seed: int = 0) -> np.ndarray:
    """Rows of ±1/2: of length one, and every product of two is a multiple of 1/2, exactly."""
    return np.random.default_rng(seed).choice([-0.5, 0.5], (n, 4)).astype(np.float32)


class Case:
    """Queries, corpus, positives and what is known of them, by seed."""

    def __init__(self, seed: int, n: int = 30, q: int = 9, same: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.same = same
        self.corpus = signs(n, seed)
        self.queries = self.corpus if same else signs(q, seed + 1)
        q = len(self.queries)
        some = [rng.choice(n, int(rng.integers(1, min(3, n) + 1)), replace=False) for _ in range(q)]
        self.positives = [[int(j) for j in rows if not (same and j == i)] or [(i + 1) % n]
                          for i, rows in enumerate(some)]  # fmt: skip
        self.codes = rng.integers(0, 4, n)
        self.relevant = {
            (int(a), int(b))
            for a, b in zip(rng.integers(0, q, 9), rng.integers(0, n, 9), strict=True)
        }
        self.similarity = self.queries @ self.corpus.T
        self.seed = seed
        self.draws: dict = {}
        self.learnable = any(self.weakest(i) < 1 for i in range(q))

    def pairs(self) -> np.ndarray:
        return np.array([(i, j) for i, rows in enumerate(self.positives) for j in rows])

    def mine(self, **arguments: object) -> cs.Mined:
        corpus = None if self.same else self.corpus
        given = {"latent_classes": self.codes, "labels": self.codes, "seed": self.seed,
                 "relevant": np.array(sorted(self.relevant)), "allow_fewer": True}  # fmt: skip
        return cs.mine(self.queries, corpus, self.pairs(), **(given | arguments))  # type: ignore[arg-type]

    def own(self, i: int) -> list[int]:
        return [*self.positives[i], *([i] if self.same else [])]

    def weakest(self, i: int) -> float:
        return min(float(self.similarity[i, j]) for j in self.positives[i])


def in_band(low: float, high: float, place: int, k: int) -> bool:
    rank = k - place + 1
    return Fraction(str(low)) * k / 100 < rank <= Fraction(str(high)) * k / 100


# The text of a policy, and the same in plain Python.
POLICIES = {
    "all": lambda c, i, j, p, k: True,
    "above(0)": lambda c, i, j, p, k: c.similarity[i, j] > 0,
    "difficulty(10,80)": lambda c, i, j, p, k: in_band(10, 80, p, k),
    "~difficulty(80,100)": lambda c, i, j, p, k: not in_band(80, 100, p, k),
    "~difficulty(0,50)": lambda c, i, j, p, k: not in_band(0, 50, p, k),
    "difficulty(20,33.3) | difficulty(90,100)": lambda c, i, j, p, k: (
        in_band(20, 33.3, p, k) or in_band(90, 100, p, k)
    ),
    "~same_latent_class": lambda c, i, j, p, k: c.codes[j] not in [c.codes[o] for o in c.own(i)],
    "same_class & ~relevant": lambda c, i, j, p, k: (
        c.codes[j] in [c.codes[o] for o in c.own(i)] and (i, j) not in c.relevant
    ),
    "~duplicates & ~margin(0.25)": lambda c, i, j, p, k: not (
        c.similarity[i, j] == 1 or any((c.corpus[j] == c.corpus[o]).all() for o in c.own(i))
    ) and c.similarity[i, j] <= c.weakest(i) - 0.25,
    "~above_positive(0.95) & difficulty(0,90)": lambda c, i, j, p, k: (
        c.similarity[i, j] <= c.weakest(i) - 0.05 * abs(c.weakest(i)) and in_band(0, 90, p, k)
    ),
    "random(0.3)": lambda c, i, j, p, k: drawn(c, i, j, 0.3),
}  # fmt: skip


def drawn(case: Case, i: int, j: int, share: float) -> bool:
    if (i, share) not in case.draws:
        others = [o for o in range(len(case.corpus)) if o not in case.own(i)]
        order = sorted(others, key=lambda o: reference.hashed(case.seed, 1, i, o) >> 11)
        kept_out = math.floor((100 - 100 * Fraction(str(share))) * len(others) / 100)
        case.draws[i, share] = {*order[kept_out:]}
    return j in case.draws[i, share]


def as_lists(mined: cs.Mined) -> list[list[tuple[int, int]]]:
    return [
        [(int(j), int(p)) for j, p in zip(rows, places, strict=True) if j >= 0]
        for rows, places in zip(mined.negatives, mined.places, strict=True)
    ]


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(2, 40), same=st.booleans())
def test_are_those_of_a_loop_over_all_pairs(policy, seed, n, same):
    case = Case(seed, n, same=same)
    assume(case.learnable)
    per_query = min(3, n)
    naive = reference.mined(
        case.similarity, case.positives, lambda *one: POLICIES[policy](case, *one), per_query,
        same=same,
    )  # fmt: skip
    assert as_lists(case.mine(policy=policy, per_query=per_query)) == naive


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        ("sample(top=7)", {"top": 7}),
        ("random(3)", {"randoms": 3}),
        ("hardest + random(1)", {"randoms": 1}),
        ("sample(top=5) + random(2)", {"top": 5, "randoms": 2}),
    ],
)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(4, 40))
def test_draws_are_those_of_the_smallest_numbers(draw, told, seed, n):
    case = Case(seed, n)
    assume(case.learnable)
    naive = reference.mined(
        case.similarity, case.positives,
        lambda *one: POLICIES["~same_latent_class"](case, *one), 3, seed=seed, **told,
    )  # fmt: skip
    assert as_lists(case.mine(policy="~same_latent_class", per_query=3, draw=draw)) == naive


@pytest.mark.parametrize("policy", [*POLICIES, "above(0.9)"])
@pytest.mark.parametrize(("draw", "told"), [("random(3)", {"randoms": 3}),
                                            ("sample(top=2) + random(2)", {"randoms": 2, "top": 2})])  # fmt: skip
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(3, 50), same=st.booleans(), tried=st.integers(0, 9))
def test_draws_from_all_are_those_of_a_loop(policy, draw, told, seed, n, same, tried):
    case = Case(seed, n, same=same)
    assume(case.learnable)
    rule = POLICIES.get(policy, lambda c, i, j, p, k: c.similarity[i, j] > 0.9)
    naive = reference.mined(
        case.similarity, case.positives, lambda *one: rule(case, *one), 3, same=same, seed=seed,
        **told,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:  # few are tried, then more, then all
        patch.setattr(exact, "_SPARE_TRIED", tried)
        patch.setattr(exact, "_MOST_TRIED", 8 * tried)
        patch.setattr(exact, "_MORE_TRIED", 2)
        patch.setattr(exact, "_SHALLOW", 1 if tried % 2 else 32)
        assert as_lists(case.mine(policy=policy, per_query=3, draw=draw)) == naive


def test_a_draw_from_all_lists_nothing(rng, monkeypatch):
    rows = rng.normal(size=(900, 8))
    monkeypatch.setattr(exact, "hardest", None)
    monkeypatch.setattr(exact, "Hardest", lambda b, depth, group: None)
    mined = cs.mine(rows[:50], rows[50:], np.arange(50), policy="~duplicates", draw="random(8)")
    assert (mined.counts == 8).all()
    assert 300 < np.median(mined.places) < 550


@pytest.mark.parametrize(("n", "count"), [(1, 1), (40, 0), (40, 3), (40, 40), (900, 30)])
def test_the_smallest_numbers(n, count, monkeypatch):
    naive = [sorted(range(n), key=lambda j, i=i: reference.hashed(5, 3, i, j)) for i in (2, 7)]
    for spare in (16, 1):  # enough at once, or again with a higher limit
        monkeypatch.setattr(numbers, "_more", lambda count, spare=spare: count + spare)
        found = smallest_rows(5, 3, np.array([2, 7]), n, count)
        assert found.tolist() == [order[:count] for order in naive]
    others = [j for j in naive[1] if j != n // 2]
    for place in range(1, n, 7):
        number = number_at(5, 3, 7, np.array([n // 2]), n - 1, place)
        assert number == reference.hashed(5, 3, 7, others[place - 1])


def test_numbers_of_pairs():
    found = hashed(5, 2, np.array([0, 7]), np.array([[1, 2**40], [3, 0]]))
    naive = [[reference.hashed(5, 2, i, j) for j in rows]
             for i, rows in ((0, (1, 2**40)), (7, (3, 0)))]  # fmt: skip
    assert found.tolist() == naive


@pytest.mark.parametrize("n", [8, 33, 700, 5_000])
@pytest.mark.parametrize("kinds", [1, 3, 10_000])
def test_the_hardest_of_a_row(n, kinds):
    rng = np.random.default_rng(n)
    values = (rng.integers(0, kinds, (3, n)) / kinds).astype(np.float32)
    values[0, ::2] *= -1
    values[1, rng.integers(0, n, n // 8)] = -np.inf
    for depth in (1, 3, n // 70 + 1, n):
        rows, best = ranking.hardest(np.pad(values, ((0, 0), (0, 5))), n, depth)
        for row, own, value in zip(values, rows, best, strict=True):
            order = [j for j in np.lexsort((np.arange(n), row))[::-1] if row[j] > -np.inf]
            there = own[own >= 0]
            assert there.tolist() == order[: min(depth, n)]
            assert (value[own >= 0] == row[there]).all()


@pytest.mark.parametrize(
    ("policy", "draw"),
    [("difficulty(50,97) & ~above(0.3)", "sample(top=20)"),
     ("~above_positive(0.9)", "sample(top=20)"), ("random(0.2)", "sample(top=20)"),
     ("~duplicates & difficulty(10,100)", "random(8)"), ("difficulty(90,99)", "random(8)"),
     ("~above(0.2)", "hardest + random(5)")],
)  # fmt: skip
def test_blocks_threads_and_pieces_change_nothing(policy, draw, rng, monkeypatch):
    queries, corpus = rng.normal(size=(60, 24)), rng.normal(size=(400, 24))
    corpus[:-1:3] = corpus[1::3]  # copies: equal similarities
    corpus[:60] += queries

    def found(threads: int) -> list:
        mined = cs.mine(queries, corpus, np.arange(60), policy=policy, draw=draw, threads=threads)
        return [mined.negatives.tolist(), mined.places.tolist(), mined.similarity.tolist()]

    plain = found(1)
    for threads, rows, piece, whole in ((2, 1, 8192, 1), (3, 12, 40, 5_000), (1, 500, 7, 1 << 21)):
        monkeypatch.setattr(exact, "block_rows", lambda n, count, rows=rows: rows)
        monkeypatch.setattr(module, "PIECE", piece)
        monkeypatch.setattr(exact, "_WHOLE_ENTRIES", whole)
        assert found(threads) == plain
    # Held at once, or a group of columns after the other.
    for share, rows, group in ((0, 5, 1), (0, 500, 3), (1 << 30, 7, 1)):
        monkeypatch.setattr(exact, "_SHALLOW", share)
        monkeypatch.setattr(exact, "_STREAM_ROWS", rows)
        monkeypatch.setattr(exact, "_GROUP", group)
        assert found(2) == plain


def test_what_is_done_is_not_done_again(rng, monkeypatch):
    kept: dict = {}

    class Kept:
        def get(self, number):
            return kept.get(number)

        def put(self, number, arrays):
            kept[number] = arrays

    monkeypatch.setattr(module, "PIECE", 4)
    case = Case(3)
    told: list = []
    plain = case.mine(per_query=2, pieces=Kept(), progress=lambda *one: told.append(one))
    assert sorted(kept) == [0, 1, 2]
    assert told[-1] == (9, 9)
    monkeypatch.setattr(module, "mine_exactly", None)
    again = case.mine(per_query=2, pieces=Kept())
    assert as_lists(again) == as_lists(plain)
    assert again.reasons.tolist() == plain.reasons.tolist()


@pytest.mark.parametrize(
    "policy", ["~same_latent_class & ~above(0)", "~above_positive(0.5) & difficulty(20,90)"]
)
def test_what_is_too_similar_is_not_listed(policy, monkeypatch):
    def found(seed: int) -> list:
        mined = Case(seed, 50).mine(policy=policy, per_query=13)
        return [mined.negatives.tolist(), mined.places.tolist(), mined.reasons.tolist()]

    with monkeypatch.context() as patch:
        patch.setattr(policies._Not, "ceiling", lambda self, positive: None)
        listed = [found(seed) for seed in range(4)]
    assert [found(seed) for seed in range(4)] == listed
    reasons = {reason for one in listed for reason in one[2]}
    assert len(reasons) > 1


def test_queries_left_with_too_few_say_why():
    queries, corpus = np.eye(4)[:2], np.eye(4)
    corpus[2] = corpus[0] + 0.1
    given = (queries, corpus, [2, 3])
    mined = cs.mine(*given, policy="above(0.5)", per_query=1)
    assert mined.kept.tolist() == [True, True]
    mined = cs.mine(
        *given, policy="above(0.5) & ~same_latent_class", per_query=2, latent_classes=[1, 1, 1, 0]
    )
    assert mined.kept.tolist() == [False, False]
    assert (mined.negatives == -1).all()
    assert mined.reasons.tolist() == ["above(0.5)"] * 2
    mined = cs.mine(
        *given,
        policy="~same_latent_class",
        per_query=2,
        latent_classes=[1, 1, 1, 0],
        allow_fewer=True,
    )
    assert mined.counts.tolist() == [1, 2]
    assert mined.reasons.tolist() == ["~same_latent_class", ""]
    assert cs.mine(*given, policy="all", per_query=4).reasons.tolist() == ["corpus"] * 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"per_query": 31}, "per_query= from 1 to the 30 rows"),
        ({"per_query": 0}, "per_query= from 1"),
        ({"latent_classes": None, "policy": "~same_latent_class"}, "latent classes of the corpus"),
        ({"labels": None, "policy": "~same_class"}, "labels of the corpus"),
        ({"relevant": None, "policy": "~relevant"}, "relevant="),
        ({"latent_classes": np.zeros(4, int)}, "one whole number for each of the 30 rows"),
        ({"policy": "nearly"}, "a policy made of"),
        ({"policy": "above_positive(3)"}, "a share of the positive's score"),
        ({"policy": "margin(3)"}, "a width in"),
        ({"draw": "some"}, "hardest, sample"),
        ({"draw": "random(3) + random(5)"}, "hardest, sample"),
        ({"draw": "random(3)"}, "a draw of per_query=8"),
        ({"draw": "hardest + random(9)"}, "a draw of per_query=8"),
        ({"draw": "sample(top=3)"}, "K of at least 8"),
        ({"search": "quick"}, "search="),
        ({"relevant": np.array([[0, 30]])}, "relevant with rows of the corpus, 0 to 29"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be(changed, said):
    with pytest.raises((UsageError, DataError), match=said):
        Case(0).mine(**changed)


def test_data_that_cannot_be():
    case = Case(0)
    with pytest.raises(DataError, match=r"a positive for each of the 9 queries.*row 3"):
        cs.mine(case.queries, case.corpus, case.pairs()[case.pairs()[:, 0] != 3])
    with pytest.raises(DataError, match="rows of the corpus, 0 to 29; got 1 others"):
        cs.mine(case.queries, case.corpus, [*range(8), 30])
    with pytest.raises(DataError, match="of one width"):
        cs.mine(case.queries[:, :3], case.corpus, np.arange(9))
    with pytest.raises(UsageError, match="other than the query itself"):
        cs.mine(case.corpus, None, np.arange(30))
    with pytest.raises(DataError, match="all identical to the query"):
        cs.mine(case.corpus[:9], case.corpus.copy(), np.arange(9))
    with pytest.raises(UsageError, match="positives=, pairs"):
        cs.mine(case.corpus)
    for bad, said in ((np.nan, "NaN"), (0, "zeros")):
        broken = case.corpus.copy()
        broken[7] = bad
        with pytest.raises(DataError, match=f"corpus.*{said}.*row 7"):
            cs.mine(case.queries, broken, np.arange(9))
        with pytest.raises(DataError, match=f"queries.*{said}.*row 7"):
            cs.mine(broken, case.corpus, np.arange(30))


@pytest.mark.parametrize(
    "policy", ["all", "~above_positive(0.9) & ~duplicates", "difficulty(95,99)"]
)
def test_approximate_is_exact_where_all_lists_are_looked_into(policy, rng):
    queries, corpus = rng.normal(size=(40, 8)), rng.normal(size=(1_500, 8))
    corpus[::5], corpus[:40] = corpus[1::5], queries + 0.5 * corpus[:40]
    given = (queries, corpus, np.arange(40))
    plain = cs.mine(*given, policy=policy, per_query=3)
    near = cs.mine(*given, policy=policy, per_query=3, search="approximate", recall=1.0)
    assert near.facts["measured_recall"] == 1
    assert near.negatives.tolist() == plain.negatives.tolist()
    assert near.similarity.tolist() == plain.similarity.tolist()
    assert near.places.tolist() == plain.places.tolist()


def test_an_approximate_draw_from_a_band(rng):
    rows = rng.normal(size=(1_500, 6))
    given, policy = (rows, None, np.roll(np.arange(1_500), 1)), "difficulty(98,100)"
    plain = cs.mine(*given, policy=policy, draw="random(8)")
    near = cs.mine(*given, policy=policy, draw="random(8)", search="approximate", recall=1.0)
    assert near.negatives.tolist() == plain.negatives.tolist()


def test_a_pool_of_its_own_is_searched_approximately(rng, monkeypatch):
    rows = np.repeat(rng.normal(size=(30, 6)), 50, axis=0) + 0.4 * rng.normal(size=(1500, 6))
    positives = np.roll(np.arange(1500), 1)
    found = []
    for threads, piece in ((1, 131_072), (2, 400)):
        monkeypatch.setattr(module, "LARGE_PIECE", piece)
        mined = cs.mine(rows, None, positives, per_query=4, search="approximate", threads=threads)
        found.append(mined.negatives.tolist())
    assert found[0] == found[1]
    assert 0.95 <= mined.facts["measured_recall"] <= 1
    plain = cs.mine(rows, None, positives, per_query=4)
    same = [len({*a} & {*b}) / 4 for a, b in zip(found[0], plain.negatives.tolist(), strict=True)]
    assert np.mean(same) > 0.95
    assert not (mined.negatives == np.arange(1500)[:, None]).any()


@pytest.mark.parametrize(
    ("policy", "draw", "said"),
    [("random(0.5)", "hardest", "random numbers"), ("all", "random(8)", "random numbers"),
     ("difficulty(0,2)", "hardest", "the place 3,000")],
)  # fmt: skip
def test_what_lists_cannot_give(policy, draw, said, rng):
    rows = rng.normal(size=(3_000, 3))
    with pytest.raises(UsageError, match=said):
        cs.mine(
            rows, None, np.roll(np.arange(3_000), 1), policy=policy, draw=draw, search="approximate"
        )
