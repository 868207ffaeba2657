from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from contrasift.embedding.embed import embed, features
from contrasift.errors import DataError, UsageError
from contrasift.training.encoders import Encoder, build_encoder, weights_sha256
from contrasift.training.views import AUGMENTATIONS, random_views
from forking import killed_after


class Pictures:
    """Small noisy images in memory."""

    def __init__(self, count: int = 23, channels: int = 1, size: int = 12):
        rng = np.random.default_rng(11)
        self._images = rng.integers(0, 256, (count, channels, size, size), dtype=np.uint8)
        self.index = np.arange(count, dtype=np.int64) * 3 + 5
        self.channels, self.image_size, self.mirror = channels, size, True
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.index)

    def images(self, positions: np.ndarray) -> np.ndarray:
        self.reads.append(len(positions))
        return self._images[positions]


@pytest.fixture(scope="module")
def encoder():
    return build_encoder("narrow", 1, 12, 8, seed=0)


def embed_all(encoder, pool=None, **settings):
    pool = pool or Pictures()
    settings = {"device": "cpu", "batch_size": 5, "views": 3, **settings}
    return embed(pool, np.arange(len(pool)), encoder, **settings)


def naive_embedding(encoder, pool, position, views, plain_view, seed, layer):
    """One example by itself, view by view."""
    image = torch.from_numpy(pool._images[[position]])
    index = torch.from_numpy(pool.index[[position]])
    kind = AUGMENTATIONS["small-grey"]
    shown = [
        random_views(image, index, [v], seed=seed, epoch=-1, augmentation=kind, mirror=True)
        for v in range(views)
    ] + [image / 255] * plain_view
    encoder.eval()
    with torch.no_grad():
        outputs = [encoder(v) if layer == "head" else encoder.features(v) for v in shown]
    rows = [output[0].double().numpy() for output in outputs]
    return np.mean([row / np.linalg.norm(row) for row in rows], axis=0)


@pytest.mark.parametrize("layer", ["head", "backbone"])
@pytest.mark.parametrize(("views", "plain_view"), [(1, False), (3, False), (2, True), (0, True)])
def test_rows_are_means_of_unit_views(encoder, layer, views, plain_view):
    pool = Pictures(7)
    z = embed_all(encoder, pool, layer=layer, views=views, plain_view=plain_view, seed=4)
    expected = [naive_embedding(encoder, pool, p, views, plain_view, 4, layer) for p in range(7)]
    assert z.values.dtype == np.float32
    np.testing.assert_allclose(z.values, expected, atol=1e-5)
    np.testing.assert_array_equal(z.index, pool.index)


def test_an_inner_product_is_the_mean_cosine_of_views(encoder):
    pool = Pictures(6)
    single = []
    for view in range(2):  # one view at a time, normalised
        z = [naive_embedding(encoder, pool, p, view + 1, False, 0, "head") for p in range(6)]
        single.append(z if view == 0 else 2 * np.array(z) - single[0])
    cosines = np.mean(
        [[np.dot(a, b.T) for a in single] for b in map(np.array, single)], axis=(0, 1)
    )
    z = embed_all(encoder, pool, views=2).values
    np.testing.assert_allclose(z @ z.T, cosines.T, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 23, 100])
def test_the_batch_size_does_not_matter(encoder, batch_size):
    whole = embed_all(encoder).values
    np.testing.assert_allclose(embed_all(encoder, batch_size=batch_size).values, whole, atol=1e-5)


def test_an_example_is_embedded_alike_in_any_company(encoder):
    pool, some = Pictures(), np.array([20, 3, 11])
    part = embed(pool, some, encoder, views=3, device="cpu")
    np.testing.assert_allclose(part.values, embed_all(encoder, pool).values[some], atol=1e-5)
    np.testing.assert_array_equal(part.index, pool.index[some])


def test_workers_and_global_generators_do_not_matter(encoder):
    whole = embed_all(encoder).values
    torch.manual_seed(77)
    before = torch.get_rng_state()
    np.testing.assert_array_equal(embed_all(encoder, workers=1).values, whole)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_matters(encoder):
    assert (embed_all(encoder).values != embed_all(encoder, seed=1).values).any(axis=1).all()


