"""A linear rule for selections that greedy made."""

from __future__ import annotations

import numpy as np
import pytest

import contrasift as cs
from contrasift.errors import DataError
from contrasift.selection.rule import LinearRule, rule_of_selection


def pool(rng, n, d=16, k=4):
    codes = rng.integers(0, k, n)
    z = np.abs(rng.normal(size=(k, d))[codes] + 0.7 * rng.normal(size=(n, d)))
    return z.astype(np.float32), codes


def mask(chosen, n):
    selected = np.zeros(n, dtype=bool)
    selected[chosen.indices] = True
    return selected


def judged(rule, z, codes, **how):
    return np.concatenate([part.keep for part in rule.judge(z, codes, **how)])


@pytest.mark.parametrize("fraction", [0.1, 0.4, 0.8, 1.0])
@pytest.mark.parametrize("n", [40, 1000])
def test_judged_as_the_pool_greedys_selection_comes_back(rng, n, fraction):
    z, codes = pool(rng, n)
    chosen = cs.select(z, codes, fraction=fraction)
    selected = mask(chosen, n)
    rule, agreement = rule_of_selection(
        z, codes, np.arange(4), selected, redundancy=chosen.redundancy, scaled=True
    )
    assert np.array_equal(judged(rule, z, codes, is_pool=True), selected)
    alone = judged(rule, z, codes)
    assert agreement == (alone & selected).sum() / selected.sum()
    assert alone.sum() == pytest.approx(selected.sum(), abs=4)


def test_for_a_relaxed_selection_it_is_that_selections_own(rng):
    z, codes = pool(rng, 600)
    chosen = cs.select(z, codes, fraction=0.2, optimizer="relaxed")
    own = LinearRule.from_arrays(chosen.rule)
    rule, agreement = rule_of_selection(
        z, codes, np.arange(4), mask(chosen, 600), redundancy=chosen.redundancy, scaled=True
    )
    assert agreement == 1
    assert np.array_equal(rule.direction, own.direction)
    assert np.array_equal(rule.threshold, own.threshold)
    assert np.array_equal(rule.centroid, own.centroid)


def test_it_agrees_better_than_one_step_from_greedys_own_sum(rng):
    z, codes = pool(rng, 2000, k=1)
    chosen = cs.select(z, codes, fraction=0.3)
    selected = mask(chosen, 2000)
    _, agreement = rule_of_selection(z, codes, np.arange(1), selected, redundancy=1.0, scaled=True)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    score = unit @ (unit.sum(axis=0) - 2 * unit[selected].sum(axis=0))
    step = np.argsort(-score)[: selected.sum()]
    assert agreement > selected[step].mean()
    assert agreement > 0.97


def test_a_class_of_which_nothing_is_selected_keeps_nothing(rng):
    z, codes = pool(rng, 60)
    selected = codes == 1
    rule, agreement = rule_of_selection(
        z, codes, np.arange(4), selected, redundancy=0.5, scaled=False
    )
    assert np.array_equal(judged(rule, z, codes), selected)
    assert agreement == 1
    assert np.isinf(rule.threshold[[0, 2, 3]]).all()
    nothing, agreement = rule_of_selection(
        z, codes, np.arange(4), selected & False, redundancy=0.5, scaled=False
    )
    assert agreement == 1
    assert not judged(nothing, z, codes).any()


@pytest.mark.parametrize(
    ("name", "value"), [("pool_shape", np.arange(3)), ("scaled", np.array(["yes"]))]
)
def test_a_rule_with_parts_of_another_kind_is_refused(rng, name, value):
    z, codes = pool(rng, 60)
    rule = cs.select(z, codes, fraction=0.2, optimizer="relaxed").rule
    with pytest.raises(DataError, match=f"the rule's {name}"):
        LinearRule.from_arrays({**rule, name: value})
