"""What the documentation shows runs as it is pasted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_run(block):
    exec(compile(block, "documentation", "exec"), {})


def test_there_are_blocks():
    assert BLOCKS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    import typer.main

    from contrasift.cli import app

    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    shown = re.findall(
        r"(?<!import )contrasift ([a-z]+)(?= )",
        "\n".join(re.findall(r"`+[^`]+`+", page.read_text())),
    )
    assert set(shown) <= set(known)
