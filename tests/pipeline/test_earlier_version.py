"""A run folder that version 0.1.0 left: this version opens it, continues it and reports on it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from contrasift.store.tables import read_table

KEPT = Path(__file__).parents[1] / "fixtures" / "run-0.1"
AS_MADE = [
    "--image-size", 16, "--architecture", "narrow:0.125", "--projection-dim", 16, "--epochs", 1,
    "--fraction", 0.4, "--batch-size", 32, "--views", 1, "--classes", "kmeans", "--n-classes", 4,
    "--restarts", 1, "--optimizer", "relaxed", "--out", "run",
]  # fmt: skip


@pytest.fixture
def earlier() -> Path:
    """The run and its pool in the current folder; pages that were not kept are blank."""
    shutil.copytree(KEPT, ".", dirs_exist_ok=True)
    run = Path("run")
    for stage in json.loads((run / "stages.json").read_text()).values():
        for name, size in stage["files"].items():
            if not (run / name).exists():
                assert name.endswith(".html"), name
                (run / name).write_bytes(b" " * size)
    return run


def skipped(said: str) -> dict[str, bool]:
    """Of every stage that was told: whether it was skipped."""
    lines = [line for line in said.splitlines() if not line.endswith("...")]
    told = [line for line in lines if line and not line.startswith(" ") and " in all: " not in line]
    return {line[:40].split("  ")[0].strip(): line.endswith("skipped") for line in told}


def results(run: Path) -> dict[str, str]:
    """A hash of every file that a stage made."""
    stages = json.loads((run / "stages.json").read_text())
    names = {name for stage in stages.values() for name in stage["files"]}
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}


def test_its_selection_reads(earlier):
    kept = json.loads((earlier / "selection.json").read_text())
    assert (kept["objective"], kept["budget"], kept["n"]) == ("sas", 39, 97)
    table = read_table(earlier / "selection.parquet")
    assert int(table["selected"].sum()) == 39
    assert yaml.safe_load((earlier / "options.yaml").read_text())["select"]["fraction"] == 0.4


def test_the_same_command_does_nothing_again(earlier, contrasift):
    before = results(earlier)
    told = skipped(contrasift("run", "digits.npz", *AS_MADE, "--seeds", 1).stderr)
    assert len(told) == 15
    assert all(told.values()), told
    assert results(earlier) == before
    page = (earlier / "report.html").read_text(encoding="utf-8")
    assert "What the selection is worth" in page


@pytest.mark.slow
def test_one_more_seed_trains_that_seed_alone(earlier, contrasift):
    before = results(earlier)
    told = skipped(contrasift("run", "digits.npz", *AS_MADE, "--seeds", 2).stderr)
    fresh = {stage for stage, left in told.items() if not left}
    arms = (
        "selected",
        "random-per-class",
        "full",
    )  # the untrained one is judged once for all seeds
    assert fresh == {f"{work} {arm}-seed1" for work in ("train", "evaluate") for arm in arms}
    assert {name: results(earlier)[name] for name in before} == before


def test_its_studies_are_not_done_again(earlier, contrasift):
    before = results(earlier)
    drawn = ["--arm", "full-seed0", "--queries", 20, "--negatives", 40, "--replicates", 2]
    said = contrasift("negatives", "run", *drawn).stderr
    said += contrasift("bounds", "run").stderr
    said += contrasift("bounds", "run", "--selection").stderr
    told = skipped(said)
    assert {"negatives full-seed0", "bounds full-seed0", "guarantee"} <= set(told)
    assert all(told.values()), told
    assert results(earlier) == before


def test_new_images_are_judged_by_its_rule(earlier, contrasift):
    Path("new").mkdir()
    images = np.load("digits.npz")["images"]
    for number, pixels in enumerate(images[:6]):
        Image.fromarray(np.kron(pixels, np.ones((2, 2), np.uint8))).save(f"new/{number}.png")
    contrasift("extend", "run", "new", "--out", "later")
    judged = read_table(Path("later/judged.parquet"))
    assert judged["index"].tolist() == list(range(120, 126))
    assert set(judged["latent_class"].tolist()) <= set(range(4))


def test_it_is_reported_on_and_handed_on(earlier, contrasift):
    contrasift("report", "run")
    assert (earlier / "report.html").stat().st_size > 100_000
    contrasift("export", "run", "--to", "indices", "--out", "kept.npy")
    assert np.load("kept.npy").size == 39
