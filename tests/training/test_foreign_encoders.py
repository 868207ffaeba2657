"""timm and torchvision models without published weights, saved here: files, shapes, preprocessing."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform
from timm.data.config import resolve_model_data_config
from torchvision import models

from contrasift.embedding.embed import embed
from contrasift.errors import DataError, UsageError
from contrasift.pools import open_pool
from contrasift.training.encoders import weights_sha256, wrap_encoder
from contrasift.training.foreign import read_weights
from contrasift.training.loading import load_encoder


@pytest.fixture(scope="module")
def timm_model():
    return timm.create_model("test_resnet", pretrained=False).eval()


def picture(size: int, seed: int = 0) -> Image.Image:
    """Large blobs, so that ways of resizing differ little in rounding and much in kind."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)


def as_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
@pytest.mark.parametrize("side", [48, 160, 300])
def test_timm_images_are_prepared_as_timm_prepares_them(tmp_path, name, side):
    model = timm.create_model(name, pretrained=False)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    encoder = load_encoder(f"{name}={tmp_path / 'w.safetensors'}")
    config = resolve_model_data_config(model)
    transform = create_transform(**{**config, "crop_pct": 1.0}, is_training=False)
    image = picture(side)
    # Pillow rounds to whole bytes between the steps; a wrong mean or filter is far off.
    np.testing.assert_allclose(
        encoder.prepare(as_tensor(image))[0], transform(image), atol=2.5 / 255 / min(config["std"])
    )


