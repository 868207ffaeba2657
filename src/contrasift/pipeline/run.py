"""A run in progress: the folder, the options, the pool, and how a stage is done once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.engines.cluster import Cluster
from contrasift.errors import RunFolderError
from contrasift.narration import Narrator
from contrasift.options import PoolOptions, RunOptions
from contrasift.pools import Pool, open_pool, scan_pool
from contrasift.store.atomic import write_text
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
    """

    folder: RunFolder
    options: RunOptions
    narrator: Narrator
    device: str = "auto"
    update: bool = False
    connect: Callable[[], Cluster] | None = None

    @cached_property
    def cluster(self) -> Cluster | None:
        """The cluster, reached when a stage first needs it; None for this process."""
        return None if self.connect is None else self.connect()

    @cached_property
    def pool(self) -> Pool:
        """The images, opened when a stage first needs them."""
        return open_run_pool(self.options.pool)

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
        record = self.folder.records().get(stage)
        if record is None:
            command = {"scan": "embed", "proxy": "embed", "embed-classes": "embed"}.get(
                stage, stage
            )
            raise RunFolderError(
                f"stage `{stage}` of {self.folder.path} to be finished",
                "a run without it",
                f"Do it first: contrasift {command} {self.folder.path}",
            )
        return record

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
            return record
        self.folder.refuse_other(stage, fingerprint, update=self.update)
        self.narrator.say(f"{stage} ...")
        begun = time.perf_counter()
        facts = dict(work())
        seconds = float(facts.pop("seconds", time.perf_counter() - begun))
        record = self.folder.finish(stage, fingerprint, seconds, files, **facts)
        note = f"  {facts['note']}" if "note" in facts else ""
        self.narrator.say(f"{stage:<28} {seconds:8.1f} s{note}")
        return record


def open_run_pool(options: PoolOptions) -> Pool:
    """The pool that these options name."""
    return open_pool(**pool_arguments(options))


def pool_arguments(options: PoolOptions) -> dict[str, Any]:
    """The same as arguments of `open_pool`, for whoever opens it elsewhere."""
    return {
        "source": options.pool,
        "labels": options.labels,
        "limit": options.limit,
        "image_size": options.image_size,
        "holdout": options.holdout,
        "seed": options.seed,
    }
