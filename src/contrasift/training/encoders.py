"""Encoders: a backbone, perhaps a projection head from lightly, and the preprocessing of both."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from contrasift.errors import UsageError
from contrasift.training.sources import HUB
from contrasift.training.untouched import untouched

_SMALL_IMAGE = 64  # up to this size the stem of a ResNet keeps every pixel
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_GREY_MEAN, _GREY_STD = (0.449,), (0.226,)  # their averages


class NarrowResNet(nn.Sequential):
    """A ResNet-10 of an eighth of the width, for small images on CPUs.

    Stem: 3×3, stride 2 (4 above 64 pixels); four of timm's basic blocks of 16, 32, 64 and 128
    channels (`narrow:0.5`: half of them), halving the side between them; global average pooling.
    """

    def __init__(self, channels: int, image_size: int, widths: tuple[int, ...]):
        from timm.models.resnet import BasicBlock, downsample_conv

        width = widths[0]
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        if image_size > _SMALL_IMAGE:
            layers.append(nn.MaxPool2d(2))
        layers.append(BasicBlock(width, width))
        for wider in widths[1:]:
            shortcut = downsample_conv(width, wider, kernel_size=1, stride=2)
            layers.append(BasicBlock(width, wider, stride=2, downsample=shortcut))
            width = wider
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class Encoder(nn.Module):
    """Images in [0, 1] in, vectors out; resizing and normalisation are part of it.

    Attributes:
        backbone: images to features.
        head: features to the space of the contrastive loss; the identity if there is none.
        feature_dim: width of the backbone's output.
        head_dim: width of the head's output.
        description: plain values from which the encoder can be built again, without its weights,
            and how images are prepared: `image_size`, `interpolation`, `mean`, `std`.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: nn.Module, head: nn.Module | None, description: Mapping[str, Any]):
        super().__init__()
        self.backbone = backbone
        self.head: nn.Module = nn.Identity() if head is None else head
        self.description: dict[str, Any] = dict(description)
        self.feature_dim: int = int(description["feature_dim"])
        self.head_dim: int = int(description["projection_dim"] or self.feature_dim)
        shape = (1, -1, 1, 1)
        mean, std = torch.tensor(description["mean"]), torch.tensor(description["std"])
        self.register_buffer("mean", mean.view(shape), persistent=False)
        self.register_buffer("std", std.view(shape), persistent=False)
        # Convolutions on CPUs and on tensor cores are up to three times as fast this way.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def prepare(self, images: Float[torch.Tensor, "b c s s"]) -> torch.Tensor:
        """Bring images to the size, channels and scale that the backbone was made for."""
        size, channels = self.description["image_size"], self.description["channels"]
        if images.shape[1] == 1 and channels == 3:
            images = images.expand(-1, 3, -1, -1)
        if images.shape[1] != channels:
            raise UsageError(
                f"images with {channels} channel(s), as the encoder was made for",
                f"{images.shape[1]} channels",
                "Use an encoder for colour images, or a grey pool",
            )
        if images.shape[-1] != size:
            mode = self.description.get("interpolation", "bilinear")
            images = F.interpolate(images, size=(size, size), mode=mode, antialias=True)
            images = images.clamp(0, 1)  # cubic curves overshoot; pictures cannot
        normalised = (images - self.mean) / self.std
        kind = float_type(self.backbone)
        return normalised.to(kind).contiguous(memory_format=torch.channels_last)

    def features(self, images: Float[torch.Tensor, "b c s s"]) -> torch.Tensor:
        """The backbone's output, [b, feature_dim]."""
        return self.backbone(self.prepare(images))

    def forward(self, images: Float[torch.Tensor, "b c s s"]) -> torch.Tensor:
        """The head's output, [b, head_dim]."""
        return self.head(self.features(images))


def _shrink_stem(backbone: nn.Module, image_size: int) -> nn.Module:
    """Give a timm ResNet for small images a 3×3 stem of stride 1 and no pooling (SimCLR, B.9)."""
    from timm.models.resnet import ResNet

    if isinstance(backbone, ResNet) and image_size <= _SMALL_IMAGE:
        old = backbone.conv1
        if isinstance(old, nn.Conv2d):
            backbone.conv1 = nn.Conv2d(
                old.in_channels, old.out_channels, 3, stride=1, padding=1, bias=False
            )
            nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
            backbone.maxpool = nn.Identity()
    return backbone


