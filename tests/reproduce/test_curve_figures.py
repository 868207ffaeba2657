from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from contrasift.errors import UsageError
from reproduce.declared.declaring import Claim, Experiment
from reproduce.render.cell_table import CellTable
from reproduce.render.cost_to_target import cheapest, cost_table, seconds_in_all
from reproduce.render.curves import cost_curves, curves, curves_of
from reproduce.render.forest import forest, ticks

TRIAL = Experiment(
    name="trial",
    title="",
    shows="",
    arms={"full": {}, "half <&>": {}},
    reference="full",
    axes={"epochs": {"1": {}, "2": {}, "4": {}}},
    metrics=("knn", "alignment.labels"),
    line="epochs",
    target=("full", "2"),
)


def table(epochs, values, seconds=10.0, pool="digits"):
    """`values[arm]`: kNN by seed; the alignment of labels is a tenth of it."""
    records = {
        arm: {
            seed: {
                "metrics": {"knn": value, "alignment": {"labels": value / 10}},
                "facts": {},
                "parts": {
                    "train": {"part": "t", "seconds": seconds},
                    "proxy": {"part": "p", "seconds": 5.0},
                    "judge": {"part": "j", "seconds": 1000.0},
                    "read": {"part": "r", "seconds": 1000.0},
                    "read dynamics": {"part": "d", "seconds": 1000.0},
                },
            }
            for seed, value in enumerate(one)
        }
        for arm, one in values.items()
    }
    return CellTable({"pool": pool, "epochs": epochs}, records)


TABLES = [
    table("4", {"full": [0.9, 0.8], "half <&>": [0.85, 0.83]}, 40.0),
    table("1", {"full": [0.5, 0.6], "half <&>": [0.3, 0.2]}, 10.0),
    table("2", {"full": [0.8, 0.8]}, 20.0),
    table("1", {"full": [0.5]}, pool="glyphs"),
]


def shapes(text, kind):
    return [one for one in ElementTree.fromstring(text).iter() if one.tag.endswith(kind)]


def test_tables_along_the_line_are_one_figure_and_a_single_place_is_none():
    (group, drawn), (alone, not_drawn) = curves_of(TRIAL, TABLES)
    assert [one.setting["epochs"] for one in group] == ["1", "2", "4"]
    assert (drawn, not_drawn) == (True, False)
    assert [one.setting["pool"] for one in alone] == ["glyphs"]


def test_a_line_an_arm_a_panel_a_metric_and_a_mark_a_mean():
    (group, _), _ = curves_of(TRIAL, TABLES)
    text = curves(TRIAL, group)
    assert "<script" not in text
    assert len(shapes(text, "circle")) == 2 * (3 + 2)
    written = ["".join(one.itertext()) for one in shapes(text, "text")]
    assert written.count("half <&>") == 1
    assert {"kNN", "of a label: E‖f − f′‖²", "epochs", "1", "2", "4"} <= set(written)
    # 0.55 and 0.85 of kNN, the highest and the next mean, stand where their ticks are.
    heights = {float(one.get("cy")) for one in shapes(text, "circle")}
    assert len(heights) >= 5


def test_every_arm_stands_at_its_own_cost():
    dearer = table("2", {"half <&>": [0.7, 0.7]}, 31.0)
    text = cost_curves(TRIAL, [TABLES[1], TABLES[2], dearer], "seconds, choosing included")
    written = ["".join(one.itertext()) for one in shapes(text, "text")]
    assert {"15", "25", "36"} <= set(written)  # with the five of the proxy
    assert "seconds, choosing included" in written
    assert len(shapes(text, "circle")) == 2 * (2 + 2)
    assert not shapes(cost_curves(TRIAL, [TABLES[1]], "images trained on"), "circle")


def test_numbers_that_are_no_accuracies_keep_their_unit():
    one = TABLES[1]
    assert one.values("knn")["full"] == {0: 50.0, 1: 60.0}
    assert one.values("alignment.labels")["full"] == {0: 0.05, 1: 0.06}
    assert one.pairs(["full", "half <&>"], "full", "knn") is not None
    assert one.pairs(["full", "half <&>"], "full", "alignment.labels") is None
    assert len(shapes(forest(TRIAL, one), "circle")) == 2


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 1.0), (-0.03, 0.04), (41.2, 97.1), (-1e-6, 2e-6), (999.0, 1001.0), (-300.0, 5.0)],
)
def test_ticks_are_few_round_and_inside(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 5
    assert all(low <= tick <= high for tick in found)
    steps = {round((b - a) / (high - low), 6) for a, b in pairwise(found)}
    assert len(steps) == 1
    assert low > 0 or high < 0 or 0 in found


def test_what_an_accuracy_costs():
    (group, _), _ = curves_of(TRIAL, TABLES)
    assert seconds_in_all(TABLES[0], "full") == 45
    assert cheapest(TRIAL, group, "full", "knn") == (25, "2")
    assert cheapest(TRIAL, group, "half <&>", "knn") == (45, "4")
    rows = list(cost_table(TRIAL, group))
    assert rows[-1] == "| half <&> | 45 (4) |"  # alignment is no accuracy
    below = [TABLES[1], TABLES[2]]
    assert cheapest(TRIAL, below, "half <&>", "knn") is None
    assert list(cost_table(TRIAL, below))[-1] == "| half <&> | not reached |"
    assert cheapest(TRIAL, [TABLES[0], TABLES[1]], "full", "knn") is None


def test_costs_are_compared_over_the_seeds_that_all_have():
    slow = {**TABLES[2].records["full"], 2: TABLES[0].records["full"][0]}
    group = [TABLES[0], CellTable(TABLES[2].setting, {"full": slow})]
    assert cheapest(TRIAL, group, "full", "knn") == (pytest.approx(95 / 3), "2")
    text = list(cost_table(TRIAL, group))
    assert "seeds that all have (2)" in text[0]
    assert next(row for row in text if row.startswith("| full")) == "| full | 25 (2) |"
    none = [TABLES[0].at([0]), TABLES[2].at([1])]
    assert "a seed in common" in " ".join(cost_table(TRIAL, none))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"axes": {"epochs": {"few": {}}}}, "numbers along the line"),
        ({"metrics": ("knm",)}, "a metric of trial"),
        ({"claims": (Claim("", {"full": 1}, ("knm",)),)}, "a metric of trial"),
        ({"target": ("fool", "2")}, "the arm that is the target of trial"),
        ({"target": ("full", "3")}, "the place of the target of trial"),
    ],
)
def test_what_is_declared_must_be_there(changes, says):
    fields = {name: getattr(TRIAL, name) for name in TRIAL.__dataclass_fields__}
    with pytest.raises(UsageError, match=says):
        Experiment(**{**fields, "target": None, **changes})


def test_a_value_may_depend_on_the_options_so_far():
    trial = Experiment(
        "trial", "", "",
        {"λ": {"select.redundancy": lambda options: 0.5 / options["select.fraction"]}}, "λ",
        axes={
            "epochs": {"9": {"train.epochs": lambda options: 9 * options["train.epochs"]}},
            "fraction": {"0.1": {"select.fraction": 0.1}},
        },
    )  # fmt: skip
    (one,) = trial.plan("tiny", seeds=1)
    assert one.cell.options.select.redundancy == 5
    assert one.cell.options.train.epochs == 9
