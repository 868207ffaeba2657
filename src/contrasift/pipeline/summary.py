"""What the comparison shows, from what its stages left: accuracies, intervals, seconds, payback."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from contrasift.pipeline.comparing import ARMS, METRICS, Arm
from contrasift.pipeline.run import Run
from contrasift.store.atomic import read_json, write_json
from contrasift.store.run import StageRecord


def preparation_seconds(run: Run) -> dict[str, float]:
    """Seconds spent before a subset could be trained on, by stage."""
    records = run.folder.records()
    return {
        name: records[name].seconds
        for name in ("scan", "proxy", "embed", "classes", "select")
        if name in records
    }


def summarise(run: Run) -> dict[str, Any]:
    """Everything that the comparison shows, from what the stages left; written to evaluation.json."""
    from contrasift.evaluation import mean_and_interval, paired_difference

    records = run.folder.records()
    preparation = preparation_seconds(run)
    arms: dict[str, Any] = {}
    for path in sorted((run.folder.path / "evaluation").glob("*.json")):
        result = read_json(path)
        arms.setdefault(result["subset"], {})[result["seed"]] = result
    table = []
    for subset in [*ARMS, "untrained"]:
        trained = [
            records[f"train {Arm(subset, seed).name}"] for seed in _trained_seeds(records, subset)
        ]
        if subset not in arms and not trained:
            continue
        seeds = sorted(arms.get(subset, {}))
        row: dict[str, Any] = {"subset": subset, "seeds": seeds or _trained_seeds(records, subset)}
        row["examples"] = trained[0].facts["examples"] if trained else 0
        row["steps"] = trained[0].facts["steps"] if trained else 0
        row["training_seconds"] = (
            float(np.mean([record.seconds for record in trained])) if trained else 0.0
        )
        row["preparation"] = _cost_before(subset, preparation, run)
        row["preparation_seconds"] = sum(row["preparation"].values(), 0.0)
        row["seconds"] = row["training_seconds"] + row["preparation_seconds"]
        for metric in METRICS:
            values = [arms[subset][seed][metric] for seed in seeds]
            row[metric] = dataclasses.asdict(mean_and_interval(values)) if values else None
        table.append(row)
    differences = {}
    for other in ("random-per-class", "random", "full"):
        shared = sorted(set(arms.get("selected", {})) & set(arms.get(other, {})))
        if shared:
            differences[other] = {
                metric: dataclasses.asdict(
                    paired_difference(
                        [arms["selected"][seed][metric] for seed in shared],
                        [arms[other][seed][metric] for seed in shared],
                    )
                )
                for metric in METRICS
            }
    summary = {
        "table": table,
        "selected_minus": differences,
        "preparation_seconds": preparation,
        "match": run.options.compare.match,
        **_payback(table, preparation),
    }
    write_json(run.folder.path / "evaluation.json", summary)
    return summary


def _trained_seeds(records: dict[str, StageRecord], subset: str) -> list[int]:
    prefix = f"train {subset}-seed"
    return sorted(int(name[len(prefix) :]) for name in records if name.startswith(prefix))


def _cost_before(subset: str, preparation: dict[str, float], run: Run) -> dict[str, float]:
    """What a subset costs before training: random per class needs the classes, not the selection."""
    if subset == "selected":
        needed = ("proxy", "embed", "classes", "select")
    elif subset == "random-per-class" and run.options.classes.classes == "kmeans":
        needed = ("proxy", "embed", "classes")
    else:
        needed = ()
    return {name: preparation[name] for name in needed if name in preparation}


def _payback(table: list[dict[str, Any]], preparation: dict[str, float]) -> dict[str, Any]:
    """After how many trainings on the subset, instead of the full pool, time has been saved."""
    seconds = {row["subset"]: row["training_seconds"] for row in table}
    if not seconds.get("selected") or not seconds.get("full"):
        return {"saved_per_training_seconds": None, "trainings_to_pay_back": None}
    cost = float(
        sum(preparation.get(name, 0.0) for name in ("proxy", "embed", "classes", "select"))
    )
    saved = seconds["full"] - seconds["selected"]
    return {
        "selection_seconds": cost,
        "saved_per_training_seconds": saved,
        "trainings_to_pay_back": math.ceil(cost / saved) if saved > 0 else None,
    }
