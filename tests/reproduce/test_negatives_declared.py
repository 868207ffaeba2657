"""The experiments on negatives and bounds leave out what their arms say, at every scale."""

from __future__ import annotations

import numpy as np
import pytest

from contrasift.negatives import parse_policy, parse_schedule
from contrasift.negatives.candidates import Candidates, Tags
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.declared.scales import SCALES
from reproduce.metrics.extras import METRICS

MINE = (
    "negative-bands", "temperatures", "policies", "table1", "curricula", "selection-and-negatives",
    "bounds", "number-of-negatives", "difficulty",
)  # fmt: skip


@pytest.mark.parametrize("scale", SCALES)
def test_policies_are_policies(scale):
    for name in MINE:
        for one in EXPERIMENTS[name].plan(scale, seeds=1):
            train = one.cell.options.train
            schedule = parse_schedule(train.negatives, train.negatives_schedule)
            assert max(schedule.starts) < train.epochs


def sets_of(scale):
    arms = {
        one.arm: one.cell.options.train.negatives
        for one in EXPERIMENTS["table1"].plan(scale, seeds=1)
        if one.setting["temperature"] == "0.07"
    }
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 3), rng.integers(0, 5, 4000)
    given = Candidates(rng.normal(size=(3, 4000)), *[Tags(labels=part) for part in labels])
    left_out = {arm: ~parse_policy(text or "all").mask(given) for arm, text in arms.items()}
    return left_out, given.similarity, labels[0][:, None] == labels[1]


@pytest.mark.parametrize(("scale", "hardest"), [("cpu", 64), ("paper", 4)])
def test_the_six_sets_of_table_1(scale, hardest):
    left_out, similarity, same = sets_of(scale)
    hard = similarity.argsort(axis=1).argsort(axis=1) >= 4000 - hardest
    for arm, expected in {
        "all negatives": np.zeros_like(same),
        "without the hardest": hard,
        "without the query's class": same,
        "without the hardest of the query's class": hard & same,
        "without the hardest of other classes": hard & ~same,
        "without all but the hardest of the query's class": same & ~hard,
    }.items():
        np.testing.assert_array_equal(left_out.pop(arm), expected, arm)
    assert not left_out
    # A share of 1/C is replaced twice over, even if half of the reserve is of no use.
    for one in EXPERIMENTS["table1"].plan(scale, seeds=1):
        train = one.cell.options.train
        if one.arm != "all negatives":
            assert 4 * train.queue_size * hardest / 4000 < train.queue_reserve


def test_stages_of_a_curriculum_are_equally_long():
    for scale, epochs in (("cpu", 20), ("paper", 200), ("tiny", 3)):
        cells = {one.arm: one.cell for one in EXPERIMENTS["curricula"].plan(scale, seeds=1)}
        train = cells["harder and harder"].options.train
        assert train.epochs == epochs
        schedule = parse_schedule(train.negatives, train.negatives_schedule)
        assert schedule.starts == (0, epochs // 3, 2 * epochs // 3)
        back = cells["harder and harder, backwards"].options.train
        turned = parse_schedule(back.negatives, back.negatives_schedule)
        assert turned.policies == schedule.policies[::-1]


def test_a_two_by_two_of_selection_and_negatives():
    experiment = EXPERIMENTS["selection-and-negatives"]
    for setting in experiment.axes["left out"]:
        cells = {
            one.arm: one.cell.options
            for one in experiment.plan("cpu", seeds=1)
            if one.setting["left out"] == setting
        }
        random, some, chosen, both = cells.values()
        assert random.train == chosen.train
        assert some.train == both.train != random.train
        assert random.select.objective == some.select.objective == "random"
        assert chosen.select == both.select != some.select


def test_what_is_shown_of_a_reading_is_read():
    for name in MINE:
        experiment = EXPERIMENTS[name]
        spoken_of = {
            *experiment.metrics,
            *(m for claim in experiment.claims for m in claim.metrics),
        }
        wanted = {metric.partition(".")[0] for metric in spoken_of if "." in metric} - {"head"}
        assert spoken_of <= set(METRICS)
        measured = {
            extra
            for one in experiment.plan("cpu", seeds=1)
            for extra in one.cell.measure.extra_metrics
        }
        assert wanted <= measured, name
