"""Whether few negatives are enough where they never show every class: optimality at υ = 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reproduce.metrics.names import Metric, percent

if TYPE_CHECKING:
    from reproduce.metrics.subject import Subject

PAIRS_METRICS: dict[str, Metric] = {
    "all": percent("linear, all classes at once"),
    "pairs": percent("linear, pairs of classes"),
    "pairs_less_all": percent("linear: pairs less all"),
    "same_guess": percent("both guess the same"),
}


def measure_pairs(subject: Subject) -> dict[str, float]:
    """A linear classifier learned from pairs of classes alone, and one learned from all classes.

    With K + 1 below C a loss never sees every class (υ = 0). For even classes what minimises it
    over all functions minimises the loss over all classes too (arXiv 2102.06866); here functions are
    linear in the encoder's features, and K is 1. Both fits have the same features and labels; the
    loss of pairs is a C-th, and so is its regularisation.

    Raises:
        DataError: no labels, nothing held out, or fewer than two classes.
    """
    from contrasift.embedding.embed import features
    from contrasift.evaluation.checks import ProbeData, standardisation, standardise
    from contrasift.evaluation.softmax import fit_softmax

    parts = []
    for held_out in (False, True):
        positions, labels = subject.labelled(held_out=held_out)
        pool = subject.pool.test if held_out else subject.pool
        assert pool is not None  # `labelled` has checked
        rows = features(
            pool, positions, subject.encoder, "backbone", device=subject.artifacts.device
        )
        parts += [rows, labels]
    task = ProbeData.of(*parts)
    task.require_two_classes()
    centre, scale = standardisation(task.train)
    train, test = (standardise(rows, centre, scale) for rows in (task.train, task.test))
    n_classes, weight = task.classes.size, subject.cell.measure.regularisation
    guesses = {
        "all": fit_softmax(train, task.codes, n_classes, weight),
        "pairs": fit_softmax(
            train, task.codes, n_classes, weight / n_classes, tolerance=1e-6, pairs=True
        ),
    }
    named = {name: task.classes[fit.scores(test).argmax(axis=1)] for name, fit in guesses.items()}
    found = {name: float(np.mean(guess == task.truth)) for name, guess in named.items()}
    found["pairs_less_all"] = found["pairs"] - found["all"]
    found["same_guess"] = float(np.mean(named["pairs"] == named["all"]))
    return found
