"""What a person sees: one live line a stage on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from contrasift import narration
from contrasift.cli.flags import as_flags
from contrasift.errors import ContrasiftError, UsageError, visible

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

_PLAIN_INTERVAL = 10.0  # seconds between lines where there is no terminal


def show_error(error: ContrasiftError) -> None:
    """Print what was expected, what came and what to do, on standard error, in terms of flags."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)
    console.print("[bold red]error[/]  expected ", end="")
    console.print(as_flags(error.expected), markup=False)
    console.print("          got ", end="")
    console.print(as_flags(error.got), markup=False)
    if error.remedy:
        console.print("          try ", end="")
        console.print(as_flags(error.remedy), markup=False)


class ConsoleNarrator:
    """Tells the story of a run on standard error; silent when quiet."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
        self._live: Progress | None = None

    def say(self, text: str) -> None:
        """One plain line."""
        if not self.quiet:
            self._console.print(visible(as_flags(text)), markup=False)

    @contextlib.contextmanager
    def working(self, stage: str) -> Iterator[None]:
        """Show a stage while it goes on: one live line on a terminal, a plain one elsewhere."""
        if self.quiet or not self._console.is_terminal:
            self.say(f"{stage} ...")
            yield
            return
        with self._line(stage):
            yield

    @contextlib.contextmanager
    def progress(self, title: str, unit: str = "examples") -> Iterator[narration.Progress]:
        """A callback `(done, total)` that shows share, rate and time left, or prints lines."""
        if self.quiet:
            yield lambda done, total: None
        elif self._console.is_terminal:
            with self._line(title) as line:
                yield _bar_callback(line, title, unit)
        else:
            yield _line_callback(self.say, title, unit)

    @contextlib.contextmanager
    def _line(self, title: str) -> Iterator[Progress]:
        """The one live line: a stage's own, which what it does takes over."""
        if self._live is not None:
            yield self._live
            return
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[done]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
        )
        self._live.add_task(title, total=None, done="", left="")
        try:
            with self._live:
                yield self._live
        finally:
            self._live = None


def _bar_callback(line: Progress, title: str, unit: str) -> narration.Progress:
    task = line.tasks[0].id
    line.reset(task, description=title, total=None, done="", left="")

    def update(done: int, total: int) -> None:
        shown = line.tasks[0]
        rate = f" ({shown.speed:,.0f} {unit}/s)" if shown.speed else ""
        left = shown.time_remaining
        line.update(
            task,
            completed=done,
            total=total,
            done=f"{done:,} of {total:,}{rate}",
            left="" if left is None else f"{left:,.0f} s left",
        )

    return update


def _line_callback(say: Callable[[str], None], title: str, unit: str) -> narration.Progress:
    begun = last = time.monotonic()
    first: int | None = None

    def update(done: int, total: int) -> None:
        nonlocal last, first
        first = done if first is None else first
        now = time.monotonic()
        if now - last < _PLAIN_INTERVAL:
            return
        last = now
        rate = (done - first) / (now - begun)
        left = f", about {(total - done) / rate:,.0f} s left" if rate > 0 else ""
        say(f"  {title}: {done:,} of {total:,} ({rate:,.0f} {unit}/s{left})")

    return update


def print_json(value: Mapping[str, Any], indent: int | None = 2) -> None:
    """Machine-readable output goes to standard output alone."""
    check_output()
    sys.stdout.write(json.dumps(value, indent=indent) + "\n")


def plain_console() -> Console:
    """Standard output as text: no numbers in colour, no names of pictures made pictures."""
    return Console(highlight=False, emoji=False)


def plain_table(first: str, *numbers: str, title: str | None = None) -> Table:
    """A table without lines: a column of names, then columns of numbers."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def check_output() -> None:
    """Stop where nobody could read results.

    Raises:
        UsageError: standard output is closed.
    """
    if sys.stdout is None:
        raise UsageError("a standard output for json=", "a closed one", "Write to a file: > FILE")
