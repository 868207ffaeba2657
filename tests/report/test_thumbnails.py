from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from contrasift.errors import DataError, UsageError
from contrasift.report import thumbnail


class TestThumbnail:
    @staticmethod
    def decode(uri: str) -> np.ndarray:
        head, _, body = uri.partition(",")
        assert head in ("data:image/png;base64", "data:image/webp;base64")
        with Image.open(io.BytesIO(base64.b64decode(body))) as picture:
            return np.asarray(picture.convert("L" if picture.mode == "L" else "RGBA"))

    def test_small_images_come_back_exactly(self):
        grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
        assert (self.decode(thumbnail(grey)) == grey).all()
        assert (self.decode(thumbnail(grey[:, :, None])) == grey).all()
        colour = np.random.default_rng(0).integers(0, 255, (8, 8, 4), dtype=np.uint8)
        assert (self.decode(thumbnail(colour)) == colour).all()
        few = np.array([[[255, 0, 0], [0, 255, 0]]], dtype=np.uint8)
        assert (self.decode(thumbnail(few))[:, :, :3] == few).all()

    @pytest.mark.parametrize(
        ("shape", "expected"),
        [((96, 48, 3), (48, 24)), ((10, 200), (2, 48)), ((1, 500), (1, 48)), ((48, 48), (48, 48))],
    )
    def test_large_images_shrink_in_proportion(self, shape, expected):
        assert self.decode(thumbnail(np.zeros(shape, dtype=np.uint8))).shape[:2] == expected

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((4, 4)),
            np.zeros((4, 4, 2), dtype=np.uint8),
            np.zeros((0, 4), dtype=np.uint8),
            np.zeros(4, dtype=np.uint8),
        ],
    )
    def test_bad_images(self, image):
        with pytest.raises(DataError, match="uint8 image"):
            thumbnail(image)

    def test_bad_side(self):
        with pytest.raises(UsageError, match="at least 1 pixel"):
            thumbnail(np.zeros((4, 4), dtype=np.uint8), side=0)

    def test_photographs_are_short_and_look_the_same(self):
        y, x = np.mgrid[0:64, 0:64]
        photo = np.stack([2 * x + y, 255 - 3 * x, x * y // 20], axis=2).clip(0, 255)
        photo = (photo + np.random.default_rng(0).integers(0, 9, (64, 64, 3))).clip(0, 255)
        uri = thumbnail(photo.astype(np.uint8), side=64)
        assert len(uri) < 3_000
        assert np.abs(self.decode(uri)[:, :, :3].astype(int) - photo).mean() < 6
