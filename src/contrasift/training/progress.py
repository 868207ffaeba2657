"""How far a long piece of work is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from contrasift.narration import Progress

_LINE_SECONDS = 10.0


def no_progress(done: int, total: int) -> None:
    """Say nothing."""


@contextmanager
def show_progress(title: str, unit: str = "images", enabled: bool = True) -> Iterator[Progress]:
    """Give a callback `(done, total)` that shows share, rate and time left on standard error.

    Args:
        title: what is being done.
        unit: what is counted.
        enabled: whether to show anything.

    Yields:
        The callback.
    """
    if not enabled:
        yield no_progress
    elif sys.stderr.isatty():
        with _terminal_bar(title, unit) as callback:
            yield callback
    else:
        yield _PlainLines(title, unit)


@contextmanager
def _terminal_bar(title: str, unit: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} " + unit + " {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None, rate="")

        def update(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            rate = f"({speed:.0f}/s)" if speed else ""
            bar.update(task, completed=done, total=total, rate=rate)

        yield update


class _PlainLines:
    """A line every ten seconds, and one at the end."""

    def __init__(self, title: str, unit: str):
        self._title = title
        self._unit = unit
        self._first: tuple[float, int] | None = None
        self._last_line = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        if self._first is None:
            # Work that was resumed starts above 0: only what is done here counts for the rate.
            self._first, self._last_line = (now, done), now
        started, done_before = self._first
        if done < total and now - self._last_line < _LINE_SECONDS:
            return
        self._last_line = now
        rate = (done - done_before) / max(now - started, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        speed = f", {rate:.0f}/s" if rate > 0 else ""
        print(
            f"{self._title}: {done}/{total} {self._unit}{speed}{left}", file=sys.stderr, flush=True
        )
