from __future__ import annotations

from pathlib import Path

import pytest

from contrasift.errors import DataError, RunFolderError, UsageError
from contrasift.options import PoolOptions, RunOptions, SelectOptions
from contrasift.store.run import RunFolder, canonical_text, read_recipe


def finished(folder: RunFolder, stage: str = "embed") -> None:
    (folder.path / "out.txt").write_text("result")
    folder.finish(stage, "f1", 1.5, ["out.txt"], n=3)


@pytest.fixture
def folder():
    folder = RunFolder("run")
    folder.path.mkdir()
    return folder


def test_a_finished_stage_is_known_by_its_fingerprint_and_whole_files(folder):
    finished(folder)
    assert folder.is_finished("embed", "f1")
    assert not folder.is_finished("embed", "f2")
    assert not folder.is_finished("classes", "f1")
    assert folder.records()["embed"].facts == {"n": 3}
    (folder.path / "out.txt").write_text("cut")
    assert not folder.is_finished("embed", "f1")
    (folder.path / "out.txt").unlink()
    assert not folder.is_finished("embed", "f1")


def test_other_options_are_refused_unless_told(folder):
    finished(folder)
    folder.refuse_other("embed", "f1", update=False)
    folder.refuse_other("embed", "f2", update=True)
    folder.refuse_other("classes", "f2", update=False)
    with pytest.raises(RunFolderError, match="stage `embed`.*update=True"):
        folder.refuse_other("embed", "f2", update=False)


def test_canonical_text_round_trips_and_is_stable():
    options = RunOptions(PoolOptions(pool="naïve: [pool]"), select=SelectOptions(budget=7))
    text = canonical_text(options)
    Path("options.yaml").write_text(text, encoding="utf-8")
    assert read_recipe(Path("options.yaml")) == options
    assert canonical_text(read_recipe(Path("options.yaml"))) == text


def test_broken_recipes_are_explained():
    for content, error, words in (
        ("pool: {pol: x}", UsageError, "one of the options pool"),
        ("pols: {}", UsageError, "one of the sections"),
        ("pool: x", UsageError, "section pool"),
        ("- a", UsageError, "sections like"),
        ("a: [", DataError, "YAML"),
        ("!!python/object/apply:os.system ['true']", DataError, "YAML"),
    ):
        Path("recipe.yaml").write_text(content)
        with pytest.raises(error, match=words):
            read_recipe(Path("recipe.yaml"))
    with pytest.raises(DataError, match="absent"):
        read_recipe(Path("absent.yaml"))


def test_no_run_says_how_to_begin():
    with pytest.raises(RunFolderError, match="contrasift embed"):
        RunFolder.existing("nowhere")
