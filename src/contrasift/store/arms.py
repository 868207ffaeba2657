"""The trainings of a run by their names: which subset, which seed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from contrasift.store.run import RunFolder

ARMS = ("selected", "random-per-class", "random", "full")


@dataclass(frozen=True)
class Arm:
    """One training: which subset, which seed.

    Attributes:
        subset: one of `ARMS`; `top-0.1`, that share of the ranking from its beginning;
            `file-NAME-HASH`, a list of one's own; or `untrained`.
        seed: of weights, batches, views, and of random subsets.
        listed: int64 [k]; the pool indices of a list of one's own.
    """

    subset: str
    seed: int
    listed: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Name of its folder and stages."""
        return f"{self.subset}-seed{self.seed}"

    @property
    def order(self) -> tuple[int, str, int]:
        """Where it stands in tables: the fixed arms first, then others by name."""
        place = ARMS.index(self.subset) if self.subset in ARMS else len(ARMS)
        return place, self.subset, self.seed


def trained_arms(folder: RunFolder) -> list[Arm]:
    """The arms whose training is finished, in the order of the comparison."""
    names = [name.removeprefix("train ") for name in folder.records() if name.startswith("train ")]
    found = []
    for name in names:
        subset, _, seed = name.rpartition("-seed")
        found.append(Arm(subset, int(seed)))
    return sorted(found, key=lambda arm: arm.order)
