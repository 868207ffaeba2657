"""What the tests of remedies share: how a case is named and followed, and what cases are made of."""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from contrasift.cli import app
from contrasift.cli import faults as cli_faults
from contrasift.cli.flags import as_flags
from contrasift.errors import ContrasiftError
from remedies.catalogue import Remedy, recorded, remedy_of

# What goes wrong, words of the advice, what works once it is followed.
Case = tuple[Callable[[], Any], str, Callable[[], Any]]


def cases_by_name(*modules: ModuleType) -> dict[str, Case]:
    """Cases of all modules and kinds, each under its module, kind and name."""
    return {
        f"{module.__name__.rpartition('.')[2]}: {kind}: {name}": case
        for module in modules
        for kind, cases in module.CASES.items()
        for name, case in cases.items()
    }


def follow(case: Case) -> Remedy | None:
    """A case stops with its words among the advice; what follows the advice works."""
    wrong, words, right = case
    with recorded() as places, pytest.raises(ContrasiftError) as caught:
        wrong()
    error = caught.value
    assert error.remedy, str(error)
    assert words in error.remedy or words in getattr(error, "by_flags", ""), str(error)
    right()
    return remedy_of(error, places.get(id(error), ("", 0)))


def call(command: str) -> None:
    """Do a command of the command line; what it stops with is raised, as of a function."""
    errors: list[ContrasiftError] = []

    def show(error: ContrasiftError) -> None:
        error.by_flags = as_flags(error.remedy)  # type: ignore[attr-defined]
        errors.append(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_faults, "show_error", show)
        patch.setattr("shutil.get_terminal_size", lambda *_: os.terminal_size((400, 50)))
        done = CliRunner().invoke(app, shlex.split(command), terminal_width=400)
    if errors:
        assert done.exit_code == errors[0].exit_code
        raise errors[0]
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output


def steps(*of: str | Callable[[], Any]) -> Callable[[], None]:
    """Commands, and what is done between them, one after the other."""

    def do() -> None:
        for step in of:
            call(step) if isinstance(step, str) else step()

    return do


def rows(n: int = 12, d: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, d))


def images(n: int = 12) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (n, 8, 8)).astype(np.uint8)


def picture() -> bytes:
    found = io.BytesIO()
    Image.fromarray(images(1)[0]).save(found, "PNG")
    return found.getvalue()


def pictures(folder: str, n: int = 2) -> str:
    for number in range(n):
        written(picture(), f"{folder}/{number}.png")
    return folder


def written(data: bytes | str, name: str = "f.txt") -> Path:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(data.encode() if isinstance(data, str) else data)
    return Path(name)


def saved(value: Any, name: str = "z.npy") -> Path:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    np.save(name, value)
    return Path(name)


def table(name: str = "t.parquet", **columns: Any) -> Path:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), name)
    return Path(name)
