"""A run goes on with the pool that it was made from, wherever that lies, and with no other."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from contrasift.cli import COMMANDS, app
from contrasift.store.tables import read_table

N = 40
GREY = (np.arange(N) * 6).astype(np.uint8)
TINY = ["--architecture", "narrow:0.125", "--proxy-epochs", "1", "--epochs", "1", "--views", "1"]
TINY += ["--batch-size", "8", "--image-size", "8"]


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    said = " ".join(result.output.split())
    if result.exit_code != code:
        raise AssertionError(f"exit {result.exit_code}: {said}") from result.exception
    assert "Traceback" not in said
    return said


def images(order: np.ndarray) -> np.ndarray:
    return np.repeat(GREY[order], 64).reshape(N, 8, 8)


def write_folder(folder: Path, order: np.ndarray, labels: np.ndarray) -> None:
    for number, image in enumerate(images(order)):
        path = folder / "k" / f"{labels[number]}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def write_npz(path: Path, order: np.ndarray, labels: np.ndarray) -> None:
    np.savez(path, images=images(order), labels=labels)


LABELS = np.arange(N) % 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`pool.npz` and a run of it up to one training, as the issue has it."""
    home = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        write_npz(Path("pool.npz"), np.arange(N), LABELS)
        call("embed", "pool.npz", *TINY, "--out", "run")
        call("classes", "run", "--classes", "kmeans", "--n-classes", 2, "--restarts", 1)
        call("select", "run", "--fraction", 0.5)
        call("train", "run", "--subset", "selected")
        shutil.copytree("run", "before-the-map")
        call("report", "run")
    return home


@pytest.fixture
def run(made):
    shutil.copy2(made / "pool.npz", "pool.npz")
    shutil.copytree(made / "run", "run")
    return Path("run")


# Every command that may open the pool of a run, with what it needs; `stops` is None for those that
# go on without pictures.
OPENING = {
    "train": ["train", "run", "--subset", "random"],
    "evaluate": ["evaluate", "run"],
    "negatives": ["negatives", "run", "--arm", "selected-seed0", "--queries", 4],
    "bounds": ["bounds", "run"],
    "bounds --selection": ["bounds", "run", "--selection"],
    "dynamics": ["dynamics", "run", "--epochs", 1],
    "plan --accuracy": ["plan", "run", "--accuracy", "--seeds", 2],
    "embed": ["embed", "pool.npz", *TINY, "--out", "run"],
    "run": [
        "run",
        "pool.npz",
        *TINY,
        "--fraction",
        0.5,
        "--classes",
        "kmeans",
        "--n-classes",
        2,
        "--restarts",
        1,
        "--out",
        "run",
    ],
    **{
        f"export --to {form}": ["export", "run", "--to", form, "--out", "out"]
        for form in ("images", "webdataset", "hf", "fiftyone")
    },
}
SHOWING = {"report": ["report", "run"], "explore": ["explore", "run", "--no-open"]}
# They read no image of a run's pool: what they need is in the run folder.
NOT_OPENING = {
    *("classes", "select", "datasets", "compare", "compare-selections", "doctor", "text", "filter"),
    *("extend", "mine"),
}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_command_is_known_to_open_a_runs_pool_or_not():
    commands = {name for panel in COMMANDS.values() for name in panel}
    known = {name.split()[0] for name in (*OPENING, *SHOWING)} | NOT_OPENING
    assert commands == known


@pytest.mark.parametrize("name", OPENING)
def test_a_pool_that_changed_is_not_gone_on_with(run, name):
    write_npz(Path("pool.npz"), np.arange(N)[::-1], LABELS)
    before = content(run)
    said = call(*OPENING[name], code=1)
    assert "the pool that run was made from" in said
    assert "image(s) with other content, such as 0" in said
    assert "contrasift extend run NEWPOOL" in said
    assert not Path("out").exists()
    kept = {name: data for name, data in before.items() if "options.yaml" not in name}
    after = content(run)
    assert {name: after.get(name) for name in kept} == kept


@pytest.mark.parametrize("name", SHOWING)
def test_a_pool_that_changed_is_not_shown(run, name):
    write_npz(Path("pool.npz"), np.arange(N)[::-1], LABELS)
    said = call(*SHOWING[name])
    assert "pictures: expected the pool that run was made from" in said


def test_what_changed_is_said(run):
    call("export", "run", "--to", "images", "--out", "first")
    for write, words in (
        (lambda: write_npz(Path("pool.npz"), np.arange(N), (LABELS + 1) % 4), "other"),
        (
            lambda: np.savez("pool.npz", images=images(np.arange(N))[:30], labels=LABELS[:30]),
            "gone, such as",
        ),
        (
            lambda: np.savez(
                "pool.npz",
                images=np.concatenate([images(np.arange(N))] * 2),
                labels=np.tile(LABELS, 2),
            ),
            "new image(s), such as",
        ),
        (lambda: np.savez("pool.npz", images=images(np.arange(N))), "new image(s)"),
    ):
        write()
        assert words in call("export", "run", "--to", "images", "--out", "again", code=1)


