from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from contrasift.errors import DataError
from contrasift.evaluation import paired_difference
from reproduce.cell_store import CellStore
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.render.cell_table import compute_spent, tables_of
from reproduce.render.pages import write_pages
from reproduce.render.statements import STATEMENTS
from reproduce.runner import Session

ROOT = Path(__file__).resolve().parents[2]
CLASSES = EXPERIMENTS["classes"]
ARMS = ("random per class", "SAS, true classes", "SAS, graph")


def written(store):
    """All pages, one after the other."""
    index = write_pages(store)
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(index.parent.glob("*.md")))


def write_cells(folder, values, phase="confirm", changes=None, seconds=60.0, finished="2026"):
    """Cells as `run_cells` keeps them; `values[arm]`: kNN by seed."""
    explore = phase == "explore"
    planned = CLASSES.plan("cpu", seeds=3, explore=explore, changes=changes or {})
    here = Session(CLASSES, "cpu", phase, planned, CellStore(folder))
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
    cells = tmp_path / "reproduce" / "cells"
    write_cells(cells, VALUES)
    page = write_pages(CellStore(cells))
    assert page == tmp_path / "reproduce" / "pages" / "README.md"
    text = written(CellStore(cells))
    own = 100 * np.array(VALUES["SAS, true classes"])
    assert f"{own.mean():.1f} ± {own.std(ddof=1) / 3**0.5:.1f}" in text
    difference = paired_difference(own, 100 * np.array(VALUES["random per class"]))
    shown = f"{difference.mean:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"
    assert f"| SAS, true classes | {shown} |" in text
    said, told = text.split("Every interval</summary>")
    index = page.read_text(encoding="utf-8")
    rows = [line for line in told.splitlines() if line.startswith("| SAS beats random")]
    assert "classes from labels | SAS, Fig. 5a | glyphs | 10 labels a class" in rows[0]
    assert rows[0].endswith("| **holds** |")
    assert next(row for row in rows if "without labels" in row).endswith(
        "| not significant (n = 3) |"
    )
    assert (
        "with classes from labels | SAS, Fig. 5a | *10 labels a class, kNN*: glyphs |  |  |" in said
    )
    assert "a graph, without labels | – |  |  | *10 labels a class, kNN*: glyphs (n = 3) |" in said
    assert "Of 6 such intervals about 0 would" in index
    # 9 trainings of a minute, and three proxies, each of which several cells share.
    assert f"9 different cells, {(9 * 60 + 300) / 3600:.1f} hours" in index
    assert "python -m reproduce classes --scale cpu --seeds 3" in text
    assert "| [Where the latent classes come from](classes.md) |" in index
    assert "# Where the latent classes come from\n\n- SAS beats" in text
    answers = (page.parent / "classes.md").read_text(encoding="utf-8").split("Shows:")[0]
    assert "from labels (SAS, Fig. 5a): **holds** in both comparisons." in answers
    assert "without labels: **not significant (n = 3)** in both comparisons." in answers
    count = len(CLASSES.plan("paper", seeds=1))
    row = f"| `python -m reproduce classes --scale paper --device cuda` | cifar100, cifar10, stl10, tiny-imagenet | {count} |"
    assert row in text.split("# On GPUs")[1]
    assert written(CellStore(cells)) == text


def test_plots_are_whole_and_asked_for(tmp_path):
    cells = tmp_path / "reproduce" / "cells"
    write_cells(cells, VALUES)
    text = written(CellStore(cells))
    plots = sorted((tmp_path / "reproduce" / "pages" / "plots").glob("*.svg"))
    assert plots
    for plot in plots:
        assert f"](plots/{plot.name})" in text
        tree = ElementTree.parse(plot)
        circles = [one for one in tree.iter() if one.tag.endswith("circle")]
        assert len(circles) == 2 * len(CLASSES.metrics)


def test_exploration_is_kept_apart_and_decides_no_confirmed_claim(tmp_path):
    cells = tmp_path / "reproduce" / "cells"
    write_cells(cells, VALUES, phase="explore")
    text = written(CellStore(cells))
    assert "## Exploration, scale `cpu`" in text
    assert "Exploration: evaluated on a validation split. It decides no claim." in text
    assert "## Confirmed" not in text
    assert "The papers' claims" not in text
    assert "--explore" in text


