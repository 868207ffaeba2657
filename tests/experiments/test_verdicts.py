"""Claims in words: places gathered by verdict, single seeds left open, what was not tried named."""

from __future__ import annotations

from contrasift.evaluation import mean_and_interval
from contrasift.experiments.catalogue import EXPERIMENTS
from contrasift.experiments.declaring import Claim
from contrasift.experiments.verdicts import Decided, in_words, missed_by_chance, untried

BETTER = Claim("A is better", {"A": 1, "B": -1}, source="a paper")
AS_GOOD = Claim.as_good("A is as good", "A", "B")


def told(claim, where, metric, word, values=(1.0, 2.0), experiment="goal"):
    return Decided(claim, experiment, where, metric, word, mean_and_interval(list(values)))


def test_places_are_gathered_by_verdict():
    found = [
        told(BETTER, "cpu: glyphs", "knn", "holds"),
        told(BETTER, "cpu: digits", "knn", "fails"),
        told(BETTER, "cpu: glyphs", "linear", "can't be told"),
        told(AS_GOOD, "cpu: glyphs", "knn", "can't be told"),
        told(BETTER, "cpu: glyphs", "few_10", "holds", experiment="classes"),
    ]
    _, _, better, as_good = in_words(found)
    assert better == (
        "| A is better | a paper | **holds**: cpu: glyphs (kNN, 10 labels a class); "
        "**fails**: cpu: digits (kNN); can't be told: cpu: glyphs (linear) |"
    )
    assert as_good == "| A is as good (margin +1) | – | can't be told: cpu: glyphs (kNN) |"


def test_only_intervals_with_ends_can_miss():
    found = [told(BETTER, "cpu: glyphs", "knn", "holds")] * 40
    alone = told(BETTER, "cpu: glyphs", "knn", "can't be told", values=(1.0,))
    assert missed_by_chance([*found, alone]).startswith("Of 40 intervals of 95 % about 2 would")
    assert missed_by_chance([alone]).startswith("Of 0 intervals")


def test_what_nobody_tried_is_named():
    classes = EXPERIMENTS["classes"]
    everything = untried([classes], [])
    assert len(everything) == 3  # that of the graph is our own, not a paper's
    assert everything[0].endswith("(SAS, Fig. 5a; `classes`)")
    tried = [told(classes.claims[0], "cpu: glyphs", "knn", "holds", experiment="classes")]
    assert untried([classes], tried) == everything[1:]
    elsewhere = [told(classes.claims[0], "cpu: glyphs", "knn", "holds", experiment="goal")]
    assert untried([classes], elsewhere) == everything
