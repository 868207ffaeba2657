"""The glyph pools: characters drawn from font files.

A pool with many classes, real variation and real near-duplicates, for machines without a network:
one class a character, one image a character and font. Fonts of one family are all in the training
or all in the test part.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from contrasift.errors import DataError
from contrasift.narration import Progress
from contrasift.pools.folder import find_files
from contrasift.pools.stored import ArraySource
from contrasift.pools.whole import Whole
from contrasift.store.cache import cache_folder, cached

SIDE = 32
_MARGIN = 2
_CAPITAL_HEIGHT = 19  # of 32 pixels: leaves room for descenders, accents and wide letters
_PROBE_SIZE = 64.0
# Code points that no font should have: what is drawn for them stands for "missing". One font has
# a glyph at the last of all, hence more than one.
_NO_CHARACTERS = "\U0010ffff\U000effff\u0378"
_FORMAT = 1  # of the cache; raise it when the drawing changes

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _letters(first: int, last: int) -> str:
    codes = (chr(code) for code in range(first, last + 1))
    return "".join(letter for letter in codes if unicodedata.category(letter) in ("Lu", "Ll"))


# Latin-1 and Latin Extended-A, Greek, Cyrillic: blocks whose letters Unicode will not change.
MANY_CHARACTERS = (
    CHARACTERS + _letters(0xC0, 0x17F) + _letters(0x386, 0x3CE) + _letters(0x400, 0x45F)
)

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
FEWEST_FAMILIES = 5
HOW_TO_GET = (
    "Install fonts, on Debian for example: apt-get install fonts-dejavu fonts-liberation "
    "fonts-lato fonts-roboto-unhinted fonts-texgyre; or name a folder of .ttf and .otf files "
    "(glyphs:FOLDER)"
)

# Words that name a style, at the end of a family: siblings must not be split.
_STYLE_WORDS = frozenset((
    "black", "bold", "book", "caption", "compressed", "cond", "condensed", "demi", "demibold",
    "display", "expanded", "extended", "extra", "extrabold", "extralight", "hairline",
    "heavy", "italic", "light", "medium", "mono", "monospace", "narrow", "oblique", "outline",
    "plain", "regular", "roman", "sans", "sc", "semi", "semibold", "semicondensed", "serif",
    "slab", "small", "text", "thin", "ultra", "ultralight", "unslanted", "wide",
))  # fmt: skip


@dataclass(frozen=True)
class Glyphs:
    """Characters as images, ordered by family, style, file and character.

    Attributes:
        images: uint8 [n, 32, 32], white on black.
        characters: int64 [n]; place of each in the string of characters.
        fonts: int64 [n]; number of the font each was drawn with.
        families: by font number.
        styles: by font number, made unique within a family.
    """

    images: np.ndarray
    characters: np.ndarray
    fonts: np.ndarray
    families: tuple[str, ...]
    styles: tuple[str, ...]


def glyph_pool(name: str, characters: str, folder: Path | None, progress: Progress | None) -> Whole:
    """A pool of characters in the fonts of a folder, or of the system.

    Args:
        name: of the pool.
        characters: one class each.
        folder: with .ttf and .otf files; None looks where Debian's packages put theirs.
        progress: called with (fonts done, fonts in all) while drawing.

    Raises:
        DataError: too few families to split them in training and test.
    """
    files = font_files(FONT_FOLDERS if folder is None else (folder,))
    drawn = _cached_glyphs(files, characters, progress)
    keys = np.array([family_key(family) for family in drawn.families])
    used = np.unique(keys[np.unique(drawn.fonts)])
    if len(used) < FEWEST_FAMILIES:
        place = "the system's font folders" if folder is None else str(folder)
        raise DataError(
            f"fonts of at least {FEWEST_FAMILIES} families with Latin letters",
            f"{len(used)} in {place}",
            HOW_TO_GET,
        )
    testing = np.isin(keys, sorted(held_out_families(used.tolist())))[drawn.fonts]
    train, test = (_part(name, characters, drawn, mask) for mask in (~testing, testing))
    return Whole(
        train.source, name, train.ids, train.labels, train.label_names, mirror=False, test=test
    )


def _part(name: str, characters: str, drawn: Glyphs, mask: np.ndarray) -> Whole:
    fonts, labels = drawn.fonts[mask], drawn.characters[mask]
    ids = [
        f"{drawn.families[font]}/{drawn.styles[font]}/{characters[label]}"
        for font, label in zip(fonts.tolist(), labels.tolist(), strict=True)
    ]
    source = ArraySource(drawn.images[mask][:, None])
    return Whole(source, name, ids, labels, tuple(characters), mirror=False)


def held_out_families(keys: Iterable[str]) -> set[str]:
    """About a fifth of the families, each by its own hash, so that new fonts move no old ones.

    At least one is held out, and at least one is not.
    """
    rank = {key: hashlib.sha256(key.encode()).digest() for key in keys}
    ordered = sorted(rank, key=lambda key: rank[key])
    chosen = {key for key in ordered if rank[key][0] < 256 / 5}
    if not chosen:
        return {ordered[0]}
    return chosen - {ordered[-1]} if len(chosen) == len(ordered) else chosen


def family_key(family: str) -> str:
    """A family's name without case and without trailing words of style (`Lato Light` is `lato`)."""
    words = re.split(r"[\s_-]+", family.casefold().strip())
    while len(words) > 1 and (words[-1] in _STYLE_WORDS or words[-1].isdigit()):
        words.pop()
    return " ".join(words)


def font_files(folders: Sequence[Path]) -> list[Path]:
    """The .ttf and .otf files below some folders, each folder in natural order."""
    return [
        found.root / path
        for folder in folders
        if folder.is_dir()
        for found in (find_files(folder, frozenset({".ttf", ".otf"})),)
        for path in found.paths
    ]


