"""A run in progress: the folder, the options, the pool, and how a stage is done once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.engines.cluster import Cluster
from contrasift.errors import RunFolderError
from contrasift.narration import Narrator
from contrasift.options import RunOptions
from contrasift.pipeline.pool_of_run import check_pool, find_pool
from contrasift.pools import Pool, scan_pool
from contrasift.store.atomic import write_text
from contrasift.store.provenance import makers, other_versions
from contrasift.store.run import RunFolder, StageRecord


@dataclass
class Run:
    """What every stage needs.

    Attributes:
        folder: where results go.
        options: of all stages.
        narrator: tells the user.
        device: where networks run: `auto`, `cpu`, `cuda`, ...
        update: whether stages finished under other options may be done again in place.
        connect: reaches the cluster that stages run on; None: they run in this process.
        stage_seconds: spent in stages by this process, work before an interruption not counted.
        side_by_side: in how many parts the machine is shared while this process does its stages.
    """

    folder: RunFolder
    options: RunOptions
    narrator: Narrator
    device: str = "auto"
    update: bool = False
    connect: Callable[[], Cluster] | None = None
    stage_seconds: float = field(default=0.0, init=False)
    side_by_side: int = field(default=1, init=False)
    _told: set[str] = field(default_factory=set, init=False, repr=False)

    @cached_property
    def cluster(self) -> Cluster | None:
        """The cluster, reached when a stage first needs it; None for this process."""
        return None if self.connect is None else self.connect()

    @cached_property
    def pool(self) -> Pool:
        """The images that the run was made from, opened when a stage first needs them.

        Raises:
            RunFolderError: others lie there by now.
        """
        pool = self.found_pool
        if "scan" in self.folder.records():
            check_pool(self.folder, pool, self.narrator.say)
        return pool

    @cached_property
    def found_pool(self) -> Pool:
        """What lies where the pool should be, which `scan` compares."""
        return find_pool(self.folder, self.options.pool)

    @cached_property
    def test_positions(self) -> np.ndarray:
        """The held-out images that can be read."""
        held_out = self.pool.test
        return np.empty(0, np.int64) if held_out is None else scan_pool(held_out).positions

    def record(self, stage: str) -> StageRecord:
        """What is known of a finished stage.

        Raises:
            RunFolderError: it is not finished; names the command to run.
        """
        records = self.folder.records()
        record = records.get(stage)
        now = records["scan"].fingerprint if "scan" in records else ""
        if record is not None and record.facts.get("scan", now) != now:
            raise RunFolderError(
                f"stage `{stage}` of {self.folder.path} to be of the pool as it is now",
                "one of the pool as it was before",
                f"Do it again: {self.folder.command_of(stage)} --update",
            )
        if record is None:
            raise RunFolderError(
                f"stage `{stage}` of {self.folder.path} to be finished",
                "a run without it",
                f"Do it first: {self.folder.command_of(stage)}",
            )
        self._tell_versions(stage, record.facts.get("versions", {}))
        return record

    def _tell_versions(self, stage: str, then: Mapping[str, str]) -> None:
        """Say once which packages have other versions than when a stage was made.

        That stops nothing: results of neighbouring versions are mostly the same. But an encoder's
        default weights, or the order of a data set, may be other ones.
        """
        changed = other_versions(then, makers(stage))
        if changed and stage not in self._told:
            self._told.add(stage)
            self.narrator.say(
                f"  note: stage `{stage}` was made with other versions: {'; '.join(changed)}. It is "
                "taken as it is; another --out makes it anew"
            )

    def training_folder(self, name: str, fingerprint: str) -> Path:
        """Where a training lives; under `update`, what another training left there is removed."""
        folder = self.folder.path / "training" / name
        owner = folder / "stage.txt"
        theirs = owner.read_text(encoding="utf-8") if owner.exists() else fingerprint
        if theirs != fingerprint and self.update:
            shutil.rmtree(folder)
        if not owner.exists():
            write_text(owner, fingerprint)
        return folder

    def do(
        self,
        stage: str,
        fingerprint: str,
        files: Iterable[str],
        work: Callable[[], Mapping[str, Any]],
    ) -> StageRecord:
        """Do a stage unless it is finished under this fingerprint.

        `work` writes the files and returns facts; a fact named `seconds` replaces the wall time
        (work that was resumed knows better how long it took in all).
        """
        if self.folder.is_finished(stage, fingerprint):
            record = self.folder.records()[stage]
            self.narrator.say(f"{stage:<28} finished before, skipped")
            self._tell_versions(stage, record.facts.get("versions", {}))
            return record
        self.folder.refuse_other(stage, fingerprint, update=self.update)
        # Versions decide nothing about what is done again: they are no part of a fingerprint.
        versions = self.folder.begin(stage, fingerprint, makers(stage))
        self._tell_versions(stage, versions)
        begun = time.perf_counter()
        with self.narrator.working(stage):
            facts = {**work(), "versions": versions}
        wall = time.perf_counter() - begun
        self.stage_seconds += wall
        seconds = float(facts.pop("seconds", wall))
        if stage != "scan" and "scan" in self.folder.records():
            facts["scan"] = self.folder.records()["scan"].fingerprint
        if self.side_by_side > 1:
            facts["side_by_side"] = self.side_by_side
        record = self.folder.finish(stage, fingerprint, seconds, files, **facts)
        self.tell_finished(stage, record)
        return record

    def tell_finished(self, stage: str, record: StageRecord) -> None:
        """Say what a stage took and found."""
        note = f"  {record.facts['note']}" if "note" in record.facts else ""
        self.narrator.say(f"{stage:<28} {record.seconds:8.1f} s{note}")
