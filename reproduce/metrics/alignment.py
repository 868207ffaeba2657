"""How a trained encoder aligns the pool, and how it keeps labels apart (SAS, Fig. 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from contrasift.errors import DataError
from reproduce.metrics.names import Metric

if TYPE_CHECKING:
    from reproduce.metrics.subject import Subject

ALIGNMENT_METRICS = {
    "views": Metric("views of an example: E‖f − f′‖"),
    "labels": Metric("of a label: E‖f − f′‖²"),
    "product": Metric("of two labels: E μ·μ′"),
    "nearest": Metric("to the nearest label: E max μ·μ′"),
}


def measure_alignment(subject: Subject) -> dict[str, float]:
    """How near views of one example and of one label are, and how far apart labels (SAS, Fig. 8).

    With unit features f after the head, several views of each labelled example of the pool, and
    μ_k the mean over all views of label k, whose share is p_k:

        views = E_i E‖f(x1) − f(x2)‖ over views x1, x2 of example i
        labels = Σ_k p_k E‖f(x) − f(x')‖² = 2 (1 − Σ_k p_k ‖μ_k‖²), x and x' any views of label k
        product = E_{k≠ℓ} μ_k·μ_ℓ, nearest = E_k max_{ℓ≠k} μ_k·μ_ℓ

    Raises:
        DataError: fewer than two labels.
    """
    from contrasift.theory.guarantees import class_means, view_spread

    positions, labels = subject.labelled()
    names, codes = np.unique(labels, return_inverse=True)
    if names.size < 2:
        raise DataError("examples of at least two labels", f"{names.size}")
    views = subject.views(positions)
    means = class_means(views, codes.reshape(-1))
    shares = np.bincount(codes.reshape(-1)) / codes.size
    products = means @ means.T
    apart = ~np.eye(names.size, dtype=bool)
    return {
        "views": float(view_spread(views)[0].mean()),
        "labels": float(2 - 2 * shares @ np.diag(products)),
        "product": float(products[apart].mean()),
        "nearest": float(np.where(apart, products, -np.inf).max(axis=1).mean()),
    }
