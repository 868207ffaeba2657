from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.errors import UsageError
from contrasift.training.views import (
    AUGMENTATIONS,
    Augmentation,
    apply_views,
    choose_augmentation,
    counter_uniforms,
    draw_view_parameters,
    join_parameters,
    random_views,
)

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
STILL = Augmentation(scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter=0.0, grey=0.0)


def naive_mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def naive_uniform(seed: int, epoch: int, index: int, stream: int, number: int) -> float:
    key = 0
    for part in (seed, epoch, stream):
        key = naive_mix(((key ^ (part & MASK)) + GOLDEN) & MASK)
    row = naive_mix(key ^ naive_mix(((index & MASK) + GOLDEN) & MASK))
    return (naive_mix((row + (number + 1) * GOLDEN) & MASK) >> 11) / 2**53


def images(count: int, channels: int = 1, size: int = 12) -> torch.Tensor:
    values = np.random.default_rng(3).integers(0, 256, (count, channels, size, size), np.uint8)
    return torch.from_numpy(values)


def test_mix_is_splitmix64():
    # First outputs of splitmix64 for seed 1234567: Rosetta Code, "Pseudo-random numbers/Splitmix64".
    outputs = [naive_mix((1234567 + (i + 1) * GOLDEN) & MASK) for i in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(
    seed=st.integers(0, 2**63),
    epoch=st.integers(-1, 10**6),
    index=st.lists(st.integers(0, 2**62), max_size=4),
    stream=st.integers(-1, 9),
)
@settings(max_examples=30, deadline=None)
def test_uniforms_equal_the_naive_ones(seed, epoch, index, stream):
    ours = counter_uniforms(seed, epoch, np.array(index, dtype=np.int64), stream, 3)
    naive = [[naive_uniform(seed, epoch, i, stream, n) for n in range(3)] for i in index]
    assert ours.shape == (len(index), 3)
    np.testing.assert_array_equal(ours, np.array(naive).reshape(len(index), 3))


def test_uniforms_are_uniform_and_unrelated():
    n = 20_000
    draws = [
        counter_uniforms(seed, epoch, np.arange(n), stream, 2)
        for seed, epoch, stream in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    ]
    columns = np.concatenate(draws, axis=1).T
    columns = np.concatenate([columns, np.roll(columns[:1], 1, axis=1)])  # neighbours too
    assert columns.min() >= 0
    assert columns.max() < 1
    # Five standard errors of a mean, of a variance and of a correlation of uniform numbers.
    assert np.abs(columns.mean(axis=1) - 0.5).max() < 5 / math.sqrt(12 * n)
    assert np.abs(columns.var(axis=1) - 1 / 12).max() < 5 * math.sqrt(1 / 180 / n)
    correlations = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlations).max() < 5 / math.sqrt(n)


def test_parameters_do_not_depend_on_the_batch():
    index = np.arange(50)
    whole = draw_view_parameters(7, 3, index, 1, AUGMENTATIONS["moco-v2"], mirror=True)
    shuffled = np.random.default_rng(0).permutation(50)
    parts = [
        draw_view_parameters(7, 3, index[rows], 1, AUGMENTATIONS["moco-v2"], mirror=True)
        for rows in np.array_split(shuffled, 7)
    ]
    joined = join_parameters(parts)
    for name in ("crop", "brightness", "contrast", "saturation", "hue", "grey", "blur"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name)[shuffled])


@pytest.mark.parametrize("change", [{"seed": 8}, {"epoch": 4}, {"view": 0}])
def test_parameters_depend_on_seed_epoch_and_view(change):
    call = {"seed": 7, "epoch": 3, "view": 1}
    index, recipe = np.arange(8), AUGMENTATIONS["simclr"]
    one = draw_view_parameters(index=index, augmentation=recipe, **call)
    other = draw_view_parameters(index=index, augmentation=recipe, **{**call, **change})
    assert (one.crop != other.crop).any(axis=(1, 2)).all()


def test_crops_have_the_stated_area_and_ratio_and_lie_inside():
    recipe = AUGMENTATIONS["simclr"]
    crop = draw_view_parameters(0, 0, np.arange(5000), 0, recipe, mirror=True).crop.astype(float)
    width, height, x, y = crop[:, 0, 0], crop[:, 1, 1], crop[:, 0, 2], crop[:, 1, 2]
    area = np.abs(width) * height
    assert area.min() >= 0.08 - 1e-6
    assert area.max() <= 1
    assert abs(area.mean() - 0.54) < 5 * 0.92 / math.sqrt(12 * 5000)
    assert (np.abs(width) / height).min() >= 3 / 4 - 1e-6
    assert (np.abs(width) / height).max() <= 4 / 3 + 1e-6
    assert (np.abs(x) + np.abs(width)).max() <= 1 + 1e-6
    assert (np.abs(y) + height).max() <= 1 + 1e-6
    assert abs((width < 0).mean() - 0.5) < 5 * 0.5 / math.sqrt(5000)


def test_without_mirror_nothing_is_flipped():
    crop = draw_view_parameters(0, 0, np.arange(500), 0, AUGMENTATIONS["simclr"]).crop
    assert (crop[:, 0, 0] > 0).all()


