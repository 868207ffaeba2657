"""Encoders of timm and torchvision: their published weights, or weights from a file."""

from __future__ import annotations

import difflib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from contrasift.errors import ContrasiftError, DataError, UsageError, first_line
from contrasift.training.encoders import (
    ARCHITECTURES,
    Encoder,
    check_architecture,
    count_features,
    timm_backbone,
)
from contrasift.training.hub import without_waiting
from contrasift.training.sources import HUB, Source
from contrasift.training.spellings import as_timm

# Under these names training scripts keep a state dict beside other things.
_NESTED = ("state_dict", "model_state_dict", "model")
# What data-parallel and compiled modules put before every name.
_PREFIXES = ("module.", "_orig_mod.")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from a .safetensors file, or from a pickle that holds plain tensors only.

    Args:
        path: the file; in a pickle the state dict may lie under `state_dict`, `model_state_dict`
            or `model`.

    Returns:
        Tensors by name, without the `module.` of data-parallel training.

    Raises:
        UsageError: a pickle that holds more than plain values; it is not opened.
        DataError: a broken file, or one without a state dict.
    """
    if path.suffix.lower() == ".safetensors":
        weights = _read_safetensors(path)
    else:
        weights = _read_plain_pickle(path)
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError("a readable .safetensors file", f"{path}: {error}") from None


def _read_plain_pickle(path: Path) -> dict[str, torch.Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise refused_pickle(path, error) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise DataError(
            "a readable file of weights", f"{path}: {type(error).__name__}: {first_line(error)}"
        ) from None
    for name in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    tensors = isinstance(found, Mapping) and all(
        isinstance(v, torch.Tensor) for v in found.values()
    )
    if not tensors or not found:
        raise DataError(
            "a state dict, tensors by name",
            f"{path}, which holds {type(found).__name__} without them",
            "Save model.state_dict()",
        )
    return {str(name): tensor for name, tensor in found.items()}


def refused_pickle(path: Path | str, error: Exception) -> UsageError:
    """What to say of a pickle that holds more than plain tensors; it was not executed."""
    return UsageError(
        "weights: plain tensors by name",
        f"{path}, a pickle with other objects, which could run any code ({type(error).__name__}: {first_line(error)})",
        "Convert it where you trust it: safetensors.torch.save_file(model.state_dict(), ...)",
    )


def _load(backbone: nn.Module, weights: Mapping[str, torch.Tensor], classifier: str, what: str):
    """Put weights into a backbone; those of the classifier that was cut off are left out.

    Raises:
        DataError: weights of another architecture.
    """
    kept = {
        name: tensor
        for name, tensor in weights.items()
        if not (classifier and name.startswith(classifier + "."))
    }
    wanted = backbone.state_dict()
    missing = [name for name in wanted if name not in kept]
    foreign = [name for name in kept if name not in wanted]
    other = [name for name in kept if name in wanted and kept[name].shape != wanted[name].shape]
    wrong = []
    for names, words in ((missing, "lacks"), (foreign, "has besides")):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            wrong.append(f"{words} {', '.join(names[:3])}{more}")
    wrong += [
        f"{name} is {tuple(kept[name].shape)} and not {tuple(wanted[name].shape)}"
        for name in other[:1]
    ]
    if wrong:
        raise DataError(
            f"the weights of {what}",
            f"those of another architecture: it {'; '.join(wrong)}",
            "Name the architecture that the file was saved from",
        )
    backbone.load_state_dict(kept)


def timm_encoder(source: Source, channels: int, image_size: int | None) -> Encoder:
    """A timm model with its published weights, or with those of a file.

    Args:
        source: which.
        channels: of the images, for published weights; a file has its own.
        image_size: side that it shall see; default: the one it was trained for.

    Returns:
        The encoder, with timm's mean, deviation, size and interpolation of this model.

    Raises:
        UsageError: a name that timm does not know.
        DataError: weights that cannot be had, or of another architecture.
    """
    import timm
    from timm.data.config import resolve_model_data_config

    name = source.name
    check_architecture(name)
    if name.startswith("narrow") or (name in ARCHITECTURES and not timm.is_model(name)):
        raise UsageError(
            "an encoder with weights",
            f"{source.text}: {name} is trained here, and its files say what they are",
            "Pass `proxy` to train one, or the .safetensors file or the run of one",
        )
    if source.path is None:
        backbone = _published(lambda: timm_backbone(name, channels, image_size, True), name)
    else:
        weights: Mapping[str, torch.Tensor] = read_weights(source.path)
        config = timm.get_pretrained_cfg(name) if not name.startswith(HUB) else None
        first = weights.get(f"{config.first_conv}.weight") if config is not None else None
        channels = 3 if first is None else int(first.shape[1])
        backbone = timm_backbone(name, channels, image_size)
        weights = as_timm(weights, backbone.state_dict())
        classifier = str(getattr(backbone, "pretrained_cfg", {}).get("classifier") or "")
        _load(backbone, weights, classifier, f"{name} in {source.path}")
    about = resolve_model_data_config(backbone)
    mean, std = list(about["mean"]), list(about["std"])
    if channels == 1:
        # timm sums the weights of a first layer over colours, so greys take the mean of both
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    size = image_size or int(about["input_size"][-1])
    return _described(backbone, name, source, channels, size, mean, std, about["interpolation"])


def check_torchvision(name: str) -> None:
    """Stop at a name that is none of torchvision's classifiers.

    Raises:
        UsageError: such a name.
    """
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        raise UsageError(
            "a classifier of torchvision",
            repr(name),
            f"Nearest names: {', '.join(near)}" if near else f"There are {', '.join(names)}",
        )


def torchvision_encoder(source: Source) -> Encoder:
    """A classifier of torchvision without its last layer.

    Args:
        source: which, with published weights (torchvision's default ones) or those of a file.

    Returns:
        The encoder, with the mean, deviation, crop size and interpolation of the default weights.

    Raises:
        UsageError: a name that torchvision does not know as a classifier.
        DataError: weights that cannot be had, or of another architecture.
    """
    from torchvision import models

    check_torchvision(source.name)
    published: Any = models.get_model_weights(source.name)["DEFAULT"]
    if source.path is None:
        backbone = _published(lambda: models.get_model(source.name, weights=published), source.name)
        _cut_classifier(backbone, source.name)
    else:
        backbone = models.get_model(source.name, weights=None, **_without_branches(source.name))
        classifier = _cut_classifier(backbone, source.name)
        weights = read_weights(source.path)
        weights = {k: v for k, v in weights.items() if not k.lower().startswith("aux")}
        _load(backbone, weights, classifier, f"{source.name} in {source.path}")
    about = published.transforms()
    return _described(
        backbone,
        f"torchvision:{source.name}",
        source,
        3,
        int(about.crop_size[0]),
        list(about.mean),
        list(about.std),
        about.interpolation.value,
    )


def width_of(source: Source) -> int:
    """Features of an encoder of timm, torchvision or OpenCLIP, of which no weight is made; 0 unknown.

    Args:
        source: which; of a model on the hub only the network would tell.
    """
    if source.name.startswith(HUB):
        return 0
    try:
        if source.kind == "open-clip":
            import open_clip

            config: Any = open_clip.get_model_config(source.name.partition("/")[0])
            return int(config["embed_dim"])
        with torch.device("meta"):
            if source.kind == "timm":
                backbone: Any = timm_backbone(source.name, 3, None)
                return int(backbone.num_features)
            from torchvision import models

            layers = models.get_model(source.name, weights=None).modules()
        return [layer.in_features for layer in layers if isinstance(layer, nn.Linear)][-1]
    except Exception:  # a bound from below is all that is wanted, and loading says what is wrong
        return 0


def _without_branches(name: str) -> dict[str, Any]:
    """Two old networks have further classifiers for training."""
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": False, "transform_input": True}
    return {}


def _cut_classifier(model: nn.Module, name: str) -> str:
    """Replace the last linear layer, which gives the classes; its name.

    Raises:
        UsageError: the classifier is no linear layer.
    """
    linear = [place for place, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UsageError(
            "a torchvision network whose classifier is linear", name, "Choose another, as resnet50"
        )
    parent, _, child = linear[-1].rpartition(".")
    model.get_submodule(parent).__setattr__(child, nn.Identity())
    return linear[-1]


def _published(make: Any, name: str) -> nn.Module:
    """A model with downloaded weights.

    Raises:
        DataError: they cannot be had.
    """
    try:
        with without_waiting():
            return make()
    except ContrasiftError:
        raise
    except Exception as error:  # the hub, its cache and the network fail in many ways
        raise DataError(
            f"pretrained weights of {name}",
            f"{type(error).__name__}: {error}",
            f"Check the network, pass a file as {name}=FILE, or train that network here with "
            f"encoder='proxy' and architecture={name!r}",
        ) from error


def _described(
    backbone: nn.Module,
    architecture: str,
    source: Source,
    channels: int,
    size: int,
    mean: list[float],
    std: list[float],
    interpolation: str,
) -> Encoder:
    description = {
        "architecture": architecture,
        "channels": channels,
        "image_size": size,
        "mean": mean,
        "std": std,
        "interpolation": "bicubic" if interpolation == "bicubic" else "bilinear",
        "feature_dim": count_features(backbone, channels, size, architecture),
        "projection_dim": 0,
        "pretrained": source.text,
    }
    return Encoder(backbone, None, description)
