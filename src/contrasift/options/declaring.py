"""What an option is: a dataclass field with its help, its legal values and its fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from contrasift.catalogue import check_choice, nearest
from contrasift.errors import UsageError

OptionsT = TypeVar("OptionsT", bound="Options")


def option(default: Any, help: str, choices: Sequence[str] = (), short: str = "") -> Any:
    """A dataclass field that carries its help text, its legal values and a one-letter flag."""
    return dataclasses.field(
        default=default, metadata={"help": help, "choices": tuple(choices), "short": short}
    )


def require(condition: bool, expected: str, got: object, remedy: str = "") -> None:
    """Raise a UsageError unless a condition holds."""
    if not condition:
        raise UsageError(expected, str(got), remedy)


def _typed(name: str, value: object, kind: Any) -> object:
    """A recipe's value as the option's type; `1` may stand for `1.0`, nothing else is converted."""
    kinds = typing.get_args(kind) or (kind,)
    if float in kinds and type(value) is int:
        return float(value)
    wanted = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in kinds)
    require(type(value) in kinds, f"option {name} to be {wanted}", repr(value))
    return value


@dataclass(frozen=True)
class Options:
    """Base of all option groups: legal values are checked on construction."""

    def __post_init__(self) -> None:
        """Check every field that lists its choices."""
        for item in dataclasses.fields(self):
            choices = item.metadata.get("choices", ())
            value = getattr(self, item.name)
            if choices:
                check_choice(f"--{item.name.replace('_', '-')}", str(value), choices)
            if item.name == "seed":
                require(value >= 0, "--seed of at least 0", value)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, in the order in which they are declared."""
        return dataclasses.asdict(self)

    def fingerprint(self, *upstream: str) -> str:
        """Hash of these options and of what they were applied to."""
        text = json.dumps([type(self).__name__, self.as_dict(), upstream], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def from_mapping(cls: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
        """Build from a recipe's section; an unknown key is an error that lists the known ones."""
        kinds = typing.get_type_hints(cls)
        for key in values:
            if key not in kinds:  # the nearest is only then looked for: it takes longest
                known = ", ".join(kinds)
                raise UsageError(f"one of the options {known}", key, nearest(str(key), kinds))
        return cls(**{key: _typed(key, value, kinds[key]) for key, value in values.items()})
