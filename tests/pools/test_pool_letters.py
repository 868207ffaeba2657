"""The pool that comes along: what is in it, and what must not be."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contrasift.pools import glyphs, letters, open_pool, scan_pool

MAKER = Path(__file__).parents[2] / "benchmarks" / "make_letters.py"


@pytest.fixture(scope="module")
def pool():
    return open_pool("letters")


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_letters", MAKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _families(part):
    return {name.split("/")[0] for name in part.ids}


def test_what_is_in_it(pool):
    assert (len(pool), len(pool.test)) == (8308, 5580)
    assert (pool.image_size, pool.channels, pool.mirror) == (28, 1, False)
    assert pool.label_names == pool.test.label_names == tuple(glyphs.CHARACTERS)
    assert np.bincount(pool.labels).tolist() == [134] * 62
    assert np.bincount(pool.test.labels).tolist() == [90] * 62
    assert len(set(pool.ids) | set(pool.test.ids)) == 8308 + 5580
    assert (len(_families(pool)), len(_families(pool.test))) == (59, 34)
    assert scan_pool(pool).unreadable == scan_pool(pool.test).unreadable == 0


def test_labels_are_the_characters_that_the_ids_name(pool):
    for part in (pool, pool.test):
        assert [part.label_names[code] for code in part.labels] == [name[-1] for name in part.ids]


def test_images_are_the_cells_of_the_sheets(pool):
    """Read again with other means: crops of the sheet, found by the table."""
    rows = {
        name: [(font["family"], font["font"]) for font in letters.read_fonts(name)]
        for name in ("train", "test")
    }
    for part, name in ((pool, "train"), (pool.test, "test")):
        sheet = Image.open(letters.FOLDER / f"{name}.png").convert("L")
        for position in range(0, len(part), 997):
            family, font, character = part.ids[position].split("/")
            row = rows[name].index((family, font))
            left, top = 28 * glyphs.CHARACTERS.index(character), 28 * row
            cell = sheet.crop((left, top, left + 28, top + 28))
            assert np.array_equal(part.read(position)[:, :, 0], np.asarray(cell))


def test_no_family_and_no_image_is_in_both_parts(pool):
    assert not _families(pool) & _families(pool.test)
    images = [
        {part.read(position).tobytes() for position in range(len(part))}
        for part in (pool, pool.test)
    ]
    assert not images[0] & images[1]


def test_a_copy_would_be_blanked_and_a_blank_cell_is_no_image(maker, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    train, test = (rng.integers(1, 16, (n, 62, 28, 28)).astype(np.uint8) for n in (2, 1))
    test[0, 5] = train[1, 7]
    cleaned = maker.without_copies(test, train)
    assert np.flatnonzero(~cleaned.any(axis=(0, 2, 3))).tolist() == [5]
    fonts = {
        "train": [_font("a", "one"), _font("a", "two")],
        "test": [_font("b", "three")],
    }
    for part, images in (("train", train), ("test", cleaned)):
        maker.write_sheet(tmp_path / f"{part}.png", images)
    maker.write_table(tmp_path / "fonts.csv", fonts)
    monkeypatch.setattr(letters, "FOLDER", tmp_path)
    whole = letters.letters_pool()
    assert (len(whole.source), len(whole.test.source)) == (124, 61)
    assert whole.test.ids[4:6] == ["b/three/E", "b/three/G"]
    assert np.array_equal(whole.source.decode(69, 28)[:, :, 0], 17 * train[1, 7])


def _font(family, stem):
    return {
        "family": family, "package": "p", "file": f"truetype/{stem}.ttf",
        "sha256": "", "licence": "MIT", "copyright": "somebody",
    }  # fmt: skip


def test_every_font_may_be_passed_on_and_has_an_author(maker):
    with (letters.FOLDER / "fonts.csv").open(newline="", encoding="utf-8") as file:
        fonts = list(csv.DictReader(file))
    assert len(fonts) == 656
    assert all(set(font["licence"].split(" or ")) <= maker.FREE for font in fonts)
    assert all(font["copyright"] or font["licence"] == "public domain" for font in fonts)
    assert all(maker.is_tested(font["family"]) == (font["part"] == "test") for font in fonts)
    drawn = {(font["family"], Path(font["file"]).stem) for font in maker.read_list()}
    assert {(font["family"], font["font"]) for font in fonts} == drawn


def test_it_is_small_and_needs_no_font(monkeypatch):
    assert sum(file.stat().st_size for file in letters.FOLDER.iterdir()) < 2_000_000
    monkeypatch.setattr(glyphs, "FONT_FOLDERS", ())
    monkeypatch.setattr(glyphs, "_load", lambda *_: pytest.fail("a font was opened"))
    assert len(open_pool("letters", limit=10)) == 10
