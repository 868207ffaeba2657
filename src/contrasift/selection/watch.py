"""How a long selection within one class tells how far it is, and is asked to be quick about the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Watch:
    """Of one class.

    Attributes:
        told: called with the number of examples ranked so far.
        nothing: called, before the work, where similarity to the class says nothing.
        stopped: whoever set it wants the rest quickly: what is ranked stays, exactness ends.
    """

    told: Callable[[int], None] | None = None
    nothing: Callable[[], None] | None = None
    stopped: bool = False

    def tell(self, position: int) -> None:
        """So many examples are ranked."""
        if self.told is not None:
            self.told(position)

    def tell_nothing(self) -> None:
        """Similarity to the class says nothing."""
        if self.nothing is not None:
            self.nothing()
