from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contrasift.cli.console import ConsoleNarrator
from contrasift.errors import ContrasiftError, DataError
from contrasift.pipeline.stages.train import pool_latent_classes
from reproduce import artifacts as artifacts_module
from reproduce import runner
from reproduce.artifacts import ArtifactCache, Busy
from reproduce.cell import Cell
from reproduce.cell_store import CellStore
from reproduce.declared.declaring import Experiment
from reproduce.render.cell_table import CellTable, compute_spent
from reproduce.render.pictures import draw, pictured
from reproduce.runner import Session, run_cells

FAST = {"pool.limit": 120, "measure.test_limit": 50}
LABELS = {"classes.classes": "labels"}
TRIAL = Experiment(
    name="trial",
    title="A trial",
    shows="nothing",
    arms={
        "random": {"select.objective": "random"},
        "full": {"select.fraction": 1.0},
        "SAS": LABELS,
        "worst": {**LABELS, "arm.kept": "last"},
        "untrained": {"arm.trained": False},
    },
    reference="random",
    axes={"fraction": {"0.3": {"select.fraction": 0.3}}},
    seeds=1,
)
QUIET = ConsoleNarrator(quiet=True)


def session(cells="cells", phase="explore", **changes):
    planned = TRIAL.plan("tiny", explore=phase == "explore", changes={**FAST, **changes})
    return Session(TRIAL, "tiny", phase, planned, CellStore(Path(cells)))


def timeless(value):
    """Without what may differ from one time to the next."""
    if isinstance(value, dict):
        return {
            name: timeless(one)
            for name, one in value.items()
            if name not in ("seconds", "cpu_seconds", "finished", "commit")
        }
    return value


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """All cells, once; and everything that was said of them."""
    folder = tmp_path_factory.mktemp("experiment")
    here = session(folder / "cells")
    todo = here.unfinished()
    assert len(todo) == 5
    done = run_cells(here, todo, ArtifactCache(folder / "work", QUIET, "cpu"), QUIET)
    assert done == 5
    return folder


def records(folder):
    return {record["arm"]: record for record in CellStore(folder / "cells").records()}


def test_every_cell_leaves_its_line(finished):
    found = records(finished)
    assert set(found) == set(TRIAL.arms)
    one = found["SAS"]
    assert one["setting"] == {"pool": "digits", "fraction": "0.3", "pool.limit": "120",
                              "measure.test_limit": "50"}  # fmt: skip
    assert (one["scale"], one["phase"], one["seed"]) == ("tiny", "explore", 0)
    assert {"linear", "few_10", "few_1pct", "knn", "mean_classifier", "head"} == set(one["metrics"])
    assert one["facts"]["examples"] == 29  # 0.3 of the 96 that were not set aside
    assert one["options"]["select"]["fraction"] == 0.3
    assert {"proxy", "embed", "embed-classes", "classes", "select", "train", "judge"} == set(
        one["parts"]
    )
    assert set(found["random"]["parts"]) == {"train", "judge"}
    assert set(found["untrained"]["parts"]) == {"judge"}
    assert one["made_with"]["versions"]["contrasift"]
    assert one["made_with"]["processor"]
    assert one["made_with"]["threads"] == 1


def test_the_proxy_and_the_training_on_everything_are_one(finished):
    found = records(finished)
    assert found["SAS"]["parts"]["proxy"]["part"] == found["full"]["parts"]["train"]["part"]
    assert len(list((finished / "work" / "trainings").iterdir())) == 4


def test_the_worst_are_the_end_of_the_ranking(finished):
    here = session(finished / "cells")
    artifacts = ArtifactCache(finished / "work", QUIET, "cpu")
    first, last = (
        set(artifacts.positions(next(one.cell for one in here.planned if one.arm == arm)).tolist())
        for arm in ("SAS", "worst")
    )
    assert len(first) == len(last) == 29
    assert not first & last