_NARROW_WIDTHS = (16, 32, 64, 128)


def _narrow(share: float) -> Callable[[int, int], nn.Module]:
    """`narrow` with this share of its channels, at least one in every layer."""
    widths = tuple(max(1, round(width * share)) for width in _NARROW_WIDTHS)
    return lambda channels, image_size: NarrowResNet(channels, image_size, widths)


def _resnet10(channels: int, image_size: int) -> nn.Module:
    """One basic block a stage, as SAS trains it."""
    from timm.models.resnet import BasicBlock, ResNet

    backbone = ResNet(BasicBlock, (1, 1, 1, 1), 0, channels)  # pyright: ignore[reportArgumentType]
    return _shrink_stem(backbone, image_size)


def timm_backbone(
    name: str, channels: int, image_size: int | None, pretrained: bool = False
) -> nn.Module:
    """Any model that timm knows, without its classifier."""
    import timm

    settings: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0, "in_chans": channels}
    if image_size is not None:
        try:  # transformers are built for one size, convolutional networks take no such argument
            return timm.create_model(name, img_size=image_size, **settings)
        except TypeError:
            pass
    return timm.create_model(name, **settings)


ARCHITECTURES: dict[str, Callable[[int, int], nn.Module]] = {
    "narrow": _narrow(1.0),
    "resnet10": _resnet10,
    "resnet18": lambda c, s: _shrink_stem(timm_backbone("resnet18", c, None), s),
    "resnet50": lambda c, s: _shrink_stem(timm_backbone("resnet50", c, None), s),
}


def _head(kind: str, hidden_dim: int, features: int, width: int) -> nn.Module:
    """One of lightly's projection heads."""
    from lightly.models.modules import heads

    return getattr(heads, f"{kind}ProjectionHead")(features, hidden_dim, width)


# Hidden layers in the papers' proportions to a ResNet-50's 2,048 features and their outputs.
HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    "simclr": lambda features, width: _head("SimCLR", features, features, width),
    "byol": lambda features, width: _head("BYOL", 2 * features, features, width),
    "simsiam": lambda features, width: _head("SimSiam", width, features, width),
    "barlowtwins": lambda features, width: _head("BarlowTwins", width, features, width),
    "vicreg": lambda features, width: _head("VICReg", width, features, width),
}


def _own_architecture(name: str) -> Callable[[int, int], nn.Module] | None:
    """How to make an architecture of this module; None for names of others.

    Raises:
        UsageError: a width that is none.
    """
    if not name.startswith("narrow:"):
        return ARCHITECTURES.get(name)
    try:
        share = float(name.removeprefix("narrow:"))
    except ValueError:
        share = math.nan
    if not 0 < share <= 16:
        raise UsageError("a width in (0, 16] after narrow:, for example narrow:0.5", repr(name))
    return _narrow(share)


def check_architecture(name: str) -> None:
    """Stop at a name that neither this module nor timm knows, and list what it might have been.

    Raises:
        UsageError: such a name.
    """
    import timm

    if _own_architecture(name) or name.startswith(HUB) or timm.is_model(name):
        return
    near = difflib.get_close_matches(name, [*ARCHITECTURES, *timm.list_models()], n=3, cutoff=0.5)
    raise UsageError(
        f"an encoder: {', '.join(ARCHITECTURES)}, any timm name, torchvision:NAME, "
        "open-clip:NAME/TAG, ARCHITECTURE=FILE, a run, or a .safetensors file",
        repr(name),
        f"Nearest names: {', '.join(near)}" if near else "`timm.list_models()` lists timm's names",
    )


