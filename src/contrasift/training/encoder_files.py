"""Encoders on disk: weights and description in one .safetensors file."""

from __future__ import annotations

import json
from pathlib import Path

from contrasift.errors import DataError
from contrasift.store.atomic import atomic_path
from contrasift.training.encoders import Encoder, build_encoder

_METADATA_KEY = "contrasift.encoder"


def save_encoder(encoder: Encoder, path: Path) -> None:
    """Write weights and description to one .safetensors file, whole or not at all."""
    from safetensors.torch import save

    weights = {name: tensor.cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    metadata = {_METADATA_KEY: json.dumps(encoder.description, sort_keys=True)}
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(save(weights, metadata))


def read_encoder(path: Path) -> Encoder:
    """What `save_encoder` wrote.

    Args:
        path: a .safetensors file.

    Returns:
        The encoder on the CPU, in training mode.

    Raises:
        DataError: not readable, not by contrasift, or weights of another architecture.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DataError("a readable .safetensors file", f"{path}: {error}") from None
    if _METADATA_KEY not in metadata:
        raise DataError(
            "an encoder that contrasift has written",
            f"{path}, which does not say what it holds",
            f"Name its architecture: resnet50={path}; or train one with `contrasift train`",
        )
    about = json.loads(metadata[_METADATA_KEY])
    encoder = build_encoder(
        about["architecture"],
        about["channels"],
        about["image_size"],
        about["projection_dim"],
        0,
        about.get("head", "simclr"),
    )
    encoder = Encoder(encoder.backbone, encoder.head if about["projection_dim"] else None, about)
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"the weights of {about['architecture']} in {path}", str(error)) from None
    return encoder
