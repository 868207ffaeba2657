"""Images as arrays: the layouts, types and ranges that mean one thing as pixels, and no other.

Every door that takes images in memory asks here: arrays and their files, data sets, streams.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from contrasift.arrays import row_blocks
from contrasift.errors import DataError
from contrasift.pools.prepare import ImageArray, prepare_array, prepare_image


def prepare_pixels(image: Any, size: int, channels: int, name: str = "an image") -> ImageArray:
    """One image in memory as a square of bytes.

    Args:
        image: a Pillow image, an array [H, W] or [H, W, C], or a tensor [C, H, W]; C is 1 or 3.
        size: side in pixels of the result.
        channels: 1 or 3, of the result; the image may have the other.
        name: what to call it in an error.

    Returns:
        uint8 [size, size, channels].

    Raises:
        DataError: another shape or type, NaN, values out of range.
    """
    pixels = pixels_of(image)
    if isinstance(pixels, Image.Image):
        return prepare_image(pixels, size, channels)
    check_values(pixels, name)
    square = prepare_array(pixels, size)
    if square.shape[2] == channels:
        return square
    return prepare_image(
        Image.fromarray(square[:, :, 0] if channels == 3 else square), size, channels
    )


def check_values(images: np.ndarray, name: str) -> None:
    """Types and ranges that have one meaning as pixels, and no other."""
    if images.dtype in (np.uint8, np.bool_):
        return
    if images.dtype.kind != "f":
        raise DataError(
            f"{name} as uint8, bool, or floats in [0, 1]",
            f"dtype {images.dtype}",
            "Convert them: `images.astype(np.uint8)` for values in 0..255",
        )
    for rows in row_blocks(len(images), images.nbytes // max(1, len(images))):
        block = np.asarray(images[rows])
        if not np.isfinite(block).all():
            raise DataError(f"{name} of finite numbers", f"NaN or infinity in {name}")
        if block.size and not (block.min() >= 0 and block.max() <= 1):
            raise DataError(
                f"{name} as floats in [0, 1]",
                f"values in [{block.min():g}, {block.max():g}]",
                "Divide by 255, or leave out the normalisation",
            )


def pixels_of(image: Any) -> Any:
    """A Pillow image as it is; an array or tensor as [H, W, C]."""
    if isinstance(image, Image.Image):
        return image
    values = np.asarray(image)
    is_tensor = hasattr(image, "detach")
    if values.ndim == 2 and values.size:
        return values[:, :, None]
    if values.ndim != 3 or 0 in values.shape or values.shape[0 if is_tensor else 2] not in (1, 3):
        layout = "[C, H, W]" if is_tensor else "[H, W, C]"
        raise DataError(
            f"images as {layout} with C = 1 or 3", f"{type(image).__name__} of shape {values.shape}"
        )
    return values.transpose(1, 2, 0) if is_tensor else values


def is_grey(pixels: Any) -> bool:
    """Whether what `pixels_of` gave has one channel of brightness."""
    if isinstance(pixels, Image.Image):
        return pixels.mode in ("1", "L", "I", "F", "LA") or pixels.mode.startswith("I;16")
    return pixels.shape[2] == 1
