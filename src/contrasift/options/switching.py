"""A training that selects on its way: when, how often, how much."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from contrasift.errors import UsageError
from contrasift.options.declaring import Options, option, require
from contrasift.options.words import SelectWith


@dataclass(frozen=True)
class SwitchOptions(Options):
    """A selection within the training."""

    select_after: int | None = option(
        None,
        "Epochs on the whole pool, after which the encoder that is being trained selects, and the training goes on with the selection: no proxy. An epoch stays as many steps as a pass over the pool. In our experiments it gains with simclr where few images have labels, and loses with moco (docs/one-training.md).",
        legal="of at least 1",
    )
    reselect_every: int | None = option(
        None, "Select anew after so many further epochs each; default: once.", legal="of at least 1"
    )
    fraction_schedule: str = option(
        "",
        "Fractions of the selections in turn, `0.6,0.3`, the last for all that follow; default: --fraction.",
    )
    mix: float = option(
        0.0,
        "Share of every batch drawn from the examples that are not selected, in [0, 1).",
        legal="in [0, 1)",
    )
    select_with: SelectWith = option(
        "encoder",
        "What embeds the pool: the `encoder`, or the moving `average` of it that moco and byol keep.",
    )

    def __post_init__(self) -> None:
        """Check that all of it can be done."""
        super().__post_init__()
        fractions = self.fractions
        require(
            len(fractions) <= 1 or self.reselect_every is not None,
            "reselect_every= for several fractions in fraction_schedule=",
            self.fraction_schedule,
        )
        self._refuse_idle()

    def _refuse_idle(self) -> None:
        """Refuse what changes nothing without a selection."""
        if self.select_after is not None:
            return
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            require(value == item.default, f"select_after= for {item.name}=", "none")

    def epochs(self, last: int) -> tuple[int, ...]:
        """After which epochs of so many it selects.

        Raises:
            UsageError: the first is not before the end.
        """
        if self.select_after is None:
            return ()
        if self.select_after >= last:
            raise UsageError(
                f"select_after= below the {last} epochs of the training",
                str(self.select_after),
                "Half of them at most; a quarter is a good start",
            )
        if self.reselect_every is None:
            return (self.select_after,)
        return tuple(range(self.select_after, last, self.reselect_every))

    def fraction_at(self, number: int, usual: float | None) -> float | None:
        """The fraction of selection 1, 2, …; `usual` where there is no schedule."""
        fractions = self.fractions
        return fractions[min(number, len(fractions)) - 1] if fractions else usual

    @property
    def fractions(self) -> tuple[float, ...]:
        """The numbers of the schedule.

        Raises:
            UsageError: something else, or outside (0, 1].
        """
        parts = [part for part in self.fraction_schedule.split(",") if part.strip()]
        try:
            found = tuple(float(part) for part in parts)
        except ValueError:
            found = (0.0,)
        if not all(0 < share <= 1 for share in found):
            raise UsageError("fraction_schedule= in (0, 1], e.g. 0.6,0.3", self.fraction_schedule)
        return found
