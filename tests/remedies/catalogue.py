"""Every remedy of every message, read from the library's own syntax, and which one an error has."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from contrasift.errors import ContrasiftError

ROOT = Path(__file__).parents[2] / "src" / "contrasift"
ERRORS = {"UsageError", "DataError", "RunFolderError", "ContrasiftError"}
Functions = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, order=True)
class Remedy:
    """What a message advises, and where it stands; what is filled in is `…`."""

    module: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.text!r}"

    def is_said_by(self, advice: str) -> bool:
        """Whether an error's advice is this one."""
        pattern = "(.*)".join(map(re.escape, self.text.split("…")))
        return re.fullmatch(pattern, advice, re.DOTALL) is not None


@cache
def trees() -> dict[str, ast.Module]:
    """Every module's syntax by its path below the package."""
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(ROOT.rglob("*.py"))
    }


@cache
def nodes() -> dict[str, list[ast.AST]]:
    """Every module's syntax, node by node."""
    return {module: list(ast.walk(tree)) for module, tree in trees().items()}


@cache
def remedies() -> tuple[Remedy, ...]:
    """Every remedy of every message; those of another message that are handed on are not."""
    found = []
    for module, tree in trees().items():
        for scope, call in calls(tree, tree):
            advice = advised(call, module)
            if advice is not None:
                texts = dict.fromkeys(said(advice, module, scope))
                found += [Remedy(module, call.lineno, text) for text in texts if text]
    return tuple(found)


