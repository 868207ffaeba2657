"""Command-line flags made from option groups, so that a flag, its help and its default exist once."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import typer

from contrasift.options import Options


def with_options(
    *groups: type[Options], hide: Iterable[str] = ()
) -> Callable[..., Callable[..., None]]:
    """Give a command one flag for every field of the option groups.

    The command's own function gets the flags that the user really gave as a mapping in its
    keyword `given` (field name to value): what is absent keeps its default, or a recipe's value.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            p
            for p in inspect.signature(command, eval_str=True).parameters.values()
            if p.name != "given"
        ]
        # Groups may share an option (the seed): it is one flag.
        flags = list(
            {flag.name: flag for group in groups for flag in _flags(group, set(hide))}.values()
        )

        @functools.wraps(command)
        def wrapper(**values: Any) -> None:
            given = {flag.name: values.pop(flag.name) for flag in flags}
            command(
                given={name: value for name, value in given.items() if value is not None}, **values
            )

        wrapper.__signature__ = inspect.Signature(own + flags)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in own + flags}
        return wrapper

    return decorate


def _flags(group: type[Options], hidden: set[str]) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(group)
    return [
        _flag(item, hints[item.name], group)
        for item in dataclasses.fields(group)
        if item.name not in hidden
    ]


def _flag(item: dataclasses.Field[Any], hint: Any, group: type[Options]) -> inspect.Parameter:
    plain = next((part for part in typing.get_args(hint) if part is not type(None)), hint)
    text = item.metadata["help"]
    if item.default not in (None, "", False):
        text += f" [default: {item.default}]"
    name = item.name.replace("_", "-")
    names = [f"--{name}/--no-{name}"] if plain is bool else [f"--{name}"]
    panel = (group.__doc__ or "").strip().rstrip(".")
    annotation = Annotated[
        plain | None,
        typer.Option(*names, help=text, show_default=False, rich_help_panel=panel),
    ]
    return inspect.Parameter(
        item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def pick(given: Mapping[str, Any], group: type[Options]) -> dict[str, Any]:
    """The part of the given flags that belongs to one group."""
    return {item.name: given[item.name] for item in dataclasses.fields(group) if item.name in given}
