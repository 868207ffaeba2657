"""Balanced draws, quotas by complexity, margins and targets: against naive versions, and in direction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from contrasift import DataError, UsageError, select
from contrasift.arrays import HeldColumns
from contrasift.options import ChoiceOptions, SelectOptions
from contrasift.selection import whole_pool
from contrasift.selection.baselines.balanced import balanced_order, cluster_tree, levels_for
from contrasift.selection.kernels.lloyd import lloyd
from contrasift.selection.plan import SelectionPool


def pool_of(values, codes=None, normalize="rows"):
    return SelectionPool.of(values, codes, normalize, HeldColumns())


def regions(sizes, d=8, spread=0.05, seed=0):
    """Rows around as many random directions as there are sizes, and the region of each."""
    rng = np.random.default_rng(seed)
    where = np.repeat(np.arange(len(sizes)), sizes)
    rows = rng.normal(size=(len(sizes), d))[where] + spread * rng.normal(size=(len(where), d))
    return rows.astype(np.float32), where


# --- balanced draws -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 3))
def test_every_prefix_is_the_balanced_draw_of_its_size(seed, n, depth):
    rng = np.random.default_rng(seed)
    paths = [rng.integers(0, 4, n)]
    for _ in range(depth - 1):
        finer = paths[-1] * 3 + rng.integers(0, 3, n)
        paths.append(np.unique(finer, return_inverse=True)[1].reshape(-1))
    turn = rng.permutation(n)
    order = balanced_order(paths, turn)
    assert np.array_equal(np.sort(order), np.arange(n))
    for budget in range(n + 1):
        assert set(order[:budget].tolist()) == reference.balanced_draw(paths, turn, budget)


def test_no_rows_have_an_order():
    nothing = np.empty(0, dtype=np.int64)
    assert balanced_order([nothing, nothing], nothing).size == 0


def test_a_region_of_few_rows_gives_as_many_as_a_crowded_one():
    values, where = regions([400, 40, 40, 20])
    balanced = select(values, objective="balanced", levels=[4], budget=80).indices
    assert np.bincount(where[balanced]).tolist() == [20, 20, 20, 20]
    by_chance = select(values, objective="random", budget=80).indices
    assert np.bincount(where[by_chance])[0] > 50
    more = select(values, objective="balanced", levels=[4], budget=160).indices
    assert np.bincount(where[more]).tolist() == [60, 40, 40, 20]


def test_resampled_centroids_spread_over_the_pool_and_not_over_its_rows():
    rng = np.random.default_rng(0)
    crowd = rng.normal(size=(3000, 2)) * 0.3
    thin = rng.uniform(-6, 6, size=(300, 2))
    rows = np.concatenate([crowd, thin]).astype(np.float32)
    leaves, _ = cluster_tree(rows, [30], seed=1)
    plain = lloyd(rows, rows[rng.choice(3300, 30, replace=False)], 10)
    inside = [(np.linalg.norm(c, axis=1) < 1).mean() for c in (leaves, plain)]
    assert inside[0] < inside[1]


def test_blocks_and_threads_do_not_change_the_draw(monkeypatch):
    values, _ = regions([90, 60, 30], seed=3)
    one = select(values, objective="balanced", levels="3,12", fraction=0.4, threads=1)
    monkeypatch.setattr("contrasift.selection.gather._BLOCK_BYTES", 1000)
    two = select(values, objective="balanced", levels="3,12", fraction=0.4, threads=2)
    assert np.array_equal(one.ranking, two.ranking)


def test_levels_by_rule_and_as_given():
    assert levels_for(1) == [1]
    assert levels_for(24_000) == [37, 375]
    assert levels_for(10_000_000) == [10, 100, 1000, 10_000]
    assert levels_for(5, [2, 10, 20]) == [2, 5]
    for wrong in ("a", "3,2", "0", "2,2", "1,,2"):
        with pytest.raises(UsageError, match="coarse to fine"):
            ChoiceOptions(levels=wrong)


@pytest.mark.parametrize("n", [1, 2])
def test_pools_of_one_and_two_rows_have_leaves(n):
    chosen = select(np.eye(2, 3)[:n], objective="balanced", levels="5", budget=n)
    assert chosen.indices.tolist() == list(range(n))


def test_rows_that_are_all_equal_are_drawn_from_one_leaf():
    chosen = select(np.ones((40, 3)), objective="balanced", levels="2,8", budget=10)
    assert chosen.indices.size == 10


def test_what_must_be_kept_takes_the_places_of_its_region():
    values, where = regions([50, 50], seed=5)
    kept = np.flatnonzero(where == 0)[:8]
    chosen = select(values, objective="balanced", levels=[2], budget=16, must_keep=kept).indices
    assert set(kept) <= set(chosen)
    assert np.bincount(where[chosen]).tolist() == [8, 8]
    without = select(
        values,
        objective="balanced",
        levels=[2],
        budget=16,
        must_drop=np.flatnonzero(where == 0)[3:],
    ).indices
    assert np.bincount(where[without]).tolist() == [3, 13]


# --- quotas by complexity -------------------------------------------------------------------------


def test_complexity_is_that_of_the_definition():
    values, codes = regions([30, 20, 10, 1], spread=0.4, seed=7)
    values *= np.linspace(0.5, 2, len(values), dtype=np.float32)[:, None]
    found = whole_pool.complexity(pool_of(values, codes))
    assert found == pytest.approx(reference.class_complexity(values, codes, 20), abs=1e-6)
    as_they_are = whole_pool.complexity(pool_of(values, codes, "none"))
    assert as_they_are == pytest.approx(found, abs=1e-6)
    assert whole_pool.complexity(pool_of(values[:1])) == pytest.approx([0], abs=1e-6)


def test_wide_classes_get_more_places_and_colder_temperatures_part_them():
    narrow, _ = regions([60], spread=0.02, seed=1)
    wide, _ = regions([60], spread=0.8, seed=2)
    values, codes = np.concatenate([narrow, wide]), np.repeat([0, 1], 60)

    def places(**how):
        chosen = select(values, codes, budget=40, allocate="density-quota", **how)
        return [part.budget for part in chosen.classes]

    narrow_places, wide_places = places()
    assert narrow_places + wide_places == 40
    assert wide_places > narrow_places
    assert abs(np.subtract(*places(quota_temperature=100.0))) <= 1
    assert places(quota_temperature=0.001) == [0, 40]
    assert places(min_per_class=5, quota_temperature=0.001) == [5, 35]
    assert places(class_weights=[1, 0]) == [40, 0]


def test_quotas_stop_at_the_size_of_a_class_and_are_nested():
    narrow, _ = regions([60], spread=0.02, seed=1)
    wide, _ = regions([6], spread=0.8, seed=2)
    values, codes = np.concatenate([narrow, wide]), np.repeat([0, 1], [60, 6])
    chosen = select(values, codes, fractions=[0.1, 0.5], allocate="density-quota",
                    objective="centre")  # fmt: skip
    assert [part.budget for part in chosen.classes] == [27, 6]
    assert not (chosen.marks["0.1"] & ~chosen.marks["0.5"]).any()


@pytest.mark.parametrize("wrong", [
    {"quota_temperature": 0.2}, {"allocate": "density-quota", "quota_temperature": 0.0},
    {"allocate": "density-quota", "objective": "random"}, {"levels": "3"}, {"target_weight": 1.0},
    {"objective": "balanced", "min_per_class": 1},
])  # fmt: skip
def test_options_without_effect_are_refused(wrong):
    with pytest.raises(UsageError, match="for|above 0|no budgets by class|takes"):
        select(np.eye(4), budget=2, **wrong)


# --- margins --------------------------------------------------------------------------------------


def test_margins_are_those_of_the_definition():
    values, codes = regions([20, 15, 6, 1], spread=0.7, seed=11)
    expected = [reference.margin(values, codes, row) for row in range(len(values))]
    assert whole_pool.margins(pool_of(values, codes)) == pytest.approx(expected, abs=1e-6)
    assert whole_pool.margins(pool_of(values, codes, "none")) == pytest.approx(expected, abs=1e-6)
    alone = [reference.margin(values, codes * 0, row) for row in range(len(values))]
    assert whole_pool.margins(pool_of(values)) == pytest.approx(alone, abs=1e-6)


def test_what_lies_between_classes_goes_first_or_stays_first():
    ends = np.eye(2, 3)
    between = np.array([[0.72, 0.69, 0.0]])
    values = np.concatenate([np.repeat(ends[:1], 5, 0), np.repeat(ends[1:], 5, 0), between])
    values += 0.01 * np.random.default_rng(0).normal(size=values.shape)
    codes = np.array([0] * 5 + [1] * 5 + [0])
    sure = select(values, codes, objective="hard-removal", budget=10)
    assert 10 not in sure.indices
    unsure = select(values, codes, objective="easy-removal", budget=2, allocate="global")
    assert 10 in unsure.indices


# --- targets --------------------------------------------------------------------------------------


def test_the_nearest_to_any_of_a_target_are_kept():
    values, where = regions([30, 30, 30, 30], spread=0.1, seed=13)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    wanted = [3, 45]
    chosen = select(values, objective="target", target=wanted, budget=40)
    assert set(where[chosen.indices]) == {0, 1}
    expected = np.sort((unit @ unit[wanted].T).max(axis=1))[::-1]
    assert chosen.gain[chosen.order] == pytest.approx(expected, abs=1e-6)
    by_vectors = select(values, objective="target", target=3 * values[wanted], budget=40)
    assert np.array_equal(by_vectors.indices, chosen.indices)


def test_a_weighted_target_is_as_if_its_copies_were_in_the_class():
    values, _ = regions([12, 9], spread=0.5, d=4, seed=17)
    unit = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    seed = np.array([[0.0, 0.0, 1.0, 0.0]], dtype=np.float32)
    chosen = select(
        unit, normalize="none", budget=6, redundancy=0.4, target=seed, target_weight=2.0
    )
    copies = np.concatenate([unit, np.repeat(seed, 2 * len(unit), 0)])
    expected = select(
        copies, normalize="none", budget=6, redundancy=0.4, must_drop=np.arange(21, 63)
    )
    assert chosen.indices.tolist() == expected.indices.tolist()
    assert chosen.value == pytest.approx(expected.value, rel=1e-6)
    assert chosen.certificate.upper_bound == pytest.approx(
        expected.certificate.upper_bound, rel=1e-6
    )
    assert chosen.certificate.random_value == pytest.approx(
        expected.certificate.random_value, rel=1e-6
    )


@pytest.mark.parametrize("optimizer", ["greedy", "relaxed"])
def test_a_heavier_target_draws_the_choice_to_it(optimizer):
    values, _ = regions([80], spread=1.0, seed=19)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    near = []
    for weight in (0.0, 0.5, 5.0):
        aim = {"target": [0], "target_weight": weight} if weight else {}
        chosen = select(values, fraction=0.2, optimizer=optimizer, **aim)
        near.append(float((unit[chosen.indices] @ unit[0]).mean()))
    assert near[0] < near[1] < near[2]


def test_a_target_that_cannot_be_used_is_told():
    values = np.eye(4)
    with pytest.raises(UsageError, match="target= for objective='target'"):
        select(values, objective="target", budget=1)
    with pytest.raises(UsageError, match="target= of at least one example"):
        select(values, objective="target", target=[], budget=1)
    with pytest.raises(DataError, match="width 4, as the embeddings"):
        select(values, objective="target", target=np.ones((1, 3)), budget=1)
    with pytest.raises(DataError, match="length one"):
        select(values, objective="target", target=np.zeros((1, 4)), budget=1)
    with pytest.raises(UsageError, match="together for objective='sas'"):
        select(values, target=[1], budget=1)
    with pytest.raises(UsageError, match="no threshold= beside"):
        select(values, target=[1], target_weight=1.0, threshold=0.5, budget=1)
    with pytest.raises(UsageError, match="together"):
        SelectOptions(target_weight=1.0, fraction=0.1)