def calls(node: ast.AST, scope: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Every call below a node, with the function that it stands in."""
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.Call):
            yield scope, part
        yield from calls(part, part if isinstance(part, Functions) else scope)


def advised(call: ast.Call, module: str) -> ast.expr | None:
    """The remedy that is given to an error, or to a function that makes one of it."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if name in ERRORS or (module == "errors.py" and name == "__init__"):
        place = 2
    elif name in given_remedies():
        place = given_remedies()[name]
    else:
        return None
    named = [one.value for one in call.keywords if one.arg == "remedy"]
    return call.args[place] if len(call.args) > place else next(iter(named), None)


@cache
def given_remedies() -> dict[str, int]:
    """Functions that are given a remedy, and at which place."""
    return {
        node.name: names.index("remedy")
        for module in nodes().values()
        for node in module
        if isinstance(node, Functions) and node.name != "__init__"
        if "remedy" in (names := [one.arg for one in (*node.args.args, *node.args.kwonlyargs)])
    }


def said(node: ast.AST, module: str, scope: ast.AST) -> list[str]:
    """What an expression may say, each way that it may go."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(p.value if isinstance(p, ast.Constant) else "…" for p in parts)]
        case ast.IfExp(body=one, orelse=other):
            return said(one, module, scope) + said(other, module, scope)
        case ast.BoolOp(values=ways):
            return [text for way in ways for text in said(way, module, scope)]
        case ast.BinOp(left=left, right=right, op=ast.Add()):
            return [a + b for a in said(left, module, scope) for b in said(right, module, scope)]
        case ast.Attribute(attr="remedy") | ast.Subscript(slice=ast.Constant(value="remedy")):
            return []
        case ast.Name(id=name):
            return said_by_name(name, module, scope)
        case ast.Call(func=ast.Name(id=name)):
            return said_by_function(name, node, module, scope) or ["…"]
        case ast.Call(func=ast.Attribute(value=text, attr="strip")):
            return said(text, module, scope)
        case ast.Subscript(value=ast.Name(id=name)):
            return said_by_name(name, module, scope)
        case ast.Dict(values=values):
            return [text for value in values for text in said(value, module, scope)]
    return ["…"]


def said_by_name(name: str, module: str, scope: ast.AST) -> list[str]:
    """What a name stands for: what its function or module, or the module it is from, sets it to."""
    if isinstance(scope, Functions) and name in [one.arg for one in scope.args.args]:
        return []  # whoever calls the function says it
    for place in (scope, trees()[module]):
        if given := assigned(name, place):
            return [text for value in given for text in said(value, module, place)]
    origin = imported(name, module)
    return said_by_name(name, origin, trees()[origin]) if origin else ["…"]


def assigned(name: str, place: ast.AST) -> list[ast.expr]:
    """Every value that a name gets, by `=` or from a loop over what is written there."""
    found: list[ast.expr] = []
    for node in place.body if isinstance(place, ast.Module) else ast.walk(place):
        match node:
            case ast.Assign(targets=[ast.Name(id=one)], value=value) if one == name:
                found.append(value)
            case ast.AnnAssign(target=ast.Name(id=one), value=ast.expr() as value) if one == name:
                found.append(value)
            case ast.NamedExpr(target=ast.Name(id=one), value=value) if one == name:
                found.append(value)
            case ast.For(target=ast.Tuple(elts=names), iter=ast.Tuple(elts=rows)):
                places = [n for n, one in enumerate(names) if getattr(one, "id", "") == name]
                found += [row.elts[n] for row in rows for n in places if isinstance(row, ast.Tuple)]
    return found


def said_by_function(name: str, call: ast.Call, module: str, scope: ast.AST) -> list[str]:
    """What a function of the library returns, each way that it may go, or what it was given."""
    home = module
    own = [node for node in trees()[home].body if getattr(node, "name", "") == name]
    if not own and (home := imported(name, module)):
        own = [node for node in trees()[home].body if getattr(node, "name", "") == name]
    if not own or not isinstance(own[0], Functions):
        return []
    texts = []
    for node in ast.walk(own[0]):
        if isinstance(node, ast.Return) and node.value:
            texts += said(node.value, home, own[0])
            texts += [
                text
                for one in handed_on(node.value, own[0], call)
                for text in said(one, module, scope)
            ]
    # Where one way is not known, the others are not known apart from it.
    return ["…"] if "…" in texts else texts


def handed_on(node: ast.AST, function: Functions, call: ast.Call) -> list[ast.expr]:
    """Arguments of a call that its function gives back as they are."""
    ways = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
    names = [one.arg for one in function.args.args]
    places = [names.index(one.id) for one in ways if isinstance(one, ast.Name) and one.id in names]
    return [call.args[place] for place in places if place < len(call.args)]


def imported(name: str, module: str) -> str:
    """The module of ours that a name is imported from."""
    for node in nodes()[module]:
        if isinstance(node, ast.ImportFrom) and any(one.name == name for one in node.names):
            path = (node.module or "").removeprefix("contrasift").strip(".").replace(".", "/")
            return next((m for m in (f"{path}.py", f"{path}/__init__.py") if m in trees()), "")
    return ""


@contextmanager
def recorded() -> Iterator[dict[int, tuple[str, int]]]:
    """Where every error that comes up meanwhile was made, by the error's `id`."""
    places: dict[int, tuple[str, int]] = {}
    made = ContrasiftError.__init__

    def record(error: ContrasiftError, *args: Any, **named: Any) -> None:
        made(error, *args, **named)
        places[id(error)] = place_of(sys._getframe(1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContrasiftError, "__init__", record)
        yield places


def place_of(frame: Any) -> tuple[str, int]:
    """Module and line of the library that a frame is at; of whoever called a function that is given one."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and frame.f_code.co_name not in given_remedies():
            return path.relative_to(ROOT).as_posix(), frame.f_lineno
        frame = frame.f_back
    return "", 0


def remedy_of(error: ContrasiftError, place: tuple[str, int]) -> Remedy | None:
    """The remedy that an error has: of those at its place the one that says most of its advice.

    A bound that an option declares is checked elsewhere: its remedy stands beside the option.
    """
    module, _ = place
    declared = module == "options/declaring.py"
    fit = [
        one
        for one in remedies()
        if (one.module.startswith("options/") if declared else (one.module, one.line) == place)
        and one.is_said_by(error.remedy)
    ]
    return max(fit, key=lambda one: len(one.text.replace("…", "")), default=None)
