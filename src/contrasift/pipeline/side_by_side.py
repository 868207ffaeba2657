"""Several arms of a comparison at a time, a process each: a small network does not fill two cores."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from contrasift.errors import ContrasiftError
from contrasift.narration import Progress, SilentNarrator
from contrasift.options import RunOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.evaluate import evaluate, is_evaluated
from contrasift.pipeline.stages.train import (
    begin_training,
    is_trained,
    needs_selection,
    steps_of,
    train,
)
from contrasift.store.arms import Arm
from contrasift.store.run import RunFolder, StageRecord

_LOOK_SECONDS = 0.2
_SPAWN = multiprocessing.get_context("spawn")  # threads do not live through a fork


def train_and_evaluate(
    run: Run, arms: Iterable[Arm], *, evaluated: bool, before: Callable[[], None] | None = None
) -> None:
    """Train and evaluate every arm, `run.options.compare.jobs` of them at a time.

    Args:
        run: the lock on its folder stays with this process, which alone records stages.
        arms: in the order in which they are begun.
        evaluated: whether encoders are judged as well.
        before: makes the selection; arms that need none are trained beside it.

    Raises:
        ContrasiftError: what an arm met, or a process that was killed.
    """
    arms = list(arms)
    jobs = min(run.options.compare.jobs, len(arms))
    early = [arm for arm in arms if before and jobs > 1 and not needs_selection(run, arm)]
    trainings = _SideBySide(run, arms, jobs, evaluated)
    with _ending_children():
        try:
            if early:
                trainings.begin(early, jobs - 1)
            if before:
                with _sharing(run, jobs if early else 1):
                    before()
            trainings.begin([arm for arm in arms if arm not in early], jobs)
            trainings.finish()
        finally:
            trainings.stop()


@contextmanager
def _sharing(run: Run, parts: int) -> Iterator[None]:
    """This process takes one of so many parts of the threads, whatever is finished beside it.

    So an interrupted training goes on to the same bits.
    """
    if parts == 1:
        yield
        return
    import torch

    threads, run.side_by_side = torch.get_num_threads(), parts
    torch.set_num_threads(max(1, threads // parts))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        run.side_by_side = 1


class _SideBySide:
    """Trainings in processes of their own, and where each of them is."""

    def __init__(self, run: Run, arms: list[Arm], jobs: int, evaluated: bool) -> None:
        self._run, self._arms, self._jobs, self._evaluated = run, arms, jobs, evaluated
        self._waiting: dict[Future[dict[str, StageRecord]], Arm] = {}
        self._steps: dict[str, int] = {}
        self._open = 0

    def begin(self, arms: list[Arm], at_once: int) -> None:
        """Let arms begin, so many at once from now on; one at a time they are finished here."""
        for arm in arms:
            if self._jobs == 1 or self._is_done(arm):
                train(self._run, arm)
                if self._evaluated:
                    evaluate(self._run, arm)
            else:
                self._begin(arm)
        if self._waiting:
            for _ in range(at_once - self._open):
                self._slots.release()
            self._open = at_once

    def finish(self) -> None:
        """Tell how far they are until all are done, and record them."""
        if not self._waiting:
            return
        begun = time.perf_counter()
        title = f"training {len(self._waiting)} encoders, {self._jobs} at a time"
        with self._run.narrator.working(title), self._run.narrator.progress(title, "steps") as told:
            while self._waiting:
                finished, _ = wait(self._waiting, _LOOK_SECONDS, FIRST_COMPLETED)
                told(sum(self._done), sum(self._steps.values()))
                for future in finished:
                    _record(self._run, _result(future, self._waiting.pop(future)), self._jobs)
        self._run.stage_seconds += time.perf_counter() - begun

    def stop(self) -> None:
        """No more of them."""
        if self._waiting:
            self._workers.shutdown(wait=False, cancel_futures=True)
        elif self._steps:
            self._workers.shutdown()

    def _is_done(self, arm: Arm) -> bool:
        run = self._run
        return is_trained(run, arm) and (not self._evaluated or is_evaluated(run, arm))

    def _begin(self, arm: Arm) -> None:
        self._steps[arm.name] = steps_of(self._run, arm)
        begin_training(self._run, arm)
        future = self._workers.submit(_one, arm, self._arms.index(arm), self._evaluated)
        self._waiting[future] = arm

    @cached_property
    def _slots(self) -> Any:
        return _SPAWN.Semaphore(0)

    @cached_property
    def _done(self) -> Any:
        """Steps of every arm, which its process writes."""
        return _SPAWN.RawArray("q", len(self._arms))

    @cached_property
    def _workers(self) -> ProcessPoolExecutor:
        import torch

        run = self._run
        threads = max(1, torch.get_num_threads() // self._jobs)
        view = (run.folder.path, run.options, run.device, run.update)
        asked = (self._slots, self._done, threads, *view)
        return ProcessPoolExecutor(self._jobs, _SPAWN, _begin, asked)


def _result(future: Future[dict[str, StageRecord]], arm: Arm) -> dict[str, StageRecord]:
    try:
        return future.result()
    except BrokenProcessPool:
        raise ContrasiftError(
            f"the training {arm.name} to finish",
            "its process killed, perhaps for want of memory",
            "Pass jobs=1, or repeat the command: it goes on where it was",
        ) from None


def _record(run: Run, noted: Mapping[str, StageRecord], jobs: int) -> None:
    for stage, record in noted.items():
        facts = dict(record.facts) | ({"side_by_side": jobs} if stage.startswith("train ") else {})
        run.folder.finish(stage, record.fingerprint, record.seconds, record.files, **facts)
        run.tell_finished(stage, record)


@contextmanager
def _ending_children() -> Iterator[None]:
    """Whatever ends the work here, Ctrl-C too, ends its processes: files are whole or absent."""
    before = set(multiprocessing.active_children())
    try:
        yield
    finally:
        for child in set(multiprocessing.active_children()) - before:
            child.kill()


# Of a process: its view of the run, whose pool is opened once for all arms; its leave to work, and
# where it writes how far it is.
_run: Run
_slots: Any
_done: Any


def _begin(
    slots: Any,
    done: Any,
    threads: int,
    folder: Path,
    options: RunOptions,
    device: str,
    update: bool,
) -> None:
    """What a process does first: its share of the cores, and an end when its parent ends."""
    global _run, _slots, _done
    import torch
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    threadpool_limits(threads, "blas")
    _run, _slots, _done = Run(_Noted(folder), options, _Counter(), device, update), slots, done


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _one(arm: Arm, place: int, evaluated: bool) -> dict[str, StageRecord]:
    """One arm in a process of its own; the records of its stages."""
    assert isinstance(_run.folder, _Noted)
    assert isinstance(_run.narrator, _Counter)
    with _slots:
        _run.folder.noted, _run.narrator.place = {}, place
        train(_run, arm)
        if evaluated:
            evaluate(_run, arm)
        return _run.folder.noted


class _Noted(RunFolder):
    """A run folder whose lock another process holds: stages are noted for that one to record."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.noted: dict[str, StageRecord] = {}

    def records(self) -> dict[str, StageRecord]:
        return super().records() | self.noted

    def begin(self, stage: str, fingerprint: str, versions: Mapping[str, str]) -> dict[str, str]:
        return self.first_versions(stage, fingerprint) or dict(versions)

    def finish(
        self, stage: str, fingerprint: str, seconds: float, files: Iterable[str], **facts: Any
    ) -> StageRecord:
        sizes = {name: (self.path / name).stat().st_size for name in files}
        self.noted[stage] = StageRecord(fingerprint, seconds, sizes, facts)
        return self.noted[stage]


class _Counter(SilentNarrator):
    """Writes how far a training is to where the process that shows it looks."""

    place = 0

    @contextlib.contextmanager
    def progress(self, title: str, unit: str = "examples") -> Iterator[Progress]:
        """Write the steps."""

        def write(done: int, total: int) -> None:
            _done[self.place] = done

        yield write
