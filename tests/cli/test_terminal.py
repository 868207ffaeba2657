"""What every command has in common: help with an example, JSON, suggestions, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from contrasift.cli import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def _run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert "Traceback" not in result.output
    assert result.exit_code == code, result.output
    return result


def _flags(name):
    return {flag for option in COMMANDS[name].params for flag in option.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_that_parses(name):
    text = COMMANDS[name].help
    shown = [line.strip() for line in text.splitlines() if f"contrasift {name}" in line]
    assert "Example" in text
    assert shown
    for line in shown:
        words = line[line.index("contrasift") :].split("|")[0].split(">")[0].split()
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        assert given <= _flags(name), line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_speak_json(name):
    assert "--json" in _flags(name)


@pytest.mark.parametrize(
    ("command", "suggestion"),
    [
        (["selct"], "select"),
        (["select", "x.npy", "--fractoin", "0.2"], "--fraction"),
        (["select", "x.npy", "--objective", "coverge", "--out", "o"], "Did you mean coverage?"),
        (["run", "digits", "--method", "simlcr"], "Did you mean simclr?"),
        (["run", "digits", "--augmentation", "smal-grey"], "Did you mean small-grey?"),
        (["run", "digits", "--recipe", "fashon-mnist"], "Did you mean fashion-mnist?"),
        (["classes", "r", "--classes", "kmean"], "kmeans"),
        (["plan", "r", "--metric", "lineer"], "linear"),
    ],
)
def test_misspelt_names_get_a_suggestion(command, suggestion):
    Path("r").mkdir()
    Path("r/options.yaml").write_text("pool: {pool: digits}\n")
    assert suggestion in " ".join(_run(*command, code=2).stderr.split())


def test_a_misspelt_pool_gets_a_suggestion():
    shown = _run("embed", "fashon-mnist", "--out", "r", code=2)
    assert "Did you mean fashion-mnist?" in shown.stderr


@pytest.mark.parametrize(
    ("recipe", "suggestion"),
    [("pool: {pol: digits}", "Did you mean pool?"), ("slect: {fraction: 0.2}", "mean select?")],
)
def test_a_misspelt_key_of_a_recipe_gets_a_suggestion(recipe, suggestion):
    Path("r.yaml").write_text(recipe)
    assert suggestion in _run("run", "digits", "--recipe", "r.yaml", code=2).stderr


def test_the_shell_is_told_what_may_come_next():
    environment = {
        **os.environ,
        "_CONTRASIFT_COMPLETE": "complete_bash",
        "COMP_WORDS": "contrasift sel",
        "COMP_CWORD": "1",
    }
    code = "import sys; sys.argv[0] = 'contrasift'; from contrasift.cli import app; app(prog_name='contrasift')"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert found.stdout.split() == ["select"]


def test_the_completion_script_prints(monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shown = CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="contrasift")
    assert "complete" in shown.stdout


def test_pools_as_json():
    found = json.loads(_run("datasets", "--json").stdout)
    assert found["digits"]["here"]
    assert set(found["cifar10"]) == {"here", "what_it_is", "how_to_get_it"}


def test_stages_as_json(rng):
    import numpy as np

    np.save("images.npy", rng.integers(0, 255, (40, 16, 16), dtype=np.uint8))
    tiny = ["--views", "1", "--batch-size", "20", "--epochs", "1", "--proxy-epochs", "1"]
    shown = _run("embed", "images.npy", "--image-size", "16", *tiny, "--out", "r", "--json")
    assert shown.stderr == ""
    embedded = json.loads(shown.stdout)
    assert embedded["stage"] == "embed"
    assert "r/embeddings.npy" in embedded["files"]
    found = json.loads(
        _run("classes", "r", "--classes", "kmeans", "--n-classes", "3", "--json").stdout
    )
    assert found["classes"]["n_classes"] == 3
    assert found["seconds"] >= 0
    _run("select", "r", "--fraction", "0.5", "-q")
    trained = json.loads(_run("train", "r", "--epochs", "1", "--update", "--json").stdout)
    assert trained["stage"] == "train selected-seed0"
    assert trained["facts"]["examples"] == 20
    page = json.loads(_run("report", "r", "--json").stdout)
    assert Path(page["report"]).exists()


@pytest.mark.parametrize("arguments", [(), ("goal", "--scale", "cpu"), ("--help",)])
def test_what_has_left_the_product_says_where_it_is(arguments):
    result = _run("experiment", *arguments, code=2)
    assert "python -m reproduce" in result.output