@pytest.mark.parametrize(
    ("suffix", "nested"),
    [
        (".safetensors", None),
        (".pth", None),
        (".pt", "state_dict"),
        (".bin", "model"),
        (".ckpt", "model_state_dict"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_weights_from_a_file_are_the_models_own(tmp_path, timm_model, nested, prefix, suffix):
    state = {prefix + name: tensor for name, tensor in timm_model.state_dict().items()}
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({nested: state, "epoch": 3} if nested else state, path)
    encoder = load_encoder(f"test_resnet={path}")
    assert encoder.description["pretrained"] == f"test_resnet={path}"
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        expected = timm_model.forward_head(
            timm_model.forward_features(encoder.prepare(images)), pre_logits=True
        )
        np.testing.assert_allclose(encoder(images), expected, atol=1e-5)


# One block that does not widen, one that does, at the places where timm counts a new stage.
_THEIRS = {
    "conv_stem.": "_conv_stem.",
    "bn1.": "_bn0.",
    "blocks.0.0.conv_dw.": "_blocks.0._depthwise_conv.",
    "blocks.0.0.bn1.": "_blocks.0._bn1.",
    "blocks.0.0.conv_pw.": "_blocks.0._project_conv.",
    "blocks.0.0.bn2.": "_blocks.0._bn2.",
    "conv_head.": "_conv_head.",
    "bn2.": "_bn1.",
    "classifier.": "_fc.",
}
_WIDENING = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "se.conv_reduce": "_se_reduce",
    "se.conv_expand": "_se_expand",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}


def spelt_by_efficientnet_pytorch(state):
    names = dict(_THEIRS)
    blocks = dict.fromkeys(".".join(n.split(".")[:3]) for n in state if n.startswith("blocks."))
    for number, block in enumerate(blocks):
        if number:
            names |= {f"{block}.{ours}.": f"_blocks.{number}.{t}." for ours, t in _WIDENING.items()}
        else:
            squeeze = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
            names |= {f"{block}.{ours}.": f"_blocks.0.{t}." for ours, t in squeeze.items()}
    found = {}
    for name, tensor in state.items():
        start = name.rpartition(".")[0] + "."
        found[names[start] + name.removeprefix(start)] = tensor
    assert len(found) == len(state)
    return found


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_b0"])
def test_an_efficientnet_may_be_spelt_as_efficientnet_pytorch_does(tmp_path, name):
    model = timm.create_model(name, pretrained=False).eval()
    theirs = spelt_by_efficientnet_pytorch(model.state_dict())
    torch.save(theirs, tmp_path / "w.pth")
    encoder = load_encoder(f"{name}={tmp_path / 'w.pth'}").eval()
    assert encoder.description["mean"] == list(model.pretrained_cfg["mean"])
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(images), pre_logits=True)
        np.testing.assert_allclose(encoder.backbone(images), expected, rtol=1e-4, atol=1e-5)
    theirs["_blocks.99._bn1.weight"] = theirs.pop("_blocks.3._bn1.weight")
    torch.save(theirs, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"lacks blocks.2.0.bn2.weight; has besides _blocks.99"):
        load_encoder(f"{name}={tmp_path / 'w.pth'}")


def test_a_grey_models_file_says_that_it_is_grey(tmp_path):
    model = timm.create_model("test_resnet", pretrained=False, in_chans=1)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    encoder = load_encoder(f"test_resnet={tmp_path / 'w.safetensors'}", channels=1)
    assert encoder.description["channels"] == 1
    assert len(encoder.description["mean"]) == 1
    assert encoder(torch.rand(2, 1, 32, 32)).shape == (2, encoder.feature_dim)


def test_a_colour_models_file_sees_greys_as_colours(tmp_path, timm_model):
    save_file(timm_model.state_dict(), tmp_path / "w.safetensors")
    encoder = load_encoder(f"test_resnet={tmp_path / 'w.safetensors'}", channels=1)
    grey = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(encoder(grey), encoder(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_torchvision_from_a_file(tmp_path, name):
    model = models.get_model(name, weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    encoder = load_encoder(f"torchvision:{name}={tmp_path / 'w.pth'}")
    image = picture(256)
    about = models.get_model_weights(name)["DEFAULT"].transforms(resize_size=224)
    prepared = encoder.prepare(as_tensor(image))
    np.testing.assert_allclose(prepared[0], about(image), atol=2.5 / 255 / min(about.std))
    assert encoder.description["architecture"] == f"torchvision:{name}"
    with torch.no_grad():
        features = encoder(as_tensor(image))
        last = [part for part in model.modules() if isinstance(part, torch.nn.Linear)][-1]
        assert features.shape == (1, last.in_features)
        np.testing.assert_allclose(last(features), model(prepared), atol=1e-4)


def test_torchvision_with_published_weights(monkeypatch):
    model = models.get_model("shufflenet_v2_x0_5", weights=None)
    enum = type(models.get_model_weights("shufflenet_v2_x0_5")["DEFAULT"])
    # Stands for the download.
    monkeypatch.setattr(enum, "get_state_dict", lambda self, **_: model.state_dict())
    encoder = load_encoder("torchvision:shufflenet_v2_x0_5")
    assert not encoder.training
    assert encoder(torch.rand(1, 3, 32, 32)).shape == (1, 1024)

    def unreachable(self, **_):
        raise OSError("no route to host")

    monkeypatch.setattr(enum, "get_state_dict", unreachable)
    with pytest.raises(DataError, match=r"pretrained weights.*no route.*=FILE"):
        load_encoder("torchvision:shufflenet_v2_x0_5")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("torchvision:resnet51", r"'resnet51'.*Nearest names: resnet50"),
        ("torchvision:zzz", "There are alexnet"),
        ("torchvision:squeezenet1_1={file}", "whose classifier is linear"),
        ("resnet51={file}", "Nearest names: .*resnet50"),
        ("narrow={file}", "trained here"),
        ("narrow", "trained here"),
        ("resnet10", "trained here"),
    ],
)
def test_unknown_names_are_explained(tmp_path, source, words):
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=words):
        load_encoder(source.format(file=tmp_path / "w.safetensors"))


def test_weights_of_another_architecture_are_refused(tmp_path, timm_model):
    save_file(timm_model.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=r"weights of test_vit in .*another architecture: it lacks"):
        load_encoder(f"test_vit={tmp_path / 'w.safetensors'}")
    wide = {**timm_model.state_dict(), "conv1.0.weight": torch.zeros(5, 3, 3, 3)}
    name = next(name for name in timm_model.state_dict() if name.endswith("weight"))
    wide[name] = torch.zeros(1, 3, 1, 1)
    save_file(
        {k: v for k, v in wide.items() if k in timm_model.state_dict()}, tmp_path / "v.safetensors"
    )
    with pytest.raises(DataError, match=r"is \(1, 3, 1, 1\) and not"):
        load_encoder(f"test_resnet={tmp_path / 'v.safetensors'}")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (self.path.write_text, ("!",))


def test_a_pickle_with_more_than_tensors_is_refused_unopened(tmp_path):
    torch.save({"state_dict": {"a": Bomb(tmp_path / "exploded")}}, tmp_path / "w.pt")
    with pytest.raises(UsageError, match=r"pickle with other objects.*safetensors.torch.save_file"):
        load_encoder(f"test_resnet={tmp_path / 'w.pt'}")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"noise" * 20])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_broken_files_are_explained(tmp_path, content, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises((DataError, UsageError), match="w"):
        read_weights(path)


@pytest.mark.parametrize("content", [{}, [1, 2], {"a": 1}, {"state_dict": {"a": "b"}}])
def test_files_without_a_state_dict_are_explained(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(DataError, match="a state dict, tensors by name"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("share", [0.25, 0.5, 2.0])
def test_a_narrower_proxy(tmp_path, share):
    from contrasift.training.encoder_files import save_encoder
    from contrasift.training.encoders import build_encoder

    encoder = build_encoder(f"narrow:{share}", 1, 28, 8, seed=0)
    assert encoder.feature_dim == int(128 * share)
    save_encoder(encoder, tmp_path / "e.safetensors")
    assert weights_sha256(load_encoder(tmp_path / "e.safetensors")) == weights_sha256(encoder)


def test_the_full_width_is_the_narrow_network_itself():
    from contrasift.training.encoders import build_encoder

    one, same = (build_encoder(name, 1, 28, 8, seed=0) for name in ("narrow", "narrow:1"))
    assert weights_sha256(one) == weights_sha256(same)


@pytest.mark.parametrize("name", ["narrow:0", "narrow:x", "narrow:-1", "narrow:nan", "narrow:inf"])
def test_widths_that_are_none(name):
    from contrasift.training.encoders import build_encoder

    with pytest.raises(UsageError, match=r"width in \(0, 16\] after narrow:"):
        build_encoder(name, 1, 28, 8, seed=0)


@pytest.fixture
def pool():
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16), dtype=np.uint8)
    return open_pool(images)


def test_a_callable_embeds(pool):
    def mean_rows(images):
        assert images.shape[1:] == (1, 16, 16)
        return images.mean(dim=(1, 2))

    found = embed(pool, np.arange(9), mean_rows, views=0, plain_view=True, layer="backbone")
    rows = pool.images(np.arange(9)).astype(np.float64).mean(axis=(1, 2))
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    assert found.description["encoder"]["architecture"].endswith("mean_rows")


def test_a_module_embeds_normalised_and_resized(pool):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    encoder = wrap_encoder(module, 1, 8, mean=(0.5,), std=(0.25,), name="mine")
    found = embed(pool, np.arange(9), encoder, views=1)
    assert found.values.shape == (9, 3)
    assert found.description["encoder"]["mean"] == [0.5]
    assert found.description["encoder"]["image_size"] == 8


def test_a_callable_that_gives_maps_or_nothing_is_refused(pool):
    with pytest.raises(UsageError, match=r"one vector an image.*\(1, 1, 16, 16\)"):
        embed(pool, np.arange(9), lambda images: images, views=1)
    with pytest.raises(UsageError, match=r"one vector an image.*NoneType"):
        embed(pool, np.arange(9), lambda images: None, views=1)


def test_a_callable_that_gives_nan_names_the_examples(pool):
    def broken(images):
        rows = images.flatten(1)[:, :4].clone() + 1
        if len(rows) > 3:
            rows[3] = torch.nan
        return rows

    with pytest.raises(DataError, match=r"for 1 example\(s\): index 3"):
        embed(pool, np.arange(9), broken, views=0, plain_view=True)
