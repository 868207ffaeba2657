"""A run folder: its options, which stages are finished under which fingerprint, and who holds it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from contrasift.catalogue import check_choice
from contrasift.errors import DataError, RunFolderError, UsageError
from contrasift.options import RunOptions
from contrasift.reading import read_text
from contrasift.store.atomic import (
    is_temporary,
    local_output,
    read_json,
    remove_abandoned,
    write_json,
    write_text,
)
from contrasift.store.lock import held

# The recipes that come with the package.
RECIPES = Path(__file__).resolve().parent.parent / "recipes"

_LOCK = "run.lock"
# Stages that were begun and are not finished, with the versions of what makes them.
_BEGUN = "begun.json"


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
        self.path: Path = local_output(path)

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

    def command_of(self, stage: str) -> str:
        """The command that does a stage, also of an extension."""
        if not self.options_path.exists():
            return f"contrasift extend RUN NEWPOOL --out {self.path}"
        kind, _, arm = stage.partition(" ")
        if kind in ("scan", "proxy", "embed", "embed-classes"):
            return f"contrasift embed {self.read_options().pool.pool} --out {self.path}"
        subset = f" --subset {re.sub('-seed[0-9]+$', '', arm)}" if kind == "train" and arm else ""
        return f"contrasift {kind} {self.path}{subset}"

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
                "Choose another out=, or pass update=True to do this stage again in place",
            )

    def begin(self, stage: str, fingerprint: str, versions: Mapping[str, str]) -> dict[str, str]:
        """Note what begins to make a stage, for whoever goes on if it is cut short.

        Args:
            stage: its name.
            fingerprint: of its options and inputs.
            versions: of the packages that make it.

        Returns:
            The versions under which it was first begun.
        """
        if earlier := self.first_versions(stage, fingerprint):
            return earlier
        begun = self._begun()
        begun[stage] = {"fingerprint": fingerprint, "versions": dict(versions)}
        write_json(self.path / _BEGUN, begun)
        return dict(versions)

    def first_versions(self, stage: str, fingerprint: str) -> dict[str, str]:
        """The versions under which a stage that is not finished was begun; none if it was not."""
        earlier = self._begun().get(stage, {})
        return earlier["versions"] if earlier.get("fingerprint") == fingerprint else {}

    def _begun(self) -> dict[str, Any]:
        path = self.path / _BEGUN
        return dict(read_json(path)) if path.exists() else {}

    def _forget_finished(self) -> None:
        """Take away notes of stages that ended, of a process killed before it could do so."""
        for stage, note in self._begun().items():
            if self.is_finished(stage, note["fingerprint"]):
                self._no_longer_begun(stage)

    def _no_longer_begun(self, stage: str) -> None:
        begun = self._begun()
        if begun.pop(stage, None) is None:
            return
        if begun:
            write_json(self.path / _BEGUN, begun)
        else:
            (self.path / _BEGUN).unlink()

    def finish(
        self, stage: str, fingerprint: str, seconds: float, files: Iterable[str], **facts: Any
    ) -> StageRecord:
        """Record a stage as done; call it only when its files are in place."""
        sizes = {name: _size(self.path / name) or 0 for name in files}
        record = StageRecord(fingerprint, seconds, sizes, facts)
        records = self.records() | {stage: record}
        write_json(self.path / "stages.json", {name: vars(item) for name, item in records.items()})
        self._no_longer_begun(stage)
        return record

    def forget(self, stage: str) -> None:
        """Take the record of a stage away: it is to be done anew."""
        records = {name: vars(item) for name, item in self.records().items() if name != stage}
        write_json(self.path / "stages.json", records)

    @property
    def holds_other_files(self) -> bool:
        """Whether there is anything but what a run that was killed at its very start leaves."""
        return self.path.exists() and any(not _is_leftover(path) for path in self.path.iterdir())

    @contextlib.contextmanager
    def locked(self, say: Callable[[str], None] | None = None) -> Iterator[None]:
        """Hold the folder against a second run at the same time; see `contrasift.store.lock`.

        What a killed process had begun to write is removed, and nothing of one that lives.

        Args:
            say: told that a stale lock was taken over, and whose.

        Raises:
            RunFolderError: another process holds it, or it cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(self.path / _LOCK, say))
                self._remove_leftovers()
                self._forget_finished()
            except OSError as error:
                raise RunFolderError(
                    f"a folder {self.path} that can be written",
                    error.strerror or str(error),
                    "Choose another out=",
                ) from error
            yield

    def _remove_leftovers(self) -> None:
        for folder, _, names in os.walk(self.path):
            remove_abandoned(
                (Path(folder, name) for name in names if is_temporary(name)), unknown=True
            )


def _is_leftover(path: Path) -> bool:
    return path.name == _LOCK or path.name.startswith(f".{_LOCK}.") or is_temporary(path.name)


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
    check_choice("recipe= (or a file)", str(name_or_file), tuple(known))
    return known[str(name_or_file)]


def read_recipe_mapping(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a recipe file as they are written."""
    try:
        recipe = yaml.safe_load(read_text(path, "a recipe"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"YAML in {path}", str(error).replace("\n", " ")) from error
    if not isinstance(recipe, dict):
        raise UsageError(f"sections like `pool:` in {path}", type(recipe).__name__)
    for name, section in recipe.items():
        if not isinstance(section, dict):
            raise UsageError(f"section {name} of {path} to hold options", type(section).__name__)
    return recipe
