"""Draws the pool `letters` anew: src/contrasift/pools/letters_images, from Debian's font packages.

    python benchmarks/make_letters.py [--packages FOLDER] [--out FOLDER]

Fonts and their licences are in letters.tsv. The packages are fetched by `apt-get download` and
unpacked, not installed (Debian 12; nobody needs to be root); with `--packages` they are taken from a
folder where they are unpacked already, each below its name. A font whose file is another than that
of the list stops the work. Drawn with one version of FreeType, the files are the same to the last
byte. It is not run by the tests: the pool comes with the package.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from contrasift.pools import letters
from contrasift.pools.glyphs import CHARACTERS, SIDE, draw_glyphs

LIST = Path(__file__).with_name("letters.tsv")
# What may be passed on as pictures under Apache-2.0.
FREE = {"Apache-2.0", "BSD-3-Clause", "MIT", "OFL-1.0", "OFL-1.1", "Unlicense", "public domain"}
MARGIN = (SIDE - letters.SIDE) // 2
# Images of every character, drawn from all fonts: designs with many weights and widths come more
# often, as popular things do in pools that nobody has balanced.
PER_CHARACTER = {"train": 134, "test": 90}


def read_list() -> list[dict[str, str]]:
    """The fonts to draw, in the order of families and files."""
    lines = [line for line in LIST.read_text("utf-8").splitlines() if not line.startswith("#")]
    names = ("family", "package", "file", "sha256", "licence", "copyright")
    fonts = [dict(zip(names, line.split("\t"), strict=True)) for line in lines]
    for font in fonts:
        if not set(font["licence"].split(" or ")) <= FREE:
            raise SystemExit(f"{font['file']}: {font['licence']} is not among {sorted(FREE)}")
    return sorted(fonts, key=lambda font: (font["family"], font["package"], font["file"]))


def fetch(packages: set[str], folder: Path) -> None:
    """Download packages and unpack each below its name."""
    subprocess.run(
        ["apt-get", "download", "-q", *sorted(packages)],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    for archive in sorted(folder.glob("*.deb")):
        place = folder / archive.name.partition("_")[0]
        subprocess.run(["dpkg-deb", "-x", archive, place], check=True)


def is_tested(family: str) -> bool:
    """Whether a family is in the test part: a third of them, each by its own hash."""
    return hashlib.sha256(family.encode()).digest()[0] < 256 / 3


def draw(font: dict[str, str], packages: Path) -> np.ndarray:
    """All characters of a font in 16 grey levels, uint8 [62, 28, 28]."""
    path = packages / font["package"] / "usr/share/fonts" / font["file"]
    if hashlib.sha256(path.read_bytes()).hexdigest()[:16] != font["sha256"]:
        raise SystemExit(f"{path} is another file than the list names")
    drawn = draw_glyphs([path], CHARACTERS).images
    if len(drawn) != len(CHARACTERS):
        raise SystemExit(f"{path} has {len(drawn)} of {len(CHARACTERS)} characters")
    inner = drawn[:, MARGIN : SIDE - MARGIN, MARGIN : SIDE - MARGIN].astype(np.int64)
    return ((inner + 8) // 17).astype(np.uint8)


def sampled(images: np.ndarray, fonts: list[dict[str, str]], count: int) -> np.ndarray:
    """The images with all but `count` of every character blanked: those whose hash is lowest."""
    kept = np.zeros_like(images)
    for place, character in enumerate(CHARACTERS):
        order = [hashlib.sha256(f"{font['sha256']}{character}".encode()).digest() for font in fonts]
        chosen = sorted(range(len(fonts)), key=order.__getitem__)[:count]
        kept[chosen, place] = images[chosen, place]
    return kept


def without_copies(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The images with those blanked that are among the others, too."""
    known = {image.tobytes() for image in others.reshape(-1, letters.SIDE**2)}
    copies = np.array([image.tobytes() in known for image in images.reshape(-1, letters.SIDE**2)])
    kept = images.reshape(-1, letters.SIDE, letters.SIDE).copy()
    kept[copies] = 0
    return kept.reshape(images.shape)


def write_sheet(path: Path, images: np.ndarray) -> None:
    """A PNG of four bits a pixel: a font a row, a character a column."""
    fonts, characters, side, _ = images.shape
    sheet = images.transpose(0, 2, 1, 3).reshape(fonts * side, characters * side)
    picture = Image.fromarray(sheet, mode="P")
    picture.putpalette([17 * level for level in range(16) for _ in range(3)])
    picture.save(path, optimize=True, bits=4)


def write_table(path: Path, parts: dict[str, list[dict[str, str]]]) -> None:
    """The fonts in the order of the sheets, with their licences."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(letters.COLUMNS)
        for part, fonts in parts.items():
            for font in fonts:
                values = {**font, "part": part, "font": Path(font["file"]).stem}
                table.writerow([values[name] for name in letters.COLUMNS])


def make(packages: Path, out: Path) -> None:
    """Draw both parts."""
    fonts = read_list()
    parts = {
        part: [font for font in fonts if is_tested(font["family"]) == (part == "test")]
        for part in ("train", "test")
    }
    train, test = (
        sampled(np.stack([draw(font, packages) for font in parts[part]]), parts[part], count)
        for part, count in PER_CHARACTER.items()
    )
    test = without_copies(test, train)
    out.mkdir(parents=True, exist_ok=True)
    write_sheet(out / "train.png", train)
    write_sheet(out / "test.png", test)
    write_table(out / "fonts.csv", parts)
    for part, images in (("train", train), ("test", test)):
        families = len({font["family"] for font in parts[part]})
        drawn = int(images.any(axis=(2, 3)).sum())
        print(f"{part}: {drawn} images, {len(parts[part])} fonts of {families} families")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", type=Path, help="folder with the packages, unpacked")
    parser.add_argument("--out", type=Path, default=letters.FOLDER)
    given = parser.parse_args()
    if given.packages is not None:
        make(given.packages, given.out)
    else:
        with tempfile.TemporaryDirectory() as place:
            fetch({font["package"] for font in read_list()}, Path(place))
            make(Path(place), given.out)
