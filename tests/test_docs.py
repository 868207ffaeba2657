"""What the documentation shows runs as it is pasted."""

from __future__ import annotations

import re
import shlex
import tomllib
import unicodedata
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contrasift.cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_run(block):
    if "from reproduce" in block:  # not in a source archive
        pytest.importorskip("reproduce")
    if "transformers" in block:  # large, and of no extra
        for name in ("accelerate", "transformers", "sentence_transformers"):
            pytest.importorskip(name)
    with warnings.catch_warnings():
        if "pytorch_lightning" in block:  # its own calls to torch
            warnings.filterwarnings("ignore", category=FutureWarning)
        exec(compile(block, "documentation", "exec"), {})


def test_there_are_blocks():
    assert BLOCKS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    from contrasift.cli import COMMANDS

    known = {name for commands in COMMANDS.values() for name in commands}
    shown = re.findall(
        r"(?<!import )contrasift ([a-z]+)(?= )",
        "\n".join(re.findall(r"`+[^`]+`+", page.read_text())),
    )
    assert set(shown) <= set(known)


README = PAGES[0].read_text(encoding="utf-8")


def test_the_readme_runs_as_it_is_pasted():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(block, "README", "exec"), {})  # leaves what the command reads
    typed = re.findall(r"^\$ contrasift (.*?)(?: #.*)?$", README, re.MULTILINE)
    assert [line.split()[0] for line in typed] == ["select"]
    for line in typed:
        result = CliRunner().invoke(app, shlex.split(line))
        assert result.exit_code == 0, result.output
    assert Path("chosen/selection.parquet").is_file()


def test_what_the_readme_installs_and_makes_is_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = re.findall(r"pip install (\S+)", README)
    extras = re.findall(r"'\.\[([\w,]+)\]'", README)
    assert installed == ["."]
    assert {name for one in extras for name in one.split(",")} <= set(
        project["optional-dependencies"]
    )
    assert "torch" not in " ".join(project["dependencies"])
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:\$ |`)make ([a-z-]+)", README)
    assert len(named) > 2
    assert set(named) <= set(targets)


def test_the_version_is_that_of_the_changelog():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", changes, re.MULTILINE)
    assert heads[0] == ("Unreleased", "")
    assert heads[1][0] == project["version"]
    assert all(date for _, date in heads[1:])
    assert [date for _, date in heads[1:]] == sorted((date for _, date in heads[1:]), reverse=True)


def anchors(page: Path) -> set[str]:
    """What links to a page may end in: its headings as mkdocs names them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = [re.sub(r"[`*]", "", line) for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    plain = [
        unicodedata.normalize("NFKD", one).encode("ascii", "ignore").decode() for one in headings
    ]
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", one).strip().lower()) for one in plain}


SOURCES = [
    *(ROOT / "src").rglob("*.py"),
    *(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)),
]


def test_what_cites_a_formula_finds_it():
    known = anchors(ROOT / "docs" / "mathematics.md")
    cited = {
        (path.name, anchor)
        for path in SOURCES
        for anchor in re.findall(r"docs/mathematics\.md#([\w-]+)", path.read_text(encoding="utf-8"))
    }
    assert len({name for name, _ in cited if name.startswith("test_")}) >= 13
    assert {(name, anchor) for name, anchor in cited if anchor not in known} == set()


def test_no_formula_is_cited_without_its_heading():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        vague = re.findall(r"mathematics(?:\.md)?,? (?:part )?[A-E]\b", text, re.IGNORECASE)
        assert not vague, path
        assert not re.search(r"mathematics\.md(?!#)", text), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_to_headings(page):
    for target, anchor in re.findall(r"\]\(([\w/.-]*\.md)?#([\w-]+)\)", page.read_text()):
        there = (page.parent / target).resolve() if target else page
        assert anchor in anchors(there), f"{target}#{anchor}"
