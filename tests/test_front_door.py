"""What a user types has its signature in an editor, its page in the documentation, and its type."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import contrasift as cs

ROOT = Path(__file__).parents[1]
PUBLIC = ("contrasift", "contrasift.negatives", "contrasift.evaluation")


def imported_for_editors() -> dict[str, str]:
    """Name → module of every import in the `TYPE_CHECKING` block."""
    tree = ast.parse(Path(cs.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_editors_see_what_is_imported_at_run_time():
    seen = imported_for_editors()
    assert seen.pop("negatives") == "contrasift"
    for name, module in seen.items():
        here, there = getattr(cs, name), getattr(importlib.import_module(module), name)
        # Other tests import modules anew: the same name and home is what counts.
        assert (here.__module__, here.__qualname__) == (there.__module__, there.__qualname__), name
    assert set(cs.__all__) == {*seen, "negatives", "__version__"}
    assert cs.__all__ == sorted(cs.__all__)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(AttributeError, match="contrasift has no 'selct'; it has .*select"):
        _ = cs.selct  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_has_its_entry(module):
    shown = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    entries = {line.rpartition(".")[2] for line in re.findall(r"^::: (\S+)$", shown, re.MULTILINE)}
    names = set(importlib.import_module(module).__all__)
    assert names - {"negatives", "__version__"} <= entries


def test_public_names_are_completely_typed():
    pytest.importorskip("pyright")
    # As if the environment were activated: pyright finds torch only then.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": path, "VIRTUAL_ENV": sys.prefix}
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--ignoreexternal",
         "--verifytypes", "contrasift", "--outputjson"],
        capture_output=True, text=True, env=os.environ | environment, check=False,
    )  # fmt: skip
    symbols = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    unknown = {
        one["name"]: [found["message"] for found in one["diagnostics"]]
        for one in symbols
        if one["isExported"] and not one["isTypeKnown"] and is_public(one["name"])
    }
    # scikit-learn has no types: the class of its estimators is all that cannot be known.
    for home in ("contrasift", "contrasift.estimator"):
        unknown.pop(f"{home}.AugmentationSimilaritySelector", None)
    assert not unknown


def is_public(name: str) -> bool:
    """Whether a symbol is a public name or a member of one."""
    homes = {f"{module}.{name}" for name, module in imported_for_editors().items()}
    homes |= {f"{m}.{n}" for m in PUBLIC for n in importlib.import_module(m).__all__}
    return any(name == home or name.startswith(home + ".") for home in homes)