def test_the_description_says_how(encoder):
    about = embed_all(encoder).description
    assert about["encoder"]["architecture"] == "narrow"
    assert about["weights_sha256"] == weights_sha256(encoder)
    assert (about["layer"], about["views"], about["plain_view"]) == ("head", 3, False)
    assert (about["augmentation"], about["seed"]) == ("small-grey", 0)
    assert about["normalised"] == "mean of unit views"
    json.dumps(about)
    headless = build_encoder("narrow", 1, 12, 0, seed=0)
    assert embed_all(headless).description["layer"] == "backbone"
    assert embed_all(encoder, views=0, plain_view=True).description["augmentation"] == "none"


def test_an_encoder_is_shown_the_views_that_it_was_trained_on():
    trained = build_encoder("narrow", 1, 12, 8, seed=0)
    trained.description["augmentation"] = "moco-v2"
    assert embed_all(trained).description["augmentation"] == "moco-v2"
    assert embed_all(trained, augmentation="simclr").description["augmentation"] == "simclr"


def test_the_mode_of_the_encoder_is_put_back_and_its_weights_stay(encoder):
    before = weights_sha256(encoder)
    for training in (True, False):
        encoder.train(training)
        embed_all(encoder)
        assert encoder.training is training
    assert weights_sha256(encoder) == before


# Files ------------------------------------------------------------------------------------------


def test_a_file_holds_the_same_as_memory(encoder, tmp_path):
    path = tmp_path / "run" / "embeddings.npy"
    seen = []
    z = embed_all(encoder, path=path, progress=lambda done, total: seen.append((done, total)))
    assert isinstance(z.values, np.memmap)
    np.testing.assert_array_equal(z.values, embed_all(encoder).values)
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), z.values)
    assert seen == [(5, 23), (10, 23), (15, 23), (20, 23), (23, 23)]
    assert [p.name for p in path.parent.iterdir()] == ["embeddings.npy"]


def pull_the_plug(done: int, total: int) -> None:
    if done == 15:
        raise OSError("the plug was pulled")


@pytest.fixture
def every_batch_counts(monkeypatch):
    monkeypatch.setattr("contrasift.embedding.embed._JOURNAL_SECONDS", -1.0)


def test_interrupted_work_goes_on_at_the_batch(encoder, tmp_path, every_batch_counts):
    whole, path = tmp_path / "whole.npy", tmp_path / "embeddings.npy"
    embed_all(encoder, path=whole)
    with pytest.raises(OSError, match="pulled"):
        embed_all(encoder, path=path, progress=pull_the_plug)
    assert not path.exists()
    pool = Pictures()
    embed_all(encoder, pool, path=path)
    assert pool.reads == [5, 3]
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("change", [{"seed": 1}, {"views": 2}, {"batch_size": 4}])
def test_half_filled_files_of_other_work_are_not_trusted(
    encoder, tmp_path, every_batch_counts, change
):
    path = tmp_path / "embeddings.npy"
    with pytest.raises(OSError, match="pulled"):
        embed_all(encoder, path=path, progress=pull_the_plug)
    z = embed_all(encoder, path=path, **change)
    np.testing.assert_array_equal(z.values, embed_all(encoder, **change).values)


@pytest.mark.parametrize("damage", ["journal", "partial"])
def test_damaged_half_filled_files_are_not_trusted(encoder, tmp_path, every_batch_counts, damage):
    path = tmp_path / "embeddings.npy"
    with pytest.raises(OSError, match="pulled"):
        embed_all(encoder, path=path, progress=pull_the_plug)
    (tmp_path / f"embeddings.npy.{damage}").write_bytes(b"{")
    np.testing.assert_array_equal(embed_all(encoder, path=path).values, embed_all(encoder).values)


def test_work_that_stopped_just_before_its_end_is_only_renamed(
    encoder, tmp_path, every_batch_counts
):
    def at_the_end(done, total):
        if done == total:
            raise OSError("the plug was pulled")

    whole, path = tmp_path / "whole.npy", tmp_path / "embeddings.npy"
    embed_all(encoder, path=whole)
    with pytest.raises(OSError, match="pulled"):
        embed_all(encoder, path=path, progress=at_the_end)
    pool = Pictures()
    embed_all(encoder, pool, path=path)
    assert pool.reads == []
    assert path.read_bytes() == whole.read_bytes()


def test_a_journal_never_vouches_for_data_that_were_overwritten(
    encoder, tmp_path, every_batch_counts
):
    def at_once(done, total):
        raise OSError("the plug was pulled")

    path = tmp_path / "embeddings.npy"
    with pytest.raises(OSError, match="pulled"):
        embed_all(encoder, path=path, progress=pull_the_plug)
    with pytest.MonkeyPatch.context() as patch:  # other work starts over, and journals nothing
        patch.setattr("contrasift.embedding.embed._JOURNAL_SECONDS", 1e9)
        with pytest.raises(OSError, match="pulled"):
            embed_all(encoder, path=path, seed=9, progress=at_once)
    np.testing.assert_array_equal(embed_all(encoder, path=path).values, embed_all(encoder).values)


