"""A whole selection: classes, budgets, limits, types, memory, certificate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.errors import DataError, UsageError
from contrasift.results import Embeddings, LatentClasses
from contrasift.selection.budget import Shares
from contrasift.selection.memory import estimate_memory
from contrasift.selection.rule import LinearRule
from contrasift.selection.select import select

OBJECTIVES = ["sas", "published", "random", "random-per-class"]


@pytest.fixture
def pool(rng):
    z = np.abs(rng.normal(size=(240, 8))).astype(np.float32)
    return z, rng.choice([3, 10, -1, 7], size=240, p=[0.4, 0.3, 0.2, 0.1])


def unit(z):
    z = np.asarray(z, dtype=np.float64)
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)


def naive_value(z, rows, redundancy):
    total, chosen = z.sum(axis=0), z[rows].sum(axis=0)
    return chosen @ total - redundancy * chosen @ chosen


def naive_selection(z, classes, budget, redundancy):
    """Greedy class by class, one exact gain after another."""
    names = np.unique(classes)
    places = Shares.of(np.array([np.sum(classes == name) for name in names])).allocate(budget)
    chosen = []
    for name, count in zip(names, places, strict=True):
        rows = np.flatnonzero(classes == name)
        z_class, mine = z[rows], []
        for _ in range(count):
            gain = z_class @ (z_class.sum(axis=0) - 2 * redundancy * z_class[mine].sum(axis=0))
            gain -= redundancy * (z_class**2).sum(axis=1)
            gain[mine] = -np.inf
            mine.append(int(np.argmax(gain)))
        chosen.extend(rows[mine].tolist())
    return sorted(chosen)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("redundancy", [None, 0.0, 0.5])
def test_matches_naive_greedy_in_every_class(pool, fraction, redundancy):
    z, classes = pool
    chosen = select(z, classes, fraction=fraction, redundancy=redundancy)
    expected = naive_selection(unit(z), classes, chosen.budget, chosen.redundancy)
    assert chosen.indices.tolist() == expected


def test_table_is_sorted_by_class_then_rank(pool):
    z, classes = pool
    chosen = select(z, classes, fraction=0.3)
    assert np.array_equal(np.sort(chosen.index), np.arange(240))
    assert np.array_equal(chosen.latent_class, np.sort(classes))
    assert np.array_equal(chosen.latent_class, classes[chosen.index])
    for name in np.unique(classes):
        mine = chosen.latent_class == name
        assert np.array_equal(chosen.rank[mine], np.arange(mine.sum()))
        kept = int(chosen.selected[mine].sum())
        assert chosen.selected[mine][:kept].all()
        assert (np.diff(chosen.gain[mine][kept:]) <= 0).all()
        summary = next(part for part in chosen.classes if part.name == name)
        assert (summary.size, summary.budget, summary.ranked_to) == (mine.sum(), kept, kept)


def test_value_and_certificate_are_those_of_the_classes(pool):
    z, classes = pool
    chosen = select(z, classes, fraction=0.3)
    total = 0.0
    for name in np.unique(classes):
        rows = np.flatnonzero(classes == name)
        mine = np.flatnonzero(np.isin(rows, chosen.indices))
        total += naive_value(unit(z[rows]), mine, chosen.redundancy)
    assert chosen.value == pytest.approx(total, rel=1e-6)
    assert chosen.certificate.value == chosen.value
    assert chosen.certificate.upper_bound >= chosen.value
    assert 0.9 < chosen.certificate.share <= 1
    assert sum(part.value for part in chosen.classes) == pytest.approx(chosen.value)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_bound_and_chance_hold_on_small_pools(rng, objective):
    """Upper bound ≥ the best of all subsets, random value = their mean, also under limits."""
    for budget in range(8):
        z = np.abs(rng.normal(size=(7, 3)))
        keep = [int(rng.integers(7))] if budget > 1 else None
        drop = [i for i in range(7) if keep is None or i not in keep][:1] if budget < 6 else None
        chosen = select(
            z, budget=budget, redundancy=0.8, objective=objective, must_keep=keep, must_drop=drop
        )
        free = [i for i in range(7) if i not in (keep or []) and i not in (drop or [])]
        values = [
            naive_value(unit(z), [*(keep or []), *rest], 0.8)
            for rest in itertools.combinations(free, budget - len(keep or []))
        ]
        assert chosen.certificate.upper_bound >= max(values) - 1e-5
        assert chosen.certificate.random_value == pytest.approx(np.mean(values), abs=1e-5)


@pytest.mark.parametrize("how", ["proportional", "equal", "global"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_prefix_of_the_order_is_the_selection_for_that_budget(pool, objective, how):
    if objective == "random" and how == "equal":
        pytest.skip("refused: random is blind to classes")
    z, classes = pool
    whole = select(z, classes, budget=100, redundancy=0.7, objective=objective, allocate=how)
    assert set(whole.ranking[:100].tolist()) == set(whole.indices.tolist())
    assert np.array_equal(np.sort(whole.ranking), np.arange(240))
    for budget in (0, 1, 37, 99):
        part = select(z, classes, budget=budget, redundancy=0.7, objective=objective, allocate=how)
        assert set(whole.ranking[:budget].tolist()) == set(part.indices.tolist())


def test_fractions_mark_nested_selections(pool):
    z, classes = pool
    chosen = select(z, classes, fractions=[0.4, 0.1, 0.2])
    assert list(chosen.marks) == ["0.1", "0.2", "0.4"]
    assert chosen.redundancy == 0.625
    assert np.array_equal(chosen.marks["0.4"], chosen.selected)
    for share in (0.1, 0.2):
        alone = select(z, classes, fraction=share, redundancy=chosen.redundancy)
        assert np.array_equal(np.sort(chosen.index[chosen.marks[f"{share}"]]), alone.indices)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 2**31), st.booleans())
def test_any_small_pool(n, n_classes, seed, signed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3)) if signed else np.abs(rng.normal(size=(n, 3)))
    classes = rng.integers(0, n_classes, n)
    budget = int(rng.integers(0, n + 1))
    chosen = select(z, classes, budget=budget)
    assert chosen.budget == budget == chosen.indices.size
    assert chosen.certificate.upper_bound >= chosen.value
    assert np.array_equal(np.sort(chosen.index), np.arange(n))
    again = select(z, classes, budget=budget, threads=3, memory_limit=1 << 30)
    assert np.array_equal(again.ranking, chosen.ranking)


@pytest.mark.parametrize("objective", ["sas", "published"])
@pytest.mark.parametrize("optimizer", ["greedy", "relaxed"])
def test_permuting_the_input_permutes_the_output(pool, rng, objective, optimizer):
    if objective == "published" and optimizer == "relaxed":
        pytest.skip("no such thing")
    z, classes = pool
    turn = rng.permutation(240)
    one = select(z, classes, fraction=0.3, objective=objective, optimizer=optimizer)
    two = select(z[turn], classes[turn], fraction=0.3, objective=objective, optimizer=optimizer)
    assert np.array_equal(turn[two.ranking], one.ranking)
    assert two.value == one.value


def test_string_classes_and_latent_classes_are_the_same_partition(pool):
    z, classes = pool
    names = {3: "c", 10: "d", -1: "a", 7: "b"}
    text = np.array([names[int(label)] for label in classes])
    by_text = select(z, text, fraction=0.2)
    assert by_text.latent_class.dtype.kind == "U"
    found, codes = np.unique(classes, return_inverse=True)
    latent = LatentClasses(codes, found, np.ones(240, np.float32), "labels")
    by_number = select(z, latent, fraction=0.2)
    assert np.array_equal(by_text.indices, by_number.indices) or set(by_text.indices) == set(
        by_number.indices
    )
    assert by_number.classes[0].name == -1


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64", "uint16"])
def test_other_types_are_converted(rng, dtype):
    z = (rng.random((90, 6)) * 50 + 1).astype(dtype)
    classes = rng.integers(0, 3, 90)
    chosen = select(z, classes, fraction=0.3)
    expected = select(unit(z.astype(np.float64)).astype(np.float32), classes, fraction=0.3)
    assert np.array_equal(chosen.ranking, expected.ranking)


def test_views_and_memory_maps_are_read_in_place(rng, tmp_path):
    wide = np.abs(rng.normal(size=(120, 10))).astype(np.float32)
    classes = rng.integers(0, 4, 120)
    expected = select(wide[:, ::2].copy(), classes, fraction=0.25)
    assert np.array_equal(select(wide[:, ::2], classes, fraction=0.25).ranking, expected.ranking)
    assert np.array_equal(
        select(np.asfortranarray(wide[:, ::2]), classes, fraction=0.25).ranking, expected.ranking
    )
    np.save(tmp_path / "z.npy", wide[:, ::2])
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    assert np.array_equal(select(mapped, classes, fraction=0.25).ranking, expected.ranking)


def test_groups_of_classes_do_not_change_the_result(rng, monkeypatch):
    import contrasift.selection.gather as gather

    z = np.abs(rng.normal(size=(500, 16)))
    classes = rng.integers(0, 20, 500)
    expected = select(z, classes, fraction=0.2)
    monkeypatch.setattr(gather, "_BLOCK_BYTES", 4096)
    monkeypatch.setattr("contrasift.selection.memory._BUFFER_BYTES", 16 * 4 * 60)
    chosen = select(z, classes, fraction=0.2)
    assert np.array_equal(chosen.ranking, expected.ranking)
    assert np.array_equal(chosen.gain, expected.gain)


def test_one_class_is_not_copied(rng):
    z = unit(np.abs(rng.normal(size=(300, 8)))).astype(np.float32)
    chosen = select(z, fraction=0.2)
    both = np.concatenate([z, z])
    twice = select(both, np.repeat([0, 1], 300), fraction=0.2, copies="keep")
    assert np.array_equal(twice.index[twice.latent_class == 0], chosen.index)
    # Rows of length one stay as they are, to the last bit.
    kept = select(z, fraction=0.2, normalize="none")
    assert np.array_equal(kept.gain, chosen.gain)


def test_embeddings_are_taken_as_they_are_and_a_matrix_is_scaled(rng):
    z = np.abs(rng.normal(size=(50, 4))).astype(np.float32)
    index = np.arange(50) * 3 + 1
    as_is = select(Embeddings(z, index), fraction=0.2)
    assert set(as_is.index.tolist()) == set(index.tolist())
    bare = select(z, fraction=0.2, normalize="none")
    assert np.array_equal(as_is.indices, bare.indices * 3 + 1)
    scaled = select(Embeddings(z, index), fraction=0.2, normalize="rows")
    assert np.array_equal(scaled.indices, select(z, fraction=0.2).indices * 3 + 1)
    assert as_is.value != scaled.value


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("how", ["proportional", "global"])
def test_must_keep_and_must_drop(pool, objective, how):
    z, classes = pool
    keep, drop = np.array([5, 17, 100, 5]), np.array([0, 1, 2, 3])
    chosen = select(
        z, classes, budget=30, objective=objective, allocate=how, must_keep=keep, must_drop=drop
    )
    assert chosen.budget == 30
    assert set(keep.tolist()) <= set(chosen.indices.tolist())
    assert not set(drop.tolist()) & set(chosen.indices.tolist())
    assert set(chosen.ranking[:3].tolist()) == set(keep.tolist())
    assert set(chosen.ranking[-4:].tolist()) == set(drop.tolist())


def test_lists_speak_of_pool_indices(rng):
    z = np.abs(rng.normal(size=(20, 4))).astype(np.float32)
    index = np.arange(100, 80, -1)
    chosen = select(Embeddings(z, index), budget=5, must_keep=[81, 100])
    assert {81, 100} <= set(chosen.indices.tolist())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 1, "must_keep": [1, 2]}, "at most 1 examples, the budget"),
        ({"budget": 5, "must_keep": [240]}, "not, among them 240"),
        ({"budget": 5, "must_drop": [-1]}, "not, among them -1"),
        ({"budget": 5, "must_keep": [1], "must_drop": [1]}, "without a common example"),
        ({"budget": 240, "must_drop": [1]}, "at most 239"),
        ({"budget": 5, "must_keep": [1.5]}, "list of pool indices"),
        ({"budget": 241}, "between 0 and the 240"),
        ({"fraction": 0.0}, "fraction= in"),
        ({"fraction": 0.1, "budget": 3}, "both"),
        ({}, "neither"),
        ({"budget": 5, "objective": "best"}, "objective= to be one of"),
        ({"budget": 5, "redundancy": -1.0}, "at least 0"),
        ({"budget": 5, "redundancy": float("nan")}, "at least 0"),
        ({"budget": 5, "redundancy": 1e308}, r"at most 1e\+09"),
        ({"budget": 5, "objective": "published", "optimizer": "relaxed"}, "objective='published'"),
        (
            {"budget": 5, "optimizer": "relaxed", "refine": "swaps"},
            "optimizer='greedy' for refine='swaps'",
        ),
        (
            {"budget": 5, "objective": "random", "min_per_class": 1},
            "got min_per_class=1. .*random-per-class",
        ),
        ({"budget": 5, "allocate": "global", "min_per_class": 1}, "no budgets by class"),
        ({"budget": 5, "min_per_class": 2}, "at least 8"),
        ({"budget": 5, "class_weights": {"x": 1.0}}, "class x"),
        ({"budget": 5, "class_weights": [1.0]}, "one weight for each"),
        ({"fractions": [0.1], "budget": 5}, "more than one"),
        ({"fractions": [0.1], "refine": "swaps"}, "nested"),
        ({"fractions": [0.001, 0.5], "must_keep": [1, 2, 3]}, "3 examples that must be kept"),
        ({"budget": 5, "memory_limit": 1 << 20}, "memory limit of at least"),
        ({"fraction": 0.8, "redundancy": 1.0, "optimizer": "relaxed"}, "1/\\(2λ\\) = 0.5"),
        ({"budget": 5, "threads": 0}, "at least one thread"),
    ],
)
def test_impossible_requests_are_refused(pool, arguments, message):
    z, classes = pool
    with pytest.raises(UsageError, match=message):
        select(z, classes, **arguments)


@pytest.mark.parametrize("classes", [None, np.arange(30) % 3])
@pytest.mark.parametrize(
    ("entry", "message"),
    [(np.nan, "first of them row 7"), (np.inf, "first of them row 7"), (0.0, "of zeros.*row 7")],
)
def test_bad_rows_are_named(rng, classes, entry, message):
    z = np.abs(rng.normal(size=(30, 4))).astype(np.float32)
    z[[7, 20]] = entry
    with pytest.raises(DataError, match=message):
        select(z, classes, fraction=0.2)


def test_a_zero_row_of_mean_views_has_no_gain(rng):
    z = np.abs(rng.normal(size=(30, 4))).astype(np.float32)
    z[7] = 0
    chosen = select(z, fraction=0.2, normalize="none")
    assert 7 not in chosen.indices


def test_rows_too_long_to_square_are_scaled_all_the_same(rng):
    z = np.abs(rng.normal(size=(30, 4)))
    expected = select(z, fraction=0.2)
    for factor in (2.0**600, 2.0**-600):
        assert np.array_equal(select(z * factor, fraction=0.2).indices, expected.indices)
    with pytest.raises(DataError, match="finite"):
        select(z * 1e200, fraction=0.2, normalize="none")


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        (np.zeros((0, 3)), None, "at least one row"),
        (np.zeros(3), None, "a matrix"),
        (np.array([["a"]]), None, "real numbers"),
        (np.ones((3, 2)), [0, 1], "one class for each of the 3"),
        (np.ones((3, 2)), [0, 1.5, 2], "integers or text"),
        (np.ones((3, 2)), [[0], [1], [2]], "one label an example"),
    ],
)
def test_bad_data_is_refused(values, classes, message):
    with pytest.raises(DataError, match=message):
        select(values, classes, budget=1)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_example(objective):
    for budget in (0, 1):
        chosen = select(np.array([[3.0, 4.0]]), budget=budget, objective=objective)
        assert chosen.budget == budget
        assert chosen.certificate.share == 1.0


@pytest.mark.parametrize("optimizer", ["greedy", "relaxed"])
@pytest.mark.parametrize("budget", [0, 1, 239, 240])
def test_extreme_budgets(pool, optimizer, budget):
    z, classes = pool
    chosen = select(z, classes, budget=budget, optimizer=optimizer)
    assert chosen.indices.size == budget
    assert np.isfinite(chosen.gain).all()


def test_duplicates_are_taken_lowest_index_first():
    z = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (9, 1))
    assert select(z, budget=4).ranking.tolist() == list(range(9))


def test_classes_of_one(rng):
    z = np.abs(rng.normal(size=(12, 4)))
    chosen = select(z, np.arange(12), fraction=0.5)
    assert chosen.indices.tolist() == list(range(6))
    assert any("6 of 12 classes keep no example" in note for note in chosen.notes)
    everything = select(z, np.arange(12), budget=12, min_per_class=1)
    assert everything.notes == ()


def test_minimum_and_weights_shape_the_budgets(pool):
    z, classes = pool
    chosen = select(z, classes, budget=20, min_per_class=5)
    assert [part.budget for part in chosen.classes] == [5, 5, 5, 5]
    weighted = select(z, classes, budget=20, class_weights={"7": 50.0, "3": 0.0})
    budgets = {part.name: part.budget for part in weighted.classes}
    assert budgets[3] == 0
    assert budgets[7] > 10
    listed = select(z, classes, budget=20, class_weights=[1, 0, 50, 1])
    assert {part.name: part.budget for part in listed.classes} == budgets


def test_gains_past_the_turn_are_reported_with_the_reason(pool):
    z, _classes = pool
    chosen = select(z, fraction=0.8, redundancy=1.0)
    turn = chosen.classes[0].first_negative_gain
    assert chosen.facts["first_negative_gain"] == turn
    assert 0.35 * 240 < turn < 0.65 * 240
    assert chosen.gain[turn] < 0 <= chosen.gain[turn - 1]
    assert "F(S) = F(V∖S)" in chosen.notes[0]
    default = select(z, fraction=0.8)
    assert default.redundancy == 0.3125
    assert default.classes[0].first_negative_gain is None


def test_mixed_signs_can_turn_without_redundancy(rng):
    chosen = select(rng.normal(size=(60, 3)), budget=60, redundancy=0.0)
    assert "unlike the rest" in chosen.notes[0]


@pytest.mark.parametrize("refine", ["swaps", "double-greedy", "double-greedy-random"])
def test_refinements(pool, refine):
    z, classes = pool
    plain = select(z, classes, fraction=0.8, redundancy=1.0)
    chosen = select(z, classes, fraction=0.8, redundancy=1.0, refine=refine)
    kept = chosen.gain[chosen.selected]
    assert kept.sum() == pytest.approx(chosen.value, rel=1e-9)
    assert set(chosen.ranking[: chosen.budget].tolist()) == set(chosen.indices.tolist())
    assert chosen.value >= plain.value - 1e-6
    if refine == "swaps":
        assert chosen.budget == plain.budget
        assert chosen.facts["sweeps"] >= 4
    else:
        assert chosen.budget < plain.budget
        assert any("shrank the selection from 192" in note for note in chosen.notes)
        assert chosen.facts["removed"] == plain.budget - chosen.budget


def test_global_allocation_is_one_objective_over_the_pool(pool):
    z, classes = pool
    chosen = select(z, classes, fraction=0.3, allocate="global")
    alone = select(z, fraction=0.3)
    assert np.array_equal(chosen.indices, alone.indices)
    assert np.array_equal(chosen.ranking, alone.ranking)
    assert chosen.value == alone.value
    assert np.array_equal(chosen.latent_class, np.sort(classes))
    assert [part.budget for part in chosen.classes] == [
        int(np.isin(np.flatnonzero(classes == name), alone.indices).sum())
        for name in np.unique(classes)
    ]
    assert sum(part.value for part in chosen.classes) == pytest.approx(chosen.value)


def test_random_objectives_are_seeded_and_have_no_gains(pool):
    z, classes = pool
    for objective in ("random", "random-per-class"):
        one = select(z, classes, fraction=0.2, objective=objective, seed=1)
        assert np.array_equal(one.indices, select(z, classes, fraction=0.2, objective=objective,
                                                  seed=1).indices)  # fmt: skip
        assert not np.array_equal(
            one.indices, select(z, classes, fraction=0.2, objective=objective, seed=2).indices
        )
        assert np.isnan(one.gain).all()
        assert abs(one.certificate.share) < 0.5
        assert one.facts["first_negative_gain"] is None


def test_random_per_class_is_the_control_of_the_comparison(pool):
    from contrasift.selection.baselines import random_per_class_order

    z, classes = pool
    chosen = select(z, classes, fraction=0.2, objective="random-per-class", seed=4)
    assert np.array_equal(chosen.ranking, random_per_class_order(classes, 4))


def test_better_than_chance_and_than_the_published_ranking(pool):
    z, classes = pool
    share = {
        objective: select(z, classes, fraction=0.2, objective=objective).certificate.share
        for objective in OBJECTIVES
    }
    assert share["sas"] > share["published"] > share["random-per-class"]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("how", ["proportional", "global"])
@pytest.mark.parametrize("limits", [{}, {"must_keep": [4, 9], "must_drop": [0, 200]}])
def test_the_rule_gives_back_the_relaxed_selection(rng, signed, how, limits):
    z = rng.normal(size=(240, 8)) if signed else np.abs(rng.normal(size=(240, 8)))
    z[100:140] = z[100]  # ties at any threshold
    classes = rng.integers(0, 4, 240)
    chosen = select(z, classes, fraction=0.3, optimizer="relaxed", allocate=how, **limits)
    rule = LinearRule.from_arrays(chosen.rule)
    codes = classes if how == "proportional" else None
    keep = np.concatenate([block.keep for block in rule.judge(z, codes, is_pool=True)])
    assert np.array_equal(np.flatnonzero(keep), chosen.indices)
    fresh = np.concatenate([block.keep for block in rule.judge(z[::-1], None)])
    assert fresh.shape == (240,)


def test_the_rule_refuses_another_width(pool):
    z, classes = pool
    rule = LinearRule.from_arrays(select(z, classes, fraction=0.3, optimizer="relaxed").rule)
    with pytest.raises(UsageError, match="width 8"):
        list(rule.judge(z[:, :5]))


def test_nearest_class_of_new_examples(rng):
    z = np.zeros((40, 4), dtype=np.float32)
    classes = np.arange(40) % 4
    z[np.arange(40), classes] = 1
    z += 0.01 * rng.random((40, 4)).astype(np.float32)
    rule = LinearRule.from_arrays(select(z, classes, fraction=0.5, optimizer="relaxed").rule)
    codes = np.concatenate([block.class_code for block in rule.judge(z)])
    assert np.array_equal(codes, classes)


def test_relaxed_reports_classes_that_minima_fill_too_far(rng):
    z = np.abs(rng.normal(size=(43, 4)))
    classes = np.repeat([0, 1], [40, 3])
    chosen = select(z, classes, fraction=0.5, optimizer="relaxed", redundancy=1.0, min_per_class=3)
    assert [part.budget for part in chosen.classes] == [19, 3]
    assert any("beyond the fraction 1/(2λ)" in note for note in chosen.notes)


def test_progress_and_announcement(pool):
    z, classes = pool
    said, seen = [], []
    select(
        z, classes, fraction=0.2, announce=said.append, progress=lambda a, b: seen.append((a, b))
    )
    assert "MiB" in said[0]
    assert "scaled to length one" in said[0]
    assert seen[-1] == (240, 240)
    assert len(seen) == 4


def test_memory_limit_sets_the_gathered_size(rng):
    z = np.abs(rng.normal(size=(4000, 256))).astype(np.float32)
    classes = np.arange(4000) % 50
    roomy = select(z, classes, fraction=0.1)
    tight = select(z, classes, fraction=0.1, memory_limit=roomy.facts["memory_estimate_bytes"] - 1)
    assert tight.facts["memory_estimate_bytes"] < roomy.facts["memory_estimate_bytes"]
    assert np.array_equal(roomy.ranking, tight.ranking)


def test_memory_estimate_grows_with_what_is_copied():
    assert estimate_memory(10**6, 128) > estimate_memory(10**6, 128, copied=False)
    assert estimate_memory(10**7, 64, largest_class=10**4) < 4 << 30
