"""Remedies of encoders, weights and trainings, followed.

What cannot be had here is stood in for at its boundary: a hub that does not answer, a package that is
not installed, a machine with two GPUs.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import contrasift as cs
from contrasift.fingerprints import array_sha256
from contrasift.options import DynamicsOptions, SwitchOptions, TrainOptions
from contrasift.text.collection import Texts
from contrasift.text.encoder import train_words
from contrasift.text.options import TextOptions
from contrasift.training.batches import OrderedPasses
from contrasift.training.callbacks import returned_pairs
from contrasift.training.choosing import PoolTags, required_tags
from contrasift.training.clip import load_clip
from contrasift.training.devices import where_to_train
from contrasift.training.encoder_files import save_encoder
from contrasift.training.encoders import build_encoder, check_architecture
from contrasift.training.foreign import check_torchvision, read_weights, torchvision_encoder
from contrasift.training.loading import load_encoder
from contrasift.training.pretrain import pretrain
from contrasift.training.sampler import SelectedSampler
from contrasift.training.selecting import SelectWithin
from contrasift.training.sources import Source, epoch_file, parse_source
from contrasift.training.supervised import record_dynamics
from contrasift.training.switching import Selections, Switch
from remedies.cases import images, rows, written

TINY = {"architecture": "narrow:0.125", "epochs": 1, "batch_size": 8, "projection_dim": 8}


def own(channels: int = 1) -> Any:
    return build_encoder("narrow:0.125", channels, 8, 8, 0)


def own_file(name: str = "e.safetensors") -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    save_encoder(own(), Path(name))
    return name


@cache
def small(name: str = "test_resnet") -> Any:
    with torch.random.fork_rng():
        return timm.create_model(name, pretrained=False).eval()


def small_file(name: str = "w.safetensors") -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    save_file(small().state_dict(), name)
    return name


def pickled(value: Any, name: str = "w.pth") -> str:
    torch.save(value, name)
    return name


def pool(n: int = 16, **given: Any) -> Any:
    return cs.open_pool(images(n), holdout=0, **given)


@contextmanager
def without_network() -> Iterator[None]:
    """`timm` makes networks, and the hub that has their weights does not answer."""
    make = timm.create_model

    def offline(name: str, pretrained: bool = False, **given: Any) -> Any:
        if pretrained:
            raise OSError("We couldn't connect to 'https://huggingface.co'")
        return make(name, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", offline)
        yield


def with_a_network(name: str) -> None:
    """The hub answers: published weights are any weights here."""
    make = timm.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda name, pretrained, **given: make(name, **given))
        load_encoder(name)


def offline(load: Callable[[], Any]) -> Any:
    with without_network():
        return load()


ENCODERS = {
    "an encoder for colours": (
        lambda: own().prepare(torch.zeros(1, 3, 8, 8)),
        "Use an encoder for colour images, or a grey pool",
        lambda: (own(3).prepare(torch.zeros(1, 3, 8, 8)), own().prepare(torch.zeros(1, 1, 8, 8))),
    ),
    "the nearest name": (
        lambda: check_architecture("resnet5"),
        "resnet50",
        lambda: check_architecture("resnet50"),
    ),
    "timm's names": (
        lambda: check_architecture("qqqqqqqqqqqq"),
        "`timm.list_models()`",
        lambda: check_architecture(timm.list_models()[0]),
    ),
    "the nearest of torchvision": (
        lambda: check_torchvision("resnet51"),
        "resnet50",
        lambda: check_torchvision("resnet50"),
    ),
    "names of torchvision": (
        lambda: check_torchvision("qqqqqqqqqqqq"),
        "There are alexnet",
        lambda: check_torchvision("alexnet"),
    ),
    "a state dict": (
        lambda: read_weights(Path(pickled({"epoch": 1}))),
        "Save model.state_dict()",
        lambda: read_weights(Path(pickled(torch.nn.Linear(2, 2).state_dict()))),
    ),
    "converted where it is trusted": (
        lambda: load_encoder("test_resnet=" + pickled(small())),
        "safetensors.torch.save_file(model.state_dict(), ...)",
        lambda: load_encoder("test_resnet=" + small_file()),
    ),
    "a pickle with its architecture": (
        lambda: load_encoder(pickled(small().state_dict())),
        "resnet50=w.pth",
        lambda: load_encoder("test_resnet=w.pth"),
    ),
    "the architecture of a file": (
        lambda: load_encoder("test_vit=" + small_file()),
        "that the file was saved from",
        lambda: load_encoder("test_resnet=" + small_file()),
    ),
    "a network of ours": (
        lambda: load_encoder("narrow:0.125"),
        "the .safetensors file or the run of one",
        lambda: (load_encoder(own_file()), load_encoder(a_training("t"))),
    ),
    "another of torchvision": (
        lambda: torchvision_of("squeezenet1_1"),
        "Choose another, as resnet50",
        lambda: torchvision_of("resnet50"),
    ),
    "without the network": (
        lambda: offline(lambda: load_encoder("test_resnet")),
        "pass a file as test_resnet=FILE",
        lambda: (
            with_a_network("test_resnet"),
            offline(lambda: load_encoder("test_resnet=" + small_file())),
            offline(
                lambda: cs.untrained_encoder(TrainOptions(architecture="test_resnet"), 1, 8, 0)
            ),
        ),
    ),
    "vectors with a direction": (
        lambda: embedded(np.arange(16)),
        "leave these examples out",
        lambda: (embedded(np.arange(1, 16)), embedded(np.arange(16), white=True)),
    ),
}


def embedded(positions: np.ndarray, white: bool = False) -> Any:
    """Pixels as features, which have no direction for the first image, a black one."""
    pixels = images(16)
    pixels[0] = 255 if white else 0
    given = cs.open_pool(pixels, holdout=0)
    return cs.embed(given, positions, torch.nn.Flatten(), device="cpu", views=1)


def torchvision_of(name: str) -> Any:
    """A network of torchvision with weights of a file; none of its weights is made before."""
    from torchvision import models

    make = models.get_model
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr("contrasift.training.foreign._load", lambda *_: None)
        patch.setattr("contrasift.training.foreign.read_weights", lambda *_: {})
        patch.setattr("contrasift.training.foreign.count_features", lambda *_: 1)
        patch.setattr(models, "get_model", lambda *of, **given: make(*of, **given))
        return torchvision_encoder(Source("torchvision", name, Path("w.safetensors"), name))


def a_training(folder: str, *, finished: bool = True, kept: tuple[int, ...] = ()) -> str:
    written(json.dumps({"fingerprint": "x"}), f"{folder}/run.json")
    if finished:
        own_file(f"{folder}/encoder.safetensors")
        written(json.dumps({"epochs": 4}), f"{folder}/result.json")
    for epoch in kept:
        own_file(str(epoch_file(Path(folder), epoch)))
    return folder + "/"


def installed(name: str, *files: str) -> str:
    """A package with weights, as pip would have put it there."""
    written("", f"site/{name}/__init__.py")
    for file in files:
        small_file(f"site/{name}/{file}")
    return name


def packaged(text: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path("site").absolute())
        importlib.invalidate_caches()
        return load_encoder(text)


SOURCES = {
    "pip install": (
        lambda: packaged("test_resnet=package:some_weights"),
        "pip install some-weights",
        lambda: (
            installed("some_weights", "w.safetensors"),
            packaged("test_resnet=package:some_weights"),
        ),
    ),
    "one file of a package": (
        lambda: packaged("test_resnet=package:" + installed("two_of", "a.safetensors", "b.pt")),
        "package:two_of/FILE",
        lambda: packaged("test_resnet=package:two_of/a.safetensors"),
    ),
    "trained to its end": (
        lambda: load_encoder(a_training("t", finished=False)),
        "Train it to its end",
        lambda: load_encoder(a_training("t")),
    ),
    "kept on its way": (
        lambda: load_encoder(a_training("t", finished=False, kept=(1,))),
        "It kept 1",
        lambda: load_encoder("t@epoch=1"),
    ),
    "an epoch that was kept": (
        lambda: load_encoder(a_training("t", kept=(1,))[:-1] + "@epoch=2"),
        "It kept 1, 4; keep_epochs=",
        lambda: (
            load_encoder("t@epoch=1"),
            load_encoder("t@epoch=4"),
            a_training("t", kept=(2,)),
            load_encoder("t@epoch=2"),
        ),
    ),
    "an epoch of a training that goes on": (
        lambda: load_encoder(a_training("t", finished=False)[:-1] + "@epoch=4"),
        "Train it to its end, or with keep_epochs=",
        lambda: (
            a_training("t", finished=False, kept=(4,)),
            load_encoder("t@epoch=4"),
            epoch_file(Path("t"), 4).unlink(),
            a_training("t"),
            load_encoder("t@epoch=4"),
        ),
    ),
    "one of several trainings": (
        lambda: load_encoder(
            [a_training(f"r/training/{name}") for name in "ab"]
            and written("", "r/options.yaml")
            and "r"
        ),
        "Name one of r/training/a",
        lambda: load_encoder("r/training/a"),
    ),
    "a training at all": (
        lambda: load_encoder(written("", "r/options.yaml") and "r"),
        "Train one first",
        lambda: (a_training("r/training/proxy"), load_encoder("r")),
    ),
}
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@cache
def clip_model() -> Any:
    import open_clip

    with torch.random.fork_rng():
        return open_clip.CLIP(**CONFIG).eval()


def tiny_clip(weights: dict[str, Any]) -> Any:
    """A model of open-clip under a name that it knows, with the weights of a file."""
    import open_clip

    factory = open_clip.factory
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factory, "_MODEL_CONFIG_PATHS", list(factory._MODEL_CONFIG_PATHS))
        patch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
        open_clip.add_model_config(written(json.dumps(CONFIG), "tiny-8.json"))
        save_file(weights, "clip.safetensors")
        return load_clip("open-clip:tiny-8=clip.safetensors")


def saved_clip() -> str:
    written(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}), "c/open_clip_config.json")
    save_file(clip_model().state_dict(), "c/open_clip_model.safetensors")
    return "c"


def named_by_open_clip() -> None:
    import open_clip

    name, tag = open_clip.list_pretrained()[0]
    assert parse_source(f"open-clip:{name}/{tag}").kind == "open-clip"


CLIP = {
    "weights of the architecture": (
        lambda: tiny_clip({"a": torch.zeros(1)}),
        "the weights belong to the architecture",
        lambda: tiny_clip(clip_model().state_dict()),
    ),
    "the nearest of open-clip": (
        lambda: load_clip("open-clip:ViT-B-33=" + small_file()),
        "ViT-B-32",
        lambda: parse_source("open-clip:ViT-B-32=w.safetensors"),
    ),
    "a model and a tag, or a folder": (
        lambda: load_encoder("open-clip:ViT-B-32"),
        "a folder must exist",
        lambda: (named_by_open_clip(), load_encoder(f"open-clip:{saved_clip()}")),
    ),
}


def trained(folder: str = "t", **options: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("contrasift.training.pretrain.train", lambda *_, **__: None, raising=False)
        options = TrainOptions(**TINY | options)
        return pretrain(
            pool(),
            np.arange(16),
            options,
            seed=0,
            folder=Path(folder),
            device="cpu",
            progress=False,
        )


def recorded(folder: str = "d", labels: Any = (0, 1) * 8, **options: Any) -> Any:
    given = {"architecture": "narrow:0.125", "epochs": 1, "batch_size": 8} | options
    return record_dynamics(
        pool(), np.arange(16), np.array(labels), DynamicsOptions(**given), seed=0, folder=Path(folder),
        device="cpu",
    )  # fmt: skip


def words_trained(temperature: float) -> Any:
    texts = tuple(f"a{n % 5} b{n % 3} word" for n in range(40))
    collection = Texts("t", texts, np.arange(40), None, ())
    options = TextOptions(
        epochs=2, dim=4, projection_dim=4, min_count=1, batch_size=8, temperature=temperature
    )
    return train_words(collection, options, seed=0)


def switched(chosen: Any) -> Any:
    """A training that goes on after the selection of its first epoch."""
    index = np.arange(16)
    if chosen is not None:
        np.save(written(b"", "t/selections/1/selected.npy"), chosen)
    switch = Switch(SwitchOptions(select_after=1), lambda *_: None, "x")
    known = {"epochs": 2, "selected": {"1": array_sha256(index[:8])}}
    found = Selections(switch, Path("t"), (1,))
    return found._selected(1, known, own(), pool(), index)


def removed(name: str) -> None:
    Path(name).unlink()


TRAINING = {
    "a lower learning rate": (
        lambda: trained(learning_rate=1e30, epochs=3),
        "Lower learning_rate= or raise temperature=",
        lambda: trained("u"),
    ),
    "another folder": (
        lambda: (trained("t"), trained("t", epochs=2)),
        "Choose another folder, or delete this one",
        lambda: (trained("u", epochs=2), removed("t/run.json"), trained("t", epochs=2)),
    ),
    "something to tell apart": (
        lambda: recorded(labels=[0] * 16),
        "another class",
        lambda: recorded(),
    ),
    "a lower rate of dynamics": (
        lambda: recorded(learning_rate=1e30, epochs=3),
        "Lower learning_rate=",
        lambda: recorded("e"),
    ),
    "a temperature of words": (
        lambda: words_trained(1e-40),
        "raise temperature=",
        lambda: words_trained(0.1),
    ),
    "the examples that it went on with": (
        lambda: switched(np.arange(7)),
        "Put the file back, or train in another folder",
        lambda: switched(np.arange(8)),
    ),
    "the selection that it went on with": (
        lambda: switched(None),
        "Put it back, or train in another folder",
        lambda: switched(np.arange(8)),
    ),
    "a pass of a batch": (
        lambda: OrderedPasses(np.arange(3), np.arange(3), 4, 0),
        "Select more, or pass a smaller batch_size=",
        lambda: (
            OrderedPasses(np.arange(4), np.arange(4), 4, 0),
            OrderedPasses(np.arange(3), np.arange(3), 3, 0),
        ),
    ),
    "a mapping with both views": (
        lambda: returned_pairs(torch.zeros(1), None, None),
        'Return {"loss": loss, "query": z0, "key": z1}',
        lambda: returned_pairs(
            {"loss": 0.0, "query": torch.zeros(2, 2), "key": torch.zeros(2, 2)}, None, None
        ),
    ),
    "a policy without labels": (
        lambda: tags_for("~same_class"),
        "same_latent_class",
        lambda: tags_for("~same_latent_class", latent_classes=np.zeros(16, np.int64)),
    ),
    "latent classes for a policy": (
        lambda: tags_for("~same_latent_class"),
        "contrasift classes RUN",
        lambda: tags_for(
            "~same_latent_class",
            latent_classes=cs.latent_classes(rows(16), method="kmeans", n_classes=2).codes,
        ),
    ),
    "several devices of one kind": (
        lambda: on_two_gpus("cuda:1"),
        "device='cuda', or device='cpu' for processes",
        lambda: (on_two_gpus("cuda"), on_two_gpus("cpu")),
    ),
}


def on_two_gpus(device: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "device_count", lambda: 2)
        return where_to_train(torch.device(device), TrainOptions(devices=2))


def tags_for(policy: str, **given: Any) -> Any:
    return required_tags(TrainOptions(negatives=policy), PoolTags.of(pool(), **given))


def within(embed: Any = None, **given: Any) -> SelectWithin:
    return SelectWithin(SelectedSampler([*range(12)]), embed, after=1, **given)


def ended(**given: Any) -> None:
    """Select at the end of an epoch by the vectors of a model, a batch at a time."""
    loader = torch.from_numpy(rows()).float().split(4)
    chosen = within(lambda model: torch.cat([model(x) for x in loader]), **given)
    chosen.epoch_ended(0, torch.nn.Identity())
    assert len(chosen.selections) == 1


def callback(package: ModuleType | None) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "transformers", package)
        return within(lambda model: torch.from_numpy(rows()), fraction=0.5).transformers()


def hugging_face() -> ModuleType:
    """The package, as far as a callback goes."""
    package = ModuleType("transformers")
    package.TrainerCallback = object  # type: ignore[attr-defined]
    return package


def resumed(step: int) -> None:
    """Hugging Face's trainer goes on from a step; at 0 it begins."""
    arguments = SimpleNamespace(output_dir="out", per_device_train_batch_size=4)
    callback(hugging_face()).on_train_begin(
        arguments, SimpleNamespace(global_step=step), None, model=torch.nn.Identity()
    )


