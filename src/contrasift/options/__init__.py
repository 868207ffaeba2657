"""Every option of a run, once: dataclass fields become flags, recipe keys, canonical text and fingerprints."""

from contrasift.options.choosing import ClassesOptions, EmbedOptions, PoolOptions, SelectOptions
from contrasift.options.declaring import Options, option
from contrasift.options.run import GROUPS, CompareOptions, RunOptions
from contrasift.options.training import (
    METHODS,
    DynamicsOptions,
    Method,
    TrainOptions,
    parse_epochs,
    parse_loss,
)

__all__ = [
    "GROUPS",
    "METHODS",
    "ClassesOptions",
    "CompareOptions",
    "DynamicsOptions",
    "EmbedOptions",
    "Method",
    "Options",
    "PoolOptions",
    "RunOptions",
    "SelectOptions",
    "TrainOptions",
    "option",
    "parse_epochs",
    "parse_loss",
]
