"""How long work tells of itself: a line to say, and how much of it is done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

# (done, total)
Progress = Callable[[int, int], None]


@runtime_checkable
class Narrator(Protocol):
    """Whoever tells the user what happens."""

    quiet: bool

    def say(self, text: str) -> None:
        """One line."""

    def working(self, stage: str) -> AbstractContextManager[None]:
        """A stage that goes on until the end of the block."""
        ...

    def progress(self, title: str, unit: str = "examples") -> AbstractContextManager[Progress]:
        """A callback `(done, total)` for long work."""
        ...
