"""The whole pipeline on a few digits."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from contrasift.cli import app, main
from contrasift.store.tables import read_table
from forking import started
from tests.pipeline.conftest import TINY

ARMS = ("selected-seed0", "random-per-class-seed0", "full-seed0", "untrained-seed0")


def outcome(folder: Path) -> dict[str, bytes]:
    """What must not depend on interruptions, nor on how the stages were called."""
    names = ["selection.parquet", *(f"evaluation/{arm}.json" for arm in ARMS)]
    return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One finished run, shared: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = CliRunner().invoke(app, ["run", "digits", *TINY, "--seeds", "1", "--out", str(folder)])
    assert done.exit_code == 0, done.output
    return folder, done


@pytest.mark.slow
def test_a_run_leaves_everything_it_promises(finished):
    folder, done = finished
    for name in ("options.yaml", "examples.parquet", "embeddings.npy", "embeddings.json"):
        assert (folder / name).is_file()
    for name in ("classes.parquet", "map.parquet", "selection.json", "report.html"):
        assert (folder / name).is_file()
    table = pq.read_table(folder / "selection.parquet")
    assert table.column_names[:5] == ["index", "latent_class", "rank", "gain", "selected"]
    assert table.num_rows == 120
    assert sum(table["selected"].to_pylist()) == 36
    summary = json.loads((folder / "evaluation.json").read_text())
    rows = {row["subset"]: row for row in summary["table"]}
    assert set(rows) == {"selected", "random-per-class", "full", "untrained"}
    assert rows["selected"]["examples"] == rows["random-per-class"]["examples"] == 36
    preparation = summary["preparation_seconds"]
    cost = sum(
        preparation[name] for name in ("proxy", "embed", "embed-classes", "classes", "select")
    )
    assert rows["selected"]["preparation_seconds"] == pytest.approx(cost)
    assert rows["full"]["preparation_seconds"] == 0
    assert "What the selection is worth" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_second_run_skips_every_stage(finished, tiny_run):
    folder, _ = finished
    before = outcome(folder)
    begun = time.process_time()
    again = tiny_run(folder)
    assert time.process_time() - begun < 10
    stages = [line for line in again.stderr.splitlines() if line.rstrip().endswith("skipped")]
    assert len(stages) == 15
    assert outcome(folder) == before


@pytest.mark.slow
def test_the_stages_one_by_one_leave_the_same_bytes(finished, contrasift):
    folder, _ = finished
    pool = TINY[: TINY.index("--restarts")]
    contrasift("embed", "digits", *pool, "--out", "steps")
    contrasift("classes", "steps", "--restarts", 1)
    contrasift("select", "steps", "--fraction", 0.3)
    for subset in ("selected", "random-per-class", "full"):
        contrasift("train", "steps", "--subset", subset, "--seed", 0)
    contrasift("evaluate", "steps")
    contrasift("report", "steps")
    assert outcome(Path("steps")) == outcome(folder)


@pytest.mark.slow
def test_arms_in_processes_of_their_own_are_the_same_to_the_bit(finished, tiny_run, tmp_path):
    folder, _ = finished
    alone = json.loads((folder / "stages.json").read_text())
    for _ in range(2):  # the second time nothing is left to do
        tiny_run("a", "--against", "full", "--jobs", "2")
        stages = json.loads((tmp_path / "a" / "stages.json").read_text())
        # The whole pool needs no selection: it is trained on beside what chooses.
        for stage in ("proxy", "train full-seed0", "train selected-seed0"):
            assert stages[stage]["facts"]["side_by_side"] == 2
            assert "side_by_side" not in alone[stage]["facts"]
        for arm in ("full-seed0", "selected-seed0"):
            for name in (f"training/{arm}/encoder.safetensors", f"evaluation/{arm}.json"):
                assert (tmp_path / "a" / name).read_bytes() == (folder / name).read_bytes()


def say_to(pipe: Connection, arguments: list[str]) -> None:
    """The command line in a process of its own, with its standard error sent through a pipe."""
    os.dup2(pipe.fileno(), sys.stderr.fileno())
    # A stream that was opened on a file may not be set up anew once it leads to a pipe.
    sys.stderr = os.fdopen(sys.stderr.fileno(), "w", buffering=1, closefd=False)
    sys.argv = ["contrasift", *arguments]
    main()


@pytest.mark.slow
def test_killed_in_any_stage_it_goes_on_to_the_same_result(finished):
    folder, _ = finished
    command = ["run", "digits", *TINY, "--seeds", "1", "--out", "killed"]
    moments = ["scan", "proxy", "embed", "classes", "select", "train selected-seed0"]
    moments += ["evaluate selected-seed0", "train full-seed0", "evaluate untrained-seed0", "map"]
    for moment in (*moments, "nothing"):
        process, reader = started(say_to, command)
        heard = ""
        with os.fdopen(os.dup(reader.fileno())) as said:
            reader.close()
            for line in said:
                heard += line
                if line.startswith(f"{moment} ..."):
                    process.kill()
                    break
            process.join()
        assert process.exitcode == (0 if moment == "nothing" else -signal.SIGKILL), heard
    assert outcome(Path("killed")) == outcome(folder)


@pytest.mark.slow
def test_corrupt_images_are_listed_and_left_out(contrasift, rng):
    Path("photos").mkdir()
    for number in range(60):
        pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"photos/{number:03}.png")
    for number in (3, 17, 40):
        path = Path(f"photos/{number:03}.png")
        path.write_bytes(path.read_bytes()[: 50 * (number > 3)])
    small = ["--image-size", 16, "--epochs", 1, "--batch-size", 16, "--views", 1]
    said = contrasift("embed", "photos", *small, "--out", "run").stderr
    assert "57 examples, 3 unreadable" in said
    table = read_table(Path("run/examples.parquet"))
    assert table["id"][table["row"] < 0].tolist() == ["003.png", "017.png", "040.png"]
    assert all(table["error"][table["row"] < 0])
    assert np.load("run/embeddings.npy").shape[0] == 57
    contrasift("classes", "run", "--n-classes", 2)
    contrasift("select", "run", "--budget", 20)
    chosen = read_table(Path("run/selection.parquet"))
    assert not {3, 17, 40} & set(chosen["index"].tolist())
    said = contrasift("evaluate", "run", code=1).stderr
    assert "--labels folders" in said
    contrasift("train", "run", "--subset", "selected")
    contrasift("report", "run")
    assert "003.png" in Path("run/report.html").read_text(encoding="utf-8")
    assert contrasift("export", "run", "--to", "images", "--out", "kept").stdout.startswith("20 ")
    assert len(list(Path("kept").iterdir())) == 20


@pytest.mark.slow
def test_the_report_survives_a_pool_that_has_gone(finished, contrasift, tmp_path):
    import shutil

    folder, _ = finished
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    text = (moved / "options.yaml").read_text().replace("pool: digits", "pool: gone.npy")
    (moved / "options.yaml").write_text(text)
    said = contrasift("report", moved).stderr
    assert "no pictures" in said
    assert (moved / "report.html").stat().st_size > 10_000
