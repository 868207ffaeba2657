"""`contrasift explore`: the run's map in Embedding Atlas."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from contrasift.cli.common import How, RunArgument
from contrasift.cli.console import print_json
from contrasift.cli.flags import with_options
from contrasift.errors import MissingExtraError

_PROGRAM = "embedding-atlas"


@with_options(how=["moved_to"])
def explore_command(
    folder: RunArgument,
    only_write: Annotated[
        bool,
        typer.Option(
            "--no-open", "--print", help="Write explore.parquet and print the command to open it."
        ),
    ] = False,
    side: Annotated[
        int, typer.Option("--side", help="Side of a thumbnail in pixels.", min=8, max=512)
    ] = 64,
    port: Annotated[
        int, typer.Option("--port", help="Where Embedding Atlas listens.", min=1, max=65535)
    ] = 5055,
    *,
    how: How,
) -> None:
    """Open the run's map in Embedding Atlas: zoom, search, and filter by class, rank or selection.

    Writes explore.parquet: one row for each point of the map, with its class, label, rank, choice
    and thumbnail. Embedding Atlas (extra `atlas`, or an installation of its own such as
    `pipx install embedding-atlas`) serves it on this machine alone until Ctrl-C. The file opens in
    pandas or DuckDB as well.

    Examples:
        contrasift explore runs/photos

        contrasift explore runs/photos --no-open
    """
    program = None if only_write or how.as_json else _program()  # before any work
    with how.run(folder) as run:
        from contrasift.pipeline.studies.explore import write_explore_table

        path, n = write_explore_table(run, side)
    arguments = [str(path), "--x", "x", "--y", "y", "--image", "image", "--port", str(port)]
    if how.as_json:
        print_json({"file": str(path), "points": n, "command": [_PROGRAM, *arguments]})
    elif program is None:
        print(shlex.join([_PROGRAM, *arguments]))
    else:
        with contextlib.suppress(KeyboardInterrupt):  # the way to end it
            raise typer.Exit(subprocess.run([program, *arguments], check=False).returncode)  # noqa: S603


def _program() -> str:
    """Embedding Atlas of this installation, or else any that the shell would find.

    Raises:
        MissingExtraError: there is none.
    """
    beside = str(Path(sys.executable).parent)
    program = shutil.which(_PROGRAM, path=beside) or shutil.which(_PROGRAM)
    if program is None:
        raise MissingExtraError(_PROGRAM, "atlas")
    return program
