"""Files that stages of runs made: which command makes one again that is gone."""

from __future__ import annotations

from pathlib import Path

from contrasift.errors import RunFolderError
from contrasift.store.remote import exists
from contrasift.store.run import RunFolder


def made_again(path: Path) -> str:
    """How a file that a stage made is made again, as a remedy; empty if no stage made it."""
    for home in list(path.parents)[:3]:
        if (home / "stages.json").exists():
            name, folder = path.relative_to(home).as_posix(), RunFolder(home)
            made = (stage for stage, record in folder.records().items() if name in record.files)
            return next((f"Make it again: {folder.command_of(stage)}" for stage in made), "")
    return ""


def is_there(place: Path | str) -> bool:
    """Whether a file or an object is there that may be missing, unless a stage made it.

    Raises:
        RunFolderError: a stage made it, and it is gone.
        ContrasiftError: the storage does not answer.
    """
    there = exists(place)
    if not there and isinstance(place, Path) and (remedy := made_again(place)):
        raise RunFolderError(f"{place}, which this run has made", "no such file", remedy)
    return there
