"""What holds for every module: no circle of imports, no public name without annotations.

And for every test: an error that is expected is expected in words.
"""

from __future__ import annotations

import ast
import importlib.util
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "src" / "contrasift").rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(module: str, tree: ast.Module, package: bool, modules: set[str]) -> set[str]:
    """The modules that one imports anywhere: on top, in a function, under TYPE_CHECKING."""
    here = module if package else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, here)
            names = {f"{base}.{name.name}" for name in node.names}
            found |= {name if name in modules else base for name in names}
    return (found & modules) - {module}


def circle(imports: dict[str, set[str]]) -> list[str]:
    """One circle, its first module last too; empty if there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_circle_of_imports():
    imports = {
        name: imported(name, tree_of(path), path.name == "__init__.py", set(MODULES))
        for name, path in MODULES.items()
    }
    assert sum(map(len, imports.values())) > 300  # they were found at all
    assert circle(imports) == []


@pytest.mark.parametrize(
    "text",
    [
        "import a.two",
        "from a import two",
        "from . import two",
        "from .two import x",
        "def f():\n    from a.two import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.two import X",
    ],
)
def test_a_circle_is_found_wherever_it_hides(text):
    modules = {"a", "a.one", "a.two"}
    imports = {
        "a.one": imported("a.one", ast.parse(text), False, modules),
        "a.two": imported("a.two", ast.parse("import a.one"), False, modules),
    }
    assert set(circle(imports)) == {"a.one", "a.two"}


def unannotated(body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    """Public functions and methods that leave an argument or their result without a type."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from unannotated(node.body, f"{owner}{node.name}.")
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name[0] == "_":
            continue
        decorators = {ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list}
        if any("compiled" in name for name in decorators):  # numba finds its kernels' types itself
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if owner and "staticmethod" not in decorators:
            arguments = arguments[1:]
        if node.returns is None or any(one.annotation is None for one in arguments):
            yield owner + node.name


@pytest.mark.parametrize("path", SOURCES, ids=[*MODULES])
def test_public_names_have_annotations(path):
    assert list(unannotated(tree_of(path).body)) == []


def test_a_missing_annotation_is_found():
    text = "class A:\n    def f(self, x) -> int: ...\n    def g(self, x: int): ...\ndef h(x): ..."
    assert list(unannotated(ast.parse(text).body)) == ["A.f", "A.g", "h"]


def test_errors_are_expected_in_words():
    vague = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        tree = tree_of(path)
        # What is kept under a name has its words looked at afterwards.
        named = {
            id(item.context_expr)
            for node in ast.walk(tree)
            if isinstance(node, ast.With)
            for item in node.items
            if item.optional_vars is not None
        }
        vague += [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and getattr(node.func, "attr", "") == "raises"
            and "match" not in {keyword.arg for keyword in node.keywords}
            and ast.unparse(node.args[0]) != "KeyboardInterrupt"  # Ctrl-C has no words
            and id(node) not in named
        ]
    assert vague == []


# One idea in two packages that may not import each other would stand here, with its reason.
SHARED_NAMES: set[str] = set()


def names_of_classes(trees: Iterable[ast.Module]) -> Counter[str]:
    """How often every name is given to a class."""
    return Counter(
        node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )


def test_no_two_classes_share_a_name():
    beside = sorted((ROOT / "reproduce").rglob("*.py"))  # not in a source archive
    counts = names_of_classes(map(tree_of, [*SOURCES, *beside]))
    assert {name for name, count in counts.items() if count > 1} == SHARED_NAMES


def test_a_repeated_class_is_found():
    trees = map(ast.parse, ["class A: ...\nclass B: ...", "def f():\n    class A: ..."])
    assert names_of_classes(trees) == {"A": 2, "B": 1}
