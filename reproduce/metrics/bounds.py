"""What a trained encoder's contrastive loss says about its supervised loss: Table 2 of arXiv 2102.06866."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from reproduce.metrics.names import Metric, percent

if TYPE_CHECKING:
    from reproduce.metrics.subject import Subject

BOUND_METRICS: dict[str, Metric] = {
    "collision": percent("τ: a negative of the class"),
    "coverage": percent("υ: every class is drawn"),
    "contrastive_loss": Metric("L_Info"),
    "shift": Metric("d(f)"),
    "log_collisions": Metric("E ln(Col + 1)"),
    "supervised": Metric("L_sup"),
    "supervised_weighted": Metric("½ υ L_sup"),
    "partial_weighted": Metric("½ (1 − υ) L_sub"),
    "lower_nozawa_sato": Metric("Nozawa–Sato: bound on L_Info"),
    "lower_arora": Metric("Arora: bound on L_Info"),
    "gap_nozawa_sato": Metric("L_Info less Nozawa–Sato's bound"),
    "gap_arora": Metric("L_Info less Arora's bound"),
    "log_upper_nozawa_sato": Metric("ln of Nozawa–Sato's bound on L_sup", digits=2),
    "log_upper_arora": Metric("ln of Arora's bound on L_sup", digits=2),
    "log_upper_nozawa_sato_notebook": Metric("ln of Nozawa–Sato's, as in the notebook", digits=2),
    "log_upper_arora_notebook": Metric("ln of Arora's, as in the notebook (no bound)", digits=2),
    "log_arora_over_nozawa_sato": Metric("ln of Arora's over Nozawa–Sato's", digits=2),
    "log_supervised": Metric("ln L_sup"),
    "log_trivial": Metric("ln ln C: knowing nothing"),
    "same_class_spread": Metric("collision bound of the features"),
    "mean_classifier": percent("mean classifier of the loss"),
}


def measure_bounds(subject: Subject) -> dict[str, float]:
    """Every term of the bounds at K + 1 = batch size, on random views of held-out images.

    Formulas stand in `theory.bounds`. Classes are those that the held-out images have. Logarithms
    of bounds that do not exist (υ is 0, or the remainder of the loss is negative) are left out.

    Returns:
        `BOUND_METRICS` by name; `supervised_weighted` and `partial_weighted` are halved, as in the
        paper's table, and so sum up with half of `log_collisions` and `shift` to
        `lower_nozawa_sato`.

    Raises:
        DataError: no labels, or nothing held out.
    """
    from contrasift.pipeline.studies.bounds import describe_terms, head_accuracy
    from contrasift.theory.terms import label_views, measure_terms, same_class_spread

    train = subject.cell.options.train.resolved()
    positions, labels = subject.labelled(held_out=True)
    codes = np.unique(labels, return_inverse=True)[1].reshape(-1)
    data = label_views(subject.views(positions, held_out=True), codes)
    terms = measure_terms(
        data, train.batch_size - 1, train.temperature or 0.5, seed=subject.cell.seed
    )
    return {
        **shown(describe_terms(terms)),
        "same_class_spread": same_class_spread(data),
        "mean_classifier": head_accuracy(data),
    }


def shown(row: Mapping[str, Any]) -> dict[str, float]:
    """What is shown of a row of bounds.json, by the names of `BOUND_METRICS`."""
    lower, upper = row["lower_bounds"], row["upper_bounds"]
    loss = row["contrastive_loss"]
    logs = {
        name.replace("-", "_"): bound["log_value"]
        for name, bound in upper.items()
        if name != "ash" and bound["log_value"] is not None
    }
    terms = {
        "collision": row["collision_probability"],
        "coverage": row["coverage_probability"],
        "contrastive_loss": loss,
        "shift": row["shift"],
        "log_collisions": row["expected_log_collisions"],
        "supervised": row["supervised"],
        "supervised_weighted": row["supervised_weighted"] / 2,
        "partial_weighted": row["partial_weighted"] / 2,
        "lower_nozawa_sato": lower["nozawa-sato"],
        "lower_arora": lower["arora"],
        "gap_nozawa_sato": loss - lower["nozawa-sato"],
        "gap_arora": loss - lower["arora"],
        **{f"log_upper_{name}": value for name, value in logs.items()},
    }
    if {"arora", "nozawa_sato"} <= logs.keys():
        terms["log_arora_over_nozawa_sato"] = logs["arora"] - logs["nozawa_sato"]
    for name in ("supervised", "trivial"):
        if row[name] > 0:
            terms[f"log_{name}"] = float(np.log(row[name]))
    return {name: float(value) for name, value in terms.items()}