def test_trainings_that_select_on_their_way_share_what_comes_before(tmp_path):
    base = {"pool.pool": "digits", "pool.limit": 80, "select.fraction": 0.3, "embed.views": 1,
            "switch.select_after": 1, "train.epochs": 2, "train.architecture": "narrow:0.125",
            "train.batch_size": 16, "classes.classes": "none"}  # fmt: skip
    artifacts, chosen = ArtifactCache(tmp_path, QUIET, "cpu"), {}
    for name, more in {
        "first": {},
        "last": {"arm.kept": "last"},
        "random": {"select.objective": "random"},
    }.items():
        folder = artifacts.trained(Cell.of(base | more, 3))
        chosen[name] = set(np.load(folder / "selections" / "1" / "selected.npy").tolist())
        assert {"train", "selections"} <= set(artifacts.used)
        assert artifacts.used["train"]["cpu_seconds"] > 0
    assert len(list((tmp_path / "before-switch").iterdir())) == 1
    assert {len(rows) for rows in chosen.values()} == {24}
    assert not chosen["first"] & chosen["last"]
    assert chosen["random"] not in (chosen["first"], chosen["last"])


def test_classes_that_are_mostly_junk_are_left_out_by_hand(tmp_path):
    base = {"pool.pool": "digits", "pool.limit": 200, "classes.classes": "kmeans",
            "classes.n_classes": 6, "select.fraction": 0.2, "train.epochs": 1, "embed.proxy_epochs": 1,
            "train.architecture": "narrow:0.125", "train.batch_size": 64,
            "mixture.corrupted": 0.4}  # fmt: skip
    cell = Cell.of({**base, "arm.kept": "looked-at"}, 0)
    artifacts = ArtifactCache(tmp_path, QUIET, "cpu")
    chosen = artifacts.positions(cell)
    names = pool_latent_classes(artifacts.classified(cell))
    labelled = artifacts.pool(cell).labels >= 0
    shares = {name: labelled[names == name].mean() for name in np.unique(names)}
    assert min(shares.values()) <= 0.5 < max(shares.values())  # there is what to leave out
    assert set(names[chosen]) == {name for name, share in shares.items() if share > 0.5}
    assert len(chosen) == 40
    assert artifacts.used["select"]["seconds"] > 0


def test_finished_cells_are_not_done_again(finished):
    assert session(finished / "cells").unfinished() == []


def test_a_changed_option_makes_new_cells(finished):
    assert len(session(finished / "cells", **{"train.temperature": 0.3}).unfinished()) == 4
    # The untrained one knows no temperature: it was taken from where it was.
    assert CellStore(finished / "cells").count("trial") == 6


def test_a_cell_of_other_images_is_not_taken_from_elsewhere(finished, tmp_path):
    # Fonts make the images of a pool's name: what stands beside them must be of the same.
    store = CellStore(tmp_path / "cells")
    mine = records(finished)
    store.keep({**mine["SAS"], "experiment": "elsewhere"})
    assert {planned.arm for planned in session(tmp_path / "cells").unfinished()} == set(mine) - {
        "SAS"
    }
    for folder, fonts, left in (("same", {}, 3), ("other", {"pool_fingerprint": "other fonts"}, 4)):
        store = CellStore(tmp_path / folder)
        store.keep({**mine["SAS"], "experiment": "elsewhere"})
        full = mine["full"]
        store.keep({**full, "facts": {**full["facts"], **fonts}})
        assert len(session(tmp_path / folder).unfinished()) == left


def test_the_other_phase_is_kept_apart(finished):
    assert len(session(finished / "cells", phase="confirm").unfinished()) == 5


def test_again_from_scratch_is_the_same_but_for_times(finished, tmp_path):
    here = session(tmp_path / "cells")
    todo = [one for one in here.unfinished() if one.arm in ("SAS", "random")]
    run_cells(here, todo, ArtifactCache(tmp_path / "work", QUIET, "cpu"), QUIET)
    old, new = records(finished), records(tmp_path)
    assert set(new) == {"SAS", "random"}
    for arm, record in new.items():
        assert timeless(record) == timeless(old[arm])


