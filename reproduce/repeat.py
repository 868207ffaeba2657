"""Finished cells made anew from nothing: how far do their numbers stay the same, here and now?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contrasift.errors import DataError, UsageError
from contrasift.narration import Narrator
from contrasift.store.atomic import read_json, write_json
from contrasift.store.provenance import made_with
from reproduce.artifacts import Workshop
from reproduce.declared.declaring import Planned
from reproduce.runner import Sitting, do_cell

FOLDER = "again"  # beside that of the results, and in the work folder


def finished(sitting: Sitting) -> list[Planned]:
    """The cells of a sitting that are there to be made again.

    Raises:
        UsageError: none is.
    """
    sitting.unfinished()  # looks for finished cells elsewhere as well
    found = [planned for planned in sitting.planned if sitting.have(planned)]
    if not found:
        raise UsageError(
            "finished cells to make again",
            "none",
            f"Finish some first: python -m reproduce {sitting.experiment.name}",
        )
    return found


def make_again(
    sitting: Sitting, planned: Planned, work: Path, narrator: Narrator, device: str
) -> Path:
    """Make a finished cell in an empty work folder; the kept result stays as it is.

    A cell that was interrupted goes on where it was.

    Args:
        sitting: its results.
        planned: the cell.
        work: its folder `again` is worked in, and emptied afterwards.
        narrator: tells the user.
        device: where networks run.

    Returns:
        A JSON in the folder `again` beside the results: the numbers and their makers, before and
        after.

    Raises:
        Busy: another process is making it again.
    """
    kept, folder = read_json(sitting.path(planned)), work / FOLDER / planned.cell.key
    workshop = Workshop(folder, narrator, device)
    with workshop.holding("cells", planned.cell.key):
        measured = do_cell(planned.cell, workshop)
        record = {
            **sitting.place(planned),
            "key": planned.cell.key,
            "before": {name: kept[name] for name in ("metrics", "made_with")},
            "after": {"metrics": measured["metrics"], "made_with": made_with(sitting.threads)},
        }
        path = sitting.results.parent / FOLDER / sitting.path(planned).name
        write_json(path, record)
    shutil.rmtree(folder)
    return path


def read_again(folder: Path) -> Iterator[dict[str, Any]]:
    """What `make_again` has left in a folder, in the order of the file names.

    Raises:
        DataError: a file that is something else.
    """
    for path in sorted(folder.glob("*.json")):
        record = read_json(path)
        if not {"before", "after", "setting"} <= record.keys():
            raise DataError("a cell that was made again", f"{path}, which is something else")
        yield record
