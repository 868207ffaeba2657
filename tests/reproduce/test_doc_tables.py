"""Tables of documents come from cells and are those that the cells give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contrasift.errors import UsageError
from reproduce.cell_store import CellStore
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.render.doc_tables import DOCUMENTS, TABLES, fill_documents, filled, tables_by_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def found():
    return tables_by_name(list(CellStore(ROOT / "reproduce" / "cells").records()))


def marked(name):
    return f"# Page\n\n<!-- table {name}, written by `make results` -->\nold\n<!-- end of table -->\n\nAfter.\n"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_have_what_the_cells_say(name, found):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.count("<!-- table ") == text.count("<!-- end of table -->") > 0
    assert filled(text, found) == text, "run: make results"


@pytest.mark.parametrize("name", TABLES)
def test_every_number_is_there(name, found):
    lines = filled(marked(name), found).splitlines()
    assert lines[0] == "# Page"
    assert lines[-1] == "After."
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 1 + len(TABLES[name].rows)
    assert len({row.count("|") for row in rows}) == 1
    blank = sum(
        re.fullmatch(r"–", cell.strip()) is not None for row in rows for cell in row.split("|")
    )
    assert blank == (1 if name == "fractions" else 0)  # no full pool was trained beside a tenth


def test_every_table_is_shown_somewhere():
    shown = "".join((ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS)
    assert [name for name in TABLES if f"<!-- table {name}, " not in shown] == []


def test_bold_is_what_excludes_zero(found):
    (experiment,) = [one for one in EXPERIMENTS.values() if one.name == "classes"]
    assert "random per class" in experiment.arms
    for line in filled(marked("classes"), found).splitlines():
        for bold, low, high in re.findall(r"(\**)[-+.\d]+ \[([-+.\d]+), ([-+.\d]+)\]", line):
            if 0.0 not in (float(low), float(high)):  # rounded ends say nothing
                assert bool(bold) == (float(low) > 0 or float(high) < 0), line


def test_what_no_cell_knows_is_a_dash():
    text = filled(marked("classes"), lambda name: [])
    assert "| graph, no labels (default) | – | – | – | – | – |" in text


def test_a_table_that_is_not_declared_is_named():
    with pytest.raises(UsageError, match="table of a document"):
        filled(marked("clases"), lambda name: [])


def test_documents_that_are_not_there_are_passed_over(tmp_path):
    (tmp_path / "README.md").write_text(marked("worth"))
    assert fill_documents(tmp_path, []) == [tmp_path / "README.md"]
    assert fill_documents(tmp_path, []) == []
