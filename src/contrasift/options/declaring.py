"""What an option is: a dataclass field with its help, its legal values and its fingerprint."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, TypeVar

from contrasift.catalogue import check_choice, nearest
from contrasift.errors import UsageError

OptionsT = TypeVar("OptionsT", bound="Options")

# The words in which the bounds of a number are declared, and its mistakes told.
_BOUNDS = re.compile(
    r"(of at least |above |in \[|in \()([-+.\de]+)(?:(?: and at most |, )([-+.\de]+))?(\))?"
)


def option(
    default: Any,
    help: str,
    choices: Sequence[str] = (),
    metavar: str = "",
    later: bool = False,
    argument: str = "",
    legal: str = "",
    remedy: str = "",
) -> Any:
    """A dataclass field that carries what its flag, its recipe key and its check need.

    Args:
        default: what holds where nothing is given.
        help: of the flag.
        choices: the legal words, where they are not those of a `Literal` type.
        metavar: what the flag takes, e.g. `FILE`.
        argument: its name in the Python function, where that is another.
        legal: which numbers it takes, in the words of the message: see `within`.
        remedy: what is advised where a number is not one of them.
        later: it came after runs had been made without it: at its default it is in no fingerprint.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "choices": tuple(choices),
            "metavar": metavar,
            "later": later,
            "argument": argument,
            "legal": legal,
            "remedy": remedy,
        },
    )


def require(condition: bool, expected: str, got: object, remedy: str = "") -> None:
    """Raise a UsageError unless a condition holds."""
    if not condition:
        raise UsageError(expected, str(got), remedy)


def within(value: float | int, legal: str) -> bool:
    """Whether a number is one of those that the words name.

    `of at least 1` and `above 0`, both finite; `of at least 0 and at most 2`; `in [0, 1)`. More words
    may follow. NaN is none of them.
    """
    bounds = _BOUNDS.match(legal)
    assert bounds is not None, legal
    begins, low, high, ends = bounds.groups()
    above = value > float(low) if begins in ("above ", "in (") else value >= float(low)
    if high is None:
        return above and value < math.inf
    return above and (value < float(high) if ends else value <= float(high))


def numbers_of(text: str, kind: Callable[[str], Any] = float) -> list[Any] | None:
    """The numbers of a list with commas; none of an empty text, None where something is no number."""
    try:
        return [kind(part) for part in text.split(",")] if text.strip() else []
    except ValueError:
        return None


def words_of(hint: Any) -> tuple[str, ...]:
    """The words of a `Literal` type, or of the one in a union; none of any other."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return next((words for part in typing.get_args(hint) if (words := words_of(part))), ())


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@functools.cache
def legal_words(group: type[Options]) -> dict[str, tuple[str, ...]]:
    """The legal words of every option that has some."""
    hints = _hints(group)
    found = {
        item.name: item.metadata.get("choices") or words_of(hints[item.name])
        for item in dataclasses.fields(group)
    }
    return {name: words for name, words in found.items() if words}


def plain_kinds(hint: Any) -> tuple[type, ...]:
    """The types of an option's values: those of a union, and text for a list of words."""
    if typing.get_origin(hint) is Literal:
        return (str,)
    return tuple(kind for part in typing.get_args(hint) for kind in plain_kinds(part)) or (hint,)


def typed(name: str, value: object, hint: Any) -> object:
    """A given value as the type that is asked for; NumPy's numbers, of which grids of parameters are full, as Python's.

    `1` may stand for `1.0`; nothing else is converted.

    Raises:
        UsageError: another type.
    """
    kinds = plain_kinds(hint)
    if type(value) in kinds:  # the usual case
        return value
    value = plain(value)
    if float in kinds and type(value) is int:
        return float(value)
    others = tuple(kind for kind in kinds if kind not in (int, float, bool))
    if type(value) not in kinds and not isinstance(value, others):
        wanted = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in kinds)
        raise UsageError(f"{name}= to be {wanted}", repr(value))
    return value


def plain(value: Any) -> Any:
    """NumPy's numbers as Python's; all else as it is."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return bool(value) if type(value).__name__ in ("bool", "bool_") else value
    return int(value) if isinstance(value, Integral) else float(value)


class _Check(NamedTuple):
    """What a field may be; looked up once, as plans of experiments make thousands of groups."""

    name: str
    hint: Any
    kinds: tuple[type, ...]
    legal: str
    remedy: str


@functools.cache
def _checks_of(group: type[Options]) -> tuple[_Check, ...]:
    hints = _hints(group)
    return tuple(
        _Check(
            item.name,
            hints[item.name],
            plain_kinds(hints[item.name]),
            item.metadata.get("legal", ""),
            item.metadata.get("remedy", ""),
        )
        for item in dataclasses.fields(group)
    )


@dataclass(frozen=True)
class Options:
    """Base of all option groups: legal values are checked on construction."""

    def __post_init__(self) -> None:
        """Check types, choices and bounds as declared; integers are of a machine's size."""
        for check in _checks_of(type(self)):
            given = getattr(self, check.name)
            if type(given) not in check.kinds:
                value = typed(check.name, given, check.hint)
                object.__setattr__(self, check.name, value)
        for name, words in legal_words(type(self)).items():
            check_choice(f"{name}=", str(getattr(self, name)), words)
        for check in _checks_of(type(self)):
            value = getattr(self, check.name)
            if isinstance(value, int) and abs(value) >= 2**63:
                raise UsageError(f"{check.name}= within int64", f"{value}")
            if check.legal and value is not None and not within(value, check.legal):
                raise UsageError(f"{check.name}= {check.legal}", f"{value}", check.remedy)
        seed = getattr(self, "seed", 0)
        require(seed >= 0, "seed= of at least 0", seed)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, in the order in which they are declared."""
        return dataclasses.asdict(self)

    def identity(self) -> dict[str, Any]:
        """What fingerprints are made of: all, but for options that came later, at their defaults."""
        unused = {
            item.name
            for item in dataclasses.fields(self)
            if item.metadata.get("later") and getattr(self, item.name) == item.default
        }
        return {name: value for name, value in self.as_dict().items() if name not in unused}

    def fingerprint(self, *upstream: str) -> str:
        """Hash of these options and of what they were applied to."""
        from contrasift.fingerprints import json_fingerprint

        return json_fingerprint([type(self).__name__, self.identity(), upstream])

    @classmethod
    def from_mapping(cls: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
        """Build from a recipe's section; an unknown key is an error that lists the known ones."""
        kinds = _hints(cls)
        for key in values:
            if key not in kinds:  # the nearest is only then looked for: it takes longest
                known = ", ".join(kinds)
                raise UsageError(f"one of the options {known}", key, nearest(str(key), kinds))
        return cls(**{key: typed(key, value, kinds[key]) for key, value in values.items()})

    @classmethod
    def from_arguments(cls: type[OptionsT], arguments: Mapping[str, Any]) -> OptionsT:
        """Build from a function's arguments, those that are options here."""
        names = [item.name for item in dataclasses.fields(cls)]
        return cls.from_mapping({name: arguments[name] for name in names})
