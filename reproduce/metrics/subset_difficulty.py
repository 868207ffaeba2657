"""What a cell is trained on, as supervised models learn it (SAS, Fig. 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from contrasift.errors import DataError
from contrasift.store.tables import read_table
from reproduce.metrics.names import Metric, percent

if TYPE_CHECKING:
    from reproduce.metrics.subject import Subject

SUBSET_DIFFICULTY_METRICS = {
    "forgetting_events": Metric("subset: forgetting events", digits=2),
    "confidence": percent("subset: confidence"),
    "variability": Metric("subset: variability"),
    "el2n": Metric("subset: EL2N"),
    "never_learned": percent("subset: never learned"),
}


def measure_subset_difficulty(subject: Subject) -> dict[str, float]:
    """Means of the scores of supervised trainings over the examples that the cell is trained on.

    Forgetting events (Toneva et al. 2019), confidence and variability (Swayamdipta et al. 2020), EL2N
    (Paul et al. 2021), and the share that no training ever had right; see `contrasift.evaluation.difficulty_scores`. They
    are averaged over trainings whose seeds are the same for all cells.

    Raises:
        DataError: none of them has a label.
    """
    table = read_table(subject.artifacts.dynamics(subject.cell))
    index = subject.pool.index[subject.artifacts.positions(subject.cell)]
    own = np.isin(table["index"], index)
    if not own.any():
        raise DataError("labelled examples among those that are trained on", "none")
    return {name: float(table[name][own].mean()) for name in SUBSET_DIFFICULTY_METRICS}