def tells_and_waits(pipe, path):
    import contrasift.embedding.embed as module

    module._JOURNAL_SECONDS = -1.0

    def slowly(done, total):
        pipe.send(done)
        time.sleep(0.3 if done >= 10 else 0)

    embed_all(build_encoder("narrow", 1, 12, 8, seed=0), path=path, progress=slowly)


def test_kill_9_changes_nothing(encoder, tmp_path, every_batch_counts):
    whole, path = tmp_path / "whole.npy", tmp_path / "embeddings.npy"
    embed_all(encoder, path=whole)
    killed_after(10, tells_and_waits, path)
    pool = Pictures()
    embed_all(encoder, pool, path=path)
    assert sum(pool.reads) == 13
    assert path.read_bytes() == whole.read_bytes()


# Features ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["backbone", "head"])
def test_features_are_plain(encoder, layer):
    pool, some = Pictures(), np.array([9, 1, 22, 4])
    got = features(pool, some, encoder, layer, batch_size=3, device="cpu")
    encoder.eval()
    with torch.no_grad():
        images = torch.from_numpy(pool._images[some]) / 255
        expected = encoder(images) if layer == "head" else encoder.features(images)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-5)


# Mistakes ---------------------------------------------------------------------------------------


class Fixed(nn.Module):
    """A backbone whose output is given."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, images):
        return self.make(images)


def fixed_encoder(make) -> Encoder:
    about = build_encoder("narrow", 1, 12, 0, seed=0).description
    return Encoder(Fixed(make), None, {**about, "feature_dim": 2})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_embeddings_without_a_direction_are_named(value):
    calls = []

    def bad_rows(images):
        calls.append(len(images))
        out = torch.ones(len(images), 2)
        if len(calls) == 2:  # the second batch holds the indices 5 + 3·(5 … 9)
            out[[1, 3]] = value
        return out

    with pytest.raises(DataError, match=r"zero for 2 example\(s\): index 23, 29"):
        embed_all(fixed_encoder(bad_rows), views=1)


def test_a_spatial_map_is_refused():
    with pytest.raises(UsageError, match=r"one vector an image.*\(5, 2, 3, 3\).*Pool the map"):
        embed_all(fixed_encoder(lambda images: torch.ones(len(images), 2, 3, 3)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": 0}, "at least one view"),
        ({"views": -1, "plain_view": True}, "at least one view"),
        ({"layer": "neck"}, "head or backbone"),
        ({"augmentation": "none"}, "auto, simclr"),
        ({"device": "abacus"}, "a device of this machine"),
    ],
)
def test_arguments_that_cannot_be_used_are_explained(encoder, settings, message):
    with pytest.raises(UsageError, match=message):
        embed_all(encoder, **settings)


def test_unknown_layers_of_features_are_refused(encoder):
    with pytest.raises(UsageError, match="head or backbone"):
        features(Pictures(), np.arange(2), encoder, "neck")


def test_a_batch_is_decoded_while_the_one_before_is_embedded(encoder):
    second = threading.Event()
    readers = []

    class Decoding(Pictures):
        threads = 2

        def images(self, positions):
            readers.append(threading.current_thread())
            if len(readers) == 2:
                second.set()
            return super().images(positions)

    class Waits(nn.Module):
        def forward(self, images):
            if readers:  # what it is called with before is no batch
                assert second.wait(20), "the next batch is not read before this one is done"
            return images.flatten(1)[:, :4] + 1

    found = embed_all(Waits(), Decoding(), views=0, plain_view=True)
    assert len(found.values) == 23
    assert [len(readers), len(set(readers))] == [5, 1]
    assert threading.current_thread() not in readers
    # What only one thread may read at once is read where it was opened.
    Decoding.threads = 1
    readers.clear()
    embed_all(encoder, Decoding())
    assert set(readers) == {threading.current_thread()}


def test_an_image_that_cannot_be_read_ends_the_embedding(encoder):
    class Breaks(Pictures):
        threads = 2

        def images(self, positions):
            if positions[0] >= 10:
                raise DataError("an image", "none")
            return super().images(positions)

    with pytest.raises(DataError, match="expected an image; got none"):
        embed_all(encoder, Breaks())
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]