def enough_fonts() -> bool:
    """Whether the system has fonts of enough families, as far as their names tell."""
    families: set[str] = set()
    for path in font_files(FONT_FOLDERS):
        font = _load(path, _PROBE_SIZE)
        if font is not None and _draw(font, "A") is not None:
            families.add(family_key(_names(font, path)[0]))
        if len(families) >= FEWEST_FAMILIES:
            return True
    return False


def draw_glyphs(files: Sequence[Path], characters: str, progress: Progress | None = None) -> Glyphs:
    """Draw every character in every font that has it.

    Capitals are brought to one height, font by font, so that `c` and `C` still differ in size; a
    glyph that would be wider or higher than the frame is shrunk to fit. Each is centred by its
    bounding box. A character that a font lacks (drawn blank, or like a code point that is never
    assigned) is left out, and so is a font that cannot be opened or scaled.

    Args:
        files: font files.
        characters: what to draw.
        progress: called with (done, total) after every font.

    Returns:
        Glyphs in the order of family, style, file and character.
    """
    fonts: list[tuple[str, str, str, list[tuple[int, bytes]]]] = []
    for done, path in enumerate(files, start=1):
        font = _scaled(path)
        if font is not None:
            fonts.append((*_names(font, path), os.fspath(path), _font_glyphs(font, characters)))
        if progress is not None:
            progress(done, len(files))
    fonts.sort(key=lambda item: item[:3])
    styles, seen = [], {}
    for family, style, _, _ in fonts:
        seen[family, style] = seen.get((family, style), 0) + 1
        styles.append(style if seen[family, style] == 1 else f"{style}#{seen[family, style]}")
    glyphs = [
        (number, place, pixels)
        for number, (*_, drawn) in enumerate(fonts)
        for place, pixels in drawn
    ]
    pixels = np.frombuffer(b"".join(glyph[2] for glyph in glyphs), dtype=np.uint8)
    return Glyphs(
        pixels.reshape(-1, SIDE, SIDE),
        np.array([glyph[1] for glyph in glyphs], dtype=np.int64),
        np.array([glyph[0] for glyph in glyphs], dtype=np.int64),
        tuple(family for family, *_ in fonts),
        tuple(styles),
    )


def _load(path: Path, size: float) -> ImageFont.FreeTypeFont | None:
    try:
        # The basic layout is the same everywhere; the other one depends on an optional library.
        return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    except (OSError, ValueError):
        return None


def _scaled(path: Path) -> ImageFont.FreeTypeFont | None:
    """The font at the size that brings its capitals to the one height."""
    probe = _load(path, _PROBE_SIZE)
    if probe is None:
        return None
    for letter in "HEXZ0xz":
        drawn = _draw(probe, letter)
        if drawn is not None and drawn.tobytes() not in _missing(probe):
            return _load(path, _PROBE_SIZE * _CAPITAL_HEIGHT / drawn.height)
    return None


def _names(font: ImageFont.FreeTypeFont, path: Path) -> tuple[str, str]:
    """Family and style as the font gives them, fit to be parts of an id."""
    family, style = font.getname()
    clean = [
        re.sub(r"[\s/]+", " ", name.encode("utf-8", "replace").decode()).strip()
        for name in (family or "", style or "")
    ]
    return clean[0] or path.stem, clean[1] or "Regular"


def _font_glyphs(font: ImageFont.FreeTypeFont, characters: str) -> list[tuple[int, bytes]]:
    missing = _missing(font)
    drawn = []
    for place, character in enumerate(characters):
        glyph = _draw(font, character)
        if glyph is not None and glyph.tobytes() not in missing:
            drawn.append((place, _framed(glyph)))
    return drawn


def _draw(font: ImageFont.FreeTypeFont, character: str) -> Image.Image | None:
    """A character cropped to its bounding box; None where there is no ink."""
    side = int(6 * font.size) + 8
    canvas = Image.new("L", (side, side))
    try:
        ImageDraw.Draw(canvas).text(
            (side // 2, side // 2), character, fill=255, font=font, anchor="ms"
        )
    except (OSError, ValueError):
        return None
    box = canvas.getbbox()
    return None if box is None else canvas.crop(box)


def _framed(glyph: Image.Image) -> bytes:
    room = SIDE - 2 * _MARGIN
    if max(glyph.size) > room:
        scale = room / max(glyph.size)
        size = (max(1, round(glyph.width * scale)), max(1, round(glyph.height * scale)))
        glyph = glyph.resize(size, Image.Resampling.BICUBIC)
    frame = Image.new("L", (SIDE, SIDE))
    frame.paste(glyph, ((SIDE - glyph.width) // 2, (SIDE - glyph.height) // 2))
    return frame.tobytes()


def _missing(font: ImageFont.FreeTypeFont) -> set[bytes]:
    """What the font draws for characters that it does not have."""
    drawn = (_draw(font, character) for character in _NO_CHARACTERS)
    return {glyph.tobytes() for glyph in drawn if glyph is not None}


def _cached_glyphs(files: Sequence[Path], characters: str, progress: Progress | None) -> Glyphs:
    """Glyphs from the cache, where fonts and drawing are the same; else drawn, and kept there."""
    digest = hashlib.sha256(f"{_FORMAT}\0{characters}\0{Image.__version__}".encode())
    digest.update(f"{features.version('freetype2')}".encode())
    for path in files:
        status = path.stat()
        digest.update(os.fsencode(path))
        digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    place = cache_folder() / "glyphs" / f"{digest.hexdigest()[:24]}.npz"
    return cached(place, Glyphs, lambda: draw_glyphs(files, characters, progress))
