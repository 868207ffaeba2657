"""Glyphs: the drawing, the split by family, the cache."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from contrasift.errors import DataError
from contrasift.pools import glyphs, named_pools, open_pool

FONTS = glyphs.font_files(glyphs.FONT_FOLDERS)
needs_fonts = pytest.mark.skipif(
    not glyphs.enough_fonts(), reason="no fonts of 5 families: install fonts-dejavu, fonts-lato ..."
)


@pytest.fixture(scope="session")
def some_fonts(tmp_path_factory):
    """A folder with a font or two of each of the first nine families."""
    folder = tmp_path_factory.mktemp("fonts")
    count: dict[str, int] = {}
    for path in FONTS:
        font = glyphs._scaled(path)
        if font is None:
            continue
        key = glyphs.family_key(font.getname()[0] or "")
        if len(count) < 9 or key in count:
            count[key] = count.get(key, 0) + 1
            if count[key] <= 2:
                (folder / path.name).symlink_to(path)
        if len(count) == 9 and sum(count.values()) > 30:
            break
    return folder


@needs_fonts
def test_the_pool(some_fonts):
    pool = open_pool(f"glyphs:{some_fonts}")
    assert (pool.channels, pool.image_size, pool.mirror) == (1, 32, False)
    assert pool.label_names == tuple(glyphs.CHARACTERS)
    assert len(pool.label_names) == 62
    assert len(set(pool.ids)) == len(pool)
    assert [id.rsplit("/", 1)[1] for id in pool.ids] == [pool.label_names[c] for c in pool.labels]
    images = pool.images(np.arange(len(pool)))
    assert images.max(axis=(1, 2, 3)).min() > 0  # nothing blank
    frame = images.copy()
    frame[:, :, 2:-2, 2:-2] = 0
    assert not frame.any()  # a margin of two pixels all around
    families = [
        {glyphs.family_key(id.split("/")[0]) for id in part.ids} for part in (pool, pool.test)
    ]
    assert families[0]
    assert families[1]
    assert not families[0] & families[1]
    order = [id.rsplit("/", 1)[0] for id in pool.ids]
    assert order == sorted(order, key=lambda id: id.split("/"))


@needs_fonts
def test_glyphs_are_centred_and_keep_their_relative_size(some_fonts):
    drawn = glyphs.draw_glyphs(glyphs.font_files([some_fonts]), "Hx")
    boxes = [Image.fromarray(image).getbbox() for image in drawn.images]
    for left, top, right, bottom in boxes:
        assert abs(left - (32 - right)) <= 1
        assert abs(top - (32 - bottom)) <= 1
    height = np.array([bottom - top for _, top, _, bottom in boxes])
    capitals, small = height[drawn.characters == 0], height[drawn.characters == 1]
    assert np.all(abs(capitals - 19) <= 2)
    assert np.median(small) < 16


@needs_fonts
def test_characters_that_a_font_lacks_are_left_out(some_fonts):
    files = glyphs.font_files([some_fonts])
    drawn = glyphs.draw_glyphs(files, "A\U000dffff\u0530 ")  # unassigned, and a space
    assert set(drawn.characters.tolist()) == {0}
    assert len(drawn.images) == len(drawn.families)


def test_files_that_are_no_fonts_are_left_out(tmp_path):
    (tmp_path / "a.ttf").write_bytes(b"no font")
    (tmp_path / "b.otf").write_bytes(b"")
    drawn = glyphs.draw_glyphs(glyphs.font_files([tmp_path]), "A")
    assert drawn.images.shape == (0, 32, 32)
    with pytest.raises(DataError, match=r"at least 5 families.*got 0 in .*fonts-dejavu"):
        open_pool(f"glyphs:{tmp_path}")


@needs_fonts
def test_too_few_families(some_fonts, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    first = glyphs.font_files([some_fonts])[0]
    (few / "a.ttf").symlink_to(first)
    (few / "b.ttf").symlink_to(first)
    with pytest.raises(DataError, match=r"at least 5 families.*got 1"):
        open_pool(f"glyphs:{few}")
    drawn = glyphs.draw_glyphs(glyphs.font_files([few]), "AB")
    assert drawn.styles[1] == f"{drawn.styles[0]}#2"  # ids stay unique
    assert np.array_equal(drawn.images[:2], drawn.images[2:])


@needs_fonts
def test_the_cache_gives_the_same_pool(some_fonts, monkeypatch):
    calls = []
    first = open_pool(f"glyphs:{some_fonts}", progress=lambda *call: calls.append(call))
    total = len(glyphs.font_files([some_fonts]))
    assert calls == [(done, total) for done in range(1, total + 1)]
    draw = glyphs.draw_glyphs
    monkeypatch.setattr(glyphs, "draw_glyphs", None)  # would fail if it were called
    again = open_pool(f"glyphs:{some_fonts}")
    assert again.fingerprint == first.fingerprint
    assert list(again.ids) == list(first.ids)
    files = list((glyphs.cache_folder() / "glyphs").iterdir())
    assert [file.suffix for file in files] == [".npz"]  # nothing temporary is left
    data = files[0].read_bytes()
    monkeypatch.setattr(glyphs, "draw_glyphs", draw)
    for spoilt in (b"", data[:1000], data[: len(data) // 2]):
        files[0].write_bytes(spoilt)
        assert open_pool(f"glyphs:{some_fonts}").fingerprint == first.fingerprint


@needs_fonts
def test_a_cache_that_cannot_be_written_is_no_error(some_fonts, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(open_pool(f"glyphs:{some_fonts}", limit=10)) == 10


@needs_fonts
def test_many_characters(some_fonts):
    assert len(glyphs.MANY_CHARACTERS) == len(set(glyphs.MANY_CHARACTERS)) == 417
    assert glyphs.MANY_CHARACTERS.startswith(glyphs.CHARACTERS)
    assert set("éßŁžΩλЖя") <= set(glyphs.MANY_CHARACTERS)
    assert not set("×÷ ªº") & set(glyphs.MANY_CHARACTERS)
    pool = open_pool(f"glyphs-many:{some_fonts}", limit=50)
    assert len(pool.label_names) == 417


def test_family_keys():
    for names, key in (
        (("Lato", "Lato Light", "LATO Black Italic", "Lato Semi-Bold"), "lato"),
        (("DejaVu Sans", "DejaVu Sans Mono", "DejaVu Serif Condensed"), "dejavu"),
        (("Sans",), "sans"),
        (("3270",), "3270"),
        (("TeX Gyre Adventor",), "tex gyre adventor"),
    ):
        assert {glyphs.family_key(name) for name in names} == {key}


def test_the_split_is_by_hash_and_never_empty():
    keys = [f"family {number}" for number in range(2000)]
    chosen = glyphs.held_out_families(keys)
    assert 0.15 < len(chosen) / len(keys) < 0.25
    assert glyphs.held_out_families(keys[:1000]) == chosen & set(keys[:1000])  # others move nothing
    inside, outside = sorted(chosen), sorted(set(keys) - chosen)
    assert len(glyphs.held_out_families(outside[:5])) == 1
    assert len(glyphs.held_out_families(inside[:5])) == 4


@pytest.mark.skipif(not FONTS, reason="no fonts")
def test_fonts_are_found_and_loaded():
    assert all(path.suffix.lower() in (".ttf", ".otf") for path in FONTS)
    assert isinstance(glyphs._load(FONTS[0], 20.0), ImageFont.FreeTypeFont)
    info = {pool.name: pool for pool in named_pools()}
    assert info["glyphs"].available == glyphs.enough_fonts()
