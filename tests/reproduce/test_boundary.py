"""What reproduces papers stands outside the product, and says what it takes from it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import reproduce

ROOT = Path(__file__).resolve().parents[2]


def imported(path: Path) -> set[str]:
    """Modules of the product that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names if one.name.split(".")[0] == "contrasift"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "contrasift":
            names = [f"{node.module}.{one.name}" for one in node.names]
            found |= {name if is_module(name) else node.module for name in names}
    return found


def is_module(name: str) -> bool:
    path = ROOT / "src" / Path(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def test_the_docstring_lists_what_is_used_of_the_product():
    files = (ROOT / "reproduce").rglob("*.py")
    used = set().union(*(imported(path) for path in files))
    listed = set(re.findall(r"contrasift(?:\.\w+)+", reproduce.__doc__ or ""))
    assert listed == used
    assert not any(part.startswith("_") for name in used for part in name.split("."))


def test_it_is_not_packed():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    targets = built["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["packages"] == ["src/contrasift"]
    assert not any("reproduce" in name for name in targets["sdist"]["include"])
    assert "tests/reproduce" in targets["sdist"]["exclude"]


def test_it_is_a_command_of_the_repository(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "reproduce", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "headroom" in done.stdout
    help_ = subprocess.run(
        [sys.executable, "-m", "reproduce", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "python -m reproduce goal" in help_.stdout