def build_encoder(
    architecture: str,
    channels: int,
    image_size: int,
    projection_dim: int,
    seed: int,
    head_kind: str = "simclr",
) -> Encoder:
    """A new encoder with random weights, the same for the same arguments.

    Args:
        architecture: a key of `ARCHITECTURES`, `narrow:SHARE` or any timm name.
        channels: of the images, 1 or 3.
        image_size: side of the images in pixels; ResNets get a small stem up to 64.
        projection_dim: width of the head's output; 0 for no head.
        seed: of the weights; torch's global generator is left as it was.
        head_kind: a key of `HEADS`.

    Returns:
        The encoder on the CPU, in training mode.

    Raises:
        UsageError: an unknown architecture, or one that does not give one vector an image.
    """
    check_architecture(architecture)
    make = _own_architecture(architecture)
    state = torch.get_rng_state()
    try:
        # Layers draw their weights from the global generator; there is no other way in torch.
        torch.default_generator.manual_seed(seed)
        if make is not None:
            backbone = make(channels, image_size)
        else:
            backbone = _shrink_stem(timm_backbone(architecture, channels, image_size), image_size)
        feature_dim = count_features(backbone, channels, image_size, architecture)
        head = HEADS[head_kind](feature_dim, projection_dim) if projection_dim else None
    finally:
        torch.set_rng_state(state)
    grey = channels == 1
    description = {
        "architecture": architecture,
        "channels": channels,
        "image_size": image_size,
        "mean": list(_GREY_MEAN if grey else _IMAGENET_MEAN),
        "std": list(_GREY_STD if grey else _IMAGENET_STD),
        "interpolation": "bilinear",
        "feature_dim": feature_dim,
        "projection_dim": projection_dim,
        "head": head_kind,
        "pretrained": "",
    }
    return Encoder(backbone, head, description)


def float_type(module: nn.Module) -> torch.dtype:
    """The type of a module's weights, in which it wants its input."""
    kinds = (weight.dtype for weight in module.parameters() if weight.is_floating_point())
    return next(kinds, torch.float32)


def count_features(backbone: nn.Module, channels: int, image_size: int, name: str) -> int:
    """How many features come out, by trying it on one black image."""
    black = torch.zeros(1, channels, image_size, image_size, dtype=float_type(backbone))
    weight = next(backbone.parameters(), black)
    with untouched(backbone), torch.no_grad():
        features = backbone.eval()(black.to(weight.device))
    check_vectors(features, 1, name)
    return int(features.shape[1])


def check_vectors(output: object, rows: int, name: str) -> torch.Tensor:
    """An encoder's output must be one vector an image.

    Raises:
        UsageError: a spatial map, tokens, several tensors, or anything else.
    """
    if isinstance(output, torch.Tensor) and output.ndim == 2 and output.shape[0] == rows:
        return output
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    raise UsageError(
        f"an encoder that gives one vector an image, an output of shape ({rows}, d)",
        f"{shape} from {name}",
        "Pool the map or the tokens first, for example with a global average",
    )


_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


def weights_sha256(encoder: nn.Module) -> str:
    """One hash over the names and bytes of all weights."""
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        plain = tensor.detach().cpu().contiguous()
        if plain.is_floating_point() and plain.dtype not in _NUMPY_FLOATS:
            plain = plain.view(torch.int16 if plain.itemsize == 2 else torch.uint8)
        digest.update(plain.numpy().tobytes())
    return digest.hexdigest()


def wrap_encoder(
    function: Callable[[torch.Tensor], torch.Tensor],
    channels: int,
    image_size: int,
    *,
    mean: tuple[float, ...] = (0.0,),
    std: tuple[float, ...] = (1.0,),
    name: str = "",
) -> Encoder:
    """Any callable from images to vectors as an encoder.

    Args:
        function: from float images [b, channels, image_size, image_size] to vectors [b, d]; an
            `nn.Module` is moved to the device and put into evaluation mode like any encoder.
        channels: of the images it takes, 1 or 3.
        image_size: side of the images it takes.
        mean: subtracted from images in [0, 1]; one value, or one a channel.
        std: what they are divided by then; with the defaults `function` gets images in [0, 1].
        name: what it is called in descriptions; default: its own name. Work that was interrupted
            goes on only for the same name and weights.

    Raises:
        UsageError: an output that is not one vector an image.
    """
    name = name or getattr(function, "__qualname__", type(function).__qualname__)
    backbone = function if isinstance(function, nn.Module) else _Function(function)
    description = {
        "architecture": name,
        "channels": channels,
        "image_size": image_size,
        "mean": list(mean),
        "std": list(std),
        "interpolation": "bilinear",
        "feature_dim": count_features(backbone, channels, image_size, name),
        "projection_dim": 0,
        "pretrained": name,
    }
    return Encoder(backbone, None, description).eval()


class _Function(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self._function = function

    def forward(self, images: torch.Tensor) -> Any:
        return self._function(images)
