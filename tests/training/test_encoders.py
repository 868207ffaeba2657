from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from contrasift.errors import DataError, UsageError
from contrasift.training.encoder_files import save_encoder
from contrasift.training.encoders import ARCHITECTURES, build_encoder, weights_sha256
from contrasift.training.loading import load_encoder


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (3, 96)])
def test_every_architecture_gives_vectors(name, channels, size):
    encoder = build_encoder(name, channels, size, 16, seed=0).eval()
    images = torch.rand(2, channels, size, size)
    with torch.no_grad():
        assert encoder.features(images).shape == (2, encoder.feature_dim)
        assert encoder(images).shape == (2, encoder.head_dim) == (2, 16)


def test_weights_come_from_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build_encoder("narrow", 1, 28, 16, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert weights_sha256(build_encoder("narrow", 1, 28, 16, seed=3)) == weights_sha256(first)
    assert weights_sha256(build_encoder("narrow", 1, 28, 16, seed=4)) != weights_sha256(first)


def test_small_images_get_a_stem_that_keeps_every_pixel():
    small = build_encoder("resnet18", 3, 32, 0, seed=0).backbone
    large = build_encoder("resnet18", 3, 96, 0, seed=0).backbone
    assert (small.conv1.kernel_size, small.conv1.stride) == ((3, 3), (1, 1))
    assert isinstance(small.maxpool, nn.Identity)
    assert (large.conv1.kernel_size, large.conv1.stride) == ((7, 7), (2, 2))
    assert build_encoder("resnet10", 3, 32, 0, seed=0).feature_dim == 512
    assert build_encoder("resnet50", 3, 32, 0, seed=0).feature_dim == 2048


def test_without_a_head_both_layers_are_the_same():
    encoder = build_encoder("narrow", 1, 28, 0, seed=0).eval()
    images = torch.rand(2, 1, 28, 28)
    assert encoder.head_dim == encoder.feature_dim == 128
    assert torch.equal(encoder(images), encoder.features(images))


def test_preprocessing_is_part_of_the_encoder():
    encoder = build_encoder("narrow", 3, 16, 0, seed=0)
    mean, std = np.array(encoder.description["mean"]), np.array(encoder.description["std"])
    images = torch.rand(2, 3, 16, 16)
    expected = (images.numpy() - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(encoder.prepare(images), expected, atol=1e-5)
    grey = encoder.prepare(torch.full((1, 1, 40, 40), 0.5))  # greys become colours, sizes change
    np.testing.assert_allclose(grey[0, :, 3, 3], (0.5 - mean) / std, atol=1e-5)
    assert grey.shape == (1, 3, 16, 16)


def test_a_grey_encoder_refuses_colours():
    with pytest.raises(UsageError, match=r"1 channel.*got 3 channels"):
        build_encoder("narrow", 1, 16, 0, seed=0).prepare(torch.rand(2, 3, 16, 16))


def test_saved_and_loaded_encoders_agree(tmp_path):
    encoder = build_encoder("narrow", 1, 20, 8, seed=1)
    encoder(torch.rand(4, 1, 20, 20))  # moves the running means of the normalisation
    encoder.eval()
    path = tmp_path / "new" / "encoder.safetensors"
    save_encoder(encoder, path)
    loaded = load_encoder(path)
    images = torch.rand(3, 1, 20, 20)
    assert not loaded.training
    assert loaded.description == encoder.description
    assert weights_sha256(loaded) == weights_sha256(encoder)
    assert torch.equal(loaded(images), encoder(images))
    assert [p.name for p in path.parent.iterdir()] == ["encoder.safetensors"]


def test_a_timm_name_is_built_and_saved(tmp_path):
    encoder = build_encoder("test_resnet", 3, 32, 8, seed=0)
    save_encoder(encoder, tmp_path / "e.safetensors")
    assert weights_sha256(load_encoder(tmp_path / "e.safetensors")) == weights_sha256(encoder)


def test_a_transformer_is_built_for_the_size_of_the_images():
    encoder = build_encoder("test_vit", 3, 48, 8, seed=0).eval()
    assert encoder(torch.rand(1, 3, 48, 48)).shape == (1, 8)


def test_an_unknown_architecture_lists_the_near_ones():
    with pytest.raises(UsageError, match=r"narrow, resnet10.*'resnet81'.*Nearest names: .*resnet"):
        build_encoder("resnet81", 3, 32, 8, seed=0)


def test_a_backbone_that_gives_a_map_is_refused(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "map", lambda channels, size: nn.Conv2d(channels, 4, 3))
    with pytest.raises(UsageError, match=r"one vector an image.*\(1, 4, 14, 14\) from map"):
        build_encoder("map", 1, 16, 8, seed=0)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".pkl"])
def test_pickles_are_refused_unopened(tmp_path, suffix):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").write_text, ("!",))

    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UsageError, match=r"pickle.*Name its architecture, resnet50="):
        load_encoder(path)
    assert not (tmp_path / "exploded").exists()


def test_files_that_are_not_encoders_are_refused(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(UsageError, match="does not exist"):
        load_encoder(tmp_path / "none.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(DataError, match="readable"):
        load_encoder(tmp_path / "noise.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="does not say what it holds"):
        load_encoder(tmp_path / "other.safetensors")
    about = json.dumps(build_encoder("narrow", 1, 16, 8, seed=0).description)
    save_file({"x": torch.zeros(1)}, tmp_path / "bad.safetensors", {"contrasift.encoder": about})
    with pytest.raises(DataError, match="weights of narrow"):
        load_encoder(tmp_path / "bad.safetensors")


def test_a_pretrained_model_brings_its_preprocessing(monkeypatch):
    import timm

    create = timm.create_model
    # Stands for the download: everything but the weights themselves.
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **k: create(name, **k))
    encoder = load_encoder("test_resnet", channels=1)
    assert not encoder.training
    assert encoder.description["channels"] == 1
    assert encoder.description["image_size"] == 160
    assert encoder.description["projection_dim"] == 0
    assert encoder.description["mean"] == [pytest.approx(sum((0.5, 0.5, 0.5)) / 3)]
    with torch.no_grad():
        assert encoder(torch.rand(1, 1, 32, 32)).shape == (1, encoder.feature_dim)


def test_weights_that_cannot_be_had_are_explained(monkeypatch):
    import timm

    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(DataError, match=r"pretrained weights of resnet18.*no route.*proxy"):
        load_encoder("resnet18")
