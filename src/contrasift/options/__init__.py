"""Every option of a run, once: dataclass fields become flags, recipe keys, canonical text and fingerprints."""

from contrasift.options.choosing import ClassesOptions, EmbedOptions, PoolOptions
from contrasift.options.declaring import Options, option
from contrasift.options.run import GROUPS, CompareOptions, RunOptions
from contrasift.options.selecting import ChoiceOptions, MatrixOptions, MatrixReading, SelectOptions
from contrasift.options.switching import SwitchOptions
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
    "ChoiceOptions",
    "ClassesOptions",
    "CompareOptions",
    "DynamicsOptions",
    "EmbedOptions",
    "MatrixOptions",
    "MatrixReading",
    "Method",
    "Options",
    "PoolOptions",
    "RunOptions",
    "SelectOptions",
    "SwitchOptions",
    "TrainOptions",
    "option",
    "parse_epochs",
    "parse_loss",
]