SCORED = Experiment(
    name="scored",
    title="By forgetting",
    shows="nothing",
    arms={
        keep: {
            **LABELS,
            "select.objective": "scores",
            "select.scores": "dynamics",
            "select.scores_column": "forgetting_events",
            "select.scores_keep": keep,
            "measure.extras": "subset_difficulty",
        }
        for keep in ("low", "high")
    }
    | {"random": {"select.objective": "random", "measure.extras": "subset_difficulty"}},
    reference="low",
    axes=TRIAL.axes,
    metrics=("knn", "subset_difficulty.forgetting_events"),
    seeds=1,
)


def test_supervised_trainings_choose_and_are_read(finished, tmp_path):
    planned = SCORED.plan("tiny", explore=True, changes=FAST)
    here = Session(SCORED, "tiny", "explore", planned, CellStore(tmp_path / "cells"))
    # The proxy is there; the supervised training is made once.
    assert run_cells(here, planned, ArtifactCache(finished / "work", QUIET, "cpu"), QUIET) == 3
    found = records(tmp_path)
    events = {
        arm: record["metrics"]["subset_difficulty"]["forgetting_events"]
        for arm, record in found.items()
    }
    assert events["low"] < events["high"]
    parts = found["low"]["parts"]
    assert parts["dynamics seed0"]["part"] == found["high"]["parts"]["dynamics seed0"]["part"]
    assert parts["proxy"]["part"] == records(finished)["SAS"]["parts"]["proxy"]["part"]
    assert "read dynamics" not in parts  # it chose, and was read as well
    assert len(list((finished / "work" / "dynamics").iterdir())) == 1
    table = CellTable({}, {arm: {0: record} for arm, record in found.items()})
    choosing = {
        "proxy",
        "embed",
        "embed-classes",
        "classes",
        "select",
        "dynamics",
        "dynamics seed0",
    }
    assert set(parts) == choosing | {"train", "judge", "read"}
    assert table.seconds("low") == pytest.approx(sum(parts[kind]["seconds"] for kind in choosing))
    # Where scores are only read, they are no cost of the choice, but work all the same.
    read = found["random"]["parts"]
    assert table.seconds("random") == 0
    assert read["read dynamics"]["part"] == parts["dynamics"]["part"]
    alone = sum(read[kind]["seconds"] for kind in ("train", "judge", "read"))
    shared = compute_spent([found["low"], found["high"]])
    assert compute_spent(found.values()) == pytest.approx(shared + alone)


def test_pictures_of_what_finished_cells_chose(finished, tmp_path):
    here = session(finished / "cells")
    (one,) = pictured(here)
    assert one.arm == "SAS"
    before = sorted(path for path in (finished / "work").rglob("*") if path.name != "run.lock")
    paths = draw(here, one, ArtifactCache(finished / "work", QUIET, "cpu"))
    assert [path.parent for path in paths] == [finished / "pages" / "plots"] * 2
    for path in paths:
        assert path.stat().st_size < 100_000
        assert "data:image/png;base64," in path.read_text()
    after = sorted(path for path in (finished / "work").rglob("*") if path.name != "run.lock")
    assert after == before  # nothing is made that was there
    assert pictured(session(tmp_path / "cells")) == []


