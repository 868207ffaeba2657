"""Finished cells on disk: one JSONL an experiment, one line a cell, in a stable order.

A line holds where the cell stands (scale, phase, setting, arm, seed), its key, the options that are not
at their defaults, what was measured, and who made it. `shared.json` beside the files has what many lines
share: the defaults in force when a cell was made, and versions and processors. Reading a cell puts its
own defaults back in place, so that a default that has changed since is noticed (`Cell.agrees`).

A result that another place has as well is stored once: `same_as` names the line that has it.

Files are replaced as wholes, under one lock for the folder: a killed process leaves the file as it was
before or after, and two processes lose nothing of each other's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from contrasift.errors import DataError, RunFolderError
from contrasift.store.atomic import plain_value, read_json, write_json, write_text
from contrasift.store.lock import held
from reproduce.cell import current_defaults, nested_options
from reproduce.declared.declaring import PHASES, place_name

FOLDER = Path("reproduce/cells")
_SHARED, _LOCK = "shared.json", ".lock"
_PLACE = ("scale", "phase", "setting", "arm", "seed", "key")
_MEASURED = ("metrics", "facts", "parts")
_OF_A_CELL = ("commit", "finished")  # the rest of `made_with` is shared
_LOCK_SECONDS, _PAUSE_SECONDS = 60.0, 0.05

Record = dict[str, Any]


class CellStore:
    """The finished cells of a folder.

    A record has `experiment`, `scale`, `phase`, `setting`, `arm`, `seed`, `key`, `options` (all of them,
    by group), `metrics`, `facts`, `parts` and `made_with`.

    Attributes:
        folder: with one `NAME.jsonl` an experiment.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._read: dict[Path, tuple[tuple[int, ...], Any]] = {}

    def records(self) -> Iterator[Record]:
        """Every finished cell, by experiment and place.

        Raises:
            DataError: a line that is no cell.
        """
        for experiment in self.experiments():
            for line in self._lines(experiment).values():
                yield self._record(experiment, line)

    def experiments(self) -> list[str]:
        """Names of the experiments that have a file."""
        return sorted(path.stem for path in self.folder.glob("*.jsonl"))

    def count(self, experiment: str) -> int:
        """How many cells of an experiment are finished."""
        return len(self._lines(experiment))

    def find(self, place: Mapping[str, Any]) -> Record | None:
        """The cell at a place (`experiment`, `scale`, … and `key`); None if it is not finished."""
        line = self._lines(place["experiment"]).get(place_name(place))
        return None if line is None else self._record(place["experiment"], line)

    def keep(self, record: Mapping[str, Any]) -> None:
        """Store a finished cell, in place of what was there.

        Raises:
            RunFolderError: the folder cannot be written, or stays locked.
        """
        plain: Record = json.loads(json.dumps(record, default=plain_value))
        with locked(self.folder):
            experiment, name = plain["experiment"], place_name(plain)
            self._materialise([experiment, name])
            lines = dict(self._lines(experiment))
            twin = self._twin(plain, experiment, name)
            place = {key: plain[key] for key in _PLACE}
            lines[name] = place | ({"same_as": twin} if twin else self._body(plain))
            write_lines(self.path(experiment), lines)

    def _record(self, experiment: str, line: Mapping[str, Any]) -> Record:
        body = line
        if "same_as" in line:
            other, name = line["same_as"]
            body = self._lines(other).get(name, {})
            if "options" not in body:
                raise DataError(f"the cell {name} in {other}.jsonl", f"none, for {experiment}")
        shared = self._shared()
        options = shared["defaults"][body["defaults"]] | body["options"]
        made_with = {name: body[name] for name in _OF_A_CELL}
        return {
            "experiment": experiment,
            **{name: line[name] for name in _PLACE},
            "options": nested_options(options),
            **{name: body[name] for name in _MEASURED},
            "made_with": shared["makers"][body["maker"]] | made_with,
        }

    def _body(self, record: Record) -> Record:
        """All of a line but its place; what it shares is written first."""
        defaults = current_defaults()
        made_with = dict(record["made_with"])
        own = {name: made_with.pop(name) for name in _OF_A_CELL}
        given = {
            name: value
            for name, value in _flat(record["options"]).items()
            if name not in defaults or _text(value) != _text(defaults[name])
        }
        return {
            "defaults": self._share("defaults", defaults),
            "options": given,
            **{name: record[name] for name in _MEASURED},
            "maker": self._share("makers", made_with),
            **own,
        }

    def _twin(self, record: Record, experiment: str, name: str) -> list[str] | None:
        """Where else the same result stands in full."""
        for other in self.experiments():
            for place, line in self._lines(other).items():
                if line["key"] != record["key"] or "same_as" in line:
                    continue
                found = self._record(other, line)
                if (other, place) != (experiment, name) and _result(found) == _result(record):
                    return [other, place]
        return None

    def _materialise(self, place: list[str]) -> None:
        """Store in full what refers to a line that is about to be replaced."""
        if (line := self._lines(place[0]).get(place[1])) is None:
            return
        body = {name: value for name, value in line.items() if name not in _PLACE}
        for experiment in self.experiments():
            lines = dict(self._lines(experiment))
            referring = [name for name, one in lines.items() if one.get("same_as") == place]
            for name in referring:
                lines[name] = {part: lines[name][part] for part in _PLACE} | body
            if referring:
                write_lines(self.path(experiment), lines)

    def _share(self, kind: str, value: Mapping[str, Any]) -> str:
        """The name under which lines speak of a value in `shared.json`."""
        name = hashlib.sha256(_text(value).encode()).hexdigest()[:8]
        shared = self._shared()
        if name not in shared[kind]:
            known = {**shared[kind], name: value}
            write_json(self.folder / _SHARED, {**shared, kind: dict(sorted(known.items()))})
        return name

    def _shared(self) -> dict[str, dict[str, Any]]:
        return self._cached(self.folder / _SHARED, read_json) or {"defaults": {}, "makers": {}}

    def _lines(self, experiment: str) -> dict[str, Record]:
        """The lines of an experiment as they are stored, by the name of their place."""
        return self._cached(self.path(experiment), _read_cells) or {}

    def path(self, experiment: str) -> Path:
        """Of the cells of an experiment."""
        return self.folder / f"{experiment}.jsonl"

    def _cached(self, path: Path, read: Callable[[Path], Any]) -> Any:
        """What a file holds, read again if it was replaced; None where there is none."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        state = (found.st_ino, found.st_mtime_ns, found.st_size)
        if path not in self._read or self._read[path][0] != state:
            self._read[path] = state, read(path)
        return self._read[path][1]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder of results; whoever else holds it does so for a moment only.

    Raises:
        RunFolderError: it cannot be written, or stays locked.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _wait_for(stack, folder / _LOCK)
        except OSError as error:
            raise RunFolderError(
                f"a folder {folder} that can be written",
                error.strerror or str(error),
                "Choose another --cells",
            ) from error
        yield


def write_lines(path: Path, lines: Mapping[str, Record]) -> None:
    """One line a record, in the order of their names; the file is replaced as a whole."""
    write_text(path, "".join(f"{_text(line)}\n" for _, line in sorted(lines.items())))


def read_lines(path: Path, expected: str, is_one: Callable[[Any], bool]) -> dict[str, Record]:
    """The records of a file by the names of their places.

    Args:
        path: JSON, one record a line.
        expected: what a record is, in words.
        is_one: whether something is such a record.

    Raises:
        DataError: a line that is something else.
    """
    lines: dict[str, Record] = {}
    # Not `splitlines`: JSON leaves other ends of lines, such as U+2028, as they are.
    texts = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise DataError(f"JSON in line {number} of {path}", str(error)) from error
        if not is_one(line):
            raise DataError(expected, f"line {number} of {path}, which is something else")
        lines[place_name(line)] = line
    return lines


def _result(record: Record) -> Any:
    """What makes two records the same result; an option that one did not know is at its default."""
    options = current_defaults() | _flat(record["options"])
    return options, *(record[part] for part in (*_MEASURED, "made_with"))


def _flat(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        f"{group}.{name}": value
        for group, values in groups.items()
        for name, value in values.items()
    }


def _wait_for(stack: contextlib.ExitStack, lock: Path) -> None:
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            return stack.enter_context(held(lock))
        except RunFolderError:
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE_SECONDS)


def _read_cells(path: Path) -> dict[str, Record]:
    return read_lines(path, "a finished cell", _is_cell)


def _is_cell(line: Any) -> bool:
    known = isinstance(line, dict) and set(_PLACE) <= line.keys() and line["phase"] in PHASES
    return known and ("same_as" in line or {"options", "defaults", "maker"} <= line.keys())


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
