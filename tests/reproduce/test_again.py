"""Finished cells made anew: the same numbers here, and a section that says how far they moved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contrasift.errors import DataError
from contrasift.store.atomic import read_json, write_json
from reproduce.render.cell_table import Table
from reproduce.render.pages import write_page
from reproduce.render.repeats import again_section, moved_text, processors_note
from reproduce.repeat import read_again
from tests.reproduce.test_results_page import VALUES, write_results

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

    where = ["--work", str(folder / "work"), "--results", str(folder / "results")]
    done = CliRunner().invoke(app, [*CELL, *where, *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_a_cell_made_again_has_the_same_numbers_and_changes_nothing(tmp_path):
    said = command(tmp_path, "--again", code=2)
    assert "finished cells to make again" in said
    command(tmp_path)
    (kept,) = (tmp_path / "results").glob("*/*.json")
    before, work = kept.read_bytes(), sorted((tmp_path / "work").rglob("*"))
    said = command(tmp_path, "--again", "--json")
    (path,) = json.loads(said)["again"]
    assert Path(path) == tmp_path / "again" / kept.name
    assert kept.read_bytes() == before
    # Nothing of it stays in the work folder.
    left = [one for one in (tmp_path / "work").rglob("*") if one not in work]
    assert left == [tmp_path / "work" / "again"]
    (record,) = read_again(tmp_path / "again")
    assert record["before"]["metrics"] == record["after"]["metrics"]
    assert record["after"]["made_with"]["finished"] >= record["before"]["made_with"]["finished"]
    section = write_page(tmp_path / "results").read_text().split("## Made again")[1]
    assert "| `headroom`: digits, epochs 20, pool.limit 120" in section
    assert " | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |" in section
    assert "| *root mean square* | | | 0.00 | 0.00" in section


def again(after: float, name: str = "random") -> dict:
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
    records = [again(0.53), again(0.46, "chosen")]
    assert moved_text(records[0]) == "digits, random, seed 3: linear +3.00, kNN 0.0"
    rows = [line for line in again_section(records) if line.startswith("|")]
    assert rows[2] == (
        "| `trial`: digits, random, seed 3 | abc, an abacus | abc, a slide rule "
        "| +3.00 | – | – | 0.0 | – |"
    )
    assert rows[-1] == "| *root mean square* | | | 3.54 | – | – | 0.00 | – |"


def test_a_table_of_two_processors_says_so(tmp_path):
    def table(*processors: str) -> Table:
        records = {n: {"made_with": {"processor": one}} for n, one in enumerate(processors)}
        return Table({"pool": "digits"}, {"random": records})

    assert processors_note(table("an abacus", "an abacus")) == ""
    assert "(a slide rule, an abacus)" in processors_note(table("an abacus", "a slide rule"))
    results = tmp_path / "results"
    write_results(results, VALUES)
    assert "different processors" not in write_page(results).read_text()
    path = min(results.rglob("*.json"))
    record = read_json(path)
    record["made_with"]["processor"] = "an abacus"
    write_json(path, record)
    assert write_page(results).read_text().count("different processors (") == 1


def test_something_else_in_the_folder(tmp_path):
    write_json(tmp_path / "x.json", {"before": {}})
    with pytest.raises(DataError, match=r"x\.json, which is something else"):
        list(read_again(tmp_path))
