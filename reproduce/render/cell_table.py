"""Finished cells as tables: settings, arms, metrics, seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from contrasift.evaluation import Interval, mean_and_interval
from reproduce.declared.declaring import Claim, Experiment
from reproduce.metrics.extras import METRICS
from reproduce.render.statistics import (
    Verdict,
    contrast,
    decide,
    deviation_of,
    pairs_needed,
)

HALF_WIDTHS = (0.5, 1.0)  # points


@dataclass(frozen=True)
class CellTable:
    """The cells of one experiment in one setting.

    Attributes:
        setting: one label an axis.
        records: by arm, then seed.
    """

    setting: Mapping[str, str]
    records: Mapping[str, Mapping[int, Mapping[str, Any]]]

    def values(self, metric: str) -> dict[str, dict[int, float]]:
        """By arm, then seed, in the metric's unit; `head.knn` reads after the head."""
        factor = METRICS[metric].factor
        found: dict[str, dict[int, float]] = {}
        for arm, by_seed in self.records.items():
            for seed, record in by_seed.items():
                value = _metric(record, metric)
                if value is not None:
                    found.setdefault(arm, {})[seed] = factor * value
        return found

    def seeds(self) -> set[int]:
        """Those that every arm has."""
        return set.intersection(*(set(by_seed) for by_seed in self.records.values()))

    def at(self, seeds: Iterable[int]) -> CellTable:
        """The same with these seeds alone."""
        kept = set(seeds)
        return CellTable(
            self.setting,
            {
                arm: {seed: record for seed, record in by_seed.items() if seed in kept}
                for arm, by_seed in self.records.items()
            },
        )

    def mean(self, arm: str, metric: str) -> Interval | None:
        """Of an arm over its seeds."""
        values = list(self.values(metric).get(arm, {}).values())
        return mean_and_interval(values) if values else None

    def difference(self, arm: str, reference: str, metric: str) -> Interval | None:
        """Of an arm and another, over the seeds that both have."""
        return contrast(self.values(metric), {arm: 1, reference: -1})

    def decide(self, claim: Claim, metric: str) -> Verdict:
        """What these cells say of a claim."""
        interval = contrast(self.values(metric), claim.weights)
        return decide(interval, claim.rule, claim.margin)

    def pairs(self, arms: Iterable[str], reference: str, metric: str) -> list[int] | None:
        """Pairs needed for each of `HALF_WIDTHS`, by the mean variance of all arms' differences.

        None where there are none, or where the metric is not in points.
        """
        found = [self.difference(arm, reference, metric) for arm in arms if arm != reference]
        known = [deviation_of(one) for one in found if one is not None]
        variances = [one**2 for one in known if one is not None]
        if not variances or not METRICS[metric].in_points:
            return None
        return [pairs_needed(mean(variances) ** 0.5, width) for width in HALF_WIDTHS]

    def fact(self, arm: str, name: str) -> float | None:
        """The mean of a fact over an arm's seeds."""
        known = [record["facts"].get(name) for record in self.records.get(arm, {}).values()]
        numbers = [float(value) for value in known if isinstance(value, (int, float))]
        return mean(numbers) if numbers else None

    def seconds(self, arm: str, *parts: str, of: str = "seconds") -> float | None:
        """Mean seconds of parts; without any, of all that is neither training nor evaluation.

        Args:
            arm: whose.
            parts: which.
            of: `cpu_seconds` for a processor's, which other work on the machine does not lengthen,
                wherever they were measured.
        """
        sums = []
        for record in self.records.get(arm, {}).values():
            wanted = [
                entry.get(of, entry["seconds"])
                for part, entry in record["parts"].items()
                if (part in parts if parts else not part.startswith(("train", "judge", "read")))
            ]
            sums.append(float(sum(wanted)))
        return mean(sums) if sums else None


def tables_of(
    experiment: Experiment, records: Iterable[Mapping[str, Any]], scale: str, phase: str
) -> list[CellTable]:
    """The tables of an experiment, in its own order; settings that it no longer declares come last.

    Of several results for one place the one whose options are those declared now counts, else the
    youngest.
    """
    mine = _of_one_pool(
        record
        for record in records
        if (record["experiment"], record["scale"], record["phase"])
        == (experiment.name, scale, phase)
    )
    if not mine:
        return []
    current = {
        (tuple(sorted(planned.setting.items())), planned.arm): planned.cell
        for planned in experiment.plan(scale, seeds=1, explore=phase == "explore")
    }
    order = {arm: place for place, arm in enumerate(experiment.arms)}
    settings: dict[tuple, dict[str, dict[int, Mapping[str, Any]]]] = {}
    for record in sorted(mine, key=lambda one: one["made_with"]["finished"]):
        setting = _setting(record)
        arms = settings.setdefault(setting, {}).setdefault(record["arm"], {})
        before = arms.get(record["seed"])
        planned = current.get((setting, record["arm"]))
        if before is not None and planned is not None and _same(planned, before):
            continue
        arms[record["seed"]] = record
    places = {setting: place for place, (setting, _) in enumerate(current)}
    ordered = sorted(settings, key=lambda one: (places.get(one, len(places)), one))
    return [
        CellTable(
            next(iter(next(iter(settings[one].values())).values()))["setting"],
            {
                arm: settings[one][arm]
                for arm in sorted(settings[one], key=lambda arm: order.get(arm, len(order)))
            },
        )
        for one in ordered
    ]


def _same(cell: Any, record: Mapping[str, Any]) -> bool:
    """Whether a result was made under a cell's options, whatever its seed."""
    from reproduce.cell import Cell

    flat = {
        f"{group}.{name}": value
        for group, values in cell.as_dict().items()
        for name, value in values.items()
    }
    return Cell.of(flat, record["seed"]).agrees(record["options"])


def compute_spent(records: Iterable[Mapping[str, Any]]) -> float:
    """Seconds of all parts, each once however many cells share it."""
    parts = {
        (kind, entry["part"]): float(entry["seconds"])
        for record in records
        for kind, entry in _parts(record)
    }
    return float(sum(parts.values()))


def _parts(record: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """A full training that was the proxy's is one and the same part, and so is what is read again."""
    return [
        ("train" if name == "proxy" else name, entry)
        for kind, entry in record["parts"].items()
        for name in (kind.removeprefix("read "),)
    ]


def _metric(record: Mapping[str, Any], metric: str) -> float | None:
    value: Any = record["metrics"]
    for name in metric.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return None if value is None else float(value)


def _of_one_pool(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without the cells of a setting that saw other images than most of its cells.

    Other fonts make other glyphs of the same name, whose accuracies cannot be compared.
    """
    mine = list(records)
    pools: dict[tuple, Counter[str]] = {}
    for record in mine:
        pools.setdefault(_setting(record), Counter())[_pool(record)] += 1
    usual = {setting: found.most_common(1)[0][0] for setting, found in pools.items()}
    return [record for record in mine if _pool(record) == usual[_setting(record)]]


def _setting(record: Mapping[str, Any]) -> tuple:
    return tuple(sorted(record["setting"].items()))


def _pool(record: Mapping[str, Any]) -> str:
    return str(record["facts"].get("pool_fingerprint", ""))
