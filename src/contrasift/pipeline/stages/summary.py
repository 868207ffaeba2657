"""What the comparison shows, from what its stages left: accuracies, intervals, seconds, payback."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from contrasift.evaluation import METRICS, PROBES
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.evaluate import EvaluationProtocol
from contrasift.store.arms import ARMS, Arm
from contrasift.store.atomic import read_json, write_json
from contrasift.store.run import StageRecord

# Stages before the classes, in their order.
_OF_CLASSES = ("scan", "proxy", "embed", "embed-classes")


def preparation_seconds(run: Run) -> dict[str, float]:
    """Seconds of the machine spent before a subset could be trained on, by stage."""
    records = run.folder.records()
    return {
        name: _machine_seconds(records[name])
        for name in (*_OF_CLASSES, *_rounds(records), "classes", "select")
        if name in records
    }


def _rounds(records: Mapping[str, StageRecord]) -> list[str]:
    """The stages of refinement that led to the classes."""
    used = records["classes"].facts.get("rounds") if "classes" in records else None
    return [f"round {number}" for number in range(used + 1)] if used else []


def summarise(run: Run) -> dict[str, Any]:
    """Everything that the comparison shows, from what the stages left; written to evaluation.json."""
    records = run.folder.records()
    preparation = preparation_seconds(run)
    results = _results(run, EvaluationProtocol())
    table = _table(run, results, records, preparation)
    others = []
    for layer, probe in itertools.product(("backbone", "head"), PROBES):
        protocol = EvaluationProtocol(layer, probe)
        found = {} if protocol == EvaluationProtocol() else _results(run, protocol)
        if found:
            rows = _table(run, found, {}, {})
            others.append(
                {
                    "layer": layer,
                    "probe": probe,
                    "table": [
                        {name: row[name] for name in ("subset", "seeds", *METRICS, "top5")}
                        for row in rows
                    ],
                    "selected_minus": _differences(found),
                }
            )
    summary = {
        "table": table,
        "selected_minus": _differences(results),
        "other_readings": others,
        "preparation_seconds": preparation,
        "match": _match(run, records),
        "labels_per_class": run.options.compare.labels_per_class,
        **_payback(table, preparation),
    }
    if one := _one_training(run, records):
        summary["one_training"] = one
    write_json(run.folder.path / "evaluation.json", summary)
    return summary


def _results(run: Run, protocol: EvaluationProtocol) -> dict[str, dict[int, dict[str, Any]]]:
    """What a protocol found, by subset and seed."""
    results: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted((run.folder.path / protocol.folder).glob("*.json")):
        result = read_json(path)
        results.setdefault(result["subset"], {})[result["seed"]] = result
    return results


def _table(
    run: Run,
    results: dict[str, dict[int, dict[str, Any]]],
    records: dict[str, StageRecord],
    preparation: dict[str, float],
) -> list[dict[str, Any]]:
    """One row a subset: what was trained, what it cost, how accurate its encoders are."""
    trained_subsets = {
        name.removeprefix("train ").rpartition("-seed")[0]
        for name in records
        if name.startswith("train ")
    }
    own = sorted((trained_subsets | set(results)) - {*ARMS, "untrained"})
    table = []
    for subset in [*ARMS, *own, "untrained"]:
        seeds = sorted(results.get(subset, {}))
        trained_seeds = _trained_seeds(records, subset)
        if not seeds and not trained_seeds:
            continue
        trained = [records[f"train {Arm(subset, seed).name}"] for seed in trained_seeds]
        row: dict[str, Any] = {"subset": subset, "seeds": seeds or trained_seeds}
        row["examples"] = trained[0].facts["examples"] if trained else 0
        row["steps"] = trained[0].facts["steps"] if trained else 0
        row["training_seconds"] = (
            float(np.mean([_machine_seconds(record) for record in trained])) if trained else 0.0
        )
        row["preparation"] = _cost_before(subset, preparation, run)
        row["preparation_seconds"] = sum(row["preparation"].values(), 0.0)
        row["seconds"] = row["training_seconds"] + row["preparation_seconds"]
        found = [results[subset][seed] for seed in seeds]
        for metric in METRICS:
            row[metric] = _interval(_known(found, metric))
        row["top5"] = {metric: _interval(_top5(found, metric)) for metric in METRICS}
        table.append(row)
    return table


def _machine_seconds(record: StageRecord) -> float:
    """What a stage took of the whole machine, of which trainings beside it had their share."""
    return record.seconds / record.facts.get("side_by_side", 1)


def _interval(values: list[float]) -> dict[str, Any] | None:
    from contrasift.evaluation import mean_and_interval

    return dataclasses.asdict(mean_and_interval(values)) if values else None


def _known(found: list[dict[str, Any]], metric: str) -> list[float]:
    """What a judge said of each seed; earlier versions had fewer judges."""
    return [result[metric] for result in found if result.get(metric) is not None]


def _top5(found: list[dict[str, Any]], metric: str) -> list[float]:
    """The top-5 accuracies; none with five classes or fewer."""
    values = [result["details"]["top5"] for result in found]
    return [
        top5[metric] for top5 in values if isinstance(top5, dict) and top5.get(metric) is not None
    ]


def _differences(results: dict[str, dict[int, dict[str, Any]]]) -> dict[str, Any]:
    """Selected minus each other subset, over the seeds that both have."""
    from contrasift.evaluation import paired_difference

    chosen, differences = results.get("selected", {}), {}
    for other in sorted(set(results) - {"selected", "untrained"}):
        found = {}
        for metric in METRICS:
            pairs = [
                (chosen[seed].get(metric), results[other][seed].get(metric))
                for seed in sorted(set(chosen) & set(results[other]))
            ]
            both = [pair for pair in pairs if None not in pair]
            if both:
                found[metric] = dataclasses.asdict(paired_difference(*zip(*both, strict=True)))
        if found:
            differences[other] = found
    return differences


def _match(run: Run, records: dict[str, StageRecord]) -> str:
    """What the trainings have in common: equal epochs, equal steps, or neither."""
    ways = {
        record.facts.get("match", "epochs")
        for name, record in records.items()
        if name.startswith("train ") and not name.startswith("train full-")
    }
    if len(ways) > 1:
        return "epochs or steps, mixed"
    return ways.pop() if ways else run.options.compare.match


def _trained_seeds(records: dict[str, StageRecord], subset: str) -> list[int]:
    prefix = f"train {subset}-seed"
    return sorted(int(name[len(prefix) :]) for name in records if name.startswith(prefix))


def _cost_before(subset: str, preparation: dict[str, float], run: Run) -> dict[str, float]:
    """What a subset costs before training: random per class needs the classes, not the selection."""
    rounds = [name for name in preparation if name.startswith("round ")]
    if subset == "selected" or subset.startswith("top-"):
        needed = (*_OF_CLASSES[1:], *rounds, "classes", "select")
    elif subset == "random-per-class" and run.options.classes.classes != "labels":
        needed = (*_OF_CLASSES[1:], *rounds, "classes")
    else:
        needed = ()
    return {name: preparation[name] for name in needed if name in preparation}


def _payback(table: list[dict[str, Any]], preparation: dict[str, float]) -> dict[str, Any]:
    """After how many trainings on the subset, instead of the full pool, time has been saved."""
    seconds = {row["subset"]: row["training_seconds"] for row in table}
    cost = float(sum(seconds for name, seconds in preparation.items() if name != "scan"))
    saved = None
    if seconds.get("selected") and seconds.get("full"):
        saved = seconds["full"] - seconds["selected"]
    return {
        "selection_seconds": cost,
        "saved_per_training_seconds": saved,
        "trainings_to_pay_back": math.ceil(cost / saved) if saved and saved > 0 else None,
    }


def _one_training(run: Run, records: Mapping[str, StageRecord]) -> dict[str, Any]:
    """What a training that selects on its way took, and what it would have taken without.

    Returns:
        Means over the seeds: `epochs`, `training_seconds`, `selection_seconds`, and
        `seconds_of_an_epoch_on_everything` as measured before the first selection; empty where no
        training selects.
    """
    rows = []
    for seed in _trained_seeds(dict(records), "selected"):
        name = Arm("selected", seed).name
        record = records[f"train {name}"]
        if not (told := record.facts.get("selections")):
            continue
        path = run.folder.path / "training" / name / "metrics.csv"
        with open(path, newline="", encoding="utf-8") as file:
            log = list(csv.DictReader(file))
        before = [float(row["seconds"]) for row in log if row["selection"] == "0"]
        rows.append(
            {
                "epochs": len(log),
                "training_seconds": record.seconds,
                "selection_seconds": sum(one["seconds"] for one in told),
                "seconds_of_an_epoch_on_everything": float(np.mean(before)),
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}
