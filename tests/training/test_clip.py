"""A small open-clip model without published weights, saved here as open-clip saves them."""

from __future__ import annotations

import json
import logging

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file

from contrasift.errors import DataError, UsageError
from contrasift.training.clip import load_clip, read_class_names, read_templates
from contrasift.training.encoders import weights_sha256
from contrasift.training.loading import load_encoder

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "interpolation": "bilinear"}


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return open_clip.CLIP(**CONFIG).eval()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    about = {"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The same architecture under a name that open-clip knows."""
    factory = open_clip.factory
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", list(factory._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    (tmp_path / "tiny-8.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(tmp_path / "tiny-8.json")
    return "open-clip:tiny-8"


def test_the_image_tower_embeds_as_open_clip_does(folder, model):
    encoder = load_encoder(f"open-clip:{folder}")
    about = PreprocessCfg(size=(32, 32), **PREPROCESS)
    transform = image_transform_v2(about, is_train=False)
    for side in (20, 32, 90):
        pixels = np.random.default_rng(side).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        prepared = encoder.prepare(tensor)
        np.testing.assert_allclose(prepared[0], transform(image), atol=1.5 / 255 / 0.2)
        with torch.no_grad():
            assert torch.allclose(encoder(tensor), model.encode_image(prepared), atol=1e-6)
    assert encoder.feature_dim == 16
    assert encoder.description["mean"] == PREPROCESS["mean"]
    assert encoder.description["interpolation"] == "bilinear"
    assert encoder.description["pretrained"] == f"open-clip:{folder}"
    assert not any("transformer.resblocks" in k and "visual" not in k for k in encoder.state_dict())


def test_grey_images_are_seen_as_colours(folder):
    encoder = load_encoder(f"open-clip:{folder}", channels=1)
    grey = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(encoder(grey), encoder(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_an_architecture_with_a_file(tiny, tmp_path, folder, model, suffix):
    file = tmp_path / f"w{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, file)
    else:
        save_file(model.state_dict(), file)
    clip = load_clip(f"{tiny}={file}")
    same = load_clip(f"open-clip:{folder}")
    assert weights_sha256(clip.image_encoder) == weights_sha256(same.image_encoder)
    assert clip.image_encoder.description["interpolation"] == "bicubic"  # open-clip's default
    assert clip.image_encoder.description["mean"] == list(open_clip.OPENAI_DATASET_MEAN)


def test_texts_are_tokenised_and_embedded_by_the_model(folder, model):
    clip = load_clip(f"open-clip:{folder}")
    assert clip.logit_scale == pytest.approx(model.logit_scale.exp().item())
    texts = ["a photo of a dog.", "ein Käfer", "a " * 40]
    tokens = clip.tokenizer(texts)
    assert tokens.shape == (3, 16)  # the context of this model, not CLIP's 77
    # <start> a photo of a dog . <end>: the numbers of CLIP's own vocabulary (openai/CLIP)
    assert tokens[0, :8].tolist() == [49406, 320, 1125, 539, 320, 1929, 269, 49407]
    assert tokens[0, 8:].sum() == 0
    with torch.no_grad():
        expected = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
    np.testing.assert_allclose(clip.embed_texts(texts), expected, atol=1e-6)
    assert np.array_equal(clip.embed_texts(texts), clip.embed_texts(texts))


def test_batches_of_texts_change_nothing(folder, monkeypatch):
    clip = load_clip(f"open-clip:{folder}")
    texts = [f"a photo of number {number}" for number in range(7)]
    whole = clip.embed_texts(texts)
    monkeypatch.setattr("contrasift.training.clip._TEXTS_AT_A_TIME", 3)
    np.testing.assert_allclose(clip.embed_texts(texts), whole, atol=1e-6)


def test_templates_are_averaged_as_unit_vectors(folder):
    clip = load_clip(f"open-clip:{folder}")
    names, templates = ["dog", "cat {x}", "owl"], ["a {}.", "many {} here", "{}"]
    found = clip.embed_classes(names, templates)
    assert found.dtype == np.float32
    for name, row in zip(names, found, strict=True):
        each = clip.embed_texts([f"a {name}.", f"many {name} here", name]).astype(np.float64)
        total = sum(part / np.sqrt((part**2).sum()) for part in each)
        np.testing.assert_allclose(row, total / np.sqrt((total**2).sum()), atol=1e-6)


def test_loading_leaves_the_log_alone(folder):
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    load_clip(f"open-clip:{folder}")
    assert (root.handlers, root.manager.disable) == (handlers, disabled)


def test_unknown_models_are_explained(tiny, tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    for source, words in (
        ("open-clip:ViT-B-33/openai", r"'ViT-B-33'.*Nearest names: ViT-B-32"),
        ("open-clip:ViT-B-32/nowhere", r"weights of ViT-B-32: openai, .*'nowhere'"),
        (f"{tiny}/openai", "there are none published"),
        (f"open-clip:{tmp_path}", r"a folder with open_clip_config.json"),
        ("resnet18", "embeds texts too"),
    ):
        with pytest.raises(UsageError, match=words):
            load_clip(source)
    with pytest.raises(DataError, match=r"the open-clip model.*belong to the architecture"):
        load_clip(f"{tiny}={tmp_path / 'w.safetensors'}")


def test_a_folder_without_weights_is_no_random_model(tmp_path):
    about = {"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="the open-clip model"):
        load_clip(f"open-clip:{tmp_path}")
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(DataError, match="the open-clip model"):
        load_clip(f"open-clip:{tmp_path}")


def test_published_weights_that_cannot_be_had_are_explained(monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", unreachable)
    with pytest.raises(DataError, match=r"laion2b_s34b_b79k; got .*no route.*network"):
        load_clip("open-clip:ViT-B-32/laion2b_s34b_b79k")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (self.path.write_text, ("!",))


def test_a_pickle_with_more_than_tensors_is_refused_unopened(tiny, tmp_path):
    torch.save({"state_dict": {"a": Bomb(tmp_path / "exploded")}}, tmp_path / "w.pt")
    with pytest.raises(UsageError, match="pickle with other objects"):
        load_clip(f"{tiny}={tmp_path / 'w.pt'}")
    assert not (tmp_path / "exploded").exists()


def test_names_and_templates_from_files(tmp_path):
    (tmp_path / "names.txt").write_bytes("\ufeffTench\r\n\r\n great owl \n".encode())
    assert read_class_names(str(tmp_path / "names.txt")) == ["Tench", "great owl"]
    (tmp_path / "templates.txt").write_text("a {}.\nthe {}\n")
    assert read_templates(str(tmp_path / "templates.txt")) == ["a {}.", "the {}"]
    assert read_templates("") == ["a photo of a {}."]
    assert len(read_templates("openai")) == 80
    assert len(read_templates("simple")) == 7
    assert all(text.count("{}") == 1 for text in read_templates("openai"))


def test_imagenet_names_differ():
    names = read_class_names("imagenet-1k")
    assert len(names) == len(set(names)) == 1000
    assert names[:2] == ["tench", "goldfish"]
    assert [name.split(":")[0] for name in names].count("crane") == 2


@pytest.mark.parametrize(
    ("read", "content", "error", "words"),
    [
        (read_class_names, None, UsageError, "imagenet-1k; got .*names.txt, which is neither"),
        (read_class_names, b"", DataError, "two classes; got 0"),
        (read_class_names, b"dog\n", DataError, "two classes; got 1"),
        (read_class_names, b"dog\ncat\ndog\n", DataError, "dog more than once"),
        (read_class_names, b"\xff\xfe\x00d", DataError, "UTF-8"),
        (read_templates, None, UsageError, "openai or simple"),
        (read_templates, b"\n", DataError, "at least one template"),
        (read_templates, b"a photo\n", DataError, "'a photo'"),
        (read_templates, b"{} and {}\n", DataError, "one {}"),
    ],
)
def test_bad_lists_are_explained(tmp_path, read, content, error, words):
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=words):
        read(str(path))
