"""Random views of images: drawn per example by counting, applied in batches.

Every random number of a view is a pure function of (seed, epoch, example, view, parameter). The
order of examples, the size of batches, the number of workers, the device and interruptions
therefore change nothing in what a view shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Float64, Int64, UInt8

from contrasift.errors import UsageError

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_GREY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


@dataclass(frozen=True)
class Augmentation:
    """How strongly views differ from their image.

    Attributes:
        scale: smallest and largest share of the area that a crop keeps.
        ratio: smallest and largest width : height of a crop.
        jitter: probability of changing colours at all.
        brightness: b; brightness is multiplied by a number in 1 ± b.
        contrast: the same for the distance to the image's mean.
        saturation: the same for the distance to the pixel's grey (colour images only).
        hue: h; hue is turned by a share in ± h of the colour circle (colour images only).
        grey: probability of dropping the colours (colour images only).
        blur: probability of a Gaussian blur with a standard deviation of 0.1 to 2 pixels.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    grey: float = 0.2
    blur: float = 0.0


AUGMENTATIONS: dict[str, Augmentation] = {
    # SimCLR as SAS trains it (arXiv 2302.09195, appendix): crops from 8 % on, no blur.
    "simclr": Augmentation(),
    # Small grey images lose what they show in crops of 8 %: Fashion-MNIST, 5,000 images, 8 epochs,
    # linear accuracy and kNN 77.0 and 74.8 for crops from 8 %, 77.1 and 75.8 from 30 %; with a
    # better learning rate and 256 features 80.5 and 77.9 from 20 %, 81.4 and 78.8 from 30 %.
    "small-grey": Augmentation(scale=(0.3, 1.0)),
    # MoCo v2 (arXiv 2003.04297): milder crops and blur, for images of 64 pixels and more.
    "moco-v2": Augmentation(scale=(0.2, 1.0), blur=0.5),
}


def choose_augmentation(name: str, channels: int, image_size: int) -> str:
    """The augmentation's name; `auto` is `small-grey` for one channel up to 32 pixels, else `simclr`.

    Raises:
        UsageError: no such augmentation.
    """
    if name == "auto":
        return "small-grey" if channels == 1 and image_size <= 32 else "simclr"
    if name not in AUGMENTATIONS:
        raise UsageError(f"views to be one of auto, {', '.join(AUGMENTATIONS)}", name)
    return name


def _mix(state: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): every bit in changes every bit out."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def counter_uniforms(
    seed: int, epoch: int, index: Int64[np.ndarray, " b"], stream: int, count: int
) -> Float64[np.ndarray, "b {count}"]:
    """Random numbers in [0, 1) that depend on the five arguments and on nothing else.

    Args:
        seed: the run.
        epoch: the pass over the examples.
        index: the examples, by their stable index.
        stream: which purpose, for example the number of the view.
        count: how many numbers for each example.

    Returns:
        `count` numbers of 53 random bits in each row.
    """
    key = np.zeros(1, dtype=np.uint64)
    for part in (seed, epoch, stream):
        key = _mix((key ^ np.uint64(part & _MASK)) + np.uint64(_GOLDEN))
    rows = _mix(key ^ _mix(index.astype(np.uint64) + np.uint64(_GOLDEN)))
    counters = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return (_mix(rows[:, None] + counters) >> np.uint64(11)) * 2.0**-53


@dataclass(frozen=True)
class ViewParameters:
    """Everything random about a batch of views.

    Attributes:
        crop: [b, 2, 3]; the affine map from output to input coordinates, both in [-1, 1].
        brightness: [b]; factor on all pixels.
        contrast: [b]; factor on the distance to the image's mean.
        saturation: [b]; factor on the distance to each pixel's grey.
        hue: [b]; turn of the colour circle, in radians.
        grey: [b]; 1 where colours are dropped, else 0.
        blur: [b]; standard deviation in pixels, 0 for none.
    """

    crop: Float32[np.ndarray, "b 2 3"]
    brightness: Float32[np.ndarray, " b"]
    contrast: Float32[np.ndarray, " b"]
    saturation: Float32[np.ndarray, " b"]
    hue: Float32[np.ndarray, " b"]
    grey: Float32[np.ndarray, " b"]
    blur: Float32[np.ndarray, " b"]

    def __len__(self) -> int:
        return len(self.brightness)