def test_other_labels_of_the_same_images_are_another_pool(run):
    changed = LABELS.copy()
    chosen = read_table(run / "examples.parquet", "index")["index"]
    changed[chosen[3]], changed[chosen[4]] = changed[chosen[4]], changed[chosen[3]]
    np.savez("pool.npz", images=images(np.arange(N)), labels=changed)
    said = call("train", "run", "--subset", "random", code=1)
    assert "other label(s)" in said or "new image(s)" in said


def test_with_update_the_pool_is_read_anew_and_what_is_cut_short_is_not_taken_for_done(run):
    write_npz(Path("pool.npz"), np.arange(N)[::-1], LABELS)
    call(*OPENING["embed"], "--update")
    assert "finished before, skipped" in call(*OPENING["embed"])
    said = call(*OPENING["train"], code=1)
    assert "the pool as it was before" in said
    assert "Do it again: contrasift select run --update" in said


@pytest.fixture
def photos(tmp_path_factory):
    home = Path.cwd()
    write_folder(home / "photos", np.arange(N), LABELS)
    call("embed", "photos", "--labels", "folders", *TINY, "--out", "run")
    call("classes", "run", "--classes", "kmeans", "--n-classes", 2, "--restarts", 1)
    call("select", "run", "--fraction", 0.5)
    return home / "photos"


def test_a_folder_that_moved_is_named_by_a_flag_and_known_by_its_content(photos):
    export = ["export", "run", "--to", "images", "--out"]
    call(*export, "first")
    Path("elsewhere").mkdir()
    shutil.copytree(photos, "elsewhere/pictures", copy_function=shutil.copy)  # other times
    shutil.rmtree(photos)
    said = call(*export, "second", code=1)
    assert "If it has moved, say where it is now: --pool PLACE" in said
    said = call(*export, "second", "--pool", "elsewhere/pictures")
    assert "the same content" in said
    names = sorted(str(path.relative_to("first")) for path in Path("first").rglob("*.png"))
    assert names == sorted(str(p.relative_to("second")) for p in Path("second").rglob("*.png"))
    for name in names:
        assert Path("first", name).read_bytes() == Path("second", name).read_bytes()
    assert "note" not in call(*export, "third")  # kept in the run
    assert "skipped" in call(
        "embed", "elsewhere/pictures", "--labels", "folders", *TINY, "--out", "run"
    )


def test_a_folder_whose_files_were_touched_is_the_same_and_one_exchanged_file_is_not(photos):
    for path in photos.rglob("*.png"):
        os.utime(path, (1, 1))
    assert "the same content" in call("train", "run", "--subset", "selected")
    victim = sorted(photos.rglob("*.png"))[7]
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(victim)
    said = call("train", "run", "--subset", "random", code=1)
    assert "1 image(s) with other content" in said or "1 held-out image(s) with other" in said
    assert victim.name in said
    other = Path("other")
    shutil.copytree(photos, other)
    assert "other content" in call("train", "run", "--pool", other, code=1)
    assert json.loads(Path("run/stages.json").read_text())["scan"]["facts"]["n"] == 32


@pytest.mark.parametrize("limit", [(), ("--limit", 20)])
def test_new_indices_begin_behind_the_whole_pool(limit):
    """A held-out or left-out image has an index, too, which no new one may get."""
    labels = np.concatenate([np.zeros(30, int), np.ones(10, int)])
    write_npz(Path("pool.npz"), np.arange(N), labels)
    np.savez("new.npz", images=images(np.arange(N))[:6])
    np.savez("newer.npz", images=images(np.arange(N))[6:10])
    call("embed", "pool.npz", *TINY, *limit, "--out", "run")
    call("classes", "run", "--classes", "kmeans", "--n-classes", 2, "--restarts", 1)
    call("select", "run", "--fraction", 0.5)
    assert "from index 40 on" in call("extend", "run", "new.npz", "--out", "more")
    assert "from index 46 on" in call("extend", "more", "newer.npz", "--out", "most")
    kept = json.loads(Path("run/stages.json").read_text())
    del kept["scan"]["facts"]["end"]  # as an earlier version left it
    Path("run/stages.json").write_text(json.dumps(kept))
    assert "from index 40 on" in call("extend", "run", "new.npz", "--out", "again")


def test_an_extension_whose_pool_changed_is_not_gone_on_with(run):
    np.savez("new.npz", images=images(np.arange(N))[:6])
    call("extend", "run", "new.npz", "--out", "more")
    assert "skipped" in call("extend", "run", "new.npz", "--out", "more")
    np.savez("new.npz", images=images(np.arange(N))[1:7])
    assert "6 image(s) with other content" in call(
        "extend", "run", "new.npz", "--out", "more", code=1
    )
