"""What an error advises exists, and works (the kind of fault 13)."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import contrasift as cs
from contrasift.cli import app
from contrasift.errors import ContrasiftError

SOURCES = sorted((Path(__file__).parents[1] / "src" / "contrasift").rglob("*.py"))
ERRORS = {"UsageError", "DataError", "RunFolderError", "ContrasiftError", "require"}
# Arguments of other packages, and what stands for a name.
FOREIGN = {"row_group_size", "dtype", "streaming", "NAME", "resnet50", "b", "K", "labels"}


@cache
def trees() -> list[tuple[str, list[ast.AST]]]:
    """Every module's name and all of its syntax."""
    return [
        (path.name, list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))) for path in SOURCES
    ]


@cache
def remedies() -> list[tuple[str, str]]:
    """Where every remedy stands, and its text; what is filled in is `…`."""
    found = []
    for module, nodes in trees():
        for node in nodes:
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            place = 3 if name == "require" else 2
            if name in ERRORS and len(node.args) > place:
                found += [(f"{module}:{node.lineno}", text) for text in texts(node.args[place])]
    return found


def texts(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        return ["".join(map(str, parts))]
    if isinstance(node, ast.IfExp):
        return texts(node.body) + texts(node.orelse)
    return []


@cache
def commands() -> dict[str, Any]:
    return get_command(app).loaded()  # type: ignore[attr-defined]


def names_of_arguments() -> set[str]:
    """Every parameter of every function and field of every class of the library."""
    known = set()
    for _, nodes in trees():
        for node in nodes:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                given = [*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs]
                known |= {argument.arg for argument in given}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                known.add(node.target.id)
    return known


def test_there_are_remedies():
    assert len(remedies()) > 200


def test_every_flag_that_is_advised_exists():
    flags = {flag for part in commands().values() for option in part.params for flag in option.opts}
    for where, text in remedies():
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text):
            assert flag in flags or "ray start" in text or flag == "--help", (where, text)


def test_every_command_that_is_advised_exists():
    for where, text in remedies():
        for name in re.findall(r"`?contrasift ([a-z][a-z-]+)", text):
            assert name in commands(), (where, text)


def test_every_argument_that_is_advised_exists():
    known = names_of_arguments() | FOREIGN
    for where, text in remedies():
        for name in re.findall(r"(?<![\w-])([A-Za-z_]\w*)=(?!=)", text):
            assert name in known, (where, text)


def rows(n: int = 12, d: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, d))


def broken(value: float) -> np.ndarray:
    values = rows()
    values[[2, 5]] = value
    return values


