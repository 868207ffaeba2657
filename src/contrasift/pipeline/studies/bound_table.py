"""The table and the figures of paper 003: one encoder for every K + 1, and its bounds at this K."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.narration import NO_NUMBER
from contrasift.pipeline.studies.bounds import describe_terms
from contrasift.store.atomic import write_json, write_text
from contrasift.theory.means import mean_over_seeds


def measure_cell(
    views: np.ndarray,
    labels: np.ndarray,
    *,
    n_classes: int,
    draws: int,
    temperature: float,
    seed: int,
) -> dict[str, Any]:
    """All terms of the bounds for an encoder that was trained with batches of K + 1 = `draws`.

    Args:
        views: [n, m, d]; unit features of the head for m views of held-out examples.
        labels: int [n]; classes 0..C−1.
        n_classes: C.
        draws: K + 1.
        temperature: t.
        seed: of the batches that are drawn.

    Returns:
        One column of the paper's table, for one seed, but for the accuracies.
    """
    from contrasift.theory.terms import label_views, measure_terms, same_class_spread

    data = label_views(views, labels, n_classes=n_classes)
    return {
        **describe_terms(measure_terms(data, draws - 1, temperature, seed=seed)),
        "same_class_spread": same_class_spread(data),
        "n_classes": n_classes,
        "examples": len(labels),
        "seed": seed,
    }


def measure_accuracy(
    features: Callable[[str], tuple[np.ndarray, np.ndarray]],
    train_labels: np.ndarray,
    test_labels: np.ndarray,
) -> dict[str, float]:
    """Mean classifier and linear probe on the head's output, and a probe without the head.

    Args:
        features: rows of training and test examples at a layer, `head` or `backbone`.
        train_labels: int [n].
        test_labels: int [m].

    Returns:
        `mean_classifier`, `linear`, `linear_backbone`.
    """
    from contrasift.evaluation import linear_probe, mean_classifier

    head_train, head_test = features("head")
    train, test = features("backbone")
    means = mean_classifier(head_train, train_labels, head_test, test_labels)
    probe = linear_probe(head_train, train_labels, head_test, test_labels)
    without = linear_probe(train, train_labels, test, test_labels)
    return {
        "mean_classifier": means.top1,
        "linear": probe.accuracy,
        "linear_backbone": without.accuracy,
    }


# Row by row as in Table 2 of arXiv 2102.06866; L_sup and L_sub stand there with their weights.
_ROWS: tuple[tuple[str, Callable[[Mapping[str, Any]], float | None]], ...] = (
    ("τ", lambda cell: cell["collision_probability"]),
    ("υ", lambda cell: cell["coverage_probability"]),
    ("μ acc, %", lambda cell: 100 * cell["accuracy"]["mean_classifier"]),
    ("linear, %", lambda cell: 100 * cell["accuracy"]["linear"]),
    ("linear without head, %", lambda cell: 100 * cell["accuracy"]["linear_backbone"]),
    ("L_Info", lambda cell: cell["contrastive_loss"]),
    ("d(f)", lambda cell: cell["shift"]),
    ("Arora: bound on L_Info", lambda cell: cell["lower_bounds"]["arora"]),
    ("both: collision term", lambda cell: cell["expected_log_collisions"]),
    ("Arora: L_sup part", lambda cell: cell["supervised_without_collision"]),
    ("Arora: L_sub part", lambda cell: cell["partial_without_collision"]),
    ("Nozawa–Sato: bound on L_Info", lambda cell: cell["lower_bounds"]["nozawa-sato"]),
    ("Nozawa–Sato: ½ υ L_sup", lambda cell: cell["supervised_weighted"] / 2),
    ("Nozawa–Sato: ½ (1−υ) L_sub", lambda cell: cell["partial_weighted"] / 2),
    ("collision bound of the features", lambda cell: cell["same_class_spread"]),
    ("ln of Arora's upper bound on L_sup", lambda cell: cell["upper_bounds"]["arora"]["log_value"]),
    (
        "ln of Nozawa–Sato's upper bound",
        lambda cell: cell["upper_bounds"]["nozawa-sato"]["log_value"],
    ),
    ("ln L_sup", lambda cell: math.log(cell["supervised"]) if cell["supervised"] > 0 else None),
    (
        "ln ln C: knowing nothing",
        lambda cell: math.log(cell["trivial"]) if cell["trivial"] else None,
    ),
)


def table_text(cells: Sequence[Mapping[str, Any]]) -> str:
    """The paper's table as Markdown: a column for each K + 1, means over seeds ± their deviation.

    Args:
        cells: what `measure_cell` gives, each with `accuracy`: `mean_classifier`, `linear` (head),
            `linear_backbone`.
    """
    columns: dict[int, list[Mapping[str, Any]]] = {}
    for cell in cells:
        columns.setdefault(int(cell["draws"]), []).append(cell)
    ordered = sorted(columns)
    lines = [
        "| K + 1 | " + " | ".join(str(draws) for draws in ordered) + " |",
        "|---|" + "---:|" * len(ordered),
    ]
    for name, value_of in _ROWS:
        texts = [_mean_text([value_of(cell) for cell in columns[draws]]) for draws in ordered]
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def _mean_text(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return NO_NUMBER
    mean, spread = float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
    text = f"{mean:.1e}" if 0 < abs(mean) < 5e-4 else f"{mean:.3f}"
    return text + (f" ± {spread:.3f}" if spread >= 5e-4 else "")


def write_table(
    folder: Path, title: str, about: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]
) -> None:
    """bounds.json, bounds.md (the table) and bounds.html (the figures) in a folder.

    Args:
        folder: where.
        title: heading of table and figures.
        about: what was measured, kept beside the cells.
        cells: as for `table_text`.
    """
    from contrasift.report.figures.bounds import bound_figures
    from contrasift.report.figures.page import write_figures

    ordered = sorted(cells, key=lambda cell: (cell["seed"], cell["draws"]))
    write_json(folder / "bounds.json", {**about, "cells": ordered})
    write_text(folder / "bounds.md", f"# {title}\n\n{table_text(ordered)}")
    by_seed: dict[int, list[Mapping[str, Any]]] = {}
    for cell in ordered:
        by_seed.setdefault(cell["seed"], []).append(cell)
    results = [{"subset": "batches of K + 1", "rows": rows} for rows in by_seed.values()]
    write_figures(folder / "bounds.html", title, bound_figures(mean_over_seeds(results)))
