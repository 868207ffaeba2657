"""A matrix that a user has: opened, copied where it must be, without the rows that cannot be used."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from contrasift.errors import DataError, RunFolderError
from contrasift.matrices import LeftOut, Matrix, leave_out_bad, mapped_copy, open_embeddings
from contrasift.options import MatrixReading
from contrasift.store.run import RunFolder
from contrasift.store.tables import write_table

if TYPE_CHECKING:
    from contrasift.narration import Narrator

SKIPPED = "skipped.parquet"
_CACHE = "cache"


def opened(
    place: str, reading: MatrixReading, narrator: Narrator, *, remote_rows: bool = False
) -> Matrix:
    """The rows of a place, with what the user should know of it said.

    Args:
        place: whatever `open_embeddings` opens.
        reading: which column, which ids, which scale.
        narrator: who tells of it.
        remote_rows: leave a `.npy` object where it is.
    """
    with narrator.progress("copying", "bytes") as progress:
        matrix = open_embeddings(
            place,
            column=reading.column or None,
            id=reading.id or None,
            scale=reading.steps(),
            progress=progress,
            remote_rows=remote_rows,
        )
    for note in matrix.notes:
        narrator.say(note)
    return matrix


def usable(
    matrix: Matrix,
    out: Path,
    reading: MatrixReading,
    narrator: Narrator,
    *,
    zeros: bool,
    threads: int | None = None,
) -> tuple[Matrix, LeftOut | None]:
    """Rows that any class can be gathered from, without those that are to be left out.

    Args:
        matrix: as opened.
        out: where a copy may lie, and the list of what was left out.
        reading: whether unusable rows are left out.
        narrator: who tells of it.
        zeros: whether rows of zeros cannot be used.
        threads: for looking at the rows; None for all processors.
    """
    with narrator.progress("copying", "rows") as progress:
        matrix = mapped_copy(matrix, out / _CACHE, narrator.say, progress)
    if not reading.skip_bad:
        return matrix, None
    with narrator.progress("looking at rows", "rows") as progress:
        matrix, left_out = leave_out_bad(matrix, zeros=zeros, threads=threads, progress=progress)
    if left_out:
        narrator.say(
            f"{len(left_out):,} rows are left out, listed in {out / SKIPPED}; the first: "
            f"{left_out.reasons[0]} in {left_out.places[0]}"
        )
    return matrix, left_out


def write_left_out(out: Path, left_out: LeftOut | None) -> None:
    """List the rows that were left out; no list where there are none."""
    path = out / SKIPPED
    if not left_out:
        path.unlink(missing_ok=True)
        return
    columns = {"row": left_out.rows, "reason": left_out.reasons, "place": left_out.places}
    write_table(path, columns)


@contextlib.contextmanager
def rows_named(matrix: Matrix) -> Iterator[None]:
    """Say of a row that cannot be used which row of which file it is, and what it is called.

    Args:
        matrix: whose rows are looked at meanwhile, under their own numbers.
    """
    try:
        yield
    except DataError as error:
        found = re.search(r"the first of them row (\d+)$", error.got)
        if found is None:
            raise
        place = matrix.place(int(found[1]))
        got = f"{error.got[: found.start()]}the first of them {place}"
        raise DataError(error.expected, got, error.remedy) from error


@contextlib.contextmanager
def held(out: Path, narrator: Narrator) -> Iterator[None]:
    """Hold the folder against a second command; one that stays empty is taken away again."""
    new = not out.exists()
    try:
        with RunFolder(out).locked(narrator.say):
            yield
    finally:
        if new:
            with contextlib.suppress(OSError):  # it is not empty
                out.rmdir()


def what_is_there(out: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not out.exists() and out != out.parent:
        out = out.parent
    return out


def check_out(out: Path) -> None:
    """Say before the work, not after it, that the result could not be written.

    Raises:
        RunFolderError: a file, a folder that cannot be written, or that of a run.
    """
    place = out
    try:
        place = what_is_there(out)
        writable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    except OSError:  # a folder on the way may not even be looked into
        writable = False
    if not writable:
        what = "a file" if place.is_file() else "which cannot be written"
        raise RunFolderError("a folder for out=", f"{place}, {what}", "Choose another out=")
    if (out / "options.yaml").exists():
        raise RunFolderError(
            "a folder of its own for this selection",
            f"{out}, the folder of a run",
            "Choose another out=, or leave out= away to select within the run",
        )
