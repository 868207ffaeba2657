"""Experiments with many metrics, or with one arm along a line, have a row a metric."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from reproduce.cell_store import CellStore
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.runner import Session
from tests.reproduce.test_pages import written


def page_of(tmp_path, name, extra, value_of):
    """The page of an experiment whose cells have these metrics, two seeds of each."""
    planned = EXPERIMENTS[name].plan("tiny", seeds=2)
    here = Session(EXPERIMENTS[name], "tiny", "confirm", planned, CellStore(tmp_path / "cells"))
    for one in planned:
        metrics = {"linear": 0.5, extra: value_of(one)}
        here.keep(one, {"metrics": metrics, "facts": {}, "parts": {}})
    text = written(CellStore(tmp_path / "cells"))
    (figure,) = (tmp_path / "pages" / "plots").glob("*.svg")
    return text, ElementTree.parse(figure).getroot()


def test_one_arm_along_a_line(tmp_path):
    def value_of(one):
        size, seed = one.cell.options.train.batch_size, one.cell.seed - 100
        return {"contrastive_loss": size / 100 + seed, "gap_arora": 1 + seed, "collision": 0.25}

    text, figure = page_of(tmp_path, "bounds", "bounds", value_of)
    assert "| K + 1 | 32 | 64 | 128 | 256 | 512 |" in text
    losses = " | ".join(f"{size / 100 + 0.5:.3f} ± 0.500" for size in (32, 64, 128, 256, 512))
    assert f"| L_Info | {losses} |" in text
    assert "| τ: a negative of the class | 25.0 ± 0.0 |" in text
    assert "| seeds | 2 | 2 | 2 | 2 | 2 |" in text
    assert "d(f)" not in text  # nothing is known of it
    # A claim of one arm, whose metric is a difference already.
    told = text.split("Every interval</summary>")[1].splitlines()
    (row, *_) = [line for line in told if line.startswith("| Arora's bound, with")]
    assert "| +1.500 [" in row
    assert row.endswith("not significant (n = 2) |")
    assert len([one for one in figure.iter() if one.get("class") == "t"]) == 3


def test_many_metrics_stand_below_one_another(tmp_path):
    def value_of(one):
        return {"same_class_95_100": 0.1 if one.arm == "untrained" else 0.3, "hard_for_excess": 0.1}

    text, figure = page_of(tmp_path, "difficulty", "difficulty", value_of)
    assert "| untrained | moco | simclr | moco less untrained | simclr less untrained |" in text
    means = "10.0 ± 0.0 | 30.0 ± 0.0 | 30.0 ± 0.0"
    assert f"| same class, 95–100 % | {means} | +20.0 [+20.0, +20.0] | +20.0" in text
    assert "pairs for" not in text
    assert [one.text for one in figure.iter() if one.get("class") == "t"] == [
        "same class, 95–100 %"
    ]
    assert "more queries than by chance | 2010.06682, Fig. 6" in text
    assert "+10.0 [+10.0, +10.0] | **holds** |" in text


@pytest.mark.parametrize(("name", "rows"), [("bounds", 5), ("difficulty", 4)])
def test_panels_wrap(tmp_path, name, rows):
    shown = [metric.partition(".") for metric in EXPERIMENTS[name].metrics]
    values = {key: 0.5 for group, _, key in shown if group == name}

    _, figure = page_of(tmp_path, name, name, lambda one: values)
    groups = [one.get("transform", "") for one in figure.iter() if one.tag.endswith("}g")]
    heights = {text.removesuffix(")").split()[1] for text in groups if text}
    assert len(heights) == rows
    width, height = float(figure.get("width")), float(figure.get("height"))
    assert width < 1500
    assert max(map(float, heights)) < height
