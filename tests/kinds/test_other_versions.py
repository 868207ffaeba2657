"""A package that changed under a run is said, with its versions, and stops nothing."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from contrasift.options import PoolOptions, RunOptions
from contrasift.pipeline.run import Run
from contrasift.store import provenance
from contrasift.store.run import RunFolder


class Heard:
    """A narrator that keeps what was said."""

    quiet = False

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def working(self, stage: str):
        self.say(f"{stage} ...")
        return contextlib.nullcontext()

    def progress(self, title: str, unit: str = "examples"):
        return contextlib.nullcontext(lambda done, total: None)

    @property
    def notes(self) -> list[str]:
        return [line for line in self.lines if "other versions" in line]


def a_run(folder: Path) -> tuple[Run, Heard]:
    heard = Heard()
    return Run(RunFolder(folder), RunOptions(PoolOptions(pool="digits")), heard), heard


def do(run: Run, stage: str = "embed", fingerprint: str = "f") -> None:
    def work() -> dict[str, int]:
        (run.folder.path / "x").write_text("x")
        return {"n": 1}

    run.do(stage, fingerprint, ["x"], work)


def cut_short() -> dict[str, int]:
    raise KeyboardInterrupt


@pytest.fixture
def newer(monkeypatch):
    """Another version of a package from now on."""

    def change(package: str, version: str) -> None:
        real = provenance.version
        monkeypatch.setattr(
            provenance, "version", lambda name: version if name == package else real(name)
        )

    return change


def test_a_finished_stage_says_what_changed_and_is_taken(tmp_path, newer):
    newer("timm", "1.0.1")
    do(a_run(tmp_path)[0])
    before = (tmp_path / "stages.json").read_bytes()
    assert json.loads(before)["embed"]["facts"]["versions"]["timm"] == "1.0.1"
    newer("timm", "1.0.2")
    run, heard = a_run(tmp_path)
    do(run)
    assert len(heard.notes) == 1
    assert "stage `embed`" in heard.notes[0]
    assert "timm 1.0.1 then and 1.0.2 now" in heard.notes[0]
    assert "torch" not in heard.notes[0].replace("torchvision", "")
    assert (tmp_path / "stages.json").read_bytes() == before
    run.record("embed")  # later stages build on it: once is enough
    assert len(heard.notes) == 1


def test_a_stage_that_others_build_on_says_it(tmp_path, newer):
    newer("networkit", "11.0")
    do(a_run(tmp_path)[0], "classes")
    newer("networkit", "11.1")
    run, heard = a_run(tmp_path)
    run.record("classes")
    assert "networkit 11.0 then and 11.1 now" in heard.notes[0]


def test_a_stage_that_was_cut_short_says_under_what_it_began(tmp_path, newer):
    newer("torch", "2.0")
    run, _ = a_run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run.do("train selected-seed0", "f", ["x"], cut_short)
    newer("torch", "2.1")
    run, heard = a_run(tmp_path)
    do(run, "train selected-seed0")
    assert "torch 2.0 then and 2.1 now" in heard.notes[0]
    assert not (tmp_path / "begun.json").exists()
    facts = run.record("train selected-seed0").facts
    assert facts["versions"]["torch"] == "2.0"  # what began it decides, and is said again


def test_a_kill_between_a_stage_and_the_end_of_its_note_leaves_none(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.begin("embed", "new", {"numpy": "1"})
    folder.begin("scan", "same", {"numpy": "1"})
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "_no_longer_begun", lambda *of: None)
        folder.finish("embed", "old", 1.0, [])
        folder.finish("scan", "same", 1.0, [])
    with folder.locked():  # `embed` is being done anew
        assert list(json.loads((tmp_path / "begun.json").read_text())) == ["embed"]
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "_no_longer_begun", lambda *of: None)
        folder.finish("embed", "new", 1.0, [])
    with folder.locked():
        assert not (tmp_path / "begun.json").exists()


def test_nothing_is_said_where_nothing_changed(tmp_path, newer):
    newer("torch", "2.0")
    do(a_run(tmp_path)[0], "classes")  # which torch has no part in
    newer("torch", "2.1")
    run, heard = a_run(tmp_path)
    do(run, "classes")
    assert heard.notes == []


def test_runs_of_earlier_versions_have_nothing_to_say(tmp_path, newer):
    do(a_run(tmp_path)[0])
    records = json.loads((tmp_path / "stages.json").read_text())
    del records["embed"]["facts"]["versions"]
    (tmp_path / "stages.json").write_text(json.dumps(records))
    newer("timm", "0.1")
    run, heard = a_run(tmp_path)
    do(run)
    run.record("embed")
    assert heard.notes == []


def test_the_fingerprint_alone_decides_what_is_done_again(tmp_path, newer):
    do(a_run(tmp_path)[0])
    newer("timm", "9.9")
    assert RunFolder(tmp_path).is_finished("embed", "f")


def test_a_set_of_the_hub_that_was_sorted_anew_is_another_pool(tmp_path):
    import datasets
    import numpy as np
    from PIL import Image

    from contrasift.errors import RunFolderError
    from contrasift.pipeline.stages.scan import scan

    images = [Image.fromarray(np.full((8, 8), 20 * n, np.uint8)) for n in range(10)]
    made = datasets.Dataset.from_dict({"image": images, "label": [n % 2 for n in range(10)]})
    made.save_to_disk(tmp_path / "set")

    def opened() -> tuple[Run, Heard]:
        heard = Heard()
        options = RunOptions(PoolOptions(pool=str(tmp_path / "set")))
        return Run(RunFolder(tmp_path / "run"), options, heard), heard

    (tmp_path / "run").mkdir()
    scan(opened()[0])
    made.select(list(reversed(range(10)))).flatten_indices().save_to_disk(tmp_path / "other")
    (tmp_path / "set").rename(tmp_path / "old")
    (tmp_path / "other").rename(tmp_path / "set")
    with pytest.raises(RunFolderError, match="another"):
        scan(opened()[0])
