"""The parts of the report about trained encoders: comparison, training, negatives, bounds."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contrasift.evaluation import METRICS, Interval, mean_and_interval
from contrasift.narration import NO_NUMBER
from contrasift.report import ArmResult, Line, LineChart, TextTable, Topic, TrainingCurve, arm_label
from contrasift.report.files import RunFiles
from contrasift.report.negatives import band_table
from contrasift.report.verdict import points
from contrasift.store.arms import trained_arms
from contrasift.store.atomic import read_json
from contrasift.store.tables import read_table
from contrasift.theory.means import mean_over_seeds

_METRIC_NAMES = {
    "knn": "kNN",
    "few_labels": "Few labels",
    "linear": "Linear probe",
    "mean_classifier": "Mean classifier",
}
_MEASURES = {
    "similarity": "Mean cosine",
    "same_class": "Share of the same class",
    "same_latent_class": "Share of the same latent class",
    "WordNet_depth": "Depth of the deepest common WordNet kind",
}
_BOUNDS = {"nozawa-sato": "Nozawa–Sato", "arora": "Arora", "supervised": "L_sup as measured"}


def arms(files: RunFiles) -> list[ArmResult]:
    """One a subset that was trained on or evaluated."""
    values: dict[str, dict[str, list[float]]] = {}
    for path in sorted((files.path / "evaluation").glob("*.json")):
        result = read_json(path)
        for metric in METRICS:
            if result.get(metric) is not None:
                by_metric = values.setdefault(result["subset"], {})
                by_metric.setdefault(metric.replace("_", " "), []).append(result[metric])
    return [
        ArmResult(
            name=row["subset"],
            examples=row["examples"],
            steps=row["steps"],
            accuracy={
                metric.replace("_", " "): Interval(**row[metric])
                for metric in METRICS
                if row.get(metric) is not None
            },
            seeds=values.get(row["subset"], {}),
            seconds=row["seconds"],
            parts={**row["preparation"], "training": row["training_seconds"]},
        )
        for row in files.comparison.get("table", ())
    ]


def comparison_note(files: RunFiles) -> str:
    """What the arms have in common."""
    if not files.comparison:
        return ""
    return (
        f"Subsets are trained for equal {files.comparison['match']}. Time is that of one training "
        "with the proxy, the embedding, the classes and the selection that it needed. Accuracies "
        "are on held-out data."
    )


def differences(files: RunFiles) -> TextTable | None:
    """Selected minus every other subset, paired by seed."""
    found = files.comparison.get("selected_minus", {})
    if not found:
        return None
    return TextTable(
        "The selection against the others",
        ["Selected minus …", *(_METRIC_NAMES[metric] for metric in METRICS), "Seeds"],
        [
            [
                arm_label(other),
                *(points(row[metric]) if metric in row else NO_NUMBER for metric in METRICS),
                f"{row['linear']['n']}",
            ]
            for other, row in found.items()
        ],
        "Percentage points of accuracy with the 95 % interval of the paired difference, by Student's "
        "t over the seeds that both have. An interval that holds 0 shows no difference.",
    )


def other_readings(files: RunFiles) -> list[TextTable]:
    """Accuracies by other layers and probes."""
    return [
        TextTable(
            f"Read at the {reading['layer']} by {reading['probe']} probe",
            ["Trained on", *(_METRIC_NAMES[metric] for metric in METRICS)],
            [
                [arm_label(row["subset"]), *(_accuracy(row.get(metric)) for metric in METRICS)]
                for row in reading["table"]
            ],
        )
        for reading in files.comparison.get("other_readings", ())
    ]


def _accuracy(interval: Mapping[str, Any] | None) -> str:
    if interval is None:
        return NO_NUMBER
    error = interval["standard_error"]
    text = f"{100 * interval['mean']:.1f}"
    return text if error is None else f"{text} ± {100 * error:.1f}"


def training_curves(files: RunFiles) -> list[TrainingCurve]:
    """The loss by epoch of every training that is finished; none where all had one epoch."""
    trainings = [("proxy", "proxy")] if "proxy" in files.records else []
    trainings += [(arm.subset, arm.name) for arm in trained_arms(files.run.folder)]
    curves = []
    for subset, name in trainings:
        path = files.path / "training" / name / "metrics.csv"
        if path.exists():
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            epochs, losses = (
                [int(row["epoch"]) for row in rows],
                [float(row["loss"]) for row in rows],
            )
            curves.append(TrainingCurve(subset, name, epochs, losses))
    # A point is no curve: after one epoch there is nothing to draw.
    return curves if any(len(curve.epoch) > 1 for curve in curves) else []


def negatives(files: RunFiles) -> Topic | None:
    """What was found of the negatives of some encoders."""
    results = {
        path.stem: read_json(path) for path in sorted((files.path / "negatives").glob("*.json"))
    }
    results = {name: one for name, one in results.items() if "bands" in one}
    if not results:
        return None
    tables = {
        name: read_table(files.path / "negatives" / f"{name}.parquet")
        for name in results
        if (files.path / "negatives" / f"{name}.parquet").exists()
    }
    charts = []
    for measure, title in _MEASURES.items():
        lines = [
            _by_percentile(name, table, measure)
            for name, table in tables.items()
            if measure in table
        ]
        if lines:
            charts.append(LineChart(title, "percentile of difficulty; 100 is hardest", "", lines))
    pages = ", ".join(f"negatives/{name}.html" for name in results)
    return Topic(
        "negatives",
        "Negatives by difficulty",
        "Each query's negatives are sorted by their cosine with it. A negative of the query's own "
        "class is a false one: the loss pushes apart what belongs together.",
        sentences=[
            (f"{name}: {sentence}" if len(results) > 1 else sentence)
            for name, one in results.items()
            for sentence in one["sentences"]
        ],
        charts=charts,
        tables=[_bands(name, one) for name, one in results.items()],
        caption=f"Shades are 95 % intervals over draws. More beside this page: {pages}.",
    )


def _by_percentile(name: str, table: Mapping[str, np.ndarray], measure: str) -> Line:
    """Mean and interval over replicates."""
    ends = np.unique(table["percentile"])
    spreads = [mean_and_interval(table[measure][table["percentile"] == end]) for end in ends]
    known = spreads[0].low is not None and math.isfinite(spreads[0].low)
    return Line(
        arm_label(name),
        ends,
        [spread.mean for spread in spreads],
        low=[spread.low for spread in spreads] if known else (),
        high=[spread.high for spread in spreads] if known else (),
    )


def _bands(name: str, result: Mapping[str, Any]) -> TextTable:
    measures = map(str, result["overall"])
    heads = {one: _MEASURES.get(one.replace(" ", "_"), one) for one in measures}
    return band_table(
        f"Bands of difficulty, {name}",
        result,
        "Percentiles",
        heads,
        lambda _, value: f"{value:.4g}",
    )


def bounds(files: RunFiles) -> Topic | None:
    """Upper bounds on the supervised loss against the number of negatives."""
    encoders = files.optional("bounds.json").get("encoders")
    if not encoders:
        return None
    subsets = mean_over_seeds(encoders)
    charts = [_bound_chart(subset, rows) for subset, rows in subsets.items()]
    rows = next(iter(subsets.values()))
    x = [row["draws"] - 1 for row in rows]
    charts.append(
        LineChart(
            "Seeing every class, and colliding",
            "negatives K",
            "probability",
            [
                Line("υ: every class is seen", x, [row["coverage_probability"] for row in rows]),
                Line("τ: a negative collides", x, [row["collision_probability"] for row in rows]),
            ],
            log_x=True,
        )
    )
    return Topic(
        "bounds",
        "Bounds against the number of negatives",
        "What the contrastive loss proves about the supervised loss L_sup of the mean classifier. "
        "A bound above ln C, what knowing nothing costs, proves nothing.",
        charts=charts,
        caption="Logarithms, averaged over seeds; a bound far above the others leaves the frame. All terms are in bounds.json, the figures of the "
        "paper in bounds.html.",
    )


def _bound_chart(subset: str, rows: Sequence[Mapping[str, Any]]) -> LineChart:
    x = [row["draws"] - 1 for row in rows]
    lines = [
        Line(label, x, [_log_of(row, name) for row in rows]) for name, label in _BOUNDS.items()
    ]
    lines.append(
        Line("ln C: knowing nothing", x, [_log_of(row, "trivial") for row in rows], dash=True)
    )
    # Arora's bound grows without end: the axis is for the others.
    heights = [
        y for line in lines if line.name != _BOUNDS["arora"] for y in line.y if y is not None
    ]
    return LineChart(
        f"Trained on: {arm_label(subset)}",
        "negatives K",
        "ln of the loss",
        lines,
        log_x=True,
        top=2 * max(heights) if heights and max(heights) > 0 else None,
    )


def _log_of(row: Mapping[str, Any], name: str) -> float | None:
    """Bounds are kept as logarithms already; losses are not."""
    value = row.get(name)
    if name in ("supervised", "trivial"):
        return math.log(value) if value and value > 0 else None
    return value
