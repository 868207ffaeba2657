"""The page on cells that were repeated, and what a table of several processors must say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reproduce.metrics.names import ACCURACIES
from reproduce.render.cell_table import CellTable
from reproduce.render.formatting import UNKNOWN, setting_text

_SHOWN = [name for name in ACCURACIES if "." not in name]


def repeats_section(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A row a cell: who made it then and now, and by how many points its accuracies moved."""
    yield from ("# Cells that were repeated", "")
    yield from (_answer(records), "")
    yield (
        "Finished cells were run once more from an empty work folder (`python -m reproduce NAME --only … "
        "--repeat`). The table has the new accuracy less the kept one, in points; 0.0 is equal to the "
        "last bit. Another processor rounds otherwise, and trainings that begin equal drift apart."
    )
    names = [ACCURACIES[name].name for name in _SHOWN]
    yield from ("", f"| cell | then | now | {' | '.join(names)} |")
    yield "|---|---|---|" + "---:|" * len(names)
    moved = [_moved(record) for record in records]
    for record, by_name in zip(records, moved, strict=True):
        cells = [f"`{record['experiment']}`: {_place(record)}"]
        cells += [_maker(record[side]) for side in ("before", "after")]
        cells += [_points(by_name.get(name)) for name in _SHOWN]
        yield f"| {' | '.join(cells)} |"
    known = {name: [one[name] for one in moved if name in one] for name in _SHOWN}
    spread = [
        f"{_root_mean_square(known[name]):.2f}" if known[name] else UNKNOWN for name in _SHOWN
    ]
    yield from (f"| *root mean square* | | | {' | '.join(spread)} |", "")


def processors_note(table: CellTable) -> str:
    """A sentence where the cells of a table were made on more than one kind of processor."""
    found = {
        record["made_with"]["processor"]
        for by_seed in table.records.values()
        for record in by_seed.values()
    }
    if len(found) < 2:
        return ""
    return (
        f"These cells were made on different processors ({', '.join(sorted(found))}), which round "
        "differently: runs of one seed begin alike and drift apart as in [repeats](repeats.md)."
    )


def _answer(records: Sequence[Mapping[str, Any]]) -> str:
    """How many have the same numbers, and who made the others."""
    same = sum(not any(_moved(record).values()) for record in records)
    processors = sum(
        record["before"]["made_with"]["processor"] != record["after"]["made_with"]["processor"]
        for record in records
    )
    return (
        f"Of {len(records)} repeated cells {same} have the same accuracies to the last bit; "
        f"{processors} were repeated on another processor."
    )


def change_text(record: Mapping[str, Any]) -> str:
    """One line: the cell, and by how many points its accuracies moved."""
    moved = ", ".join(
        f"{ACCURACIES[name].name} {_points(by)}" for name, by in _moved(record).items()
    )
    return f"{_place(record)}: {moved}"


def _place(record: Mapping[str, Any]) -> str:
    return f"{setting_text(record['setting'])}, {record['arm']}, seed {record['seed']}"


def _moved(record: Mapping[str, Any]) -> dict[str, float]:
    before, after = (record[side]["metrics"] for side in ("before", "after"))
    return {
        name: ACCURACIES[name].factor * (after[name] - before[name])
        for name in _SHOWN
        if name in before and name in after
    }


def _maker(side: Mapping[str, Any]) -> str:
    made = side["made_with"]
    return f"{made['commit']}, {made['processor']}"


def _points(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return "0.0" if value == 0 else f"{value:+.2f}"


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(sum(value**2 for value in values) / len(values))
