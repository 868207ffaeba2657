"""Beartype as the tests run it: a word that is not legal is for the library itself to refuse.

Words are `Literal` types, so that editors complete them. A wrong one must reach the library's own
message, which lists the legal words, and not end in a fault of the type check.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, Literal

from beartype import BeartypeConf, FrozenDict, beartype

# Read, not imported: the package is imported under this check.
_WORDS = Path(__file__).parents[1] / "src" / "contrasift" / "options" / "words.py"


def _lists_of_words() -> list[Any]:
    """Every `Name = Literal[...]` of the module."""
    found = []
    for statement in ast.parse(_WORDS.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Subscript):
            found.append(Literal[tuple(ast.literal_eval(statement.value.slice))])
    return found


typechecked = beartype(
    conf=BeartypeConf(hint_overrides=FrozenDict(dict.fromkeys(_lists_of_words(), str)))
)
