"""The page and the card of a selection from bare embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contrasift.cli import app


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def selected(rng, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("z.npy", rng.normal(size=(200, 12)).astype(np.float32))
    np.save("c.npy", np.arange(200) % 4)
    Path("ids.txt").write_text("\n".join(f"text-{number}" for number in range(200)))
    Path("drop.txt").write_text("text-3\n")
    run(
        *("select", "z.npy", "--classes", "c.npy", "--id", "ids.txt", "--fraction", 0.2),
        *("--must-drop", "drop.txt", "--out", "o"),
    )
    return Path("o")


def test_the_card_says_what_the_facts_say(selected):
    facts = json.loads((selected / "selection.json").read_text())
    card = (selected / "selection.md").read_text()
    assert card.startswith("# 40 of 200 examples")
    for text in (
        facts["inputs"]["embeddings"],
        facts["inputs"]["ids"],
        facts["inputs"]["classes"],
        "4 from `c.npy`",
        "1 on the list of what must be dropped",
        "159 that rank behind the budget",
        f"λ = {facts['redundancy']:g}",
        f"{facts['beside_random']['coverage']['value']:.4f}",
        "contrasift select z.npy --fraction 0.2 --id ids.txt --classes c.npy --must-drop drop.txt",
        f"contrasift {facts['versions']['contrasift']}",
    ):
        assert text in card, text
    (selected / "selection.md").unlink()
    run(
        *("select", "z.npy", "--classes", "c.npy", "--id", "ids.txt", "--fraction", 0.2),
        *("--must-drop", "drop.txt", "--out", "o"),
    )
    assert (selected / "selection.md").read_text() == card


def test_the_balance_of_a_proportional_selection_is_better_than_chance(selected):
    found = json.loads((selected / "selection.json").read_text())["beside_random"]
    assert found["balance"]["value"] == 0
    assert found["balance"]["random"] > 0


def test_the_page_of_a_selection(selected):
    run("report", "o")
    page = (selected / "report.html").read_text()
    assert "z.npy: what was selected" in page
    assert "Dropped, and like nothing that was kept" in page
    assert "text-0" in page
    assert 'id="map-plot"' in page


def test_the_page_without_its_embeddings(selected):
    Path("z.npy").unlink()
    said = run("report", "o").output
    assert "there is no map" in said
    page = (selected / "report.html").read_text()
    assert 'id="map-plot"' not in page
    assert 'id="gain-plot"' in page


def test_a_folder_without_anything_says_what_is_expected(tmp_path):
    assert "run folder" in run("report", tmp_path, code=1).output


@pytest.fixture
def pictured(rng, tmp_path, monkeypatch):
    """A table of vectors with images as bytes, in files, and at addresses."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    encoded = []
    Path("files").mkdir()
    for number in range(60):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(stream, "PNG")
        encoded.append(stream.getvalue())
        Path(f"files/{number}.png").write_bytes(encoded[-1])
    vectors = pa.FixedSizeListArray.from_arrays(rng.normal(size=60 * 6).astype(np.float32), 6)
    names = [f"files/{number}.png" for number in range(60)]
    names[5] = "files/gone.png"
    columns = {
        "v": vectors,
        "image": [{"bytes": one, "path": None} for one in encoded],
        "where": names,
        "url": [f"file://{tmp_path}/{name}" for name in names],
        "words": ["none"] * 60,
    }
    pq.write_table(pa.table(columns), "e.parquet", row_group_size=20)
    run("select", "e.parquet", "--classes", "none", "--fraction", 0.2, "--out", "o")
    return Path("o")


@pytest.mark.parametrize("column", [None, "where", "url"])
def test_a_gallery_where_the_source_has_images(pictured, column):
    said = run("report", "o", *(() if column is None else ("--images", column))).output
    page = (pictured / "report.html").read_text()
    assert 'id="gallery"' in page
    assert page.count("base64,") >= 40
    assert ("1 pictures" in said) == (column in ("where", "url"))
    assert "A selection in one class says nothing of training" in page


def test_ids_that_are_paths_of_images(pictured):
    run(
        *("select", "e.parquet", "--classes", "none", "--id", "where", "--budget", 9),
        *("--out", "p", "--column", "v"),
    )
    run("report", "p", "--images", "where")
    assert "base64," in Path("p/report.html").read_text()
    assert "columns image, url, v, where, words" in " ".join(
        run("report", "p", "--images", "nope", code=1).output.split()
    )
    assert "could not be read" in run("report", "p", "--images", "words").output
    Path("other").mkdir()
    Path("other/options.yaml").touch()
    assert "--images" in run("report", "other", "--images", "x", code=2).output


def test_no_gallery_without_images(selected):
    run("report", "o")
    assert 'id="gallery"' not in (selected / "report.html").read_text()
