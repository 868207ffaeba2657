"""What is in the pools `icons` and `emoji`: packages, images, families, classes, licences (.tsv).

    python benchmarks/icons_table.py [--packages FOLDER] [--sheet FILE.png]
    python benchmarks/icons_table.py --emoji FOLDER [--sheet FILE.png]

The packages of icons.txt are fetched by `apt-get download` and unpacked, not installed (Debian 12;
nobody needs to be root); with `--packages` they are taken from a folder where they are unpacked
already, each below its name. With `--emoji` it is about the sets that npm installed below a folder.
`--sheet` draws a page of samples. It is not run by the tests.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from contrasift.pools import emoji, icons
from contrasift.pools.drawn import Drawn
from contrasift.pools.emoji_sets import EmojiPackages
from contrasift.pools.icon_names import NAMES
from contrasift.pools.icon_themes import find_themes
from contrasift.store.atomic import write_text

LIST = Path(__file__).with_name("icons.txt")
ICONS = "usr/share/icons"


def read_list() -> dict[str, str]:
    """Licence by package."""
    lines = [line for line in LIST.read_text("utf-8").splitlines() if not line.startswith("#")]
    return dict(line.split("\t") for line in lines)


def fetch(packages: Mapping[str, str], folder: Path) -> None:
    """Download packages and unpack each below its name."""
    subprocess.run(
        ["apt-get", "download", "-q", *packages], cwd=folder, check=True, stdout=subprocess.DEVNULL
    )
    for archive in sorted(folder.glob("*.deb")):
        place = folder / archive.name.partition("_")[0]
        subprocess.run(["dpkg-deb", "-x", archive, place], check=True)


def installed(packages: Mapping[str, str], unpacked: Path, root: Path) -> dict[str, str]:
    """All themes side by side, as they would be installed; the package of each."""
    package_of = {}
    for package in packages:
        for theme in sorted((unpacked / package / ICONS).iterdir()):
            if (theme / "index.theme").is_file():
                package_of[theme.name] = package
            # Themes link to one another by relative paths, so they must lie side by side.
            subprocess.run(["cp", "-al", theme, root], check=True)
    return package_of


def table(
    drawn: Drawn, classes: Sequence[str], package_of: Mapping[str, str], licences: Mapping[str, str]
) -> str:
    """One line a theme that has images, with sums at the end."""
    of = np.array(drawn.classes)
    used = np.isin(of, classes) & ~drawn.copied
    lines = ["# package\ttheme\tfamily\tpart\timages\tclasses\tlicence"]
    for number, theme in enumerate(drawn.theme_names):
        rows = np.flatnonzero(used & (drawn.themes == number))
        if rows.size:
            family = drawn.theme_names[drawn.families[number]]
            part = "test" if drawn.testing[rows[0]] else "train"
            fields = (package_of[theme], theme, family, part, rows.size, len(set(of[rows])))
            lines.append("\t".join(map(str, (*fields, licences[package_of[theme]]))))
    for part, mask in (("train", ~drawn.testing), ("test", drawn.testing)):
        rows = np.flatnonzero(used & mask)
        families = {int(drawn.families[drawn.themes[row]]) for row in rows}
        count = len(set(of[rows]))
        lines.append(f"# {part}: {rows.size} images, {len(families)} families, {count} classes")
    left = int((drawn.copied & np.isin(of, classes)).sum())
    lines.append(f"# left out of test, drawn alike by a family of train: {left}")
    return "\n".join(lines) + "\n"


def sheet(drawn: Drawn, classes: Sequence[str], path: Path) -> None:
    """A page of samples: some of the classes, one a row, of both parts."""
    rng = np.random.default_rng(0)
    rows = []
    for name in classes[:: 1 + len(classes) // 24]:
        of = rng.permutation(np.flatnonzero(np.array(drawn.classes) == name))[:24]
        blank = np.full((24 - len(of), *drawn.images.shape[1:]), 128, dtype=np.uint8)
        rows.append(np.concatenate([*drawn.images[of], *blank], axis=2))
    Image.fromarray(np.concatenate(rows, axis=1).transpose(1, 2, 0)).save(path)


def write(
    name: str,
    drawn: Drawn,
    classes: Sequence[str],
    package_of: Mapping[str, str],
    licences: Mapping[str, str],
    page: Path | None,
) -> None:
    """Write a pool's table, show its sums, and draw its page."""
    path = Path(__file__).with_name(f"{name}.tsv")
    text = table(drawn, classes, package_of, licences)
    write_text(path, text)
    print("".join(line + "\n" for line in text.splitlines() if line[0] == "#"))
    if page is not None:
        sheet(drawn, classes, page)


def make_emoji(folder: Path, page: Path | None) -> None:
    """Draw the pool of the sets below a folder and write the table."""
    packages = EmojiPackages(folder)
    drawn = emoji.draw_emoji(packages)
    notes = {
        name: json.loads((place / "package.json").read_text("utf-8"))
        for name, place in packages.sets.items()
    }
    package_of = {name: f"{note['name']}@{note['version']}" for name, note in notes.items()}
    licences = {package_of[name]: note["license"] for name, note in notes.items()}
    write("emoji", drawn, emoji.large_classes(drawn), package_of, licences, page)


def make(unpacked: Path, page: Path | None) -> None:
    """Draw the pool and write the table."""
    licences = read_list()
    with tempfile.TemporaryDirectory(dir=unpacked) as place:
        package_of = installed(licences, unpacked, Path(place))
        drawn = icons.draw_icons(find_themes([Path(place)], NAMES))
    write("icons", drawn, icons.well_drawn(drawn), package_of, licences, page)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", type=Path, help="folder with the packages, unpacked")
    parser.add_argument("--sheet", type=Path, help="where to draw a page of samples")
    parser.add_argument("--emoji", type=Path, help="folder below which npm installed emoji sets")
    given = parser.parse_args()
    if given.emoji is not None:
        make_emoji(given.emoji, given.sheet)
    elif given.packages is not None:
        make(given.packages, given.sheet)
    else:
        with tempfile.TemporaryDirectory() as place:
            fetch(read_list(), Path(place))
            make(Path(place), given.sheet)
