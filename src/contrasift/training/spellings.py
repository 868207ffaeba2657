"""Weights of one network under other names: EfficientNets as EfficientNet-PyTorch spells them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch

_FIRST = "_conv_stem.weight"
_WHOLE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
# A block that widens first, and one that does not.
_WIDENING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
    **_SQUEEZE,
}
_PLAIN = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
    **_SQUEEZE,
}
_OF_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")
_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.")


def as_timm(
    weights: Mapping[str, torch.Tensor], wanted: Collection[str]
) -> Mapping[str, torch.Tensor]:
    """Weights under timm's names, where they have those of EfficientNet-PyTorch; else as they are.

    Both keep the blocks in the same order; timm counts them by stage. A name that is not known
    stays, so that loading says what is foreign.

    Args:
        weights: tensors by name.
        wanted: the names that timm's network has.
    """
    if _FIRST not in weights:
        return weights
    found = (re.match(_BLOCK, name) for name in wanted)
    places = sorted({(int(match[1]), int(match[2])) for match in found if match})
    widening = {
        match[1] for match in map(_OF_BLOCK.match, weights) if match and match[2] == "_expand_conv"
    }
    return {_timm_name(name, places, widening): tensor for name, tensor in weights.items()}


def _timm_name(name: str, places: list[tuple[int, int]], widening: set[str]) -> str:
    match = _OF_BLOCK.fullmatch(name)
    if match is None:
        layer, _, kind = name.partition(".")
        return f"{_WHOLE.get(layer, layer)}.{kind}"
    layers = _WIDENING if match[1] in widening else _PLAIN
    if int(match[1]) >= len(places) or match[2] not in layers:
        return name
    stage, place = places[int(match[1])]
    return f"blocks.{stage}.{place}.{layers[match[2]]}.{match[3]}"
