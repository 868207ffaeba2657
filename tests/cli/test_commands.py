"""Commands are listed without being imported, and each is loaded alone."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from contrasift.cli import COMMANDS, app, load_command, main

ALL = {name: said for commands in COMMANDS.values() for name, said in commands.items()}


@pytest.mark.parametrize("name", ALL)
def test_the_list_says_what_the_command_says(name):
    said = inspect.cleandoc(load_command(name).callback.__doc__).split("\n\n")[0]
    assert ALL[name] == said.replace("\n", " ")


def test_every_command_is_listed():
    shown = CliRunner().invoke(app, ["--help"]).output
    assert all(f" {name} " in shown for name in ALL)


@pytest.mark.parametrize("arguments", [["--help"], ["select", "--help"], ["run", "--help"]])
def test_help_loads_nothing_that_it_does_not_show(arguments):
    code = (
        "import sys\nfrom contrasift.cli import app\n"
        f"try: app({arguments!r})\nexcept SystemExit: pass\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stderr.strip().splitlines()[-1]))
    heavy = {
        "numpy",
        "numba",
        "pyarrow",
        "sklearn",
        "scipy",
        "torch",
        "faiss",
        "plotly",
        "jinja2",
        "PIL",
        "pydantic",
        "rich.progress",
        "hashlib",
        "importlib.metadata",
    }
    assert not loaded & heavy
    if "run" not in arguments:
        others = {"choosing", "training", "switching", "run"}
        assert not {f"contrasift.options.{other}" for other in others} & loaded
    shown = {name.replace("-", "_") for name in arguments if not name.startswith("-")}
    others = {"stages", *(name.replace("-", "_") for name in ALL)} - shown
    assert not {f"contrasift.cli.{other}" for other in others - {"engine", "common"}} & loaded


def test_the_garbage_collector_rests_only_until_the_work_begins(monkeypatch):
    seen = []
    monkeypatch.setattr("typer.core.TyperCommand.invoke", lambda *_: seen.append(gc.isenabled()))
    monkeypatch.setattr(sys, "argv", ["contrasift", "doctor"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert seen == [True]
    assert gc.isenabled()


def test_a_slip_of_the_fingers_gets_a_suggestion():
    done = CliRunner().invoke(app, ["selct"])
    assert done.exit_code == 2
    assert "contrasift select" in done.output
