"""The size of an experiment: on a processor, on the papers' machines, or in a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Scale:
    """What all experiments share at one size.

    Attributes:
        description: in a phrase.
        pools: used unless an experiment names others.
        options: of every cell.
        recipes: whether a pool's own recipe, where there is one, comes before them.
        threads: of every library; 0: as many as they like.
    """

    description: str
    pools: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    recipes: bool = False
    threads: int = 1


# Classes are not found twice only to see how stable they are.
_ALWAYS = {"classes.stability": 0, "select.fraction": 0.2}

SCALES = {
    "cpu": Scale(
        "pools of 10,000, the narrow ResNet, 20 epochs",
        ("glyphs",),
        {
            **_ALWAYS,
            "pool.limit": 10_000,
            "embed.proxy_epochs": 20,
            "train.epochs": 20,
            "train.architecture": "narrow",
        },
    ),
    "paper": Scale(
        "the papers' pools, networks and hundreds of epochs, for GPUs",
        ("cifar100", "cifar10", "stl10", "tiny-imagenet"),
        {
            **_ALWAYS,
            "dynamics.architecture": "resnet18",
            "dynamics.epochs": 200,
            "dynamics.batch_size": 128,
        },
        recipes=True,
        threads=0,
    ),
    "tiny": Scale(
        "seconds, for tests",
        ("digits",),
        {
            **_ALWAYS,
            "pool.limit": 200,
            "embed.proxy_epochs": 1,
            "embed.views": 1,
            "classes.restarts": 1,
            "train.epochs": 1,
            "train.architecture": "narrow:0.25",
            "train.batch_size": 16,
            "train.queue_size": 64,
            "measure.draws": 1,
            "measure.per_class": 2,
            "dynamics.architecture": "narrow:0.25",
            "dynamics.epochs": 2,
            "dynamics.seeds": 1,
            "dynamics.batch_size": 16,
        },
    ),
}


@cache
def _base(scale: str, pool: str) -> dict[str, Any]:
    from contrasift.store.run import RECIPES, read_recipe_mapping

    chosen = SCALES[scale]
    options: dict[str, Any] = {}
    recipe = RECIPES / f"{pool.partition(':')[0]}.yaml"
    if chosen.recipes and recipe.is_file():
        for group, values in read_recipe_mapping(recipe).items():
            options |= {f"{group}.{name}": value for name, value in values.items()}
    return options | dict(chosen.options) | {"pool.pool": pool}


def base_options(scale: str, pool: str) -> dict[str, Any]:
    """The options of every cell of a scale on a pool, before those of axes and arms."""
    return dict(_base(scale, pool))