def test_an_interrupted_cell_leaves_nothing_and_goes_on(finished, tmp_path, monkeypatch):
    here = session(tmp_path / "cells")
    todo = [one for one in here.unfinished() if one.arm == "random"]
    artifacts = ArtifactCache(tmp_path / "work", QUIET, "cpu")
    with monkeypatch.context() as patched:

        def interrupted(*_, **__):
            raise KeyboardInterrupt("half-way")

        patched.setattr(runner, "accuracies_of", interrupted)
        with pytest.raises(KeyboardInterrupt, match="half-way"):
            run_cells(here, todo, artifacts, QUIET)
    assert list(CellStore(tmp_path / "cells").records()) == []
    assert not list((tmp_path / "work").rglob("run.lock"))
    trained = next((tmp_path / "work" / "trainings").rglob("result.json"))
    before = trained.stat().st_mtime_ns
    assert run_cells(here, todo, artifacts, QUIET) == 1
    assert trained.stat().st_mtime_ns == before
    assert timeless(records(tmp_path)["random"]) == timeless(records(finished)["random"])


def test_what_another_process_does_is_left_to_it(tmp_path, monkeypatch):
    here = session(tmp_path / "cells")
    todo = [one for one in here.unfinished() if one.arm in ("random", "untrained")]
    order = []

    def run_cell(cell, artifacts):
        arm = next(one.arm for one in todo if one.cell is cell)
        order.append(arm)
        if order == ["random"]:
            raise Busy("elsewhere")
        return {"metrics": {}, "facts": {}, "parts": {}}

    monkeypatch.setattr(runner, "run_cell", run_cell)
    assert run_cells(here, todo, ArtifactCache(tmp_path / "work", QUIET), QUIET) == 2
    assert order == ["random", "untrained", "random"]


def test_one_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    here = session(tmp_path / "cells")
    todo = here.unfinished()[:2]

    def run_cell(cell, artifacts):
        if cell is todo[0].cell:
            raise DataError("images", "none")
        return {"metrics": {}, "facts": {}, "parts": {}}

    monkeypatch.setattr(runner, "run_cell", run_cell)
    with pytest.raises(ContrasiftError, match="1 that failed; digits, 0.3.*random.*images"):
        run_cells(here, todo, ArtifactCache(tmp_path / "work", QUIET), QUIET)
    assert [record["arm"] for record in CellStore(tmp_path / "cells").records()] == [todo[1].arm]


def test_a_held_part_is_busy_and_a_folder_that_cannot_be_written_is_not(tmp_path, monkeypatch):
    artifacts = ArtifactCache(tmp_path / "work", QUIET)

    def held(lock):
        raise error

    monkeypatch.setattr(artifacts_module, "held", held)
    error = artifacts_module.RunFolderError("to hold it alone", "process 1")
    with pytest.raises(Busy, match="process 1"), artifacts.holding("cells", "a"):
        pass
    error = OSError(28, "No space left on device")
    with pytest.raises(ContrasiftError, match="No space"), artifacts.holding("cells", "a"):
        pass


def test_a_file_that_is_no_result(tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps({"a": 1}))
    with pytest.raises(DataError, match="something else"):
        list(CellStore(tmp_path).records())


def test_equal_steps(tmp_path):
    steps = {}
    for match in ("epochs", "steps"):
        here = session(tmp_path / "cells", **{"compare.match": match})
        todo = [one for one in here.unfinished() if one.arm == "random"]
        run_cells(here, todo, ArtifactCache(tmp_path / "work", QUIET, "cpu"), QUIET)
        steps[match] = here.store.find(here.place(todo[0]))["facts"]["steps"]
    assert steps == {"epochs": 1, "steps": 6}  # 29 // 16 and 96 // 16


def test_so_many_steps_are_those_of_the_proxy_too(tmp_path):
    here = session(tmp_path / "cells", **{"arm.steps": 3})
    todo = [one for one in here.unfinished() if one.arm == "SAS"]
    assert run_cells(here, todo, ArtifactCache(tmp_path / "work", QUIET, "cpu"), QUIET) == 1
    facts = here.store.find(here.place(todo[0]))["facts"]
    assert facts["steps"] == 3
    proxies = (tmp_path / "work" / "embedded").glob("*/training/proxy/result.json")
    assert [json.loads(one.read_text())["steps"] for one in proxies] == [3]
