"""From any image that Pillow can open to a small square of bytes, always in the same way.

The rules, in this order: first frame of an animation; orientation of the EXIF tag; 16-bit and
32-bit values to 8 bits; transparency over white; colour or grey; the central square, scaled
(bicubic with antialiasing) to the side asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import warnings
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from contrasift.errors import DataError, first_line

ImageArray = UInt8[np.ndarray, "side side channels"]
AnyImage = UInt8[np.ndarray, "height width channels"]

# Formats that Pillow recognises but cannot decode by itself; EPS would start another program.
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
_COMMON = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
# One package under two names; the wheels of the second hold an encoder under the GPL.
_HEIF_PLUG_INS = ("pi_heif", "pillow_heif")
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
_EXIF_ORIENTATION = 0x0112
# An encoded image that is held in memory to be decoded: none that is honest is larger.
MAX_ENCODED_BYTES = 256 << 20
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableExample(DataError):
    """One example whose image cannot be had; it is left out and the run goes on.

    Attributes:
        reason: why, in a few words; the `error` column of `examples.parquet`.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__("an image that can be read", reason)

    def __reduce__(self) -> tuple[type, tuple[str]]:  # type: ignore[override]
        return type(self), (self.reason,)


@lru_cache(maxsize=1)
def readable_formats() -> tuple[str, ...]:
    """Names of the formats that Pillow decodes here, with its plug-in for HEIF if that is there."""
    Image.init()
    for plug_in in _HEIF_PLUG_INS:
        with contextlib.suppress(ImportError):
            importlib.import_module(plug_in).register_heif_opener()
            break
    # Pillow tries one after the other, some of them slowly: the common ones go first.
    common = [name for name in _COMMON if name in Image.ID]
    others = [name for name in Image.ID if name not in _NOT_DECODED and name not in _COMMON]
    return (*common, *others)


@lru_cache(maxsize=1)
def image_extensions() -> frozenset[str]:
    """Lower-case file extensions, with their dot, of the formats that Pillow decodes here."""
    formats = set(readable_formats())
    return frozenset(ext for ext, name in Image.registered_extensions().items() if name in formats)


def read_image_file(path: Path | str, size: int, channels: int) -> ImageArray:
    """Open, decode and prepare one file.

    Args:
        path: the file.
        size: side in pixels of the result.
        channels: 3 for colour, 1 for grey.

    Returns:
        uint8 [size, size, channels].

    Raises:
        UnreadableExample: whatever is wrong with the file, as a short reason.
    """
    return _read_image(path, size, channels)


def read_image_bytes(data: bytes, size: int, channels: int) -> ImageArray:
    """Decode and prepare an encoded image (the content of an image file), like `read_image_file`.

    Raises:
        UnreadableExample: whatever is wrong with it, as a short reason.
    """
    return _read_image(BytesIO(data), size, channels)


def _read_image(file: Path | str | BytesIO, size: int, channels: int) -> ImageArray:
    try:
        with Image.open(file, formats=readable_formats()) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise UnreadableExample(_too_large(f"{image.width * image.height:,}"))
            if image.format == "JPEG":
                # Decode at a fraction of the resolution, at least twice what is kept.
                image.draft(None, (2 * size, 2 * size))  # type: ignore[arg-type]
            return prepare_image(image, size, channels)
    except UnreadableExample:
        raise
    except Exception as error:  # Pillow's decoders raise nearly every type there is
        raise UnreadableExample(_reason(error, file)) from error


def check_encoded_size(n_bytes: int) -> None:
    """Refuse to hold an encoded image in memory that is larger than any honest one.

    Raises:
        UnreadableExample: more than `MAX_ENCODED_BYTES`.
    """
    if n_bytes > MAX_ENCODED_BYTES:
        raise UnreadableExample(
            f"too large to read safely: {n_bytes:,} bytes, the limit is {MAX_ENCODED_BYTES:,}"
        )


