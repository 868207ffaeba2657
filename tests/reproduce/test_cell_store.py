"""Finished cells on disk: every number comes back, a changed default shows, nothing is lost."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.errors import DataError
from reproduce import cell_store
from reproduce.cell import Cell, current_defaults, nested_options
from reproduce.cell_store import CellStore
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.declared.declaring import place_name

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / "reproduce" / "cells"


def record(experiment="goal", seed=1, arm="random", value=0.1, **changes):
    options = Cell.of({"pool.pool": "digits", "train.epochs": 3, "select.fraction": 0.2}, seed)
    return {
        "experiment": experiment,
        "scale": "cpu",
        "phase": "confirm",
        "setting": {"pool": "digits", "fraction": "0.2"},
        "arm": arm,
        "seed": seed,
        "key": options.key,
        "options": options.as_dict(),
        "metrics": {"knn": value, "head": {"knn": value / 3}, "rows": [1, 2.5]},
        "facts": {"n": 5, "pool": "digits", "none": None},
        "parts": {"train": {"part": "a", "seconds": 1 / 3}},
        "made_with": {
            "versions": {"numpy": "2"},
            "commit": "abc",
            "processor": "an abacus",
            "threads": 1,
            "finished": "2026-01-01T00:00:00+00:00",
        },
        **changes,
    }


def lines(folder, experiment="goal"):
    text = (folder / f"{experiment}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_what_is_kept_is_read_again(tmp_path):
    kept = record()
    CellStore(tmp_path).keep(kept)
    assert list(CellStore(tmp_path).records()) == [kept]
    assert CellStore(tmp_path).find(kept) == kept
    assert CellStore(tmp_path).find({**kept, "seed": 2}) is None
    (line,) = lines(tmp_path)
    assert line["options"] == {
        name: value
        for name, value in flat(kept["options"]).items()
        if value != current_defaults()[name]
    }
    assert "epochs" in str(line["options"])
    assert "batch_size" not in str(line["options"])


def flat(groups):
    return {f"{group}.{name}": v for group, values in groups.items() for name, v in values.items()}


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
jsons = st.recursive(
    numbers | st.none() | st.booleans() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(
    metrics=st.dictionaries(st.text(), jsons, max_size=4),
    options=st.dictionaries(st.sampled_from(sorted(current_defaults())), jsons, max_size=6),
)
def test_every_number_and_every_option_comes_back(tmp_path_factory, metrics, options):
    folder = tmp_path_factory.mktemp("cells")
    kept = record(metrics=metrics, options=nested_options({**current_defaults(), **options}))
    CellStore(folder).keep(kept)
    (found,) = CellStore(folder).records()
    # Also 1 is not 1.0, and False not 0.
    assert json.dumps(found, sort_keys=True) == json.dumps(kept, sort_keys=True)


def test_numbers_of_numpy_become_plain(tmp_path):
    CellStore(tmp_path).keep(record(facts={"n": np.int64(3), "x": np.float32(0.5)}))
    assert next(CellStore(tmp_path).records())["facts"] == {"n": 3, "x": 0.5}


def test_a_default_that_has_changed_since_shows(tmp_path, monkeypatch):
    cell = Cell.of({"pool.pool": "digits", "select.fraction": 0.2}, 1)
    CellStore(tmp_path).keep(record(options=cell.as_dict()))
    older = {**current_defaults(), "measure.draws": 7}
    assert cell.agrees(next(CellStore(tmp_path).records())["options"])
    with monkeypatch.context() as patched:
        patched.setattr(cell_store, "current_defaults", lambda: older)
        options = copy.deepcopy(cell.as_dict())
        options["measure"]["draws"] = 7
        CellStore(tmp_path).keep(record(options=options, arm="older"))
    line = next(line for line in lines(tmp_path) if line["arm"] == "older")
    assert "measure.draws" not in line["options"]
    found = {one["arm"]: one for one in CellStore(tmp_path).records()}
    assert found["older"]["options"]["measure"]["draws"] == 7
    assert not cell.agrees(found["older"]["options"])
    assert cell.agrees(found["random"]["options"])


def test_lines_are_sorted_whatever_came_first(tmp_path):
    kept = [record(seed=seed, arm=arm, value=seed) for seed, arm in ((2, "b"), (0, "a"), (1, "c"))]
    for number, order in enumerate((kept, kept[::-1])):
        for one in order:
            CellStore(tmp_path / str(number)).keep(one)
    first, second = (tmp_path / name / "goal.jsonl" for name in "01")
    assert first.read_bytes() == second.read_bytes()
    names = [place_name(line) for line in lines(tmp_path / "0")]
    assert names == sorted(names)


def test_the_same_result_elsewhere_is_stored_once(tmp_path):
    store, kept = CellStore(tmp_path), record()
    there = {**kept, "experiment": "classes", "arm": "chance"}
    store.keep(kept)
    store.keep(there)
    (line,) = lines(tmp_path, "classes")
    assert line["same_as"] == ["goal", place_name(kept)]
    assert "metrics" not in line
    assert list(CellStore(tmp_path).records()) == [there, kept]
    # Other numbers of the same key are no repetition.
    store.keep(record(experiment="steps", value=0.7))
    assert "same_as" not in lines(tmp_path, "steps")[0]


def test_what_refers_to_a_line_survives_its_replacement(tmp_path):
    store, kept = CellStore(tmp_path), record()
    elsewhere = [{**kept, "experiment": "classes"}, {**kept, "arm": "chance"}]
    for one in (kept, *elsewhere):
        store.keep(one)
    replaced = record(value=0.9)
    store.keep(replaced)
    found = list(CellStore(tmp_path).records())
    assert sorted(found, key=str) == sorted([replaced, *elsewhere], key=str)


def test_another_process_is_seen(tmp_path):
    reader, writer = CellStore(tmp_path), CellStore(tmp_path)
    assert list(reader.records()) == []
    for value in (0.1, 0.2):
        writer.keep(record(value=value))
        assert [one["metrics"]["knn"] for one in reader.records()] == [value]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 2 of .*goal.jsonl"),
        ('{"a": 1}', "line 2 of .*goal.jsonl, which is something else"),
        ("[]", "something else"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, text, says):
    CellStore(tmp_path).keep(record())
    with open(tmp_path / "goal.jsonl", "a", encoding="utf-8") as file:
        file.write(text + "\n")
    with pytest.raises(DataError, match=says):
        list(CellStore(tmp_path).records())


def test_a_reference_to_nothing_is_named(tmp_path):
    CellStore(tmp_path).keep(record())
    CellStore(tmp_path).keep(record(experiment="classes"))
    (tmp_path / "goal.jsonl").write_text("")
    with pytest.raises(DataError, match=r"line 1 of .*goal\.jsonl"):
        list(CellStore(tmp_path).records())
    (tmp_path / "goal.jsonl").unlink()
    with pytest.raises(DataError, match=r"in goal\.jsonl; got none, for classes"):
        list(CellStore(tmp_path).records())


WRITER = """
import sys
from pathlib import Path
from reproduce.cell_store import CellStore
from tests.reproduce.test_cell_store import record

