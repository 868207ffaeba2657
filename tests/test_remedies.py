"""What an error advises exists and works: a case carries out every remedy of every message."""

from __future__ import annotations

import ast
import re
import shutil
import tomllib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from contrasift.cli import app
from contrasift.errors import _EXTRA_OF
from remedies import clusters, networks, parts, pools, runs, selecting, stages, storage
from remedies.cases import cases_by_name, follow
from remedies.catalogue import ROOT, Remedy, nodes, remedies

# Arguments of other packages, and what stands for a name.
FOREIGN = {"row_group_size", "dtype", "streaming", "NAME", "resnet50", "b", "K", "labels"}
CASES = cases_by_name(selecting, parts, stages, pools, storage, networks, clusters, runs)
FOLLOWED: dict[str, Remedy | None] = {}


def texts() -> list[tuple[str, str]]:
    return [(str(remedy), remedy.text) for remedy in remedies()]


@cache
def commands() -> dict[str, Any]:
    return get_command(app).loaded()  # type: ignore[attr-defined]


def names_of_arguments() -> set[str]:
    """Every parameter of every function and field of every class of the library."""
    known = set()
    for node in (node for module in nodes().values() for node in module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = [*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs]
            known |= {argument.arg for argument in given}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            known.add(node.target.id)
    return known


def test_there_are_remedies():
    assert len(remedies()) > 300


def test_every_flag_that_is_advised_exists():
    flags = {flag for part in commands().values() for option in part.params for flag in option.opts}
    for where, text in texts():
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text):
            assert (
                flag in flags or "ray start" in text or "npm install" in text or flag == "--help"
            ), (where, text)


def test_every_command_that_is_advised_exists():
    for where, text in texts():
        for name in re.findall(r"`?contrasift ([a-z][a-z-]+)", text):
            assert name in commands(), (where, text)


def test_every_argument_that_is_advised_exists():
    known = names_of_arguments() | FOREIGN
    for where, text in texts():
        for name in re.findall(r"(?<![\w-])([A-Za-z_]\w*)=(?!=)", text):
            assert name in known, (where, text)


def test_every_extra_that_is_advised_exists():
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    named = {extra for _, text in texts() for extra in re.findall(r"contrasift\[(\w+)\]", text)}
    named |= set(_EXTRA_OF.values())
    for node in (node for module in nodes().values() for node in module):
        match node:
            case ast.Call(
                func=ast.Name(id="MissingExtraError"), args=[_, ast.Constant(value=extra)]
            ):
                named.add(extra)
    assert named <= project["project"]["optional-dependencies"].keys()
    assert len(named) > 5


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    runs.make_home(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_a_remedy_that_is_followed_works(name, request):
    if name.startswith("runs: "):
        shutil.copytree(request.getfixturevalue("home"), ".", dirs_exist_ok=True)
    FOLLOWED[name] = None
    FOLLOWED[name] = follow(CASES[name])


def test_every_remedy_is_carried_out():
    if FOLLOWED.keys() != CASES.keys():
        pytest.skip("some cases were not followed here: run the whole file")
    # The case of a reader whose package is not installed was skipped.
    absent = {name for name in ("lance",) if find_spec(name) is None}
    left = [
        str(remedy)
        for remedy in remedies()
        if remedy not in FOLLOWED.values() and Path(remedy.module).stem not in absent
    ]
    assert not left, "\n".join(left)