def test_changed_options_are_a_setting_of_their_own(tmp_path):
    cells = tmp_path / "reproduce" / "cells"
    write_cells(cells, VALUES)
    write_cells(cells, VALUES, changes={"train.epochs": 80})
    text = written(CellStore(cells))
    assert "### glyphs\n" in text
    assert "### glyphs, train.epochs 80\n" in text
    assert "python -m reproduce classes --scale cpu --seeds 3 --set train.epochs=80" in text


@pytest.mark.parametrize("finished", ["0000", "9999"])
def test_of_two_cells_for_one_place_the_declared_one_counts(tmp_path, finished):
    cells = tmp_path / "cells"
    write_cells(cells, {"random per class": [0.1, 0.1, 0.1]})
    store = CellStore(cells)
    for record in list(store.records()):
        record["key"] = f"older{record['key'][5:]}"
        record["options"]["train"]["epochs"] = 7  # what an older declaration asked for
        record["made_with"]["finished"] = finished
        record["metrics"] = dict.fromkeys(CLASSES.metrics, 0.9)
        store.keep(record)
    assert store.count("classes") == 6
    (table,) = tables_of(CLASSES, list(store.records()), "cpu", "confirm")
    assert table.mean("random per class", "knn").mean == pytest.approx(10)


def test_cells_of_other_images_are_not_compared(tmp_path):
    cells = tmp_path / "reproduce" / "cells"
    write_cells(cells, VALUES)
    records = list(CellStore(cells).records())
    for record in records:
        other = (record["arm"], record["seed"] % 100) == ("random per class", 1)
        record["facts"]["pool_fingerprint"] = "other fonts" if other else "fonts"
    (table,) = tables_of(CLASSES, records, "cpu", "confirm")
    found = table.difference("SAS, true classes", "random per class", "knn")
    assert found is not None
    assert found.n == 2


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
        write_pages(CellStore(tmp_path))


def test_pages_and_plots_that_are_not_written_any_more_go(tmp_path):
    cells = tmp_path / "reproduce" / "cells"
    write_cells(cells, VALUES)
    pages = write_pages(CellStore(cells)).parent
    stale = pages / "plots" / "old.svg"
    stale.write_text("<svg/>")
    own = pages / "mine.md"
    own.write_text("not of the script")
    (pages / "goal.md").write_text((pages / "classes.md").read_text(encoding="utf-8"))
    write_pages(CellStore(cells))
    assert not stale.exists()
    assert not (pages / "goal.md").exists()
    assert own.exists()


def test_statements_of_the_index_are_claims_that_are_declared():
    for statement in STATEMENTS:
        experiment = EXPERIMENTS[statement.experiment]
        (claim,) = [one for one in experiment.claims if one.text == statement.claim]
        for axis, label in statement.setting.items():
            known = experiment.axes.get(axis)
            assert axis == "pool" or "." in axis or (known is not None and label in known)
        assert all(
            claim.where.get(axis, label) == label for axis, label in statement.setting.items()
        )


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The pages that the repository's cells give."""
    folder = tmp_path_factory.mktemp("published")
    for name in ("cells", "texts", "repeats.jsonl"):
        source = ROOT / "reproduce" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    drawn = [*(ROOT / "reproduce" / "pages" / "plots").glob("*-map.svg")]
    drawn += (ROOT / "reproduce" / "pages" / "plots").glob("*-pairs.svg")
    (folder / "pages" / "plots").mkdir(parents=True)
    for path in drawn:
        shutil.copy(path, folder / "pages" / "plots" / path.name)
    return write_pages(CellStore(folder / "cells")).parent


def test_the_pages_of_the_repository_are_those_of_its_cells(published):
    ours = ROOT / "reproduce" / "pages"
    names = {path.relative_to(ours) for path in ours.rglob("*.*")}
    assert names == {path.relative_to(published) for path in published.rglob("*.*")}
    for name in names:
        assert (ours / name).read_bytes() == (published / name).read_bytes(), name


def test_no_page_is_heavy(published):
    pages = list(published.glob("*.md"))
    assert len(pages) > len(EXPERIMENTS)
    assert max(path.stat().st_size for path in pages) <= 60_000
    index = (published / "README.md").read_text(encoding="utf-8")
    assert len(index.splitlines()) <= 200
    assert all(f"]({path.name})" in index for path in pages if path.name != "README.md")
