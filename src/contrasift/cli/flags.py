"""Command-line flags made from option groups: a flag, its help and its default exist once.

The library speaks of arguments, `threshold=`; what a command shows speaks of flags: `as_flags`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import shlex
import typing
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Annotated, Any

import typer

from contrasift.options.declaring import Options, plain_kinds, words_of

# The last panel of every --help, and what of it every command has that takes any.
HOW = "How it runs"
_ALWAYS = ("quiet", "as_json")


def with_options(
    *groups: type[Options],
    hide: Iterable[str] = (),
    first: Iterable[str] = (),
    how: Iterable[str] = (),
) -> Callable[..., Callable[..., None]]:
    """Give a command one flag for every field of the option groups, and those of how it runs.

    The command's own function gets the flags that the user really gave as a mapping in its
    keyword `given` (field name to value): what is absent keeps its default, or a recipe's value.
    Its keyword `how` is of a dataclass whose fields are flags; it has those that are named here, and
    what every command has. Its help begins with its own flags and those named `first`; then come
    the groups, each under its own heading, and last the panel `HOW`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = dict(inspect.signature(command, eval_str=True).parameters)
        own.pop("given", None)
        kind = own.pop("how").annotation if "how" in own else None
        runs = [] if kind is None else _how_flags(kind, {*how, *_ALWAYS})
        # Groups may share an option (the seed): it is one flag.
        flags = {
            flag.name: flag for group in groups for flag in _flags(group, set(hide), set(first))
        }

        @functools.wraps(command)
        def wrapper(**values: Any) -> None:
            given = {name: values.pop(name) for name in flags}
            if groups:
                values["given"] = {name: one for name, one in given.items() if one is not None}
            if kind is not None:
                values["how"] = kind(**{flag.name: values.pop(flag.name) for flag in runs})
            command(**values)

        shown = [*own.values(), *flags.values(), *runs]
        wrapper.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in shown}
        return wrapper

    return decorate


def _how_flags(kind: Any, names: set[str]) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=item.default,
            annotation=hints[item.name],
        )
        for item in dataclasses.fields(kind)
        if item.name in names
    ]


def _flags(group: type[Options], hidden: set[str], first: set[str]) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(group)
    return [
        _flag(item, hints[item.name], group, item.name in first)
        for item in dataclasses.fields(group)
        if item.name not in hidden
    ]


def _flag(
    item: dataclasses.Field[Any], hint: Any, group: type[Options], first: bool
) -> inspect.Parameter:
    plain = next(kind for kind in plain_kinds(hint) if kind is not type(None))
    text = item.metadata["help"]
    if item.default not in (None, "", False):
        text += f" [default: {item.default}]"
    name = item.name.replace("_", "-")
    names = [f"--{name}/--no-{name}"] if plain is bool else [f"--{name}"]
    panel = None if first else (group.__doc__ or "").strip().rstrip(".")
    annotation = Annotated[
        plain | None,
        typer.Option(
            *names,
            help=text,
            show_default=False,
            rich_help_panel=panel,
            metavar=item.metadata["metavar"] or _listed(words_of(hint)),
        ),
    ]
    return inspect.Parameter(
        item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _listed(words: tuple[str, ...]) -> str | None:
    """A few words as what a flag takes, `a|b|c`; more of them are in its help alone."""
    text = "|".join(words)
    return f"<{text}>" if words and len(text) <= 30 else None


def pick(given: Mapping[str, Any], group: type[Options]) -> dict[str, Any]:
    """The part of the given flags that belongs to one group."""
    return {item.name: given[item.name] for item in dataclasses.fields(group) if item.name in given}


# `name=`, perhaps with its value, as a word of its own: a path like `seed=3/x.npy` is none.
_ARGUMENT = re.compile(
    r"""(?<![\w./=-])(?P<name>[a-z][a-z0-9_]*)=
        (?:'(?P<text>[^']*)'|"(?P<long>[^"]*)"|(?P<word>True|False|None)|(?P<number>-?\d+(?:\.\d+)?|[A-Z][A-Z,:]*))?
        (?=[\s,;:.)]|$)""",
    re.VERBOSE,
)


# The context of the whole program while a command runs.
RUNNING: ContextVar[Any] = ContextVar("RUNNING", default=None)


def as_flags(text: str) -> str:
    """What the library says of its arguments, in the flags of the command that is running.

    `threshold=` becomes `--threshold`, `optimizer='relaxed'` becomes `--optimizer relaxed`, and
    `update=True` becomes `--update`; names that no command has as a flag stay as they are.
    """
    if not _ARGUMENT.search(text):
        return text  # the usual case must not wait for the flags of every command
    flags = _flags_in_reach()

    def flag(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in flags:
            return found[0]
        on, off = flags[name]
        if found["word"] == "True":
            return on
        if found["word"] or found["text"] == "":
            return off
        value = found["number"] or found["text"] or found["long"]
        return on if value is None else f"{on} {shlex.quote(value)}"

    return _ARGUMENT.sub(flag, text) if flags else text


def _flags_in_reach() -> dict[str, tuple[str, str]]:
    """How every argument is turned on and off; the running command's flags before others'."""
    from contrasift.options import GROUPS

    program = RUNNING.get()
    if program is None:
        return {}
    running = program.command
    all_loaded = (
        running.loaded() if hasattr(running, "loaded") else getattr(running, "commands", {})
    )
    commands = dict(all_loaded)
    own = commands.pop(program.invoked_subcommand or "", None)
    flags: dict[str, tuple[str, str]] = {}
    for command in (own, program.command, *commands.values()):
        for given in command.params if command else ():
            if given.param_type_name == "option" and given.name:
                off = next(iter(given.secondary_opts), f"no {given.opts[0]}")
                flags.setdefault(given.name, (given.opts[0], off))
    for group in GROUPS.values():
        for item in dataclasses.fields(group):
            if item.metadata["argument"] and item.name in flags:
                flags.setdefault(item.metadata["argument"], flags[item.name])
    return flags
