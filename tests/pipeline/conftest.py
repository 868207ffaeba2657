from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

TINY = [
    "--limit", "120", "--image-size", "16", "--epochs", "2", "--proxy-epochs", "1", "--views", "2",
    "--batch-size", "24", "--restarts", "1", "--fraction", "0.3",
]  # fmt: skip


@pytest.fixture
def contrasift() -> Callable[..., Result]:
    """Run the command line in this process; the result holds its output and exit code."""
    from contrasift.cli import app

    def run(*arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exit_code != code:
            raise AssertionError(f"exit {result.exit_code}: {result.output}") from result.exception
        return result

    return run


@pytest.fixture
def tiny_run(contrasift) -> Callable[..., Result]:
    """`contrasift run` on a few digits."""

    def run(out: str | Path, *more: object, **options: int) -> Result:
        return contrasift("run", "digits", *TINY, "--seeds", 1, "--out", out, *more, **options)

    return run
