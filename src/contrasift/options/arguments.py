"""A public function's plain arguments are held against its annotations before any work."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from contrasift.catalogue import nearest
from contrasift.options.declaring import typed

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def checked_arguments(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """The same function, which refuses arguments of another type than it names.

    Numbers, text, paths and our own classes are checked, alone or in a union; arrays, callables and
    whatever else takes more than a look are the function's own business. NumPy's numbers become
    Python's, and an integer may stand for a float.

    Raises:
        UsageError: by the function returned: `expected restarts= to be int; got 1.5`.
        TypeError: by it, for names that it has not, as Python says it, with the nearest that it has.
    """
    signature = inspect.signature(function)
    hints = functools.cache(lambda: _plain_hints(function))

    @functools.wraps(function)
    def checked(*positional: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        try:
            bound = signature.bind(*positional, **named)
        except TypeError as error:
            unknown = [name for name in named if name not in signature.parameters]
            near = nearest(unknown[0], signature.parameters) if unknown else ""
            said = f"{function.__qualname__}() {error}"
            raise TypeError(f"{said}. {near}" if near else said) from None
        for name, hint in hints().items():
            if name in bound.arguments:
                bound.arguments[name] = typed(name, bound.arguments[name], hint)
        return function(*bound.args, **bound.kwargs)

    return checked


def _plain_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of those arguments that can be checked by a look."""
    found = {}
    for name, annotation in function.__annotations__.items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hint = typing.get_type_hints(alone, inspect.unwrap(function).__globals__)[name]
        except NameError:  # of a package that is imported for type checkers alone
            continue
        if name != "return" and _is_plain(hint):
            found[name] = hint
    return found


def _is_plain(hint: Any) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return all(_is_plain(part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return True
    if hint in (int, float, bool, str, Path, type(None)):
        return True
    own = getattr(hint, "__module__", "").startswith("contrasift.")
    return own and isinstance(hint, type) and not getattr(hint, "_is_protocol", False)
