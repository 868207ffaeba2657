"""The conclusion of a comparison, in words."""

from __future__ import annotations

import pytest

from contrasift.report.verdict import judges_that_gain, verdict

UP, DOWN, FLAT = (0.02, 0.01, 0.03), (-0.02, -0.03, -0.01), (0.001, -0.01, 0.012)


def summary(other="random-per-class", n=3, **judges):
    rows = {
        judge: {"mean": mean, "low": low, "high": high, "n": n, "standard_error": 0.01}
        for judge, (mean, low, high) in judges.items()
    }
    return {"selected_minus": {other: rows}, "match": "steps", "labels_per_class": 7}


def test_a_gain_leads_and_what_is_not_significant_follows():
    found = summary(linear=FLAT, knn=UP, few_labels=UP)
    assert judges_that_gain(found) == ["knn", "few_labels"]
    assert verdict(found) == [
        "The selection beats a random choice of its size: nearest neighbours +2.0 (+1.0 to +3.0), "
        "7 labels a class +2.0 (+1.0 to +3.0) (points of accuracy, 95 % intervals; 3 seeds, equal "
        "steps).",
        "Not significant: linear probe +0.1 (−1.0 to +1.2).",
    ]


def test_without_a_difference_random_does_as_well():
    found = summary("random", knn=FLAT, linear=FLAT)
    assert judges_that_gain(found) == []
    only, advice = verdict(found)
    assert only.startswith("A random subset of this size does as well here and costs nothing")
    assert "many classes" in advice
    assert "contrasift plan" in advice
    assert "nearest neighbours +0.1 (−1.0 to +1.2)" in only


def test_a_loss_is_told_beside_a_gain():
    (only,) = verdict(summary(knn=UP, linear=DOWN))
    assert "beats a random choice of its size: nearest neighbours +2.0" in only
    assert "but is worse than a random choice of its size: linear probe −2.0 (−3.0 to −1.0)" in only
    (only,) = verdict(summary(knn=DOWN))
    assert only.startswith("The selection is worse than a random choice")


@pytest.mark.parametrize("ends", [None, 0.0])
def test_one_seed_or_an_interval_that_touches_zero_is_no_gain(ends):
    found = summary(n=1 if ends is None else 3, knn=(0.02, ends, ends and 0.04))
    assert judges_that_gain(found) == []
    assert ("One seed" in verdict(found)[0]) == (ends is None)


def test_nothing_is_said_without_a_random_choice_beside():
    assert verdict({}) == []
    assert verdict({"selected_minus": {}, "match": "steps"}) == []
    assert verdict(summary("full", knn=UP)) == []
