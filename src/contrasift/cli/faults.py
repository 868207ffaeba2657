"""Faults of the machine, told like mistakes: what failed, where, and what to do."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import typer

from contrasift.cli.console import show_error
from contrasift.cli.flags import RUNNING
from contrasift.errors import ContrasiftError, missing_extra
from contrasift.store.faults import REMEDIES


def explain(error: OSError) -> ContrasiftError | None:
    """A fault of storage or memory in words; None for anything else, which may be our mistake."""
    remedy = REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    where = f": {error.filename}" if error.filename else ""
    return ContrasiftError(
        "files that can be read and written",
        f"{error.strerror or error}{where}",
        f"{remedy}, then repeat the command: it goes on from what is finished",
    )


@contextlib.contextmanager
def explained(context: Any) -> Iterator[None]:
    """Turn our errors, faults of the machine and Ctrl-C into one message and an exit code.

    Messages are in terms of the flags of the program that is running.

    Args:
        context: of the whole program.

    Raises:
        typer.Exit: with the error's own code; 130 after Ctrl-C.
    """
    speaking = RUNNING.set(context)
    try:
        yield
    except ContrasiftError as error:
        show_error(error)
        raise typer.Exit(error.exit_code) from None
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        show_error(missing)
        raise typer.Exit(missing.exit_code) from None
    except OSError as error:
        fault = explain(error)
        if fault is None:
            raise
        show_error(fault)
        raise typer.Exit(fault.exit_code) from None
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        RUNNING.reset(speaking)
