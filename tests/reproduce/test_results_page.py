from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from contrasift.errors import DataError
from contrasift.evaluation import paired_difference
from contrasift.store.atomic import read_json, write_json
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.render.cell_table import compute_spent, tables_of
from reproduce.render.pages import write_page
from reproduce.runner import Sitting, read_results

CLASSES = EXPERIMENTS["classes"]
ARMS = ("random per class", "SAS, true classes", "SAS, graph")


def write_results(folder, values, phase="confirm", changes=None, seconds=60.0, finished="2026"):
    """JSON as `perform` writes it; `values[arm]`: kNN by seed."""
    explore = phase == "explore"
    planned = CLASSES.plan("cpu", seeds=3, explore=explore, changes=changes or {})
    here = Sitting(CLASSES, "cpu", phase, planned, folder)
    for one in planned:
        if one.arm not in values:
            continue
        value = values[one.arm][one.cell.seed % 100]
        metrics = dict.fromkeys(CLASSES.metrics, value)
        parts = {
            "train": {"part": f"t {one.cell.key}", "seconds": seconds},
            "proxy": {"part": f"p {one.cell.seed}", "seconds": 100.0},
        }
        here.keep(one, {"metrics": metrics, "facts": {"n_classes": 62}, "parts": parts})


VALUES = {
    "random per class": [0.50, 0.52, 0.51],
    "SAS, true classes": [0.60, 0.63, 0.60],
    "SAS, graph": [0.50, 0.54, 0.50],
}


def test_the_page_says_what_the_numbers_say(tmp_path):
    results = tmp_path / "experiments" / "results"
    write_results(results, VALUES)
    page = write_page(results)
    assert page == tmp_path / "experiments" / "RESULTS.md"
    text = page.read_text()
    own = 100 * np.array(VALUES["SAS, true classes"])
    assert f"{own.mean():.1f} ± {own.std(ddof=1) / 3**0.5:.1f}" in text
    difference = paired_difference(own, 100 * np.array(VALUES["random per class"]))
    shown = f"{difference.mean:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"
    assert f"| SAS, true classes | {shown} |" in text
    said, told = text.split("Every interval</summary>")
    rows = [line for line in told.splitlines() if line.startswith("| SAS beats random")]
    assert "classes from labels | SAS, Fig. 5a | glyphs | 10 labels a class" in rows[0]
    assert rows[0].endswith("| **holds** |")
    assert next(row for row in rows if "without labels" in row).endswith("| can't be told |")
    assert (
        "with classes from labels | SAS, Fig. 5a | *10 labels a class, kNN*: glyphs |  |  |" in said
    )
    assert "a graph, without labels | – |  |  | *10 labels a class, kNN*: glyphs |" in said
    assert "Of 6 intervals of 95 % about 0 would" in said
    # 9 trainings of a minute, and three proxies, each of which several cells share.
    assert f"9 different cells, {(9 * 60 + 300) / 3600:.1f} hours" in text
    assert "python -m reproduce classes --scale cpu --seeds 3" in text
    heading = "Where the latent classes come from (`classes`, cpu, confirm)"
    assert f"- [{heading}](#where-the-latent-classes-come-from-classes-cpu-confirm)" in text
    assert f"\n## {heading}\n" in text
    cells = len(CLASSES.plan("paper", seeds=1))
    row = f"| `python -m reproduce classes --scale paper --device cuda` | cifar100, cifar10, stl10, tiny-imagenet | {cells} |"
    assert row in text.split("## On GPUs")[1]
    assert write_page(results).read_text() == text


def test_plots_are_whole_and_asked_for(tmp_path):
    results = tmp_path / "experiments" / "results"
    write_results(results, VALUES)
    text = write_page(results).read_text()
    plots = sorted((tmp_path / "experiments" / "plots").glob("*.svg"))
    assert plots
    for plot in plots:
        assert f"](plots/{plot.name})" in text
        tree = ElementTree.parse(plot)
        circles = [one for one in tree.iter() if one.tag.endswith("circle")]
        assert len(circles) == 2 * len(CLASSES.metrics)


def test_exploration_is_kept_apart_and_decides_no_confirmed_claim(tmp_path):
    results = tmp_path / "experiments" / "results"
    write_results(results, VALUES, phase="explore")
    text = write_page(results).read_text()
    assert "What can be said: explored on the validation split" in text
    assert "What can be said: confirmed" not in text
    assert "--explore" in text


def test_changed_options_are_a_setting_of_their_own(tmp_path):
    results = tmp_path / "experiments" / "results"
    write_results(results, VALUES)
    write_results(results, VALUES, changes={"train.epochs": 80})
    text = write_page(results).read_text()
    assert "### glyphs\n" in text
    assert "### glyphs, train.epochs 80\n" in text
    assert "python -m reproduce classes --scale cpu --seeds 3 --set train.epochs=80" in text


@pytest.mark.parametrize("finished", ["0000", "9999"])
def test_of_two_results_for_one_place_the_declared_one_counts(tmp_path, finished):
    results = tmp_path / "results"
    write_results(results, {"random per class": [0.1, 0.1, 0.1]})
    for path in sorted(results.glob("*/*.json")):
        record = read_json(path)
        record["options"]["train"]["epochs"] = 7  # what an older declaration asked for
        record["made_with"]["finished"] = finished
        record["metrics"] = dict.fromkeys(CLASSES.metrics, 0.9)
        write_json(path.with_name(f"older-{path.name}"), record)
    (table,) = tables_of(CLASSES, list(read_results(results)), "cpu", "confirm")
    assert table.mean("random per class", "knn").mean == pytest.approx(10)


def test_parts_are_counted_once():
    shared = {"part": "p", "seconds": 10.0}
    records = [
        {"parts": {"proxy": shared, "train": {"part": "a", "seconds": 1.0}}},
        {"parts": {"proxy": shared, "train": {"part": "b", "seconds": 2.0}}},
        {"parts": {"train": shared}},  # trained on everything: the proxy itself
    ]
    assert compute_spent(records) == 13
    assert compute_spent([]) == 0


def test_there_is_nothing_to_tell(tmp_path):
    with pytest.raises(DataError, match="python -m reproduce headroom"):
        write_page(tmp_path)