arm, count = sys.argv[2], int(sys.argv[3])
store = CellStore(Path(sys.argv[1]))
for seed in range(count):
    store.keep(record(seed=seed, arm=arm, value=seed / 7))
    print(seed, flush=True)
"""


def writer(folder, arm, count):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), arm, str(count)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_lose_nothing_of_each_other(tmp_path):
    both = [writer(tmp_path, arm, 15) for arm in ("a", "b")]
    for one in both:
        assert one.communicate()[1] is None
        assert one.returncode == 0
    found = {(one["arm"], one["seed"]) for one in CellStore(tmp_path).records()}
    assert found == {(arm, seed) for arm in ("a", "b") for seed in range(15)}
    assert not (tmp_path / ".lock").exists()


def test_a_killed_process_leaves_whole_files_and_no_lock_that_holds(tmp_path):
    rng = np.random.default_rng(0)
    for round_ in range(3):
        one = writer(tmp_path, f"round {round_}", 1000)
        assert one.stdout is not None
        done = [one.stdout.readline() for _ in range(3)]
        time.sleep(float(rng.uniform(0, 0.05)))
        one.send_signal(signal.SIGKILL)
        rest = one.communicate()[0]
        said = {int(text) for text in [*done, *rest.split()]}
        found = list(CellStore(tmp_path).records())
        kept = {cell["seed"] for cell in found if cell["arm"] == f"round {round_}"}
        assert said <= kept
        assert len(kept) <= len(said) + 1
    CellStore(tmp_path).keep(record(arm="after"))
    assert CellStore(tmp_path).find(record(arm="after")) is not None


def test_the_cells_of_the_repository():
    store = CellStore(OURS)
    found = list(store.records())
    assert len(found) >= 1575
    assert set(store.experiments()) <= set(EXPERIMENTS)
    assert sum(path.stat().st_size for path in OURS.iterdir()) <= 1_270 * len(found)
    references = 0
    for name in store.experiments():
        own = lines(OURS, name)
        assert [place_name(line) for line in own] == sorted(place_name(line) for line in own)
        references += sum("same_as" in line for line in own)
    assert references >= 312
    # What is planned now under the same key has these very options: no default has changed.
    planned = {
        (name, one.cell.key): one.cell
        for name, experiment in EXPERIMENTS.items()
        for one in experiment.plan("cpu", seeds=1)
    }
    known = [one for one in found if (one["experiment"], one["key"]) in planned]
    assert len(known) > 300
    for one in known:
        assert planned[one["experiment"], one["key"]].agrees(one["options"]), place_name(one)


def test_cells_of_the_repository_go_through_once_more(tmp_path):
    own = [one for one in CellStore(OURS).records() if one["experiment"] in ("aims", "forgettable")]
    for one in own:
        CellStore(tmp_path).keep(one)
    found = list(CellStore(tmp_path).records())
    # An option that is new since is at its default.
    for one in own:
        one["options"] = nested_options({**current_defaults(), **flat(one["options"])})
    assert len(found) == len(own) > 0
    assert json.dumps(found, sort_keys=True) == json.dumps(own, sort_keys=True)
