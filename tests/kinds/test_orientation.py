"""An image looks the same in every format, mode and orientation that Pillow writes here.

What a format does with the tag is found out here, never listed: some carry it and leave the turning
to the reader, some turn while they load, some lose it when they are written.
"""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, features

from contrasift.pools.arrays import DatasetSource
from contrasift.pools.prepare import prepare_image, read_image_bytes, readable_formats

pytestmark = pytest.mark.filterwarnings("ignore:.*image format is deprecated:DeprecationWarning")

SIDE = 32
ORIENTATION = 0x0112
MODES = (
    *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"),
    *("I", "F", "I;16", "I;16L", "I;16B"),
)
# How a stored array [h, w, ...] becomes upright, by the table of the EXIF standard: what its row 0
# and its column 0 are in the upright image.
UPRIGHT = {
    1: lambda a: a,  # top, left
    2: lambda a: a[:, ::-1],  # top, right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.swapaxes(0, 1),  # left, top
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],  # right, top
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda a: a.swapaxes(0, 1)[::-1],  # left, bottom
}


def picture(mode: str, height: int = SIDE, width: int = SIDE) -> Image.Image:
    """Four quarters of different brightness: no turn of it looks like another."""
    grey = np.full((height, width), 230, np.uint8)
    grey[: height // 2, : width // 2], grey[: height // 2, width // 2 :] = 10, 80
    grey[height // 2 :, : width // 2] = 160
    colour = np.stack([grey, 255 - grey, grey // 2], axis=2)
    if mode == "I":
        return Image.fromarray(grey.astype(np.int32) * 257)
    if mode == "F":
        return Image.fromarray(grey.astype(np.float32) / 255)
    if mode.startswith("I;16"):
        order = ">u2" if mode == "I;16B" else "<u2"
        data = (grey.astype(np.uint16) * 257).astype(order).tobytes()
        return Image.frombytes(mode, (width, height), data)
    if mode in ("LAB", "RGBX"):
        return Image.frombytes(mode, (width, height), _bytes_of(mode, colour))
    if mode in ("1", "L"):
        return Image.fromarray(grey).convert(mode, dither=Image.Dither.NONE)
    if mode == "PA":
        return Image.fromarray(grey).convert("LA").convert("PA")
    return Image.fromarray(colour).convert(mode)


def _bytes_of(mode: str, colour: np.ndarray) -> bytes:
    if mode == "LAB":
        return colour.tobytes()
    return np.dstack([colour, np.full(colour.shape[:2], 255, np.uint8)]).tobytes()


def saved(image: Image.Image, kind: str, orientation: int, **how: object) -> bytes | None:
    """The file, or None where Pillow cannot write this or cannot read it again."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.save(file, kind, exif=exif, **how)
            with Image.open(BytesIO(file.getvalue()), formats=readable_formats()) as again:
                again.load()
    except Exception:  # nearly every type there is
        return None
    return file.getvalue()


def carries_orientation(kind: str, mode: str, how: dict) -> bool:
    """Whether the tag is still in a file of this kind, asked before the pixels are loaded."""
    data = saved(picture(mode), kind, 3, **how)
    with Image.open(BytesIO(data)) as image:
        return image.getexif().get(ORIENTATION) == 3


def ways() -> list[tuple[str, str, dict]]:
    """Every format and mode that Pillow writes and reads here, and what TIFF has besides."""
    Image.init()
    kinds = sorted(kind for kind in Image.SAVE if kind in readable_formats())
    found = [(kind, mode, {}) for kind in kinds for mode in MODES]
    packed = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "tiff_jpeg")
    found += [
        ("TIFF", mode, {"compression": compression})
        for compression in packed
        if features.check("libtiff")
        for mode in ("L", "RGB", "CMYK", "I;16")
    ]
    found += [("TIFF", "RGB", {"big_tiff": True}), ("TIFF", "RGB", {"save_all": True})]
    # 1024 pixels a side; they keep no tag in any mode.
    small = [way for way in found if way[0] != "ICNS" or way[1] in ("L", "RGB")]
    return [way for way in small if saved(picture(way[1]), way[0], 1, **way[2]) is not None]


WAYS = ways()


def look(data: bytes, size: int = SIDE) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_image_bytes(data, size, 3).astype(int)


def held_forms(data: bytes) -> list[Image.Image]:
    """An image as a data set may hand it over: just opened, loaded, copied, converted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(BytesIO(data), formats=readable_formats())
        loaded = Image.open(BytesIO(data), formats=readable_formats())
        loaded.load()
        return [image, loaded, loaded.copy(), loaded.convert("RGB")]


def look_at(image: Image.Image) -> np.ndarray:
    return prepare_image(image, SIDE, 3).astype(int)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Equal but for what lossy compression does; the quarters differ by 70 and more."""
    return bool(np.abs(found - expected).mean() < 6)


@pytest.mark.parametrize(
    ("kind", "mode", "how"),
    WAYS,
    ids=[f"{k}-{m}-{'-'.join(map(str, h.values()))}" for k, m, h in WAYS],
)
def test_every_format_mode_and_orientation_against_one_reference(kind, mode, how):
    stored = saved(picture(mode), kind, 1, **how)
    plain, held = look(stored), [look_at(form) for form in held_forms(stored)]
    turns = carries_orientation(kind, mode, how)
    for orientation, upright in UPRIGHT.items():
        data = saved(picture(mode), kind, orientation, **how)
        turned = upright if turns else UPRIGHT[1]
        assert same(look(data), turned(plain)), f"{kind} {mode} {orientation}"
        for number, form in enumerate(held_forms(data)):
            assert same(look_at(form), turned(held[number])), f"{orientation}, form {number}"


def test_the_reference_is_no_constant_and_common_formats_carry_the_tag():
    turned = [upright(np.asarray(picture("L"))) for upright in UPRIGHT.values()]
    assert all(
        np.abs(a - b.astype(int)).mean() > 6 for n, a in enumerate(turned) for b in turned[:n]
    )
    carrying = {
        kind for kind, mode, how in WAYS if mode == "RGB" and carries_orientation(kind, mode, how)
    }
    assert carrying >= {"JPEG", "PNG", "TIFF", "WEBP"}


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("size", [(20, 44), (44, 20)])
def test_a_tiff_that_is_no_square(orientation, size):
    image = picture("RGB", *size)
    as_png, as_tiff = (look(saved(image, kind, orientation), 16) for kind in ("PNG", "TIFF"))
    assert same(as_tiff, as_png)


def test_red_above_in_png_and_in_tiff():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = (255, 0, 0)
    image = Image.fromarray(pixels)
    expected = pixels[::-1]
    assert np.array_equal(look(saved(image, "PNG", 3), 64), expected)
    assert np.array_equal(look(saved(image, "TIFF", 3), 64), expected)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_an_orientation_in_xmp_is_read_in_every_format_alike(kind):
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    file = BytesIO()
    how = {"xmp": xmp} if kind != "TIFF" else {"tiffinfo": {700: xmp}}
    if kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        how = {"pnginfo": PngInfo()}
        how["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    picture("RGB").save(file, kind, **how)
    plain = look(saved(picture("RGB"), kind, 1))
    assert same(look(file.getvalue()), UPRIGHT[6](plain))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_what_is_exported_of_a_data_set_is_upright(kind):
    image = Image.open(BytesIO(saved(picture("RGB"), kind, 6)))
    source = DatasetSource([(image, 0), (image, 1)])
    assert same(source.pixels(0).astype(int), UPRIGHT[6](np.asarray(picture("RGB"))))


def test_what_is_exported_of_a_wide_image_is_not_cut_off_at_255():
    source = DatasetSource([(picture("I;16"), 0), (picture("I;16"), 1)])
    assert same(source.pixels(0)[:, :, 0].astype(int), np.asarray(picture("L")))