def put_back() -> None:
    Path("out/checkpoint-3").mkdir(parents=True)
    state = within(lambda model: model, fraction=0.5)._state(3)
    torch.save(state, "out/checkpoint-3/selected_sampler.pt")


WITHIN = {
    "a function that embeds": (
        lambda: within(3, fraction=0.2),
        "lambda model: torch.cat([model(x) for x in loader])",
        lambda: ended(fraction=0.2),
    ),
    "an option that select has": (
        lambda: within(lambda model: model, fraction=0.2, options={"objectiv": "sas"}),
        "Did you mean objective?",
        lambda: ended(fraction=0.2, options={"objective": "sas"}),
    ),
    "a fifth": (
        lambda: within(lambda model: model),
        "fraction=0.2",
        lambda: ended(fraction=0.2),
    ),
    "transformers": (
        lambda: callback(None),
        "pip install transformers",
        lambda: callback(hugging_face()),
    ),
    "the rows of a checkpoint": (
        lambda: resumed(3),
        "Put the file back, or train from the beginning",
        lambda: (resumed(0), put_back(), resumed(3)),
    ),
}
CASES = {
    "encoders": ENCODERS,
    "sources": SOURCES,
    "open-clip": CLIP,
    "training": TRAINING,
    "selecting within": WITHIN,
}
