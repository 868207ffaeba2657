"""Solving classes in this process: several at a time in threads, in memory that is known before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from contrasift.arrays import Columns, HeldColumns
from contrasift.narration import Progress
from contrasift.selection.gather import classwise, fits_in_place
from contrasift.selection.kernels.dots import available_threads
from contrasift.selection.memory import MemoryPlan, plan_memory
from contrasift.selection.plan import Plan, SelectionPool
from contrasift.selection.ranking import RankedRows
from contrasift.selection.solve import solve
from contrasift.selection.task import Outcome, Solved

Announce = Callable[[str], None]


@runtime_checkable
class Engine(Protocol):
    """Whatever solves the classes of a plan, each by `solve`, wherever that runs."""

    @property
    def columns(self) -> Columns:
        """Where arrays of one entry an example lie."""
        ...

    def solve_classes(
        self,
        plan: Plan,
        ranked: RankedRows,
        progress: Progress | None,
        announce: Announce | None,
    ) -> tuple[list[Outcome], dict[str, Any]]:
        """Fill in the rows of every class; what is known of each, and facts for `selection.json`."""
        ...


@dataclass(frozen=True)
class LocalEngine:
    """This process.

    Attributes:
        threads: None for all processors.
        memory_limit: bytes that the process should stay below.
    """

    threads: int | None = None
    memory_limit: int | None = None

    @property
    def columns(self) -> HeldColumns:
        """This process's memory."""
        return HeldColumns()

    def solve_classes(
        self,
        plan: Plan,
        ranked: RankedRows,
        progress: Progress | None,
        announce: Announce | None,
    ) -> tuple[list[Outcome], dict[str, Any]]:
        """Every class, several at a time where there are several.

        Raises:
            UsageError: a memory limit that is too small.
            DataError: rows that cannot be used.
        """
        pool, sizes = plan.pool, plan.partition.sizes
        rows = pool.values
        if not getattr(rows, "in_place", False):
            rows = np.asanyarray(rows)  # of a matrix that lies elsewhere, all of it
        in_place = sizes.size == 1 and fits_in_place(rows, scale=pool.scale, threads=self.threads)
        memory = plan_memory(rows, sizes, in_place=in_place, limit=self.memory_limit)
        if announce is not None:
            announce(_announcement(memory, pool))

        def work(code: int, values: np.ndarray, inner: int | None) -> Solved:
            return solve(values, plan.task(code), plan.options, inner)

        solved: list[Outcome] = []
        done = 0
        groups = classwise(
            rows,
            plan.partition,
            scale=pool.scale,
            in_place=memory.in_place,
            buffer_bytes=memory.buffer_bytes,
            threads=self.threads,
        )
        for group in groups:
            for part in _in_threads(work, group, self.threads):
                solved.append(ranked.put(len(solved), part))
                done += part.order.size
                if progress is not None:
                    progress(done, pool.n)
        return solved, {"memory_estimate_bytes": memory.total_bytes}


def _in_threads(
    work: Callable[[int, np.ndarray, int | None], Solved],
    group: list[tuple[int, np.ndarray]],
    threads: int | None,
) -> Iterator[Solved]:
    count = min(available_threads(threads), len(group))
    if count == 1:
        yield from (work(code, values, threads) for code, values in group)
        return
    with ThreadPoolExecutor(count) as workers:
        yield from workers.map(lambda item: work(item[0], item[1], 1), group)


def _announcement(plan: MemoryPlan, pool: SelectionPool) -> str:
    rows = (
        "rows are scaled to length one"
        if pool.scale
        else "rows are taken as they are (mean view embeddings)"
    )
    return f"about {plan.total_bytes / 2**20:,.0f} MiB of memory needed; {rows}"
