"""What numba takes to compile: told when it begins, and not counted as selection."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from numba.core import event


class Compiled(event.Listener):
    """Seconds during which something was compiled, in whichever threads.

    Attributes:
        seconds: so far.
    """

    def __init__(self, announce: Callable[[str], None] | None = None) -> None:
        self.seconds = 0.0
        self._announce = announce
        self._lock = threading.Lock()
        self._running = 0
        self._begun = 0.0

    def on_start(self, event: Any) -> None:
        """The first of several that begin is told."""
        with self._lock:
            if not self._running:
                self._begun = time.perf_counter()
            self._running += 1
        if self._announce is not None:
            announce, self._announce = self._announce, None
            announce("compiling for this machine, once: what is compiled is kept on disk")

    def on_end(self, event: Any) -> None:
        """When the last of several has ended, their time is known."""
        with self._lock:
            self._running -= 1
            if not self._running:
                self.seconds += time.perf_counter() - self._begun


@contextlib.contextmanager
def compiling(announce: Callable[[str], None] | None = None) -> Iterator[Compiled]:
    """Watch what is compiled meanwhile.

    Args:
        announce: told, once, that something is.
    """
    compiled = Compiled(announce)
    with event.install_listener("numba:compile", compiled):
        yield compiled
