"""How long work tells of itself: a line to say, and how much of it is done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

# (done, total)
Progress = Callable[[int, int], None]


@runtime_checkable
class Narrator(Protocol):
    """Whoever tells the user what happens."""

    quiet: bool

    def say(self, text: str) -> None:
        """One line."""

    def progress(self, title: str, unit: str = "examples") -> AbstractContextManager[Progress]:
        """A callback `(done, total)` for long work."""
        ...


class SilentNarrator:
    """A narrator who says nothing."""

    quiet = True

    def say(self, text: str) -> None:
        """Nothing."""

    def progress(self, title: str, unit: str = "examples") -> AbstractContextManager[Progress]:
        """A callback that does nothing."""
        return nullcontext(lambda done, total: None)
