"""Any encoder by its name: trained here, or published by timm, torchvision or open-clip."""

from __future__ import annotations

from pathlib import Path

from contrasift.options.arguments import checked_arguments
from contrasift.training.encoder_files import read_encoder
from contrasift.training.encoders import Encoder
from contrasift.training.foreign import timm_encoder, torchvision_encoder
from contrasift.training.sources import parse_source


@checked_arguments
def load_encoder(source: str | Path, channels: int = 3, image_size: int | None = None) -> Encoder:
    """Any encoder by its name, with the preprocessing that it was trained with.

    `runs/x` (the proxy of a run, or a training), `runs/x@epoch=4`, `encoder.safetensors`: trained
    here. `resnet50` (timm), `torchvision:resnet50`, `open-clip:ViT-B-32/laion2b_s34b_b79k` (the
    image tower): published weights. `ARCHITECTURE=FILE` for any of these three: weights from a
    .safetensors file, or a state dict of plain tensors. `open-clip:FOLDER`: a model saved with its
    configuration.

    Args:
        source: what to load.
        channels: of the images; a timm model gets a first layer for them, others see greys as
            colours.
        image_size: side that a timm model shall see; default: the one it was trained for.

    Returns:
        The encoder on the CPU, in evaluation mode; its `description` says how images are prepared.

    Raises:
        UsageError: a pickle, which could run any code; an unknown name; a file that is not there.
        RunFolderError: a run without the training or the epoch.
        DataError: weights that are not those of the architecture, or that cannot be had.
    """
    where = parse_source(str(source))
    if where.kind == "own" and where.path is not None:
        return read_encoder(where.path).eval()
    if where.kind == "open-clip":
        from contrasift.training.clip import load_clip  # which imports open-clip, an extra

        return load_clip(where.text).image_encoder
    if where.kind == "torchvision":
        return torchvision_encoder(where).eval()
    return timm_encoder(where, channels, image_size).eval()
