"""The rules of CONTRIBUTING's "How we write" that can be counted."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
FRONT = [ROOT / "README.md", ROOT / "docs" / "findings.md"]
RESULTS = [*(ROOT / "reproduce" / "pages").glob("README.md")]  # not packed with the sources
AVOIDED = (
    "can't be told",
    "so chosen",
    "on the mean",
    "is worth the",
    "is worth more",
    "so wide",
    "so drawn",
)
MOST_WORDS, MOST_NUMBERS = 700, 2


def prose(markdown: str) -> str:
    """What is read as sentences: no code, tables, comments, pictures, formulas or targets of links."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", markdown, flags=re.DOTALL)
    text = re.sub(r"^(\s*\|.*|    .*|!\[.*)$", "", text, flags=re.MULTILINE)
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "code", text))


def sentences(markdown: str) -> list[str]:
    """Every sentence; a heading, an item of a list and a paragraph end one."""
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*#]|\d+\.) )", prose(markdown))
    found = [one for block in blocks for one in re.split(r"(?<=[.!?])\s+", " ".join(block.split()))]
    return [one for one in found if one]


def numbers(sentence: str) -> int:
    """How many numbers it has; digits of a name (v2, MoCo v2, theorem 4.1 of a link) begin with a letter."""
    return len(re.findall(r"(?<![\w.,])[-+±]?\d[\d.,]*", sentence))


def reading_minutes(markdown: str) -> int:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    return hooks.reading_minutes(markdown)


def test_the_readme_is_one_screen():
    assert len(FRONT[0].read_text(encoding="utf-8").split()) <= MOST_WORDS


@pytest.mark.parametrize(
    "page", [*FRONT, *RESULTS], ids=lambda page: f"{page.parent.name}/{page.name}"
)
def test_no_sentence_is_a_table(page):
    found = sentences(page.read_text(encoding="utf-8"))
    assert len(found) > 20
    assert [one for one in found if numbers(one) > MOST_NUMBERS] == []


@pytest.mark.parametrize(
    "page", [FRONT[0], *DOCS, *RESULTS], ids=lambda page: f"{page.parent.name}/{page.name}"
)
def test_no_habits(page):
    text = " ".join(page.read_text(encoding="utf-8").split()).lower()
    assert [phrase for phrase in AVOIDED if phrase in text] == []


def test_counting():
    text = "One of 3, or `4 and 5`. Two [of 6](x7.md): 8 and -9.5.\n\n| 1 | 2 |\n\n```\n1 2 3\n```\n- MoCo v2"
    assert [numbers(one) for one in sentences(text)] == [1, 3, 0]
    assert numbers("10,000 of 20,000 rows, 3.5 ± 0.2") == 4


@pytest.mark.parametrize(("words", "minutes"), [(0, 1), (1, 1), (220, 1), (221, 2), (2200, 10)])
def test_reading_time(words, minutes):
    code = "\n```python\n" + "code " * 900 + "\n```\n<!-- " + "hidden " * 900 + "-->\n"
    assert reading_minutes("word " * words + code) == minutes


def test_every_page_stands_in_one_of_five_groups():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    groups = re.findall(r"^  - (.+):$", nav, re.MULTILINE)
    assert groups == ["Start", "Guides", "How it works", "Results", "Reference"]
    shown = re.findall(r"^      - .+: (\S+\.md)$", nav, re.MULTILINE)
    assert sorted(set(shown) - {"results/README.md"}) == [page.name for page in DOCS]
    assert len(shown) == len(set(shown))
