"""One contract for every way to choose: an objective that is not listed, or breaks it, fails."""

import numpy as np
import pytest

from contrasift import select
from contrasift.catalogue import OBJECTIVES, refuse_unused
from contrasift.errors import DataError, UsageError
from contrasift.selection.solve import SOLVERS

NAMES = sorted(OBJECTIVES)
SIZES = (1, 2, 7, 60)
FLAGS = ("threshold", "relaxed", "stochastic", "refine", "coverage_weight", "centre_weight")
FLAGS += ("epsilon", "neighbours", "scores", "scores_column", "scores_keep")
FLAGS += ("levels", "target", "target_weight")


def rows(n, seed=0, d=6):
    """Unit rows of mixed sign, with duplicates where there is room."""
    values = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    if n >= 7:
        values[3] = values[5]
        values[6] = values[5]
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def choose(name, values, classes=None, **request):
    if "scores" in OBJECTIVES[name].needs and "scores" not in request:
        request["scores"] = np.round(np.linspace(0, 3, len(values)))[::-1]
    if "target" in OBJECTIVES[name].needs:
        request["target"] = values[-1:]
    return select(values, classes, objective=name, **request)


def classes_of(n):
    return np.arange(n) % 3


def test_every_objective_is_listed_once_and_solved():
    assert set(SOLVERS) == set(OBJECTIVES)
    assert all(name == entry.name for name, entry in OBJECTIVES.items())
    assert all(entry.description and entry.source and entry.value for entry in OBJECTIVES.values())
    assert {flag for entry in OBJECTIVES.values() for flag in entry.uses} == set(FLAGS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", SIZES)
def test_the_budget_is_exact_and_every_example_ranked_once(name, n):
    values = rows(n)
    for budget in sorted({0, min(1, n), n // 3, n}):
        chosen = choose(name, values, classes_of(n), budget=budget)
        assert chosen.indices.size == budget == chosen.budget
        assert np.array_equal(np.sort(chosen.ranking), np.arange(n))
        assert np.array_equal(np.sort(chosen.ranking[:budget]), chosen.indices)
        assert np.isfinite(chosen.value)


@pytest.mark.parametrize("name", [name for name in NAMES if OBJECTIVES[name].nested])
def test_smaller_budgets_are_prefixes_where_that_is_said(name):
    values = rows(60)
    marks = choose(name, values, classes_of(60), fractions=[0.1, 0.3, 0.5]).marks
    assert marks["0.1"].sum() == 6
    assert not np.any(marks["0.1"] & ~marks["0.3"])
    assert not np.any(marks["0.3"] & ~marks["0.5"])


@pytest.mark.parametrize("name", NAMES)
def test_threads_do_not_change_the_choice(name):
    values = rows(60, seed=2)
    one = choose(name, values, classes_of(60), budget=20, threads=1)
    two = choose(name, values, classes_of(60), budget=20, threads=2)
    assert np.array_equal(one.ranking, two.ranking)
    assert np.array_equal(one.gain, two.gain, equal_nan=True)
    assert one.value == two.value


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_matters_where_there_is_chance_and_only_there(name):
    values = rows(60, seed=3)
    one, again, other = (choose(name, values, budget=20, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.ranking, again.ranking)
    assert np.array_equal(one.ranking, other.ranking) == (not OBJECTIVES[name].chance)


@pytest.mark.parametrize("name", NAMES)
def test_identical_rows_go_by_the_lowest_index(name):
    values = np.tile(rows(1), (9, 1))
    kept = choose(name, values, budget=4, copies="keep", **with_scores(name, 9)).indices
    expected = {"published": [5, 6, 7, 8]}.get(name, [0, 1, 2, 3])  # published: larger index first
    if not OBJECTIVES[name].chance:
        assert kept.tolist() == expected


def with_scores(name, n):
    return {"scores": np.zeros(n)} if "scores" in OBJECTIVES[name].needs else {}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("allocate", ["proportional", "density-quota", "global"])
def test_what_must_be_kept_or_dropped_is(name, allocate):
    values = rows(30, seed=4)
    keep, drop = [2, 17], [0, 1, 5, 29]
    if OBJECTIVES[name].blind and allocate == "density-quota":
        pytest.skip("blind to classes")
    chosen = choose(
        name, values, classes_of(30), budget=12, must_keep=keep, must_drop=drop, allocate=allocate
    )
    assert chosen.indices.size == 12
    assert set(keep) <= set(chosen.indices.tolist())
    assert not set(drop) & set(chosen.indices.tolist())


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_comes_where_it_is_said_and_holds(name):
    values = rows(40, seed=5)
    chosen = choose(name, values, classes_of(40), budget=10)
    assert (chosen.certificate is not None) == OBJECTIVES[name].bounded
    if chosen.certificate is not None:
        assert chosen.certificate.upper_bound >= chosen.value
        assert all(part.upper_bound >= part.value for part in chosen.classes)


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_are_no_numbers_are_refused(name):
    values = rows(12)
    values[7, 2] = np.nan
    with pytest.raises(DataError, match="row 7"):
        choose(name, values, budget=3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flag", FLAGS)
def test_an_option_without_effect_is_refused(name, flag):
    needed = list(OBJECTIVES[name].needs)
    if flag in OBJECTIVES[name].uses:
        together = ["stochastic"] if "stochastic" in OBJECTIVES[name].uses else []
        refuse_unused(name, [*needed, flag, *together])
    else:
        with pytest.raises(UsageError, match=f"objective='{name}'"):
            refuse_unused(name, [*needed, flag])


def test_an_unknown_objective_lists_the_known_and_suggests_the_nearest():
    with pytest.raises(UsageError, match=r"k-center.*got kcenter\. Did you mean k-center\?"):
        select(rows(5), objective="kcenter", budget=2)


def test_scores_are_checked():
    with pytest.raises(UsageError, match="scores= for objective='scores'"):
        select(rows(5), objective="scores", budget=2)
    with pytest.raises(DataError, match="each of the 5 examples"):
        select(rows(5), objective="scores", budget=2, scores=[1.0, 2.0])
    with pytest.raises(DataError, match="the first in row 1"):
        select(rows(5), objective="scores", budget=2, scores=[1.0, np.nan, 0, 0, 0])


@pytest.mark.parametrize("threshold", [-1.5, 1.01, float("nan")])
def test_a_threshold_is_a_cosine(threshold):
    with pytest.raises(UsageError, match=r"\[-1, 1\]"):
        select(rows(5), threshold=threshold, budget=2)


def test_an_epsilon_without_chance_is_refused_for_coverage():
    with pytest.raises(UsageError, match="optimizer='stochastic' for epsilon="):
        select(rows(5), objective="coverage", epsilon=0.1, budget=2)


@pytest.mark.parametrize("allocate", ["proportional", "global"])
@pytest.mark.parametrize("threshold", [-0.3, 0.0, 0.4])
def test_a_threshold_in_mixed_signs_gives_the_naive_choice(threshold, allocate):
    values = rows(42, seed=6)
    labels = classes_of(42)
    chosen = select(
        values, labels, budget=12, redundancy=1.0, threshold=threshold, allocate=allocate,
        copies="keep",
    )  # fmt: skip
    value, kept = 0.0, []
    for group in (
        [np.arange(42)] if allocate == "global" else [np.flatnonzero(labels == c) for c in range(3)]
    ):
        similar = values[group].astype(np.float64) @ values[group].T.astype(np.float64)
        similar[similar < threshold] = 0
        taken = []
        for _ in range(12 * group.size // 42):
            gains = similar.sum(0) - np.diag(similar) - 2 * similar[:, taken].sum(1)
            gains[taken] = -np.inf
            taken.append(int(np.argmax(gains)))
        value += similar[:, taken].sum() - similar[np.ix_(taken, taken)].sum()
        kept += group[taken].tolist()
    assert chosen.indices.tolist() == sorted(kept)
    assert chosen.value == pytest.approx(value, rel=1e-6)
    assert chosen.certificate.random_value < chosen.value <= chosen.certificate.upper_bound
    assert chosen.facts["linear_classes"] == 0


def test_a_threshold_without_effect_takes_the_linear_path_and_says_why():
    values = np.abs(rows(40, seed=6))
    plain, with_threshold = (
        select(values, classes_of(40), budget=12, threshold=threshold) for threshold in (None, 0.0)
    )
    assert np.array_equal(plain.ranking, with_threshold.ranking)
    assert with_threshold.certificate == plain.certificate
    assert with_threshold.facts["linear_classes"] == 3
    assert "negative" in with_threshold.facts["linear_because"]


def test_a_threshold_with_effect_has_no_relaxation():
    with pytest.raises(UsageError, match="Leave the threshold away"):
        select(rows(40), budget=12, threshold=0.4, optimizer="relaxed")
