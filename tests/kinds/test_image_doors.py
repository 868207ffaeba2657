"""An image is taken for the same pixels, or refused, at every door that images come in by."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import contrasift as cs
from contrasift.embedding.embed import embed
from contrasift.errors import DataError
from contrasift.inference.stream import Sifter
from contrasift.pools.prepare import UnreadableExample
from contrasift.training.encoders import build_encoder

SIDE = 6


def from_array(image, channels):
    return cs.open_pool(np.stack([image, image])).images([0])[0]


def from_npz(image, channels, path):
    np.savez(path, images=np.stack([image, image]))
    return cs.open_pool(str(path)).images([0])[0]


def from_data_set(image, channels):
    return cs.open_pool(Items(image)).images([0])[0]


def from_stream(image, channels):
    """What a sifter shows its encoder."""
    sifter = Sifter("no run")
    stub = SimpleNamespace(image_size=SIDE, channels=channels)
    sifter.__dict__["encoders"] = {"embeddings": stub}
    return sifter._prepared([image])[0]


class Items:
    """A data set of two items of one image."""

    def __init__(self, image) -> None:
        self.image = image

    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int):
        if row > 1:
            raise IndexError
        return self.image, row


def told(door, *arguments):
    try:
        return door(*arguments)
    except (DataError, UnreadableExample):
        return None


DTYPES = ["uint8", "bool", "int8", "uint16", "int32", "int64", "float16", "float32", "float64"]


@st.composite
def images(draw):
    channels = draw(st.sampled_from([1, 3]))
    dtype = np.dtype(draw(st.sampled_from([*DTYPES, "complex64"])))
    low, high = draw(st.sampled_from([(0, 1), (0, 255), (-1, 1), (0, 1.5), (-0.001, 0.5)]))
    seed = draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(seed).uniform(low, high, (SIDE, SIDE, channels))
    values.flat[:2] = low, high
    if dtype.kind == "f" and draw(st.booleans()):
        values.flat[7] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with np.errstate(all="ignore"):
        return values.astype(dtype)


def reference(image: np.ndarray) -> np.ndarray | None:
    """uint8 [C, H, W]; None where it must be refused."""
    kind = image.dtype.kind
    if image.dtype == np.uint8:
        pixels = image
    elif kind == "b":
        pixels = np.where(image, 255, 0)
    elif kind == "f" and np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1:
        pixels = np.rint(image.astype(np.float32) * 255)
    else:
        return None
    return pixels.astype(np.uint8).transpose(2, 0, 1)


@settings(max_examples=150, deadline=None)
@given(images())
def test_all_doors_agree(image):
    channels = image.shape[2]
    expected = reference(image)
    for door in (from_array, from_data_set, from_stream):
        found = told(door, image, channels)
        assert (found is None) == (expected is None), door.__name__
        assert expected is None or np.array_equal(found, expected), door.__name__


@pytest.mark.parametrize(
    "image",
    [
        np.full((SIDE, SIDE, 3), 200.0, np.float32),
        np.full((SIDE, SIDE, 3), -0.5),
        np.full((SIDE, SIDE, 3), np.nan, np.float32),
    ],
    ids=["0..255", "-1..1", "NaN"],
)
def test_a_stream_refuses_floats_that_are_no_pixels(image):
    with pytest.raises(DataError, match=r"floats in \[0, 1\]|finite"):
        from_stream(image, 3)


@pytest.mark.parametrize("as_what", [np.asarray, torch.as_tensor, Image.fromarray])
def test_a_stream_takes_what_data_sets_give(as_what, rng):
    pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    tensor = as_what is torch.as_tensor
    image = as_what(np.ascontiguousarray(pixels.transpose(2, 0, 1)) if tensor else pixels)
    assert np.array_equal(from_stream(image, 3), pixels.transpose(2, 0, 1))


def test_the_images_of_anybodys_pool_are_checked_before_an_encoder_sees_them():
    class Floats:
        index = np.arange(4)
        channels, image_size, mirror = 3, 16, True

        def __len__(self):
            return 4

        def images(self, positions):
            return np.full((len(positions), 3, 16, 16), 0.9, np.float32)

    encoder = build_encoder("narrow:0.125", channels=3, image_size=16, projection_dim=8, seed=0)
    with pytest.raises(DataError, match="uint8"):
        embed(Floats(), np.arange(4), encoder, device="cpu")


def test_of_npz(tmp_path, rng):
    image = rng.random((SIDE, SIDE, 3))
    assert np.array_equal(from_npz(image, 3, tmp_path / "a.npz"), reference(image))
