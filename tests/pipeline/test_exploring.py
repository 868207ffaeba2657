"""`contrasift explore`: the table of the map, and who opens it."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

TINY = ["--limit", "60", "--image-size", "16", "--views", "1", "--batch-size", "20",
        "--proxy-epochs", "1", "--seed", "0"]  # fmt: skip


@pytest.fixture
def classified(contrasift):
    """Digits with classes but no selection."""
    contrasift("embed", "digits", *TINY, "--out", "r", "-q")
    contrasift("classes", "r", "--classes", "labels", "-q")


def _table():
    return pq.read_table("r/explore.parquet").to_pydict()


def test_every_point_of_the_map_with_what_is_known_of_it(contrasift, classified):
    contrasift("explore", "r", "--no-open", "-q")
    first = _table()
    assert not {"rank", "gain", "selected"} & set(first)
    contrasift("select", "r", "--fraction", "0.2", "-q")
    found = json.loads(contrasift("explore", "r", "--json").stdout)
    table = _table()
    assert found["points"] == len(table["index"]) == 60
    assert found["command"][:6] == ["embedding-atlas", "r/explore.parquet", "--x", "x", "--y", "y"]
    points = pq.read_table("r/map.parquet").to_pydict()
    assert table["x"] == points["x"]
    assert table["y"] == points["y"]
    selection = {row["index"]: row for row in pq.read_table("r/selection.parquet").to_pylist()}
    examples = {row["index"]: row for row in pq.read_table("r/examples.parquet").to_pylist()}
    for number, index in enumerate(table["index"]):
        for name in ("rank", "selected", "gain"):
            assert table[name][number] == selection[index][name]
        for name in ("id", "label"):
            assert table[name][number] == examples[index][name]
        assert table["latent_class"][number] == str(selection[index]["latent_class"])
    assert sum(table["selected"]) == 12


def test_thumbnails_are_the_pool_s_images(contrasift, classified):
    import contrasift as cs

    contrasift("explore", "r", "--no-open", "--side", "8", "-q")
    table = _table()
    kind, _, data = table["image"][5].partition(",")
    assert kind == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.size == (8, 8)
    pool = cs.open_pool("digits", limit=60, image_size=16)
    original = pool.read(int(np.searchsorted(pool.index, table["index"][5])))
    small = Image.fromarray(original.squeeze()).resize((8, 8), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(image, int) - np.asarray(small, int)).max() <= 1


def test_without_the_pool_there_are_no_pictures_but_all_the_rest(contrasift, rng):
    np.save("images.npy", rng.integers(0, 255, (40, 16, 16), dtype=np.uint8))
    contrasift("embed", "images.npy", *TINY[2:], "--out", "r", "-q")
    contrasift("classes", "r", "--classes", "kmeans", "--n-classes", "3", "-q")
    contrasift("select", "r", "--fraction", "0.2", "-q")
    os.remove("images.npy")
    shown = contrasift("explore", "r", "--no-open")
    assert "no pictures" in shown.stderr
    table = _table()
    assert set(table["image"]) == {""}
    assert "label" not in table
    assert sum(table["selected"]) == 8


def _program(folder: Path, code: str) -> None:
    folder.mkdir()
    program = folder / "embedding-atlas"
    program.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
    program.chmod(0o755)


def test_opens_embedding_atlas_of_the_shell(contrasift, classified, tmp_path, monkeypatch):
    _program(tmp_path / "bin", "open('seen.txt', 'w').write(' '.join(sys.argv[1:])); sys.exit(3)")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "elsewhere" / "python"))
    contrasift("explore", "r", "--port", "5099", "-q", code=3)
    arguments = Path("seen.txt").read_text()
    assert arguments == "r/explore.parquet --x x --y y --image image --port 5099"


def test_without_embedding_atlas_the_extra_is_named_before_any_work(
    contrasift, classified, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert shutil.which("embedding-atlas") is None
    shown = contrasift("explore", "r", code=1)
    assert "contrasift[atlas]" in shown.stderr
    assert not Path("r/explore.parquet").exists()


def test_a_run_without_classes_is_told_the_command(contrasift):
    contrasift("embed", "digits", *TINY, "--out", "r", "-q")
    shown = contrasift("explore", "r", "--no-open", code=1)
    assert "contrasift classes r" in shown.stderr