def image_suffix(data: bytes) -> str:
    """The usual extension of an encoded image by its content, with its dot; `.img` if unknown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data), formats=readable_formats()) as image:
                name = image.format or ""
    except Exception:  # what cannot be decoded keeps its bytes under a neutral name
        return ".img"
    if name == "JPEG":
        return ".jpg"
    known = [
        ext for ext, format_name in Image.registered_extensions().items() if format_name == name
    ]
    return f".{name.lower()}" if f".{name.lower()}" in known or not known else known[0]


def is_grey_file(file: Path | str | BytesIO) -> bool | None:
    """Whether the header of an image file says grey; None when it cannot be opened."""
    try:
        with Image.open(file, formats=readable_formats()) as image:
            return image.mode in _GREY_MODES
    except Exception:  # the scan will say what is wrong with it
        return None


def prepare_image(image: Image.Image, size: int, channels: int) -> ImageArray:
    """Bring an opened Pillow image to a square of bytes by the rules of this module.

    Args:
        image: any mode; an animation gives its current frame, the first when just opened.
        size: side in pixels of the result.
        channels: 3 for colour, 1 for grey.

    Returns:
        uint8 [size, size, channels].

    Raises:
        UnreadableExample: float pixels that are not finite.
    """
    flat, turn = _flat(image, channels)
    square = _central_square(flat, size)
    if turn is not None:
        square = square.transpose(turn)  # the central square stays the same
    return np.array(square, dtype=np.uint8).reshape(size, size, channels)


def whole_image(image: Image.Image, channels: int) -> AnyImage:
    """All pixels of an opened Pillow image by the same rules, but for the square.

    Raises:
        UnreadableExample: float pixels that are not finite.
    """
    flat, turn = _flat(image, channels)
    upright = flat if turn is None else flat.transpose(turn)
    return np.array(upright, dtype=np.uint8).reshape(upright.height, upright.width, channels)


def _flat(image: Image.Image, channels: int) -> tuple[Image.Image, Image.Transpose | None]:
    """Grey or coloured bytes, and how they are still to be turned."""
    image.load()  # some formats turn while they load, and say so only then
    turn = _UPRIGHT.get(_orientation(image))
    return _over_white(_eight_bits(image)).convert("L" if channels == 1 else "RGB"), turn


def prepare_array(pixels: Shaped[np.ndarray, "h w c"], size: int) -> ImageArray:
    """The central square of raw pixels (uint8, or as `to_bytes` takes them), scaled to `size`."""
    values = to_bytes(pixels)
    height, width, channels = values.shape
    if height == width == size:
        return values
    image = Image.fromarray(values[:, :, 0] if channels == 1 else np.ascontiguousarray(values))
    return np.array(_central_square(image, size), dtype=np.uint8).reshape(size, size, channels)


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Pixels in 0..255 as uint8: bytes as they are, booleans as 0 and 255, floats of [0, 1] scaled."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels)
    if pixels.dtype == np.bool_:
        return np.asarray(pixels, dtype=np.uint8) * np.uint8(255)
    return np.rint(np.asarray(pixels, dtype=np.float32) * 255).astype(np.uint8)


def as_png(pixels: AnyImage) -> bytes:
    """Pixels as a PNG file, which loses nothing."""
    file = BytesIO()
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)
    Image.fromarray(flat).save(file, "PNG")
    return file.getvalue()


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # damaged metadata says nothing about the pixels
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Wide grey pixels as bytes.

    16-bit values are divided by 257, so that 65,535 becomes 255. 32-bit integers that fit in 16
    bits are treated alike (a PGM of 16 bits comes that way), floats in [0, 1] are scaled by 255;
    anything else by its own smallest and largest value.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise UnreadableExample("pixels that are NaN or infinite")
    low, high = float(values.min()), float(values.max())
    full = 1.0 if image.mode == "F" else 65535.0
    if low >= 0 and high <= full:
        low, high = 0.0, full
    scaled = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _over_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layered = image.convert("RGBA")
    white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layered).convert("RGB")


def _central_square(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


def _too_large(pixels: str) -> str:
    return f"too large to open safely: {pixels} pixels, the limit is {Image.MAX_IMAGE_PIXELS:,}"


def _reason(error: Exception, file: Path | str | BytesIO) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "an empty file" if _is_empty(file) else "not an image in a format that can be read"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        # Pillow names twice the limit where it raises, and the limit where it warns.
        count = re.search(r"[0-9]+", str(error))
        return _too_large(f"{int(count[0]):,}" if count else "too many")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)


def _is_empty(file: Path | str | BytesIO) -> bool:
    if isinstance(file, BytesIO):
        return not file.getbuffer().nbytes
    try:
        return Path(file).stat().st_size == 0
    except OSError:
        return False
