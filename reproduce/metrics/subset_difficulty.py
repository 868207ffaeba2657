"""What a cell is trained on, as supervised models learn it (SAS, Fig. 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from contrasift.errors import DataError
from contrasift.store.tables import read_table
from reproduce.metrics.names import Metric, percent

if TYPE_CHECKING:
    from reproduce.metrics.subject import Subject

PICKED_METRICS = {
    "forgetting_events": Metric("picked: forgetting events", digits=2),
    "confidence": percent("picked: confidence"),
    "variability": Metric("picked: variability"),
    "el2n": Metric("picked: EL2N"),
    "never_learned": percent("picked: never learned"),
}


def read_picked(subject: Subject) -> dict[str, float]:
    """Means of the scores of supervised trainings over the examples that the cell is trained on.

    Forgetting events (Toneva et al. 2019), confidence and variability (Swayamdipta et al. 2020), EL2N
    (Paul et al. 2021), and the share that no training ever had right; see `contrasift.evaluation.difficulty_scores`. They
    are averaged over trainings whose seeds are the same for all cells.

    Raises:
        DataError: none of them has a label.
    """
    table = read_table(subject.workshop.dynamics(subject.cell))
    index = subject.pool.index[subject.workshop.positions(subject.cell)]
    own = np.isin(table["index"], index)
    if not own.any():
        raise DataError("labelled examples among those that are trained on", "none")
    return {name: float(table[name][own].mean()) for name in PICKED_METRICS}
