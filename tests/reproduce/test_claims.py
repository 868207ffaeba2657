"""Claims in words: places gathered by verdict, single seeds left open, what was not tried named."""

from __future__ import annotations

from contrasift.evaluation import mean_and_interval
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.declared.declaring import Claim
from reproduce.render.claims import Decided, in_words, missed_by_chance, untried
from reproduce.render.formatting import setting_text

BETTER = Claim("A is better", {"A": 1, "B": -1}, source="a paper")
AS_GOOD = Claim.as_good("A is as good", "A", "B")


def told(claim, pool, metric, word, values=(1.0, 2.0), experiment="goal", scale="cpu", **axes):
    setting = {"pool": pool, **axes}
    interval = mean_and_interval(list(values))
    return Decided(
        claim, EXPERIMENTS[experiment], scale, "confirm", setting, metric, word, interval
    )


def test_places_are_gathered_by_verdict():
    found = [
        told(BETTER, "glyphs", "knn", "holds"),
        told(BETTER, "digits", "knn", "fails"),
        told(BETTER, "glyphs", "linear", "not significant"),
        told(AS_GOOD, "glyphs", "knn", "not significant"),
        told(BETTER, "glyphs", "few_10", "holds", experiment="classes"),
    ]
    _, _, title, better, as_good = in_words(found)
    assert title == "| **Selections without labels, beside chance and true classes** | | | | |"
    assert better == (
        "| A is better | a paper | *10 labels a class, kNN*: glyphs | *kNN*: digits | *linear*: glyphs (n = 2) |"
    )
    assert as_good == "| A is as good (margin +1) | – |  |  | *kNN*: glyphs (n = 2) |"


def test_settings_that_differ_on_one_axis_are_one():
    shares = [
        told(BETTER, "glyphs", metric, "holds", fraction=share)
        for metric in ("knn", "few_10")
        for share in ("0.1", "0.3", "0.5")
    ]
    other = told(BETTER, "glyphs", "knn", "holds", fraction="0.2", classes="true")
    paper = told(BETTER, "cifar10", "knn", "holds", scale="paper")
    assert list(in_words([*shares, other, paper]))[2] == (
        "| A is better | a paper | *10 labels a class, kNN*: glyphs, fraction 0.1 / 0.3 / 0.5"
        "<br>*kNN*: glyphs, fraction 0.2, classes true<br>*kNN*: paper: cifar10 |  |  |"
    )


def test_a_pool_put_in_place_of_another_is_the_one_that_is_named():
    other = {"pool": "glyphs", "fraction": "0.6", "pool.pool": "fashion-mnist"}
    assert setting_text(other) == "fashion-mnist, fraction 0.6"


def test_claims_stand_below_their_experiments():
    found = [
        told(BETTER, "glyphs", "knn", "holds", experiment="classes"),
        told(AS_GOOD, "glyphs", "knn", "holds", experiment="goal"),
        told(
            BETTER, "digits", "knn", "fails", experiment="goal"
        ),  # with the same claim of `classes`
    ]
    rows = [row.split(" | ")[0] for row in list(in_words(found))[2:]]
    assert rows == [
        "| **Where the latent classes come from**",
        "| A is better",
        "| **Selections without labels, beside chance and true classes**",
        "| A is as good (margin +1)",
    ]


def test_only_intervals_with_ends_can_miss():
    found = [told(BETTER, "glyphs", "knn", "holds")] * 40
    alone = told(BETTER, "glyphs", "knn", "not significant", values=(1.0,))
    assert missed_by_chance([*found, alone]).startswith("Of 40 such intervals about 2 would")
    assert missed_by_chance([alone]).startswith("Of 0 such intervals")


def test_what_nobody_tried_is_named():
    classes = EXPERIMENTS["classes"]
    everything = untried([classes], [])
    assert len(everything) == 3  # that of the graph is our own, not a paper's
    assert everything[0].endswith("(SAS, Fig. 5a; `classes`)")
    tried = [told(classes.claims[0], "glyphs", "knn", "holds", experiment="classes")]
    assert untried([classes], tried) == everything[1:]
    elsewhere = [told(classes.claims[0], "glyphs", "knn", "holds", experiment="goal")]
    assert untried([classes], elsewhere) == everything
