"""How long work tells of itself: a line to say, how much of it is done, and a number as text."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

# (done, total)
Progress = Callable[[int, int], None]

NO_NUMBER = "–"


def shown(value: float | int | None, form: str = ",") -> str:
    """A number by a format; a dash for none, NaN and infinity."""
    return NO_NUMBER if value is None or not math.isfinite(value) else format(value, form)


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


class SilentNarrator:
    """A narrator who says nothing."""

    quiet = True

    def say(self, text: str) -> None:
        """Nothing."""

    def working(self, stage: str) -> AbstractContextManager[None]:
        """Nothing either."""
        return nullcontext()

    def progress(self, title: str, unit: str = "examples") -> AbstractContextManager[Progress]:
        """A callback that does nothing."""
        return nullcontext(lambda done, total: None)
