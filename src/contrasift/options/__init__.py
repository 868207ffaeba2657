"""Every option of a run, once: dataclass fields become flags, recipe keys, canonical text and fingerprints.

Every name below is imported when it is first used: a command's --help needs one group or two.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers read; at run time `__getattr__` imports
    from contrasift.options.choosing import ClassesOptions, EmbedOptions, PoolOptions
    from contrasift.options.declaring import Options, option
    from contrasift.options.matrix import MatrixOptions, MatrixReading
    from contrasift.options.run import GROUPS, CompareOptions, RunOptions
    from contrasift.options.selecting import ChoiceOptions, SelectOptions
    from contrasift.options.switching import SwitchOptions
    from contrasift.options.training import (
        METHODS,
        DynamicsOptions,
        Method,
        TrainOptions,
        parse_epochs,
        parse_loss,
    )

_HOME = {
    "ChoiceOptions": "selecting",
    "ClassesOptions": "choosing",
    "CompareOptions": "run",
    "DynamicsOptions": "training",
    "EmbedOptions": "choosing",
    "GROUPS": "run",
    "METHODS": "training",
    "MatrixOptions": "matrix",
    "MatrixReading": "matrix",
    "Method": "training",
    "Options": "declaring",
    "PoolOptions": "choosing",
    "RunOptions": "run",
    "SelectOptions": "selecting",
    "SwitchOptions": "switching",
    "TrainOptions": "training",
    "option": "declaring",
    "parse_epochs": "training",
    "parse_loss": "training",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"contrasift.options has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
