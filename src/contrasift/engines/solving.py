"""Selection on Ray: a task a group of latent classes, results as shards, merged by their manifest.

A task opens the matrix itself, gathers the rows of its classes and solves them by the very kernels
of one process. The process that commands never reads a row: it knows classes, says where a task finds
its row numbers, and merges rankings, all in mapped files and block by block. Rows are numbered alike
everywhere, so the matrix must lie where every node sees it under the same path.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.arrays import Rows, column_blocks, forget_pages
from contrasift.engines.cluster import Cluster, check_versions, versions_here
from contrasift.engines.files import SharedMatrix, SharedRows, shared_matrix, shared_rows
from contrasift.engines.spread import SpreadRows
from contrasift.engines.tasks import in_tasks
from contrasift.errors import UsageError
from contrasift.narration import Progress
from contrasift.selection.copies import row_digests, solve_without_copies
from contrasift.selection.gather import gather
from contrasift.selection.local import Announce
from contrasift.selection.objectives.sas import solve_relaxed
from contrasift.selection.plan import Plan
from contrasift.selection.ranking import RankedRows
from contrasift.selection.solve import solve
from contrasift.selection.task import Outcome, SettledOptions, Task
from contrasift.store.columns import MappedColumns
from contrasift.store.shards import ShardFolder
from contrasift.store.solved_shards import read_solved, write_solved

# Small classes share a task until it has so many rows: some seconds of work. It does not depend on
# the cluster, so that one of another size can go on with the same shards.
TASK_ROWS = 65_536
# Larger classes are relaxed by passes over parts, so that no worker need hold them.
SPREAD_ROWS = 1 << 20
PART_ROWS = 1 << 18
# An interpreter with NumPy, numba and pyarrow, and two blocks of rows.
_WORKER_BYTES = 320 << 20
_BYTES_A_ROW = 150


@dataclass(frozen=True)
class Job:
    """What all tasks of a selection share.

    Attributes:
        matrix: the embeddings, where every node sees them.
        rows: row numbers of all classes, one after the other.
        scale: rows are brought to length one.
        options: how classes are solved.
        shards: where results go.
        versions: that the worker must have.
    """

    matrix: SharedMatrix
    rows: SharedRows
    scale: bool
    options: SettledOptions
    shards: ShardFolder
    versions: Mapping[str, str]


def solve_group(
    job: Job, shard: int, codes: Sequence[int], places: Sequence[SharedRows], tasks: Sequence[Task]
) -> tuple[int, float]:
    """Solve some classes and leave them as a shard.

    Args:
        job: what all tasks share.
        shard: number of the shard.
        codes: number of each class.
        places: where to read which rows each class has.
        tasks: what to choose from each.

    Returns:
        How many rows they have, and the processor's seconds.

    Raises:
        DataError: rows that cannot be used.
        ContrasiftError: this worker has other versions, or the folder cannot be written.
    """
    begun = time.process_time()
    check_versions(job.versions)
    values, rows = job.matrix.open(), [own.read() for own in places]
    solved = [
        solve(own, task, job.options, 1)
        for own, task in zip(_gathered(values, rows, job.scale), tasks, strict=True)
    ]
    write_solved(job.shards, shard, codes, rows, solved)
    return sum(own.size for own in rows), time.process_time() - begun


def _gathered(values: Rows, rows: Sequence[np.ndarray], scale: bool) -> Iterator[np.ndarray]:
    """The rows of each class, read in one pass from the first row to the last of them all."""
    if len(rows) == 1:
        yield gather(values, rows[0], scale=scale, threads=1)
        return
    every = np.concatenate(rows)
    ascending = np.argsort(every, kind="stable")
    place = np.empty(every.size, dtype=np.int64)
    place[ascending] = np.arange(every.size)
    read = gather(values, every[ascending], scale=scale, threads=1)
    ends = np.cumsum([own.size for own in rows])
    for own in np.split(place, ends[:-1]):
        yield read[own]


def digest_part(
    versions: Mapping[str, str], matrix: SharedMatrix, rows: slice, seed: int
) -> np.ndarray:
    """In a task: the digests of some rows.

    Raises:
        ContrasiftError: this worker has other versions.
    """
    check_versions(versions)
    return row_digests(matrix.open()[rows], seed, 1)


@dataclass(frozen=True)
class RayEngine:
    """Solves the classes of a selection on a cluster.

    Attributes:
        cluster: a connected one.
        folder: for shards, and for a matrix that is no file yet; every node must see it.
        task_rows: small classes share a task until it has so many rows.
        spread_rows: larger classes are relaxed by passes over their parts.
        part_rows: rows of such a part.
        task: what a task does (tests).
    """

    cluster: Cluster
    folder: Path
    task_rows: int = TASK_ROWS
    spread_rows: int = SPREAD_ROWS
    part_rows: int = PART_ROWS
    task: Callable[..., tuple[int, float]] = field(default=solve_group, repr=False)

    @property
    def columns(self) -> MappedColumns:
        """Mapped files: the process that commands holds nothing of the size of the pool."""
        return MappedColumns(Path(self.folder).resolve())

    @property
    def shards_path(self) -> Path:
        """Where shards lie while a selection is made."""
        return Path(self.folder).resolve() / "selection.shards"

    def solve_classes(
        self,
        plan: Plan,
        ranked: RankedRows,
        progress: Progress | None,
        announce: Announce | None,
    ) -> tuple[list[Outcome], dict[str, Any]]:
        """Every class of the partition; shards of an earlier attempt are taken over.

        Raises:
            UsageError: a class that fits no node.
            DataError: rows that cannot be used.
        """
        matrix = shared_matrix(plan.pool.values, self.shards_path)
        groups = self._groups(plan)
        work = ShardFolder(self.shards_path, _fingerprint(plan, matrix, groups))
        rows = shared_rows(plan.partition.rows, self.shards_path)
        job = Job(matrix, rows, plan.pool.scale, plan.options, work, versions_here())
        finished = work.finished(len(groups))
        if announce is not None:
            announce(self._announcement(plan, groups, finished))
        done = sum(_rows_of(plan, groups[shard]) for shard in finished)
        if progress is not None:
            progress(done, plan.pool.n)
        busy = 0.0
        for rows, seconds in self._do(plan, job, groups, finished):
            done += rows
            busy += seconds
            if progress is not None:
                progress(done, plan.pool.n)
        totals = plan.options.optimizer == "relaxed"  # its rule has the centroids
        solved: list[Outcome] = []
        for shard, codes in enumerate(groups):
            solved += read_solved(work, shard, codes, ranked, totals=totals)
        return solved, {
            "engine": "ray",
            "cpus": self.cluster.cpus,
            "tasks": len(groups),
            "tasks_finished_before": len(finished),
            "spread_classes": sum(self._is_spread(plan, codes) for codes in groups),
            "task_cpu_seconds": busy,
            "start_up_seconds": self.cluster.seconds,
            "memory_estimate_bytes": max(self._memory(plan, codes) for codes in groups),
        }

    def row_digests(self, values: Rows, seed: int) -> np.ndarray:
        """`copies.row_digests` in tasks that read the matrix by themselves: 16 bytes a row come back."""
        n = values.shape[0]
        matrix = shared_matrix(values, self.shards_path)
        starts = range(0, n, PART_ROWS)
        calls = (
            (start, (versions_here(), matrix, slice(start, min(start + PART_ROWS, n)), seed))
            for start in starts
        )
        digests = np.empty((n, 2), dtype=np.uint64)
        for start, part in in_tasks(digest_part, calls, cpus=self.cluster.cpus):
            digests[start : start + len(part)] = part
        return digests

    def remove_shards(self) -> None:
        """Remove what the finished selection was merged from."""
        shutil.rmtree(self.shards_path, ignore_errors=True)

    def _do(
        self, plan: Plan, job: Job, groups: list[list[int]], finished: set[int]
    ) -> Iterator[tuple[int, float]]:
        """What is not finished yet: tasks first, then the classes that no task holds."""
        spread = [shard for shard, codes in enumerate(groups) if self._is_spread(plan, codes)]
        in_one = [shard for shard in range(len(groups)) if shard not in finished | set(spread)]
        # The largest first, so that none is left for the end.
        in_one.sort(key=lambda shard: -_rows_of(plan, groups[shard]))
        for shard in in_one:
            self._check_memory(plan, groups[shard])
        ended = in_tasks(
            self.task,
            ((shard, self._call(plan, job, shard, groups[shard])) for shard in in_one),
            cpus=self.cluster.cpus,
            memory=lambda shard: _rounded(self._memory(plan, groups[shard])),
        )
        for _, result in ended:
            yield result
        for shard in spread:
            if shard not in finished:
                yield self._relax(plan, job, shard, groups[shard][0]), 0.0

    def _call(self, plan: Plan, job: Job, shard: int, codes: list[int]) -> tuple[Any, ...]:
        places = [_rows_in(plan, job, code) for code in codes]
        return job, shard, codes, places, [plan.task(code) for code in codes]

    def _relax(self, plan: Plan, job: Job, shard: int, code: int) -> int:
        rows = _rows_in(plan, job, code)
        passes = SpreadRows(
            job.matrix, rows, scale=job.scale, part_rows=self.part_rows, cpus=self.cluster.cpus
        )
        solved = solve_without_copies(
            plan.task(code), lambda task: solve_relaxed(passes, task, plan.options)
        )
        write_solved(job.shards, shard, [code], [plan.partition.of_class(code)], [solved])
        return rows.size

    def _groups(self, plan: Plan) -> list[list[int]]:
        """Classes in order, in groups of comparable size; each one to be spread alone."""
        groups: list[list[int]] = []
        room = 0
        for code, size in enumerate(plan.partition.sizes.tolist()):
            alone = self._is_spread(plan, [code])
            if alone or size > room:
                groups.append([])
                room = self.task_rows
            groups[-1].append(code)
            room = 0 if alone else room - size
        return groups

    def _is_spread(self, plan: Plan, codes: Sequence[int]) -> bool:
        """Whether this class is relaxed by passes over its parts."""
        options = plan.options
        relaxed = options.optimizer == "relaxed" and options.threshold is None and plan.aim is None
        large = len(codes) == 1 and int(plan.partition.sizes[codes[0]]) > self.spread_rows
        return relaxed and large and int(plan.places.places[codes[0]]) > 0

    def _memory(self, plan: Plan, codes: Sequence[int]) -> int:
        """Bytes that a task needs, at most."""
        sizes = [int(plan.partition.sizes[code]) for code in codes]
        rows = max(sizes) if len(sizes) == 1 else sum(sizes) + max(sizes)
        rows = self.part_rows if self._is_spread(plan, codes) else rows
        held = rows * 4 * plan.pool.values.shape[1]
        return _WORKER_BYTES + held + sum(sizes) * _BYTES_A_ROW

    def _check_memory(self, plan: Plan, codes: list[int]) -> None:
        needed = self._memory(plan, codes)
        if _rounded(needed) > self.cluster.memory:
            largest = max(codes, key=lambda code: int(plan.partition.sizes[code]))
            raise UsageError(
                f"latent classes that fit a node, which gives {self.cluster.memory / 2**30:.1f} GiB",
                f"class {plan.pool.names[largest]} of {plan.partition.sizes[largest]:,} examples, "
                f"which needs {needed / 2**30:.1f} GiB",
                "Use optimizer='relaxed', which needs no class to fit, or more classes",
            )

    def _announcement(self, plan: Plan, groups: list[list[int]], finished: set[int]) -> str:
        memory = max(self._memory(plan, codes) for codes in groups)
        text = (
            f"{len(groups):,} tasks of up to {max(_rows_of(plan, codes) for codes in groups):,} "
            f"rows, about {memory / 2**20:,.0f} MiB of memory each"
        )
        return text + (f"; {len(finished):,} finished before" if finished else "")


def _rounded(needed: int) -> int:
    """Up to one of a few sizes: to Ray, tasks of different needs are of different kinds."""
    return 1 << (needed - 1).bit_length()


def _rows_in(plan: Plan, job: Job, code: int) -> SharedRows:
    return job.rows.part(*plan.partition.starts[code : code + 2].tolist())


def _rows_of(plan: Plan, codes: Sequence[int]) -> int:
    return int(sum(plan.partition.sizes[code] for code in codes))


def _fingerprint(plan: Plan, matrix: SharedMatrix, groups: list[list[int]]) -> str:
    """Hash of all that decides what is in the shards."""
    known = plan.pool.description.get("sha256")
    text = json.dumps(
        [
            dataclasses.asdict(plan.options),
            plan.pool.scale,
            str(known or matrix.digest),
            list(plan.pool.values.shape),
            versions_here(),
            [codes[0] for codes in groups],
        ],
        sort_keys=True,
    )
    digest = hashlib.sha256(text.encode())
    limits, places = plan.limits, plan.places
    for array in (
        *(plan.partition.rows, plan.partition.starts, places.places),
        *(places.row_rank, limits.keep, limits.eligible, limits.later, plan.scores, plan.aim),
    ):
        if array is None:
            digest.update(b"-")
            continue
        for block in column_blocks(array.size):
            digest.update(array[block].tobytes())
            forget_pages(array)
    return digest.hexdigest()
