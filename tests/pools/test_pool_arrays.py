"""Arrays, array files and data sets: layouts, types, labels; hold-out, limit and index."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from contrasift.errors import DataError, UsageError
from contrasift.pools import open_pool, scan_pool
from contrasift.pools.labels import encode_labels
from contrasift.pools.whole import draw_holdout, draw_positions


@pytest.fixture
def grey(rng):
    return rng.integers(0, 256, (10, 8, 8), dtype=np.uint8)


@pytest.fixture
def colour(rng):
    return rng.integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)


def all_images(pool):
    return pool.images(np.arange(len(pool)))


def test_layouts(grey, colour):
    assert np.array_equal(all_images(open_pool(grey)), grey[:, None])
    assert np.array_equal(all_images(open_pool(grey[:, None])), grey[:, None])
    assert np.array_equal(all_images(open_pool(grey[..., None])), grey[:, None])
    first = np.ascontiguousarray(colour.transpose(0, 3, 1, 2))
    for images in (colour, first):
        pool = open_pool(images)
        assert (pool.channels, pool.image_size) == (3, 8)
        assert np.array_equal(all_images(pool), first)
        assert np.array_equal(pool.read(4), colour[4])
        assert np.array_equal(pool.images([7, 7, 0]), first[[7, 7, 0]])


@pytest.mark.parametrize("shape", [(4,), (4, 8), (4, 8, 8, 4), (4, 3, 8, 3), (4, 2, 2, 2, 2)])
def test_layouts_that_mean_nothing(shape):
    with pytest.raises(DataError, match=r"images as \[n, H, W\].*got an array of shape"):
        open_pool(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(0, 8, 8), (1, 8, 8), (4, 0, 8)])
def test_nothing_to_choose_from(shape):
    with pytest.raises(DataError, match="images"):
        open_pool(np.zeros(shape, np.uint8))


def test_types(grey):
    for kind in (np.float32, np.float64):
        assert np.array_equal(all_images(open_pool((grey / 255).astype(kind))), grey[:, None])
    bits = grey > 100
    assert np.array_equal(all_images(open_pool(bits)), bits[:, None] * np.uint8(255))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((3, 4, 4), np.nan), "NaN or infinity"),
        (np.full((3, 4, 4), np.inf), "NaN or infinity"),
        (np.full((3, 4, 4), 200.0), r"floats in \[0, 1\]; got values in \[200, 200\]. Divide by"),
        (np.full((3, 4, 4), -0.1), r"floats in \[0, 1\]"),
        (np.full((3, 4, 4), 7), "dtype int64"),
        (np.full((3, 4, 4), "x"), "dtype <U1"),
    ],
)
def test_values_that_are_no_pixels(images, message):
    with pytest.raises(DataError, match=message):
        open_pool(images)


def test_images_are_brought_to_squares_of_the_size_asked_for(rng):
    images = rng.integers(0, 256, (5, 8, 12), dtype=np.uint8)
    cropped = open_pool(images)
    assert np.array_equal(all_images(cropped), images[:, None, :, 2:10])
    scaled = open_pool(images, image_size=16)
    whole = np.asarray(Image.fromarray(images[3]).resize((24, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(scaled.read(3)[:, :, 0], whole[:, 4:20])
    assert np.array_equal(scaled.images([3])[0, 0], whole[:, 4:20])


def test_pairs_of_images_and_labels(grey):
    labels = np.array(["b", "a"] * 5)
    pool = open_pool((grey, labels), holdout=0.4)
    assert pool.label_names == ("a", "b")
    assert len(pool) == 6
    assert len(pool.test) == 4
    for part in (pool, pool.test):
        assert np.array_equal(np.array(["a", "b"])[part.labels], labels[part.index])
        assert np.array_equal(all_images(part)[:, 0], grey[part.index])
        assert list(part.ids) == [str(index) for index in part.index]
    unlabelled = open_pool((grey, labels), labels="none")
    assert unlabelled.labels is None
    assert unlabelled.test is None
    assert len(unlabelled) == 10
    with pytest.raises(DataError, match="each of the 10 images; got 9 labels"):
        open_pool((grey, labels[:9]))


def test_labels_given_beside_an_array(grey, tmp_path):
    assert open_pool(grey, labels=[3] * 5 + [4] * 5).label_names == ("3", "4")
    with pytest.raises(DataError, match="10 images; got 2 labels in labels"):
        open_pool(grey, labels=[3, 4])
    with pytest.raises(UsageError, match="a folder of images with labels=folders"):
        open_pool(grey, labels="folders")


@pytest.mark.parametrize(
    ("values", "codes", "names"),
    [
        ([3, 3, 12, -1], [0, 0, 1, -1], ("3", "12")),
        ([1.0, np.nan, 0.0], [1, -1, 0], ("0", "1")),
        ([True, False], [1, 0], ("0", "1")),
        (["10", "9", "9", ""], [1, 0, 0, -1], ("9", "10")),
        (["10", "9", " 9", " "], [1, 0, 2, -1], ("9", "10", " 9")),
        (["x10", "x9", ""], [1, 0, -1], ("x9", "x10")),
        (["5", "x"], [0, 1], ("5", "x")),
        ([[2], [1]], [1, 0], ("1", "2")),
        (np.array(["a", "b"], dtype=object), [0, 1], ("a", "b")),
        ([], [], ()),
        (["", ""], [-1, -1], ()),
    ],
)
def test_labels_of_every_kind(values, codes, names):
    found, found_names = encode_labels(values)
    assert found.dtype == np.int64
    assert (found.tolist(), found_names) == (codes, names)


@pytest.mark.parametrize("values", [[0.5], [np.inf], [[1, 2]], [None], [1j]])
def test_labels_that_are_none(values):
    with pytest.raises(DataError, match="labels"):
        encode_labels(values)


def test_npy_and_npz_files(grey, tmp_path):
    labels = np.arange(10) % 3
    np.save(tmp_path / "a.npy", grey)
    np.savez(tmp_path / "x.npz", x=grey, y=labels)
    np.savez(tmp_path / "arr.npz", grey)
    np.savez_compressed(
        tmp_path / "full.npz",
        images=grey, labels=labels, test_images=grey[:4], test_labels=[2, 5, 1, 0],
    )  # fmt: skip
    pool = open_pool(tmp_path / "a.npy")
    assert np.array_equal(all_images(pool), grey[:, None])
    assert isinstance(pool._source._images, np.memmap)
    assert (pool.name, pool.labels) == ("a", None)
    assert len(open_pool(str(tmp_path / "x.npz"), holdout=0).labels) == 10
    assert open_pool(tmp_path / "arr.npz").labels is None
    full = open_pool(tmp_path / "full.npz")
    assert full.label_names == ("0", "1", "2", "5")
    assert full.labels.tolist() == labels.tolist()
    assert full.test.labels.tolist() == [2, 3, 1, 0]
    assert full.test.ids[1] == "test/1"
    with pytest.raises(UsageError, match="which has a labelled test set"):
        open_pool(tmp_path / "full.npz", labels=labels)


def test_array_files_that_are_none(grey, tmp_path):
    np.save(tmp_path / "good.npy", grey)
    np.savez(tmp_path / "good.npz", images=grey)
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "other.npz", pictures=grey)
    for name in ("good.npy", "good.npz"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / f"cut-{name}").write_bytes(data[: len(data) // 2])
        (tmp_path / f"empty-{name}").write_bytes(b"")
        (tmp_path / f"text-{name}").write_bytes(b"hello, world")
        for broken in ("cut", "empty", "text"):
            with pytest.raises(DataError, match=r"a \.npy or \.npz file of numbers"):
                open_pool(tmp_path / f"{broken}-{name}")
    with pytest.raises(DataError, match="pickled objects are refused"):
        open_pool(tmp_path / "objects.npy")
    with pytest.raises(DataError, match=r"under `images`, `x` or `arr_0`; got .* with pictures"):
        open_pool(tmp_path / "other.npz")


class Items:
    """A torch-style data set of whatever it is given."""

    def __init__(self, images, labels):
        self.items = list(zip(images, labels, strict=True))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        image, label = self.items[place]
        if image is None:
            raise OSError("disk on fire")
        return image, label


class Tensor:
    """As much of a tensor as a pool needs."""

    def __init__(self, values):
        self.values = values

    def detach(self):
        raise AssertionError("never called")

    def __array__(self, dtype=None, copy=None):
        return self.values


def test_data_sets(grey, colour):
    labels = [0, 1] * 5
    for images, expected in (
        (list(grey), grey[:, None]),
        ([Image.fromarray(image) for image in colour], colour.transpose(0, 3, 1, 2)),
        (list(colour / 255), colour.transpose(0, 3, 1, 2)),
        ([Tensor(image.transpose(2, 0, 1)) for image in colour], colour.transpose(0, 3, 1, 2)),
        ([Tensor((image / 255)[None]) for image in grey], grey[:, None]),
    ):
        pool = open_pool(Items(images, labels), holdout=0)
        assert np.array_equal(all_images(pool), expected)
        assert pool.labels.tolist() == labels
        assert pool.name == "Items"
        assert scan_pool(pool).unreadable == 0
        assert len(pool.fingerprint) == 32


def test_a_data_set_with_targets_and_classes(grey):
    data = Items(list(grey), [9] * 10)
    data.targets = [0, 1] * 5
    data.classes = ["cat", "dog"]
    pool = open_pool(data, holdout=0)
    assert pool.label_names == ("cat", "dog")
    assert pool.labels.tolist() == [0, 1] * 5


def test_items_that_fail_are_left_out(grey):
    images = [*grey, None, np.full((8, 8), 7.0), np.zeros((8, 8, 5))]
    examples = scan_pool(open_pool(Items(images, ["a"] * 13), holdout=0))
    assert examples.unreadable == 3
    assert examples.error[10] == "disk on fire"
    assert "floats in [0, 1]" in examples.error[11]
    assert "C = 1 or 3" in examples.error[12]
    assert examples.label.tolist() == [0] * 10 + [-1, 0, 0]


def test_grey_items_in_a_colour_data_set(colour):
    images = [*colour, Image.new("L", (8, 8), 50), np.full((8, 8), 60, np.uint8)]
    pool = open_pool(Items(images, [0] * 12), holdout=0)
    assert pool.channels == 3
    assert np.all(pool.read(10) == 50)
    assert np.all(pool.read(11) == 60)


def test_things_that_are_no_pool(grey):
    for thing in (None, 3, [grey], {"images": grey}, (grey, grey, grey), b"x"):
        with pytest.raises(UsageError, match="a named set, a folder"):
            open_pool(thing)
    with pytest.raises(DataError, match=r"\(image, label\)"):
        open_pool(type("Dict", (Items,), {"__getitem__": lambda self, i: {"image": 1}})(grey, grey))


def test_options_out_of_range(grey):
    for options in ({"limit": 0}, {"image_size": 0}, {"holdout": 1.0}, {"holdout": -0.1}):
        with pytest.raises(UsageError, match="got"):
            open_pool(grey, **options)
    with pytest.raises(DataError, match="at least two images to choose from; got 1"):
        open_pool(grey, limit=1)


def test_fingerprints_of_arrays(grey):
    changed = grey.copy()
    changed[9, 7, 7] ^= 1
    of = [
        open_pool(images).fingerprint
        for images in (grey, changed, grey[:9], grey.reshape(10, 4, 16))
    ]
    of += [open_pool(grey, limit=5).fingerprint, open_pool(grey, limit=5, seed=1).fingerprint]
    of += [open_pool((grey, [0, 1] * 5)).fingerprint, open_pool((grey, [1, 0] * 5)).fingerprint]
    assert len(set(of)) == len(of)
    assert open_pool(grey.copy()).fingerprint == of[0]


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 3), min_size=4, max_size=60),
    limits=st.tuples(st.integers(2, 60), st.integers(2, 60)),
    seed=st.integers(0, 5),
    share=st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9]),
)
def test_the_index_never_changes(labels, limits, seed, share):
    images = np.zeros((len(labels), 2, 2), np.uint8)
    images[:, 0, 0] = np.arange(len(labels))
    held_out = draw_holdout(np.array(labels), share)
    if (~held_out).sum() < 2:
        return
    small, large = (
        open_pool((images, labels), limit=limit, seed=seed, holdout=share)
        for limit in sorted(limits)
    )
    everything = open_pool((images, labels), holdout=share)
    assert np.isin(small.index, large.index).all()
    assert np.isin(large.index, everything.index).all()
    assert len(small) == min(min(limits), len(everything))
    for pool in (small, large, everything, everything.test):
        if pool is None:
            continue
        assert np.all(np.diff(pool.index) > 0)
        assert np.array_equal(all_images(pool)[:, 0, 0, 0], pool.index)
        assert [int(id) for id in pool.ids] == pool.index.tolist()
        given_labels = np.array(labels)[pool.index]
        names = np.array([*pool.label_names, "-1"])
        assert names[pool.labels].astype(int).tolist() == given_labels.tolist()
    test = [] if everything.test is None else everything.test.index.tolist()
    assert sorted([*everything.index.tolist(), *test]) == list(range(len(labels)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1, 4), max_size=80), st.sampled_from([0.0, 0.2, 0.5, 0.99]))
@example([-1] * 10 + [0] * 10, 0.5)
def test_the_holdout_is_the_same_share_of_every_label(labels, share):
    held_out = draw_holdout(np.array(labels, dtype=np.int64), share)
    for label in set(labels):
        members = [place for place, other in enumerate(labels) if other == label]
        expected = min(len(members) - 1, int(share * len(members) + 0.5))  # half is rounded up
        assert held_out[members].sum() == (0 if label == -1 else expected)


def test_the_holdout_is_always_the_same_draw():
    """From the first implementation: a change would move test images into training."""
    labels = np.arange(20) % 2
    assert np.flatnonzero(draw_holdout(labels, 0.2)).tolist() == GOLDEN_HOLDOUT
    assert draw_positions(20, 5, seed=0).tolist() == GOLDEN_LIMIT


GOLDEN_HOLDOUT = [8, 10, 15, 19]
GOLDEN_LIMIT = [0, 9, 10, 13, 15]
