"""What `contrasift plan` is asked."""

from __future__ import annotations

from dataclasses import dataclass

from contrasift.errors import UsageError
from contrasift.options.declaring import Options, numbers_of, option


@dataclass(frozen=True)
class PlanRequest(Options):
    """What to draw, and what to try."""

    accuracy: bool = option(
        False,
        "Train for a short time at each of --fractions, extrapolate what a fraction costs in accuracy, and suggest one.",
    )
    loss: float = option(
        0.5, "Points of accuracy (of 100) that a subset may cost against the whole pool."
    )
    fractions: str = option("0.1,0.25,0.6", "Fractions to train at.")
    seeds: int = option(3, "Trainings at each fraction.", legal="of at least 1")
    epochs: int | None = option(
        None,
        "Epochs of a short training; default: a quarter of the run's --epochs.",
        legal="of at least 1",
    )
    metric: str = option(
        "linear",
        "Which accuracy: `linear` probe, `knn`, `few_labels` a class or `mean_classifier`.",
        choices=("linear", "knn", "few_labels", "mean_classifier"),
    )
    sample: int = option(
        2000, "Examples that coverage and centre are measured over.", legal="of at least 2"
    )
    draws: int = option(20, "Random selections that are measured beside.", legal="of at least 1")
    seed: int = option(0, "Seed of the sample and of the random selections.")

    def __post_init__(self) -> None:
        """Check the loss and the list of fractions."""
        super().__post_init__()
        if not 0 < self.loss < 100:
            raise UsageError("loss= in points between 0 and 100", f"{self.loss}")
        self.shares()

    def shares(self) -> list[float]:
        """The fractions to train at, ascending.

        Raises:
            UsageError: not a list of different numbers in (0, 1].
        """
        shares = sorted(numbers_of(self.fractions) or [])
        if not shares or not all(0 < share <= 1 for share in shares):
            raise UsageError("fractions= in (0, 1], e.g. 0.1,0.25,0.6", self.fractions)
        if len(set(shares)) < len(shares):
            raise UsageError("fractions= that differ", self.fractions)
        return shares
