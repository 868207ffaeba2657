"""What the numbers of a cell are called, and in which unit they are shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number of a cell, as tables and figures show it.

    Attributes:
        name: in words.
        factor: from the unit of the JSON to the one that is shown.
        digits: behind the point.
    """

    name: str
    factor: float | int = 1
    digits: int = 3

    @property
    def in_points(self) -> bool:
        """Whether it is an accuracy or another share, shown in percent."""
        return self.factor == 100


def percent(name: str) -> Metric:
    """An accuracy, or another share."""
    return Metric(name, 100, 1)


_QUICK = {
    "few_10": "10 labels a class",
    "knn": "kNN",
    "mean_classifier": "mean classifier",
}

# What every cell has.
ACCURACIES: dict[str, Metric] = {
    "linear": percent("linear"),
    "few_10": percent(_QUICK["few_10"]),
    "few_1pct": percent("1 % labels"),
    "knn": percent(_QUICK["knn"]),
    "mean_classifier": percent(_QUICK["mean_classifier"]),
    **{f"head.{key}": percent(f"{name}, after the head") for key, name in _QUICK.items()},
}
