"""Small pictures that travel inside the page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

_COLOURS = 128  # a palette makes a small colour PNG a third as long, and few can tell
_QUALITY = 80  # of WebP, where that is shorter still


def thumbnail(image: np.ndarray, side: int = 48) -> str:
    """An image as a data URI whose longer side is at most `side` pixels.

    Smaller images keep their size. Colour images are PNG with a palette or WebP, whichever is
    shorter; others, and those of few colours, are PNG without loss.

    Args:
        image: uint8 [H, W], or [H, W, C] with 1 (grey), 3 (RGB) or 4 (RGBA) channels.
        side: the longest side wanted.

    Returns:
        `data:image/png;base64,…` or `data:image/webp;base64,…`

    Raises:
        UsageError: a side below 1.
        DataError: another shape or dtype.
    """
    from PIL import Image, features

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
    if picture.mode != "RGB":
        return _data_uri(picture, "PNG", optimize=True)
    forms = [_data_uri(picture.quantize(_COLOURS, dither=Image.Dither.NONE), "PNG", optimize=True)]
    if picture.getcolors(_COLOURS) is None and features.check("webp"):
        forms.append(_data_uri(picture, "WEBP", quality=_QUALITY))
    return min(forms, key=len)


def _data_uri(picture: Image, form: str, **settings: Any) -> str:
    stream = io.BytesIO()
    picture.save(stream, format=form, **settings)
    text = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/{form.lower()};base64,{text}"
