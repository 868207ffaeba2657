"""Mistakes that users make: one clear message, the right exit code, no traceback, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from contrasift.cli import app


def fails(*arguments: object, code: int, words: str) -> None:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    said = " ".join(result.output.split())
    assert result.exit_code == code, said
    assert words in said, said
    assert "Traceback" not in said


def images(folder: str, n: int, size: int = 12) -> None:
    Path(folder).mkdir()
    for number in range(n):
        Image.fromarray(np.full((size, size), number, np.uint8)).save(f"{folder}/{number}.png")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere/"], 2, "a folder of images"),
        (["empty"], 1, "images"),
        (["one"], 1, "two images"),
        (["few", "--fraction", 1.5], 2, "--fraction in (0, 1]"),
        (["few", "--budget", 99], 2, "99"),
        (["few", "--fraction", 0.5], 2, "--batch-size"),
        (["few", "--batch-size", 2, "--n-classes", 40], 2, "examples"),
        (["few", "--labels", "labels.txt"], 1, "3"),
        (["few", "--labels", "folders"], 1, "class sub-folders"),
        (
            ["few", "--architecture", "resnet19", "--batch-size", 2, "--fraction", 0.5],
            2,
            "resnet18",
        ),
        (["few", "--encoder", "weights.pt", "--batch-size", 2, "--fraction", 0.5], 2, "pickle"),
        (["few", "--device", "abacus", "--batch-size", 2, "--fraction", 0.5], 2, "abacus"),
        (["few", "--temperature", 0], 2, "--temperature above 0"),
        ([], 2, "a pool"),
        (["few", "--recipe", "absent.yaml"], 2, "cifar10, cifar100, demo"),
    ],
)
def test_run_explains(arguments, code, words):
    Path("empty").mkdir()
    images("one", 1)
    images("few", 6)
    Path("labels.txt").write_text("a\nb\nc\n")
    Path("weights.pt").write_bytes(b"")
    fails("run", *arguments, "--epochs", 1, "--out", "run", code=code, words=words)
    assert not Path("run/selection.parquet").exists()
    assert not Path("run/run.lock").exists()


def test_another_runs_folder_is_refused():
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    fails("run", "digits", "--out", "mine", code=1, words="which holds other files")
    assert os.listdir("mine") == ["thesis.txt"]
    Path("file").write_text("")
    fails("run", "digits", "--out", "file", code=1, words="a file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_explained():
    Path("locked").mkdir(mode=0o500)
    fails("run", "digits", "--out", "locked/run", code=1, words="can be written")


def test_a_stage_out_of_order_names_the_one_before():
    fails("classes", "nowhere", code=1, words="contrasift embed")
    fails("export", "nowhere", "--out", "x.npy", code=1, words="contrasift select")


def test_ctrl_c_says_how_to_go_on(monkeypatch):
    import contrasift.pools

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("contrasift.pipeline.pool_of_run.open_pool", interrupted)
    fails("run", "digits", "--out", "run", code=130, words="The same command goes on from here")
    assert not Path("run/run.lock").exists()
    assert contrasift.pools is not None


def test_a_missing_extra_is_named():
    images("few", 6)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import contrasift\n"
        "try: contrasift.embed\n"
        "except contrasift.errors.MissingExtraError as error: print(error)\n"
        "from contrasift.cli import main\n"
        "sys.argv = ['contrasift', 'embed', 'few', '--batch-size', '2', '--out', 'run']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    for said in (done.stdout, done.stderr):
        assert "pip install 'contrasift[train]'" in said
        assert "Traceback" not in said
