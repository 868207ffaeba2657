"""Small pictures that travel inside the page."""

from __future__ import annotations

import base64
import io

import numpy as np

from contrasift.errors import DataError, UsageError

_COLOURS = 128  # a palette makes a small colour PNG a third as long, and few can tell


def thumbnail(image: np.ndarray, side: int = 48) -> str:
    """An image as a PNG data URI whose longer side is at most `side` pixels.

    Smaller images keep their size. Use 32 for the points of the map, of which there are many.

    Args:
        image: uint8 [H, W], or [H, W, C] with 1 (grey), 3 (RGB) or 4 (RGBA) channels.
        side: the longest side wanted.

    Returns:
        `data:image/png;base64,…`

    Raises:
        UsageError: a side below 1.
        DataError: another shape or dtype.
    """
    from PIL import Image

    if side < 1:
        raise UsageError("a side of at least 1 pixel", f"{side}")
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    colour = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    if pixels.dtype != np.uint8 or pixels.size == 0 or not (pixels.ndim == 2 or colour):
        raise DataError(
            "a uint8 image [H, W] or [H, W, 1, 3 or 4]",
            f"shape {np.shape(image)}, dtype {pixels.dtype}",
        )
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    longest = max(picture.size)
    if longest > side:
        width, height = (max(1, round(length * side / longest)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    if picture.mode == "RGB":
        picture = picture.quantize(_COLOURS, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
