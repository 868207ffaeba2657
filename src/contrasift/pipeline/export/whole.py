"""Folders that are either whole or not there, and names in them that lead nowhere else."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from contrasift.errors import ContrasiftError, RunFolderError
from contrasift.pipeline.export.chosen import Say
from contrasift.store.lock import held

_LONGEST_PART = 255  # bytes, on nearly every file system
# Windows reads these in other ways; elsewhere they are letters like any other.
_WINDOWS = re.compile(r'[<>:"\\|?*\x00-\x1f]')


@contextlib.contextmanager
def whole_folder(out: Path, say: Say) -> Iterator[Path]:
    """Hand out an empty folder beside `out`; it is renamed to `out` when the block ends well.

    What an interrupted export left behind is removed by the next one to the same place, and two at
    the same time are refused.

    Raises:
        RunFolderError: `out` holds something already, or another export is writing it.
        ContrasiftError: it cannot be written, or the disk is full.
    """
    out = Path(os.path.abspath(out))
    part = out.with_name(f".{out.name}.contrasift-part")
    try:
        _refuse_folder(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with held(out.with_name(f".{out.name}.contrasift-lock"), say):
            if part.exists():
                say("an earlier export to this place was interrupted: beginning anew")
                shutil.rmtree(part)
            part.mkdir()
            try:
                yield part
                _flush()
                _refuse_folder(out)
                if out.exists():
                    out.rmdir()  # empty; Windows does not rename over it
                os.rename(part, out)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        if isinstance(error, ContrasiftError):
            raise
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        raise ContrasiftError(
            f"to write {out}", what or str(error), "Free space or choose another out="
        ) from error


def place(root: Path, names: Iterator[str], put: Callable[[Path], None]) -> str:
    """Make a file under the first name that is free, never over another file.

    Args:
        root: the folder that it must lie in.
        names: candidates, each made safe before it is used.
        put: makes the file at a path; raises FileExistsError if there is one already.

    Returns:
        The name, relative to `root`, with `/`.
    """
    for name in names:
        relative = safe_path(name)
        if relative is None:
            continue
        target = root / relative
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            put(target)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
        return relative.as_posix()
    raise AssertionError("the names never end")


def candidates(id: str, suffix: str, index: int) -> Iterator[str]:
    """Names for an image: its id with the suffix of its format, else its index."""
    yield id if id.lower().endswith(suffix.lower()) else id + suffix
    yield f"{index:09d}{suffix}"
    number = 2
    while True:
        yield f"{index:09d}-{number}{suffix}"
        number += 1


def safe_path(id: str) -> PurePosixPath | None:
    """A relative path that stays inside any folder; None if nothing is left of the id, or too much.

    Ids are names that somebody chose: `../../x`, `/etc/x`, `a//b`, `.hidden` are possible. Steps up
    and roots are dropped, and a leading dot becomes `_`, since hidden files are no images of a pool.
    """
    parts = []
    for part in id.split("/"):
        if os.name == "nt":
            part = _WINDOWS.sub("_", part).rstrip(" .")
        if part in ("", ".", ".."):
            continue
        part = part.replace("\0", "_")
        part = f"_{part[1:]}" if part.startswith(".") else part
        if len(os.fsencode(part)) > _LONGEST_PART:
            return None
        parts.append(part)
    return PurePosixPath(*parts) if parts and len(id) < 2_000 else None


def _refuse_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise RunFolderError("a new folder for out=", f"{out}, a file", "Choose another out=")
    if out.exists() and any(out.iterdir()):
        raise RunFolderError(
            "an empty or new folder for out=",
            f"{out}, which holds files",
            "Choose another out=, or delete it",
        )


def _flush() -> None:
    """Bring everything to the disk before the folder gets the name of a finished export."""
    if hasattr(os, "sync"):
        os.sync()


def refuse_file(out: Path) -> None:
    """Stop where something has the name of the export.

    Raises:
        RunFolderError: it does.
    """
    if out.exists():
        raise RunFolderError(
            "a new file for out=", f"{out}, which exists", "Choose another out=, or delete it"
        )
