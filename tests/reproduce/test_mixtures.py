from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from contrasift.errors import DataError, UsageError
from contrasift.options import PoolOptions
from contrasift.pools import open_pool
from reproduce.mixtures import MixtureOptions, corrupt, make_pool, mix, set_aside


def kinds(pool):
    return np.array([name.partition("/")[0] for name in pool.ids])


def test_a_fifth_of_every_label_is_set_aside_and_never_trained_on():
    pool = open_pool("digits", limit=500)
    explored = set_aside(pool)
    names = {name.partition("/")[2] for name in explored.ids}
    aside = {name.partition("/")[2] for name in explored.test.ids}
    assert names.isdisjoint(aside)
    assert names | aside == set(pool.ids)
    for code in range(10):
        own = (pool.labels == code).sum()
        assert (explored.test.labels == code).sum() == int(own * 0.2 + 0.5)
    assert explored.mirror == pool.mirror  # else digits would be trained on their mirror images
    place = explored.ids.index(f"clean/{pool.ids[7]}") if pool.ids[7] in names else None
    chosen = explored if place is not None else explored.test
    place = chosen.ids.index(f"clean/{pool.ids[7]}")
    np.testing.assert_array_equal(chosen.images([place]), pool.images([7]))
    assert chosen.labels[place] == pool.labels[7]


def test_nothing_can_be_set_aside_without_labels():
    with pytest.raises(DataError, match="labelled pool to explore on"):
        set_aside(open_pool("digits", labels="none"))


def test_shares_of_a_mixture():
    pool = open_pool("digits", limit=200)
    np.savez("other.npz", images=np.zeros((10, 28, 28), dtype=np.uint8))
    options = MixtureOptions(corrupted=0.25, foreign=0.25, foreign_pool="other.npz", copies=0.1)
    mixed = mix(pool, options)
    assert len(mixed) == len(pool)
    names, counts = np.unique(kinds(mixed), return_counts=True)
    assert dict(zip(names, counts, strict=True)) == {
        "clean": 80,
        "corrupted": 50,
        "foreign": 50,
        "copy": 20,
    }
    junk = np.isin(kinds(mixed), ["corrupted", "foreign"])
    assert (mixed.labels[junk] == -1).all()
    assert (mixed.labels[~junk] >= 0).all()
    assert mixed.test is pool.test
    assert mixed.images(np.arange(200)).shape == (200, 1, 16, 16)


def test_clean_images_stay_and_others_change():
    pool = open_pool("digits", limit=100)
    mixed = mix(pool, MixtureOptions(corrupted=0.5))
    changed = (mixed.images(np.arange(100)) != pool.images(np.arange(100))).any(axis=(1, 2, 3))
    assert not changed[kinds(mixed) == "clean"].any()
    assert changed[kinds(mixed) == "corrupted"].mean() > 0.9


def test_copies_are_near_their_original_and_have_its_label():
    pool = open_pool("digits", limit=100)
    mixed = mix(pool, MixtureOptions(copies=0.3, copied=2))
    copies = [name.partition("/")[2] for name in mixed.ids if name.startswith("copy/")]
    assert len(copies) == 30
    assert len(set(copies)) <= 2
    for place, name in enumerate(mixed.ids):
        if name.startswith("copy/"):
            assert mixed.labels[place] == pool.labels[pool.ids.index(name.partition("/")[2])]


def test_a_long_tail_falls_geometrically():
    pool = mix(open_pool("digits", holdout=0), MixtureOptions(long_tail=10.0))
    sizes = np.sort(np.bincount(pool.labels))[::-1]
    whole = np.bincount(open_pool("digits", holdout=0).labels).mean()
    np.testing.assert_allclose(sizes / whole, 10 ** (-np.arange(10) / 9), rtol=0.1)


def test_the_same_mixture_is_the_same_pool_and_another_is_not():
    options = PoolOptions(pool="digits", limit=60)
    first, again = (make_pool(options, MixtureOptions(corrupted=0.5), False) for _ in range(2))
    other = make_pool(options, MixtureOptions(corrupted=0.5, seed=1), False)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    np.testing.assert_array_equal(first.images(np.arange(60)), again.images(np.arange(60)))
    assert make_pool(options, MixtureOptions(), False).fingerprint != first.fingerprint


def test_colour_is_brought_to_grey():
    rng = np.random.default_rng(0)
    np.savez("colour.npz", images=rng.integers(0, 255, (30, 20, 20, 3)).astype(np.uint8))
    mixed = mix(
        open_pool("digits", limit=40), MixtureOptions(foreign=0.5, foreign_pool="colour.npz")
    )
    assert mixed.images([0, 1]).shape == (2, 1, 16, 16)


@pytest.mark.parametrize("turn", range(8))
def test_what_is_corrupted_is_changed_and_keeps_its_form(turn):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16))
    image = Image.fromarray(pixels.astype(np.uint8))
    changed = corrupt(image, np.random.default_rng(turn))
    assert (changed.size, changed.mode) == (image.size, image.mode)
    assert np.abs(np.asarray(changed).astype(int) - np.asarray(image)).mean() > 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"corrupted": 1.0}, "leave some of it clean"),
        ({"corrupted": -0.1}, "leave some of it clean"),
        ({"foreign": 0.1}, "foreign and mixture.foreign_pool together"),
        ({"foreign_pool": "digits"}, "foreign and mixture.foreign_pool together"),
        ({"long_tail": 0.5}, "long_tail and mixture.copied of at least 1"),
        ({"copied": 0}, "long_tail and mixture.copied of at least 1"),
    ],
)
def test_mixtures_that_mean_nothing(wrong, message):
    with pytest.raises(UsageError, match=message):
        MixtureOptions(**wrong)
