"""The pool `letters`: characters of several hundred free fonts, which come with the package.

Many classes, real variation and typefaces in the test part that the training part lacks: a pool in
which a choice of examples shows. benchmarks/make_letters.py draws it; fonts.csv has every font's
licence and authors.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from contrasift.pools.glyphs import CHARACTERS
from contrasift.pools.stored import ArraySource
from contrasift.pools.whole import Whole

SIDE = 28
COLUMNS = ("part", "family", "font", "package", "licence", "copyright")
FOLDER = Path(__file__).with_name("letters_images")


def letters_pool() -> Whole:
    """The training part, with the test part beside it.

    Ids are FAMILY/FONT/CHARACTER. A character is left out of the test part where its image is, to
    the last pixel, one of the training part.
    """
    train, test = (_part(part) for part in ("train", "test"))
    return Whole(
        train.source, "letters", train.ids, train.labels, train.label_names, mirror=False, test=test
    )


def read_fonts(part: str) -> list[dict[str, str]]:
    """The fonts of a part, in the order of its sheet: a mapping of `COLUMNS` each."""
    with (FOLDER / "fonts.csv").open(newline="", encoding="utf-8") as file:
        return [font for font in csv.DictReader(file) if font["part"] == part]


def _part(part: str) -> Whole:
    fonts, cells = read_fonts(part), _cells(FOLDER / f"{part}.png")
    row, character = np.nonzero(cells.any(axis=(2, 3)))
    ids = [
        f"{fonts[font]['family']}/{fonts[font]['font']}/{CHARACTERS[label]}"
        for font, label in zip(row.tolist(), character.tolist(), strict=True)
    ]
    source = ArraySource(cells[row, character][:, None])
    return Whole(source, "letters", ids, character, tuple(CHARACTERS), mirror=False)


def _cells(path: Path) -> np.ndarray:
    """A sheet cut apart, uint8 [fonts, characters, SIDE, SIDE]; a font a row."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("L"))
    cut = pixels.reshape(-1, SIDE, len(CHARACTERS), SIDE)
    return np.ascontiguousarray(cut.transpose(0, 2, 1, 3))
