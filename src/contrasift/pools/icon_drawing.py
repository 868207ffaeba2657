"""One icon as pixels: vectors by resvg, rasters by Pillow, laid over white or over dark grey."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from contrasift.errors import with_extra
from contrasift.pools.icon_themes import SIDE, VECTORS

_WHITE, _DARK = 255.0, 48.0
# Root mean square of the difference to white, of 255, below which an icon can hardly be seen on it.
_FAINT = 48.0
# Transparent drawings are none.
_LEAST_INK = 0.005


def draw_icon(path: Path) -> np.ndarray | None:
    """An icon in its colours and with its transparency.

    Args:
        path: an SVG, compressed or not, or a PNG.

    Returns:
        uint8 [48, 48, 4], centred; None where nothing can be drawn.

    Raises:
        MissingExtraError: a vector, without the library that draws them.
    """
    if path.suffix in VECTORS:
        return _centred(partial(_vector, SIDE, svg_path=str(path)), SIDE)
    return _centred(partial(_raster, path), SIDE)


def draw_markup(text: str, side: int) -> np.ndarray | None:
    """The same of an SVG's text.

    Args:
        text: of an SVG.
        side: pixels.

    Returns:
        uint8 [side, side, 4].

    Raises:
        MissingExtraError: without the library that draws vectors.
    """
    return _centred(partial(_vector, side, svg_string=text), side)


def _centred(draw: Callable[[], Image.Image], side: int) -> np.ndarray | None:
    try:
        picture = draw()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    frame = Image.new("RGBA", (side, side))
    frame.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    values = np.asarray(frame)
    return values if values[:, :, 3].mean() >= 255 * _LEAST_INK else None


def _vector(side: int, **source: str) -> Image.Image:
    draw = partial(with_extra("resvg_py", "icons").svg_to_bytes, **source)
    # Only one side may be named, or the drawing would be stretched. Text is rare, and the system's
    # fonts would draw it otherwise on every machine.
    picture = _opened(BytesIO(draw(skip_system_fonts=True, width=side)))
    if picture.height <= side:
        return picture
    return _opened(BytesIO(draw(skip_system_fonts=True, height=side)))


def _raster(path: Path) -> Image.Image:
    picture = _opened(path)
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _opened(file: Path | BytesIO) -> Image.Image:
    with Image.open(file, formats=("PNG",)) as picture:
        return picture.convert("RGBA")


def lay_over(icon: np.ndarray) -> np.ndarray:
    """An icon over white, or over dark grey if it can hardly be seen on white.

    Args:
        icon: uint8 [side, side, 4].

    Returns:
        uint8 [3, side, side].
    """
    alpha = icon[:, :, 3:].astype(np.float64) / 255
    colour = icon[:, :, :3].astype(np.float64)
    missing = ((_WHITE - colour) ** 2).mean(axis=2, keepdims=True)
    faint = (alpha * missing).sum() < _FAINT**2 * alpha.sum()
    flat = alpha * colour + (1 - alpha) * (_DARK if faint else _WHITE)
    return np.rint(flat).astype(np.uint8).transpose(2, 0, 1)