def draw_view_parameters(
    seed: int,
    epoch: int,
    index: Int64[np.ndarray, " b"],
    view: int,
    augmentation: Augmentation,
    mirror: bool = False,
) -> ViewParameters:
    """Draw one view of every example.

    A crop keeps a share a of the area, uniform in `scale`, at a ratio r = width/height that is
    log-uniform in `ratio`, narrowed to [a, 1/a], where the crop fits: width √(a·r) ≤ 1 and height
    √(a/r) ≤ 1. It lies anywhere inside the image.

    Args:
        seed: the run.
        epoch: the pass over the examples.
        index: the examples, by their stable index.
        view: the number of the view.
        augmentation: how strongly views differ.
        mirror: flip every other view.

    Returns:
        Parameters, one row an example.
    """
    # One fixed column for each use, so that an augmentation that leaves one out moves no other.
    u = counter_uniforms(seed, epoch, index, view, 13).T
    low, high = augmentation.scale
    area = low + (high - low) * u[0]
    log_low = np.log(np.maximum(augmentation.ratio[0], area))
    log_high = np.log(np.minimum(augmentation.ratio[1], 1 / area))
    ratio = np.exp(log_low + (log_high - log_low) * u[1])
    width, height = np.minimum(np.sqrt(area * ratio), 1), np.minimum(np.sqrt(area / ratio), 1)
    crop = np.zeros((len(index), 2, 3))
    crop[:, 0, 0] = np.where(mirror & (u[4] < 0.5), -width, width)
    crop[:, 1, 1] = height
    crop[:, 0, 2] = (1 - width) * (2 * u[2] - 1)
    crop[:, 1, 2] = (1 - height) * (2 * u[3] - 1)
    jittered = u[5] < augmentation.jitter
    columns = {
        "crop": crop,
        "brightness": np.where(jittered, 1 + augmentation.brightness * (2 * u[6] - 1), 1),
        "contrast": np.where(jittered, 1 + augmentation.contrast * (2 * u[7] - 1), 1),
        "saturation": np.where(jittered, 1 + augmentation.saturation * (2 * u[8] - 1), 1),
        "hue": np.where(jittered, 2 * math.pi * augmentation.hue * (2 * u[9] - 1), 0),
        "grey": u[10] < augmentation.grey,
        "blur": np.where(u[11] < augmentation.blur, 0.1 + 1.9 * u[12], 0),
    }
    return ViewParameters(**{name: value.astype(np.float32) for name, value in columns.items()})


def join_parameters(parts: Sequence[ViewParameters]) -> ViewParameters:
    """Several batches of views as one."""
    return ViewParameters(
        **{
            item.name: np.concatenate([getattr(part, item.name) for part in parts])
            for item in fields(ViewParameters)
        }
    )


def moved(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The values on a device. A GPU gets them from pinned memory, and nothing waits for it."""
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    pinned = values if values.is_pinned() else values.pin_memory()
    return pinned.to(device, non_blocking=True)


def to_unit_range(images: UInt8[torch.Tensor, "b c s s"]) -> Float32[torch.Tensor, "b c s s"]:
    """Bytes as numbers in [0, 1]."""
    return images.float().div_(255)


def apply_views(
    images: Float[torch.Tensor, "b c s s"], parameters: ViewParameters
) -> Float[torch.Tensor, "b c s s"]:
    """Make one view of every image: crop and flip, colours, blur, in this order.

    Args:
        images: in [0, 1].
        parameters: one row an image.

    Returns:
        Views of the same size, in [0, 1].
    """

    def column(values: np.ndarray) -> torch.Tensor:
        return moved(torch.from_numpy(values), images.device).view(-1, 1, 1, 1)

    crop = moved(torch.from_numpy(parameters.crop), images.device)
    grid = F.affine_grid(crop, list(images.shape), align_corners=False)
    views = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    views = (views * column(parameters.brightness)).clamp_(max=1)
    colour = images.shape[1] == 3
    mean = (_grey(views) if colour else views).mean(dim=(1, 2, 3), keepdim=True)
    views = torch.lerp(mean, views, column(parameters.contrast)).clamp_(0, 1)
    if colour:
        views = _change_colours(views, parameters, column)
    return _blur_some(views, parameters.blur)


def _grey(images: torch.Tensor) -> torch.Tensor:
    """The grey of every pixel, [b, 1, s, s]."""
    weights = moved(torch.tensor(_GREY_WEIGHTS, dtype=images.dtype), images.device)
    return (images * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def _change_colours(views: torch.Tensor, parameters: ViewParameters, column) -> torch.Tensor:
    """Saturation, hue, and dropping colours altogether."""
    from kornia.enhance import adjust_hue

    views = torch.lerp(_grey(views), views, column(parameters.saturation)).clamp_(0, 1)
    if parameters.hue.any():
        views = adjust_hue(views, column(parameters.hue).view(-1))
    return torch.lerp(views, _grey(views), column(parameters.grey))


def _blur_some(views: torch.Tensor, deviations: np.ndarray) -> torch.Tensor:
    """Gaussian blur where the standard deviation is above 0; the kernel spans a tenth of the image."""
    drawn = np.flatnonzero(deviations)
    if drawn.size == 0:
        return views
    from kornia.filters import gaussian_blur2d

    width = max(3, views.shape[-1] // 10 | 1)
    rows = moved(torch.from_numpy(drawn), views.device)
    sigma = moved(torch.from_numpy(deviations[drawn]), views.device)[:, None].expand(-1, 2)
    views[rows] = gaussian_blur2d(views[rows], (width, width), sigma)
    return views


def random_views(
    images: UInt8[torch.Tensor, "b c s s"],
    index: Int64[torch.Tensor, " b"],
    views: Sequence[int],
    *,
    seed: int,
    epoch: int,
    augmentation: Augmentation,
    mirror: bool,
) -> Float32[torch.Tensor, "vb c s s"]:
    """Several views of a batch at once: all of the first view, then all of the second, and so on."""
    examples = index.cpu().numpy()
    parameters = [
        draw_view_parameters(seed, epoch, examples, v, augmentation, mirror) for v in views
    ]
    repeated = to_unit_range(images).repeat(len(views), 1, 1, 1)
    return apply_views(repeated, join_parameters(parameters))
