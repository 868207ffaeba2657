"""Solving classes in this process: several at a time in threads, in memory that is known before."""

from __future__ import annotations

import contextlib
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from contrasift.arrays import Columns, HeldColumns, Rows
from contrasift.errors import DegenerateObjectiveWarning
from contrasift.narration import Progress
from contrasift.selection.copies import solve_without_copies
from contrasift.selection.degenerate import why_nothing
from contrasift.selection.gather import classwise, sizes_in_place
from contrasift.selection.kernels.dots import available_threads
from contrasift.selection.memory import MemoryPlan, estimate_memory, plan_memory
from contrasift.selection.objectives.sas import below_random, solve_linear
from contrasift.selection.plan import Plan, SelectionPool
from contrasift.selection.ranking import RankedRows
from contrasift.selection.read_rows import ReadRows
from contrasift.selection.solve import solve
from contrasift.selection.task import Outcome, Solved
from contrasift.selection.watch import Watch

Announce = Callable[[str], None]
HELD_BYTES = 1 << 30  # a copy of rows that is larger is not made where passes over them do


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
        columns: where arrays of one entry an example lie; default: in memory.
        hurries: the first interrupt (Ctrl-C) ends exactness and no more: what greedy has ranked
            stays, and the rest is done quickly. The second ends the work.
    """

    threads: int | None = None
    memory_limit: int | None = None
    hurries: bool = False
    columns: Columns = field(default_factory=HeldColumns)

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
        known = None
        if sizes.size == 1:
            known = sizes_in_place(rows, scale=pool.scale, threads=self.threads)
        in_place = known is not None
        reads = not in_place and self._reads(plan, rows)
        memory = self._memory(rows, sizes, in_place=in_place or reads)
        # What differs may be equal once it is scaled, or a float32.
        distinct = plan.options.copies == "one" and (
            in_place or (not pool.scale and rows.dtype in (np.float16, np.float32))
        )
        if announce is not None:
            announce(_announcement(memory, pool))

        solved: list[Outcome] = []
        telling = _Telling(plan, progress, announce)

        def work(code: int, values: np.ndarray, inner: int | None) -> Solved:
            watch = telling.watch(code)
            task = replace(plan.task(code), watch=watch, distinct=distinct, sizes=known)
            return solve(values, task, plan.options, inner)

        if reads:
            read = self._relaxed(plan, rows, telling)
            if not below_random(read):
                telling.finished(0, pool.n)
                return [ranked.put(0, read)], {"memory_estimate_bytes": memory.total_bytes}
            memory = self._memory(rows, sizes, in_place=False)
        groups = classwise(
            rows,
            plan.partition,
            scale=pool.scale,
            in_place=memory.in_place,
            buffer_bytes=memory.buffer_bytes,
            threads=self.threads,
        )
        with _hurrying(telling.hurry, announce) if self.hurries else contextlib.nullcontext():
            for group in groups:
                for part in _in_threads(work, group, self.threads):
                    telling.finished(len(solved), part.order.size)
                    solved.append(ranked.put(len(solved), part))
        hurried = {"hurried": True} if telling.hurried else {}
        return solved, {"memory_estimate_bytes": memory.total_bytes, **hurried}

    def _memory(self, rows: Rows, sizes: np.ndarray, *, in_place: bool) -> MemoryPlan:
        mapped = not isinstance(self.columns, HeldColumns)
        return plan_memory(
            rows, sizes, in_place=in_place, limit=self.memory_limit, mapped_columns=mapped
        )

    def _reads(self, plan: Plan, rows: Rows) -> bool:
        """Whether a relaxation reads its rows in every pass: where a copy of them would be large."""
        options, (n, dim) = plan.options, rows.shape
        if plan.partition.sizes.size > 1 or options.objective != "sas" or plan.aim is not None:
            return False
        if options.optimizer != "relaxed" or options.threshold is not None or not plan.budget:
            return False
        mapped = not isinstance(self.columns, HeldColumns)
        copied = estimate_memory(n, dim, buffer_bytes=0, mapped_columns=mapped)
        return 4 * n * dim > HELD_BYTES or copied > (self.memory_limit or copied)

    def _relaxed(self, plan: Plan, rows: Rows, telling: _Telling) -> Solved:
        passes = ReadRows(rows, scale=plan.pool.scale, threads=self.threads)
        task = replace(plan.task(0), watch=telling.watch(0))
        return solve_without_copies(
            task, lambda task: solve_linear(passes, task, plan.options, self.threads)
        )


@contextlib.contextmanager
def _hurrying(hurry: Callable[[], None], announce: Announce | None) -> Iterator[None]:
    """The first interrupt hurries; the next one is as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only there can signals be handled
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, before)
        hurry()
        if announce is not None:
            announce("what is ranked stays, the rest is done quickly; once more Ctrl-C ends it")

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Telling:
    """What is told while classes are solved: how far they are, and where F says nothing."""

    def __init__(self, plan: Plan, progress: Progress | None, announce: Announce | None) -> None:
        self._plan = plan
        self._progress = progress
        self._announce = announce
        self._done = 0
        self._within: dict[int, int] = {}
        self.hurried = False
        self._warned = False
        self._watches: list[Watch] = []
        self._lock = threading.Lock()

    def _nothing(self, code: int) -> None:
        """Say, once and before the work, that similarity says nothing, in the first such class."""
        with self._lock:
            if self._warned:
                return
            self._warned = True
        one = self._plan.partition.sizes.size == 1
        said = why_nothing("the pool" if one else f"class {self._plan.pool.names[code]}")
        if self._announce is None:
            warnings.warn(said, DegenerateObjectiveWarning, stacklevel=2)
        else:
            self._announce(f"warning: {said}")

    def watch(self, code: int) -> Watch:
        """For one class: its examples count as they are ranked, in proportion."""
        budget = max(1, int(self._plan.places.places[code]))
        size = int(self._plan.partition.sizes[code])

        def told(position: int) -> None:
            if not 0 < position < budget:  # its beginning and end are told anyway
                return
            with self._lock:
                self._within[code] = size * position // budget
                self._show()

        watch = Watch(told, lambda: self._nothing(code), self.hurried)
        self._watches.append(watch)
        return watch

    def hurry(self) -> None:
        """No class, begun or not, is to be exact any more."""
        self.hurried = True
        for watch in self._watches:
            watch.stopped = True

    def finished(self, code: int, size: int) -> None:
        """A class is ranked."""
        with self._lock:
            self._within.pop(code, None)
            self._done += size
            self._show()

    def _show(self) -> None:
        if self._progress is not None:
            done = self._done + sum(self._within.values())
            self._progress(min(done, self._plan.pool.n), self._plan.pool.n)


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
