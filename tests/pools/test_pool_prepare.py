"""Odd images come out as the documented bytes; broken ones come out as a reason."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from contrasift.pools.prepare import (
    UnreadableExample,
    image_extensions,
    prepare_array,
    prepare_image,
    read_image_file,
    readable_formats,
    to_bytes,
)


def square(image, size=8, channels=3):
    return prepare_image(image, size, channels)


def test_a_square_of_the_right_size_is_left_alone(rng):
    pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(square(Image.fromarray(pixels)), pixels)


def test_the_centre_is_kept(rng):
    pixels = np.zeros((8, 20, 3), np.uint8)
    pixels[:, 6:14] = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(square(Image.fromarray(pixels)), pixels[:, 6:14])
    upright = np.ascontiguousarray(pixels.transpose(1, 0, 2))
    assert np.array_equal(square(Image.fromarray(upright)), upright[6:14])


def test_a_constant_image_stays_constant_at_every_size():
    for size in (1, 2, 7, 64):
        assert np.all(square(Image.new("RGB", (33, 21), (9, 8, 7)), size) == (9, 8, 7))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (9, 9), 1), 255),
        (Image.new("L", (9, 9), 77), 77),
        (Image.new("LA", (9, 9), (77, 255)), 77),
        (Image.new("LA", (9, 9), (77, 0)), 255),  # transparent: the white below
        (Image.new("RGBA", (9, 9), (10, 10, 10, 0)), 255),
        (Image.new("RGBA", (9, 9), (10, 10, 10, 255)), 10),
        (Image.new("RGBA", (9, 9), (0, 0, 0, 128)), 127),
        (Image.new("CMYK", (9, 9), (0, 0, 0, 255)), 0),
        (Image.new("CMYK", (9, 9), (0, 0, 0, 0)), 255),
        (Image.new("I", (9, 9), 65535), 255),
        (Image.new("I", (9, 9), 0), 0),
        (Image.new("I", (9, 9), 257 * 12), 12),
        (Image.new("F", (9, 9), 0.2), 51),
        (Image.fromarray(np.full((9, 9), 257 * 40, np.uint16)), 40),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_modes(image, expected, channels):
    result = square(image, channels=channels)
    assert result.shape == (8, 8, channels)
    assert np.all(result == expected)


def test_wide_values_are_stretched_over_their_own_range():
    values = np.array([[-100, 1], [50, 100]], np.float32)
    expected = np.rint((values + 100) * (255 / 200))
    assert np.array_equal(square(Image.fromarray(values), 2, 1)[:, :, 0], expected)
    big = np.array([[0, 100_000], [200_000, 400_000]], np.int32)
    assert np.array_equal(square(Image.fromarray(big), 2, 1)[:, :, 0], np.rint(big * (255 / 4e5)))
    assert np.all(square(Image.new("F", (2, 2), 9.0), 2, 1) == 0)


def test_float_pixels_that_are_not_numbers_are_unreadable():
    with pytest.raises(UnreadableExample, match="NaN or infinite"):
        square(Image.fromarray(np.array([[0.0, np.nan]], np.float32)))


def test_palette_with_transparency():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert np.all(square(image) == (200, 100, 50))
    image.info["transparency"] = 1
    assert np.all(square(image) == 255)


def test_png_with_one_transparent_colour(tmp_path):
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "a.png", transparency=(1, 2, 3))
    assert np.all(read_image_file(tmp_path / "a.png", 8, 3) == 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, rng, orientation):
    pixels = rng.integers(0, 256, (12, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=exif)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    top, left = (upright.shape[0] - 8) // 2, (upright.shape[1] - 8) // 2
    expected = upright[top : top + 8, left : left + 8]
    assert np.array_equal(read_image_file(path, 8, 3), expected)


def test_damaged_exif_is_no_reason_to_drop_an_image(tmp_path):
    Image.new("RGB", (8, 8), (5, 5, 5)).save(tmp_path / "a.jpg", exif=b"Exif\0\0garbage!")
    assert np.all(read_image_file(tmp_path / "a.jpg", 8, 3) == 5)


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for name in ("a.gif", "a.png", "a.webp"):
        options = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert np.all(read_image_file(tmp_path / name, 8, 3) == (255, 0, 0))


def test_large_jpegs_are_decoded_small_and_look_the_same(tmp_path):
    blocks = np.random.default_rng(0).integers(60, 200, (24, 24, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(blocks).resize((192, 192), Image.Resampling.BICUBIC))
    Image.fromarray(picture).save(tmp_path / "a.jpg", quality=95, subsampling=0)
    expected = prepare_array(picture, 48)
    found = read_image_file(tmp_path / "a.jpg", 48, 3)
    assert np.abs(found.astype(int) - expected).mean() < 2


def truncated_png(path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1000])


def oversized_png(path):
    """A PNG header that claims 60,000 × 60,000 pixels."""
    Image.new("L", (4, 4)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.write_bytes(b"hello"), "not an image"),
        (truncated_png, "truncated|broken"),
        (oversized_png, "too large to open safely"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: None, "No such file"),
        (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "not an image"),
    ],
)
def test_broken_files_have_a_reason(tmp_path, spoil, reason):
    path = tmp_path / "a.png"
    spoil(path)
    with pytest.raises(UnreadableExample, match=reason) as caught:
        read_image_file(path, 8, 3)
    assert str(tmp_path) not in caught.value.reason  # the id says where it is


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("side", [12, 20])  # Pillow warns above its limit, refuses above twice it
def test_suspiciously_large_images_are_refused(tmp_path, monkeypatch, side):
    Image.new("L", (side, side)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableExample, match="too large"):
        read_image_file(tmp_path / "a.png", 8, 1)


def test_formats_that_would_need_help_are_left_out():
    assert {"PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"} <= set(readable_formats())
    assert not {"EPS", "PDF", "MPEG", "WMF"} & set(readable_formats())
    assert {".png", ".jpg", ".jpeg", ".tif"} <= image_extensions()
    assert not {".pdf", ".eps", ".txt"} & image_extensions()


def test_bytes_of_every_kind():
    assert np.array_equal(to_bytes(np.array([0, 7, 255], np.uint8)), [0, 7, 255])
    assert np.array_equal(to_bytes(np.array([False, True])), [0, 255])
    for kind in (np.float16, np.float32, np.float64):
        every = np.arange(256) / 255
        assert np.abs(to_bytes(every.astype(kind)).astype(int) - np.arange(256)).max() <= (
            kind == np.float16
        )


def test_an_unreadable_example_survives_a_process_boundary():
    import pickle

    again = pickle.loads(pickle.dumps(UnreadableExample("gone")))
    assert (again.reason, str(again)) == ("gone", "expected an image that can be read; got gone")
