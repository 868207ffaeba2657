"""Finished cells made anew: the same numbers here, and a section that says how far they moved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contrasift.errors import DataError
from reproduce.cell_store import CellStore
from reproduce.render.cell_table import CellTable
from reproduce.render.repeats import change_text, processors_note, repeats_section
from reproduce.repeat import read_repeats
from tests.reproduce.test_pages import VALUES, write_cells, written

CELL = ["headroom", "--scale", "tiny", "--seeds", "1", "--only", "arm=untrained", "--only"]
CELL += [
    "epochs=20",
    "--device",
    "cpu",
    "--set",
    "pool.limit=120",
    "--set",
    "measure.test_limit=50",
]


def command(folder: Path, *arguments: str, code: int = 0) -> str:
    from reproduce.cli import app

    where = ["--work", str(folder / "work"), "--cells", str(folder / "cells")]
    done = CliRunner().invoke(app, [*CELL, *where, *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_a_cell_made_again_has_the_same_numbers_and_changes_nothing(tmp_path):
    said = command(tmp_path, "--repeat", code=2)
    assert "finished cells to repeat" in said
    command(tmp_path)
    (kept,) = (tmp_path / "cells").glob("*.jsonl")
    before, work = kept.read_bytes(), sorted((tmp_path / "work").rglob("*"))
    said = command(tmp_path, "--repeat", "--json")
    told = json.loads(said)
    assert Path(told["file"]) == tmp_path / "repeats.jsonl"
    assert kept.read_bytes() == before
    # Nothing of it stays in the work folder.
    left = [one for one in (tmp_path / "work").rglob("*") if one not in work]
    assert left == [tmp_path / "work" / "repeats"]
    (record,) = read_repeats(tmp_path / "repeats.jsonl").values()
    assert told["repeats"] == [record]
    assert record["before"]["metrics"] == record["after"]["metrics"]
    assert record["after"]["made_with"]["finished"] >= record["before"]["made_with"]["finished"]
    section = written(CellStore(tmp_path / "cells")).split("# Cells that were repeated")[1]
    assert "| `headroom`: digits, epochs 20, pool.limit 120" in section
    assert " | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |" in section
    assert "| *root mean square* | | | 0.00 | 0.00" in section


def repeated(after: float, name: str = "random") -> dict:
    sides = {"before": ("an abacus", 0.5), "after": ("a slide rule", after)}
    return {
        "experiment": "trial",
        "setting": {"pool": "digits"},
        "arm": name,
        "seed": 3,
        **{
            side: {
                "metrics": {"linear": value, "knn": 0.25, "head": {"knn": 0.5}},
                "made_with": {"commit": "abc", "processor": processor},
            }
            for side, (processor, value) in sides.items()
        },
    }


def test_how_far_numbers_moved():
    records = [repeated(0.53), repeated(0.46, "chosen")]
    assert change_text(records[0]) == "digits, random, seed 3: linear +3.00, kNN 0.0"
    rows = [line for line in repeats_section(records) if line.startswith("|")]
    assert rows[2] == (
        "| `trial`: digits, random, seed 3 | abc, an abacus | abc, a slide rule "
        "| +3.00 | – | – | 0.0 | – |"
    )
    assert rows[-1] == "| *root mean square* | | | 3.54 | – | – | 0.00 | – |"


def test_a_table_of_two_processors_says_so(tmp_path):
    def table(*processors: str) -> CellTable:
        records = {n: {"made_with": {"processor": one}} for n, one in enumerate(processors)}
        return CellTable({"pool": "digits"}, {"random": records})

    assert processors_note(table("an abacus", "an abacus")) == ""
    assert "(a slide rule, an abacus)" in processors_note(table("an abacus", "a slide rule"))
    cells = tmp_path / "cells"
    write_cells(cells, VALUES)
    assert "different processors" not in written(CellStore(cells))
    record = next(CellStore(cells).records())
    record["made_with"]["processor"] = "an abacus"
    CellStore(cells).keep(record)
    assert written(CellStore(cells)).count("different processors (") == 1


def test_something_else_in_the_folder(tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps({"before": {}}))
    with pytest.raises(DataError, match=r"x\.jsonl, which is something else"):
        read_repeats(tmp_path / "x.jsonl")