def test_an_augmentation_that_does_nothing_gives_the_image_back():
    batch = images(5, 3)
    same = random_views(
        batch, torch.arange(5), [0, 1], seed=0, epoch=0, augmentation=STILL, mirror=False
    )
    torch.testing.assert_close(same, batch.repeat(2, 1, 1, 1) / 255, atol=1e-6, rtol=0)


def test_a_flip_reverses_the_columns():
    batch = images(64)
    views = random_views(
        batch, torch.arange(64), [0], seed=0, epoch=0, augmentation=STILL, mirror=True
    )
    flipped = torch.from_numpy(
        draw_view_parameters(0, 0, np.arange(64), 0, STILL, mirror=True).crop[:, 0, 0] < 0
    )
    expected = torch.where(flipped.view(-1, 1, 1, 1), batch.flip(-1), batch) / 255
    assert 10 < flipped.sum() < 54
    torch.testing.assert_close(views, expected, atol=1e-6, rtol=0)


def test_a_crop_of_a_ramp_is_a_steeper_ramp():
    size, width, centre = 16, 0.5, 0.25
    ramp = (torch.arange(size) + 0.5).div(size).expand(1, 1, size, size).contiguous()
    parameters = draw_view_parameters(0, 0, np.arange(1), 0, STILL)
    parameters.crop[0] = [[width, 0, centre], [0, width, 0]]
    x = (np.arange(size) + 0.5) / size  # output pixel centres, then where they lie in the input
    expected = (1 + centre + width * (2 * x - 1)) / 2
    got = apply_views(ramp, parameters)[0, 0]
    np.testing.assert_allclose(got, np.broadcast_to(expected, (size, size)), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_equal_the_naive_ones(channels):
    recipe = Augmentation(scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter=1.0, hue=0.0, grey=0.5)
    batch, index = images(20, channels), np.arange(20)
    p = draw_view_parameters(5, 0, index, 0, recipe)
    views = apply_views(batch / 255, p).numpy()
    for i, image in enumerate(batch.numpy() / 255):
        luma = np.array([0.299, 0.587, 0.114]) if channels == 3 else np.ones(1)
        image = np.minimum(image * p.brightness[i], 1)
        mean = np.tensordot(luma, image, 1).mean()
        image = np.clip(mean + p.contrast[i] * (image - mean), 0, 1)
        if channels == 3:
            grey = np.tensordot(luma, image, 1)
            image = np.clip(grey + p.saturation[i] * (image - grey), 0, 1)
            if p.grey[i]:
                image = np.broadcast_to(np.tensordot(luma, image, 1), image.shape)
        np.testing.assert_allclose(views[i], image, atol=2e-6)


def test_hue_turns_colours_as_colorsys_does():
    from colorsys import hsv_to_rgb, rgb_to_hsv

    recipe = Augmentation(
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
        jitter=1.0,
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
        grey=0.0,
    )
    batch = images(4, 3, 8)
    p = draw_view_parameters(0, 0, np.arange(4), 0, recipe)
    views = apply_views(batch / 255, p).numpy()
    pixel = batch[2, :, 3, 5].numpy() / 255
    h, s, v = rgb_to_hsv(*pixel)
    expected = hsv_to_rgb((h + p.hue[2] / (2 * math.pi)) % 1, s, v)
    np.testing.assert_allclose(views[2, :, 3, 5], expected, atol=1e-4)


def test_blur_takes_some_images_and_keeps_their_mean():
    recipe = Augmentation(scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter=0.0, grey=0.0, blur=0.5)
    batch, index = images(40, 1, 32), np.arange(40)
    blurred = draw_view_parameters(0, 0, index, 0, recipe).blur > 0
    views = apply_views(batch / 255, draw_view_parameters(0, 0, index, 0, recipe))
    before, after = (batch / 255).std(dim=(1, 2, 3)), views.std(dim=(1, 2, 3))
    assert 5 < blurred.sum() < 35
    np.testing.assert_allclose(after[~blurred], before[~blurred], atol=1e-5)
    assert (after[blurred] <= before[blurred] + 1e-6).all()
    assert after[blurred].mean() < 0.7 * before[blurred].mean()
    np.testing.assert_allclose(
        views.mean(dim=(1, 2, 3)), batch.float().mean((1, 2, 3)) / 255, atol=0.03
    )


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_views_stay_in_range_and_do_not_depend_on_the_batch(name, channels):
    batch, index = images(30, channels, 16), torch.arange(100, 130)
    call = {"seed": 1, "epoch": 2, "augmentation": AUGMENTATIONS[name], "mirror": True}
    whole = random_views(batch, index, [3], **call)
    assert whole.min() >= 0
    assert whole.max() <= 1
    alone = torch.cat(
        [random_views(batch[i : i + 1], index[i : i + 1], [3], **call) for i in range(30)]
    )
    torch.testing.assert_close(alone, whole, atol=1e-6, rtol=0)


def test_auto_is_milder_for_small_grey_images_only():
    assert choose_augmentation("auto", 1, 28) == "small-grey"
    assert choose_augmentation("auto", 1, 64) == "simclr"
    assert choose_augmentation("auto", 3, 32) == "simclr"
    assert choose_augmentation("moco-v2", 1, 28) == "moco-v2"
    with pytest.raises(UsageError, match="auto, simclr"):
        choose_augmentation("strong", 3, 32)
