"""Finished cells run once more from nothing: how far do their numbers stay the same, here and now?"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from contrasift.errors import UsageError
from contrasift.narration import Narrator
from contrasift.store.provenance import made_with
from reproduce.artifacts import ArtifactCache
from reproduce.cell_store import CellStore, locked, read_lines, write_lines
from reproduce.declared.declaring import PlannedCell, place_name
from reproduce.runner import Session, run_cell

_FILE = "repeats.jsonl"  # beside the folder of cells
_WORK = "repeats"  # in the work folder


def finished(session: Session) -> list[PlannedCell]:
    """The cells of a session that are there to be repeated.

    Raises:
        UsageError: none is.
    """
    session.unfinished()  # looks for finished cells elsewhere as well
    found = [planned for planned in session.planned if session.have(planned)]
    if not found:
        raise UsageError(
            "finished cells to repeat",
            "none",
            f"Finish some first: python -m reproduce {session.experiment.name}",
        )
    return found


def repeat_cell(
    session: Session, planned: PlannedCell, work: Path, narrator: Narrator, device: str
) -> dict[str, Any]:
    """Run a finished cell in an empty work folder; the kept result stays as it is.

    A cell that was interrupted goes on where it was.

    Args:
        session: its results.
        planned: the cell.
        work: its folder `repeats` is worked in, and emptied afterwards.
        narrator: tells the user.
        device: where networks run.

    Returns:
        The numbers and their makers, `before` and `after`; kept in `repeats.jsonl` beside the cells.

    Raises:
        Busy: another process is repeating it.
    """
    place, folder = session.place(planned), work / _WORK / planned.cell.key
    kept = session.store.find(place)
    assert kept is not None
    artifacts = ArtifactCache(folder, narrator, device)
    with artifacts.holding("cells", planned.cell.key):
        measured = run_cell(planned.cell, artifacts)
        record = {
            **place,
            "before": {name: kept[name] for name in ("metrics", "made_with")},
            "after": {"metrics": measured["metrics"], "made_with": made_with(session.threads)},
        }
        path = repeats_path(session.store)
        with locked(session.store.folder):
            write_lines(path, {**read_repeats(path), place_name(place): record})
    shutil.rmtree(folder)
    return record


def repeats_path(store: CellStore) -> Path:
    """Where repeats are kept: beside the cells, which they leave as they are."""
    return store.folder.parent / _FILE


def read_repeats(path: Path) -> dict[str, dict[str, Any]]:
    """What `repeat_cell` has left in a file, by place.

    Raises:
        DataError: a line that is something else.
    """
    if not path.exists():
        return {}
    return read_lines(path, "a cell that was repeated", _is_repeat)


def _is_repeat(line: Any) -> bool:
    return isinstance(line, dict) and {"before", "after", "setting"} <= line.keys()
