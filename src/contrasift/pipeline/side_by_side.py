"""Several arms of a comparison at a time, a process each: a small network does not fill two cores."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contrasift.errors import ContrasiftError
from contrasift.narration import Progress
from contrasift.options import RunOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.evaluate import evaluate, is_evaluated
from contrasift.pipeline.stages.train import begin_training, is_trained, steps_of, train
from contrasift.store.arms import Arm
from contrasift.store.run import RunFolder, StageRecord

_LOOK_SECONDS = 0.2


def train_and_evaluate(run: Run, arms: Iterable[Arm], *, evaluated: bool) -> None:
    """Train and evaluate every arm, `run.options.compare.jobs` of them at a time.

    Args:
        run: the lock on its folder stays with this process, which alone records stages.
        arms: in the order in which they are begun.
        evaluated: whether encoders are judged as well.

    Raises:
        ContrasiftError: what an arm met, or a process that was killed.
    """
    arms, jobs = list(arms), run.options.compare.jobs
    begun = [arm for arm in arms if jobs > 1 and not _is_done(run, arm, evaluated)]
    for arm in arms:
        if arm not in begun:
            train(run, arm)
            if evaluated:
                evaluate(run, arm)
    if begun:
        _run_in_processes(run, begun, min(jobs, len(begun)), evaluated)


def _is_done(run: Run, arm: Arm, evaluated: bool) -> bool:
    return is_trained(run, arm) and (not evaluated or is_evaluated(run, arm))


def _run_in_processes(run: Run, arms: list[Arm], jobs: int, evaluated: bool) -> None:
    import torch

    begun = time.perf_counter()
    steps = {arm.name: steps_of(run, arm) for arm in arms}
    done = dict.fromkeys(steps, 0)
    title = f"training {len(arms)} encoders, {jobs} at a time"
    for arm in arms:
        begin_training(run, arm)
    context = multiprocessing.get_context("spawn")  # threads do not live through a fork
    told = context.SimpleQueue()
    threads = max(1, torch.get_num_threads() // jobs)
    asked = (told, threads, run.folder.path, run.options, run.device, run.update)
    with (
        _workers(ProcessPoolExecutor(jobs, context, _begin, asked)) as workers,
        run.narrator.working(title),
        run.narrator.progress(title, "steps") as report,
    ):
        waiting = {workers.submit(_one, arm, evaluated): arm for arm in arms}
        while waiting:
            finished, _ = wait(waiting, _LOOK_SECONDS, FIRST_COMPLETED)
            _tell(told, done, sum(steps.values()), report)
            for future in finished:
                _record(run, _result(future, waiting.pop(future)), jobs)
    run.stage_seconds += time.perf_counter() - begun


def _tell(told: Any, done: dict[str, int], total: int, report: Progress) -> None:
    while not told.empty():
        name, steps = told.get()
        done[name] = steps
    report(sum(done.values()), total)


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
def _workers(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """The processes; whatever ends the work here, Ctrl-C too, ends them: files are whole or absent."""
    before = set(multiprocessing.active_children())
    try:
        yield pool
        pool.shutdown()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.kill()


# Of a process: its view of the run, whose pool is opened once for all arms.
_run: Run


def _begin(
    told: Any, threads: int, folder: Path, options: RunOptions, device: str, update: bool
) -> None:
    """What a process does first: its share of the cores, and an end when its parent ends."""
    global _run
    import torch
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    threadpool_limits(threads, "blas")
    _run = Run(_Noted(folder), options, _Teller(told), device=device, update=update)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _one(arm: Arm, evaluated: bool) -> dict[str, StageRecord]:
    """One arm in a process of its own; the records of its stages."""
    assert isinstance(_run.folder, _Noted)
    assert isinstance(_run.narrator, _Teller)
    _run.folder.noted, _run.narrator.name = {}, arm.name
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


class _Teller:
    """Sends how far a training is to the process that shows it."""

    quiet = True

    def __init__(self, told: Any) -> None:
        self._told = told
        self.name = ""

    def say(self, text: str) -> None:
        """Nothing: stages are told where they are recorded."""

    def working(self, stage: str) -> contextlib.AbstractContextManager[None]:
        """Nothing either."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def progress(self, title: str, unit: str = "examples") -> Iterator[Progress]:
        """Send the steps."""
        yield lambda done, total: self._told.put((self.name, done))