SCORES = np.where(np.arange(12) == 4, np.nan, np.arange(12.0))
HALF = {"fraction": 0.5}
# What fails, words of its remedy, and the call that does as it says.
CARRIED_OUT: dict[str, tuple[Any, str, Any]] = {
    "NaN dropped": (
        lambda: cs.select(broken(np.nan), **HALF),
        "must_drop=",
        lambda: cs.select(broken(np.nan), **HALF, must_drop=[2, 5]),
    ),
    "zeros dropped": (
        lambda: cs.select(broken(0), **HALF),
        "must_drop=",
        lambda: cs.select(broken(0), **HALF, must_drop=[2, 5]),
    ),
    "zeros as they are": (
        lambda: cs.select(broken(0), **HALF),
        "normalize='none'",
        lambda: cs.select(broken(0), **HALF, normalize="none"),
    ),
    "zeros left out": (
        lambda: cs.select(broken(0), **HALF),
        "leave them out",
        lambda: cs.select(np.delete(broken(0), [2, 5], axis=0), **HALF),
    ),
    "scores dropped": (
        lambda: cs.select(rows(), **HALF, objective="scores", scores=SCORES),
        "must_drop=",
        lambda: cs.select(rows(), **HALF, objective="scores", scores=SCORES, must_drop=[4]),
    ),
    "classes as points": (
        lambda: cs.latent_classes(broken(0), method="kmeans", n_classes=2, whiten=0),
        "metric='euclidean'",
        lambda: cs.latent_classes(
            broken(0), method="kmeans", n_classes=2, whiten=0, metric="euclidean"
        ),
    ),
    "labels to kmeans": (
        lambda: cs.latent_classes(rows(), method="labels"),
        "`kmeans`",
        lambda: cs.latent_classes(rows(), method="kmeans", n_classes=2),
    ),
    "known given": (
        lambda: cs.latent_classes(rows(), method="few-labels", label_share=0.5),
        "known=",
        lambda: cs.latent_classes(rows(), method="few-labels", known=[0, 1] * 3 + [-1] * 6),
    ),
    "redundancy lowered": (
        lambda: cs.select(rows(), fraction=0.9, optimizer="relaxed", redundancy=2.0),
        "redundancy=",
        lambda: cs.select(rows(), fraction=0.9, optimizer="relaxed"),
    ),
    "budget raised": (
        lambda: cs.select(rows(), [0, 1, 2] * 4, budget=2, min_per_class=1),
        "Raise the budget",
        lambda: cs.select(rows(), [0, 1, 2] * 4, budget=3, min_per_class=1),
    ),
    "names as text": (
        lambda: cs.select(rows(), [2**63, *range(11)], **HALF),
        "Save the names as text",
        lambda: cs.select(rows(), [str(name) for name in (2**63, *range(11))], **HALF),
    ),
    "blind": (
        lambda: cs.select(rows(), [0, 1] * 6, **HALF, objective="random", min_per_class=1),
        "random-per-class",
        lambda: cs.select(
            rows(), [0, 1] * 6, **HALF, objective="random-per-class", min_per_class=1
        ),
    ),
    "allocation": (
        lambda: cs.select(rows(), [0, 1] * 6, **HALF, allocate="global", min_per_class=1),
        "allocate='proportional'",
        lambda: cs.select(rows(), [0, 1] * 6, **HALF, allocate="proportional", min_per_class=1),
    ),
    "images as numbers": (
        lambda: cs.open_pool(np.full((4, 8, 8), 255.0)),
        "Divide by 255",
        lambda: cs.open_pool(np.full((4, 8, 8), 255.0) / 255),
    ),
}


@pytest.mark.parametrize("name", CARRIED_OUT)
def test_a_remedy_that_is_followed_works(name):
    wrong, words, right = CARRIED_OUT[name]
    with pytest.raises(ContrasiftError) as caught:
        wrong()
    assert words in caught.value.remedy
    right()


def say(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["select", "z.npy", "--out", "o", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture
def files():
    np.save("z.npy", rows())
    np.save("nan.npy", broken(np.nan))
    np.save("s.npy", SCORES)
    Path("drop.txt").write_text("4\n")
    pq.write_table(
        pa.table({"index": np.arange(12), "a": SCORES, "b": np.arange(12.0)}), "s.parquet"
    )
    Path("c.txt").write_bytes(("a\nb\n" * 6).encode("utf-16"))


BY_FLAG = {
    "a budget": ([], "--fraction 0.2", ["--fraction", 0.2]),
    "scores dropped": (
        ["--fraction", 0.5, "--objective", "scores", "--scores", "s.npy"],
        "--must-drop",
        [
            "--fraction",
            0.5,
            "--objective",
            "scores",
            "--scores",
            "s.npy",
            "--must-drop",
            "drop.txt",
        ],
    ),
    "a column": (
        ["--fraction", 0.5, "--objective", "scores", "--scores", "s.parquet"],
        "scores-column",
        [
            "--fraction",
            0.5,
            "--objective",
            "scores",
            "--scores",
            "s.parquet",
            "--scores-column",
            "b",
        ],
    ),
}


@pytest.mark.parametrize("name", BY_FLAG)
def test_a_remedy_by_flag_works(files, name):
    wrong, words, right = BY_FLAG[name]
    code, said = say(*wrong)
    assert code in (1, 2)
    assert words in said
    assert say(*right)[0] == 0


def test_another_place_or_an_update_works(files):
    assert say("--fraction", 0.5)[0] == 0
    code, said = say("--fraction", 0.25)
    assert code == 1
    assert "another --out" in said
    assert "--update" in said
    assert say("--fraction", 0.25, "--update")[0] == 0
    assert say("--fraction", 0.5, "--out", "other")[0] == 0


def test_a_text_is_saved_again(files):
    code, said = say("--fraction", 0.5, "--classes", "c.txt")
    assert code == 1
    assert "UTF-16" in said
    assert "Save it as UTF-8" in said
    Path("c.txt").write_text(Path("c.txt").read_text(encoding="utf-16"), encoding="utf-8")
    assert say("--fraction", 0.5, "--classes", "c.txt")[0] == 0
