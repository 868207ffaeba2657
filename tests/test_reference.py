"""The naive versions share no line with what they judge."""

from __future__ import annotations

import ast
from pathlib import Path


def test_they_import_nothing_of_the_library():
    tree = ast.parse((Path(__file__).parent / "reference.py").read_text(encoding="utf-8"))
    names = [
        name.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    ]
    assert {name.split(".")[0] for name in names} <= {
        "__future__",
        "collections",
        "fractions",
        "itertools",
        "numpy",
    }
    assert "importlib" not in ast.dump(tree)
