"""Figures and lists of what cells have read of their negatives."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from reproduce.cell_store import CellStore
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.render.cell_table import CellTable
from reproduce.render.difficulty import (
    difficulty_figure,
    measured_difficulty,
    pairs_rows,
)
from reproduce.runner import Session
from tests.reproduce.test_pages import written


def read(pairs, found=(0, 10, 30), depth=True):
    """A reading over 100 percentiles."""
    bins = list(range(1, 101))
    return {
        "same_class_95_100": 0.5,
        "by_percentile": {
            "percentile": bins,
            "same_class": [one / 200 for one in bins],
            "similarity": [one / 50 - 1 for one in bins],
            **({"depth": [5.0 + one / 100 for one in bins]} if depth else {}),
        },
        "hard_for_histogram": {"width": 0.005, "found": list(found), "by_chance": [0, 0, 40]},
        "pairs": {"correlated": pairs, "anticorrelated": [], "orthogonal": []},
    }


def table(**arms):
    return CellTable(
        {"pool": "digits"},
        {
            arm: {seed: {"metrics": {"difficulty": one}} for seed, one in enumerate(readings)}
            for arm, readings in arms.items()
        },
    )


TWO = table(
    untrained=[{"same_class_95_100": 0.1}],
    moco=[
        read([["a", "b", 0.9], ["b", "a", 0.7], ["c", "d", 0.5]]),
        read([["a", "d", 0.95], ["c", "d", 0.7]], found=(0, 20, 10, 0, 10)),
    ],
)


def test_cells_that_read_only_numbers_have_no_figure():
    assert set(measured_difficulty(TWO)) == {"moco"}
    assert measured_difficulty(table(a=[{"same_class_95_100": 0.1}])) == {}


@pytest.mark.parametrize("depth", [True, False])
def test_a_panel_a_measure_and_one_of_how_often(depth):
    readings = measured_difficulty(table(moco=[read([], depth=depth), read([], depth=depth)]))
    tree = ElementTree.fromstring(difficulty_figure(readings))
    titles = [one.text for one in tree.iter() if one.get("class") == "t"]
    assert titles == [
        "same class, %",
        *(["WordNet depth"] if depth else []),
        "cosine",
        "how often a negative is hard: negatives, %",
    ]
    written = ["".join(one.itertext()) for one in tree.iter() if one.tag.endswith("text")]
    assert written.count("100") >= 2  # the last percentile, on an axis that is not logarithmic
    assert {"moco", "by chance"} <= set(written)


def test_a_long_line_has_a_band_and_no_marks():
    tree = ElementTree.fromstring(difficulty_figure(measured_difficulty(TWO)))
    groups = [one for one in tree.iter() if one.tag.endswith("}g")]
    kinds = [[one.tag.rpartition("}")[2] for one in group.iter()] for group in groups]
    assert "circle" not in kinds[0]
    assert kinds[-1].count("circle") == 2 * 5  # found and by chance, to the last bin that has any
    spread = [one for one in groups[-1].iter() if one.get("class", "").startswith("e ")]
    assert len(spread) == 3  # where the two seeds differ


def test_pairs_are_named_once_those_of_most_seeds_first():
    rows = list(pairs_rows(measured_difficulty(TWO)))
    assert rows[0] == "| classes | moco |"
    assert rows[2] == (
        "| most correlated | c / d +0.600 (2 of 2)<br>a / d +0.950 (1 of 2)<br>a / b +0.800 (1 of 2) |"
    )


def test_the_page_has_them(tmp_path):
    planned = EXPERIMENTS["difficulty"].plan("tiny", seeds=2)
    here = Session(
        EXPERIMENTS["difficulty"], "tiny", "confirm", planned, CellStore(tmp_path / "cells")
    )
    for one in planned:
        metrics = {"difficulty": read([["x", "y", 0.5]])}
        here.keep(one, {"metrics": metrics, "facts": {}, "parts": {}})
    text = written(CellStore(tmp_path / "cells"))
    (figure,) = (tmp_path / "pages" / "plots").glob("*-by-difficulty.svg")
    assert f"](plots/{figure.name})" in text
    assert "| most correlated | x / y +0.500 (2 of 2) | x / y" in text
