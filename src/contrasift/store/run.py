"""A run folder: its options, which stages are finished under which fingerprint, and who holds it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from contrasift.catalogue import check_choice
from contrasift.errors import DataError, RunFolderError, UsageError
from contrasift.options import RunOptions
from contrasift.store.atomic import read_json, write_json, write_text

# The recipes that come with the package.
RECIPES = Path(__file__).resolve().parent.parent / "recipes"


@dataclass(frozen=True)
class StageRecord:
    """A finished stage.

    Attributes:
        fingerprint: hash of the options and inputs that it depends on.
        seconds: what it took, over all interruptions.
        files: its outputs with their sizes in bytes.
        facts: small results worth keeping.
    """

    fingerprint: str
    seconds: float
    files: Mapping[str, int]
    facts: Mapping[str, Any] = field(default_factory=dict)


class RunFolder:
    """One run on disk. `options.yaml` says what was asked, `stages.json` what is done."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @classmethod
    def existing(cls, path: Path | str) -> RunFolder:
        """A folder that holds a run.

        Raises:
            RunFolderError: there is none.
        """
        folder = cls(path)
        if not folder.options_path.exists():
            raise RunFolderError(
                "a run folder",
                f"{path}, which holds no options.yaml",
                "Begin with `contrasift embed` or `contrasift run`",
            )
        return folder

    @property
    def options_path(self) -> Path:
        """Where the options are."""
        return self.path / "options.yaml"

    def read_options(self) -> RunOptions:
        """The options of the run so far."""
        return read_recipe(self.options_path)

    def write_options(self, options: RunOptions) -> None:
        """Keep the options, in their canonical text."""
        write_text(self.options_path, canonical_text(options))

    def records(self) -> dict[str, StageRecord]:
        """All finished stages by name."""
        path = self.path / "stages.json"
        if not path.exists():
            return {}
        return {name: StageRecord(**record) for name, record in read_json(path).items()}

    @property
    def matrix(self) -> str:
        """What holds the similarities, without its suffix: `embeddings`, or a round's of refinement."""
        classes = self.records().get("classes")
        return str(classes.facts.get("matrix", "embeddings")) if classes else "embeddings"

    def is_finished(self, stage: str, fingerprint: str) -> bool:
        """Whether the stage ended under this fingerprint and its files are still whole.

        A file that is missing or has another size makes the stage undone: it is made again.
        """
        record = self.records().get(stage)
        if record is None or record.fingerprint != fingerprint:
            return False
        return all(_size(self.path / name) == size for name, size in record.files.items())

    def refuse_other(self, stage: str, fingerprint: str, *, update: bool) -> None:
        """Stop before a finished stage would be overwritten under other options.

        Raises:
            RunFolderError: the stage is finished under another fingerprint and `update` is off.
        """
        record = self.records().get(stage)
        if record is not None and record.fingerprint != fingerprint and not update:
            raise RunFolderError(
                f"the options and data under which {self.path} finished its stage `{stage}`",
                "others",
                "Choose another --out, or pass --update to do this stage again in place",
            )

    def finish(
        self, stage: str, fingerprint: str, seconds: float, files: Iterable[str], **facts: Any
    ) -> StageRecord:
        """Record a stage as done; call it only when its files are in place."""
        sizes = {name: _size(self.path / name) or 0 for name in files}
        record = StageRecord(fingerprint, seconds, sizes, facts)
        records = self.records() | {stage: record}
        write_json(self.path / "stages.json", {name: vars(item) for name, item in records.items()})
        return record

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second run at the same time.

        Raises:
            RunFolderError: a living process holds it, or it cannot be written.
        """
        lock = self.path / "run.lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _take(lock)
        except OSError as error:
            raise RunFolderError(
                f"a folder {self.path} that can be written",
                error.strerror or str(error),
                "Choose another --out",
            ) from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _take(lock: Path) -> None:
    owner = json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": time.time()})
    for _ in range(2):
        try:
            with open(lock, "x", encoding="utf-8") as file:
                file.write(owner)
            return
        except FileExistsError:
            _remove_if_stale(lock)
    raise RunFolderError(f"to hold {lock.parent} alone", "another process that keeps taking it")


def _remove_if_stale(lock: Path) -> None:
    try:
        owner = json.loads(lock.read_text(encoding="utf-8"))
        process, host, since = int(owner["process"]), str(owner["host"]), float(owner["since"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        process, host, since = -1, socket.gethostname(), 0.0  # half-written by a killed process
    if host == socket.gethostname() and not _is_alive(process):
        lock.unlink(missing_ok=True)
        return
    minutes = (time.time() - since) / 60
    raise RunFolderError(
        f"to hold {lock.parent} alone",
        f"process {process} on {host}, which has held it for {minutes:.0f} min",
        f"Wait for it, choose another --out, or delete {lock} if that process is gone",
    )


def _is_alive(process: int) -> bool:
    if process <= 0 or process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def canonical_text(options: RunOptions) -> str:
    """The one way to write these options: YAML, every value named, in declared order."""
    return yaml.safe_dump(options.as_dict(), sort_keys=False, allow_unicode=True)


def read_recipe(path: Path) -> RunOptions:
    """Options from a recipe file, missing ones at their defaults.

    Raises:
        DataError: unreadable, or not YAML.
        UsageError: a section or option that does not exist.
    """
    return RunOptions.from_mapping(read_recipe_mapping(path))


def find_recipe(name_or_file: str | Path) -> Path:
    """A file, or one of the recipes that come with the package, by its name.

    Raises:
        UsageError: neither; lists the names.
    """
    path = Path(name_or_file)
    if path.is_file():
        return path
    known = {file.stem: file for file in sorted(RECIPES.glob("*.yaml"))}
    check_choice("--recipe (or a file)", str(name_or_file), tuple(known))
    return known[str(name_or_file)]


def read_recipe_mapping(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a recipe file as they are written."""
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"a recipe at {path}", str(error)) from error
    except yaml.YAMLError as error:
        raise DataError(f"YAML in {path}", str(error).replace("\n", " ")) from error
    if not isinstance(recipe, dict):
        raise UsageError(f"sections like `pool:` in {path}", type(recipe).__name__)
    for name, section in recipe.items():
        if not isinstance(section, dict):
            raise UsageError(f"section {name} of {path} to hold options", type(section).__name__)
    return recipe
