"""From a run folder to what the report shows. Unfinished runs show what there is."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import ContrasiftError
from contrasift.evaluation import Interval
from contrasift.pipeline.comparing import METRICS, trained_arms
from contrasift.pipeline.run import Run, positions_of
from contrasift.report import (
    ArmResult,
    ClassBar,
    ClassGallery,
    EmbeddingMap,
    GainCurve,
    Headline,
    Pair,
    ReportData,
    Tile,
    TrainingCurve,
    thumbnail,
    write_report,
)
from contrasift.results import Certificate
from contrasift.store.atomic import read_json
from contrasift.store.tables import read_table

_GALLERY_TILES = 12
_GALLERY_CLASSES = 100
_CURVE_POINTS = 200
_MAP_THUMBNAIL = 32
_STAGES = ("scan", "embed", "classes", "select", "map")
_PACKAGES = (
    "contrasift",
    "numpy",
    "numba",
    "faiss-cpu",
    "scikit-learn",
    "torch",
    "timm",
    "lightly",
    "kornia",
)


def report(run: Run) -> Path:
    """Write `report.html` and return its path."""
    with run.narrator.progress("report") as progress:
        progress(0, 1)
        return write_report(_Reader(run).data(), run.folder.path / "report.html")


class _Reader:
    """Reads what the stages left, each file once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.path = run.folder.path
        self.records = run.folder.records()

    def data(self) -> ReportData:
        options = self.run.options
        return ReportData(
            title=f"{Path(options.pool.pool).name or options.pool.pool}: what is worth training on",
            summary=self._summary(),
            headlines=self._headlines(),
            notes=self.selection.get("notes", ()),
            pending=[stage for stage in _STAGES if stage not in self.records],
            arms=self._arms(),
            comparison_note=self._comparison_note(),
            map=self._map(),
            gallery=self._gallery(),
            near_pairs=self._pairs("small"),
            far_pairs=self._pairs("large"),
            gains=self._gains(),
            certificate=self._certificate(self.selection),
            classes=self._bars(),
            class_facts=self._class_facts(),
            training=self._curves(),
            unreadable=self._unreadable(),
            options=options.as_dict(),
            versions=_versions(_PACKAGES),
            commands=self._commands(),
        )

    # What is in the folder.

    @cached_property
    def examples(self) -> dict[str, np.ndarray]:
        return self._table("examples.parquet", "scan")

    @cached_property
    def chosen(self) -> dict[str, np.ndarray]:
        return self._table("selection.parquet", "select")

    @cached_property
    def selection(self) -> dict[str, Any]:
        return self._json("selection.json", "select")

    @cached_property
    def comparison(self) -> dict[str, Any]:
        path = self.path / "evaluation.json"
        return read_json(path) if path.exists() else {}

    def _table(self, name: str, stage: str) -> dict[str, np.ndarray]:
        return read_table(self.path / name) if stage in self.records else {}

    def _json(self, name: str, stage: str) -> dict[str, Any]:
        return read_json(self.path / name) if stage in self.records else {}

    @cached_property
    def _place(self) -> dict[int, int]:
        """Place of every ranked example in the selection table."""
        return {int(index): place for place, index in enumerate(self.chosen["index"])}

    def _row(self) -> dict[str, dict[str, Any]]:
        return {row["subset"]: row for row in self.comparison.get("table", ())}

    # Words and figures.

    def _summary(self) -> list[str]:
        if not self.selection:
            return ["This run has no selection yet."]
        n, budget = int(self.chosen["index"].size), int(self.selection["budget"])
        sentences = [f"{budget:,} of {n:,} examples ({budget / n:.0%}) were kept."]
        certificate = self._certificate(self.selection)
        if certificate is not None and certificate.share is not None:
            sentences.append(
                f"The selection reaches at least {_percent(certificate.share)} of what any choice of "
                "this size could gain over random in its objective; that is proved, not estimated."
            )
        rows = self._row()
        kept, full = rows.get("selected"), rows.get("full")
        if kept and full and kept.get("linear") and full.get("linear"):
            sentences.append(_accuracy_sentence(kept, full, rows.get("random-per-class")))
        sentences += self._cost_sentences()
        return sentences

    def _cost_sentences(self) -> list[str]:
        saved = self.comparison.get("saved_per_training_seconds")
        if saved is None:
            return []
        cost = self.comparison["selection_seconds"]
        count = self.comparison["trainings_to_pay_back"]
        if count is None:
            return [
                f"Choosing took {cost:,.0f} s (proxy, embedding, classes, selection); a training on "
                "the selection saved no time."
            ]
        return [
            f"Choosing took {cost:,.0f} s (proxy, embedding, classes, selection) and every training "
            f"on the selection saves {saved:,.0f} s: it has paid for itself after {count} training"
            + ("s." if count != 1 else ".")
        ]

    def _headlines(self) -> list[Headline]:
        if not self.selection:
            return []
        n, budget = int(self.chosen["index"].size), int(self.selection["budget"])
        found = [Headline(f"{budget:,}", "examples kept", f"of {n:,} ({budget / n:.0%})")]
        certificate = self._certificate(self.selection)
        if certificate is not None and certificate.share is not None:
            found.append(
                Headline(
                    _percent(certificate.share), "of the possible gain", "certified lower bound"
                )
            )
        kept = self._row().get("selected", {})
        if kept.get("linear"):
            seeds = len(kept["seeds"])
            note = f"linear probe, {seeds} seed{'s' if seeds > 1 else ''}"
            found.append(Headline(_accuracy(kept["linear"]), "accuracy on the selection", note))
        if self.comparison.get("saved_per_training_seconds") is not None:
            count = self.comparison["trainings_to_pay_back"]
            shown = f"{count}" if count is not None else "never"
            found.append(
                Headline(shown, "trainings to pay for itself", "selection's cost included")
            )
        return found

    def _comparison_note(self) -> str:
        if not self.comparison:
            return ""
        return (
            f"Subsets are trained for equal {self.comparison['match']}. Seconds are those of one "
            "training with the proxy, the embedding, the classes and the selection that it needed. "
            "Accuracies are on held-out data."
        )

    def _arms(self) -> list[ArmResult]:
        values: dict[str, dict[str, list[float]]] = {}
        for path in sorted((self.path / "evaluation").glob("*.json")):
            result = read_json(path)
            for metric in METRICS:
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
                    if row[metric] is not None
                },
                seeds=values.get(row["subset"], {}),
                seconds=row["seconds"],
                parts={**row["preparation"], "training": row["training_seconds"]},
            )
            for row in self.comparison.get("table", ())
        ]

    # Pictures.

    @cached_property
    def _pool_positions(self) -> Mapping[int, int]:
        index = self.examples["index"]
        return dict(
            zip(index.tolist(), positions_of(index, self.run.pool.index).tolist(), strict=True)
        )

    @cached_property
    def _has_images(self) -> bool:
        """Whether the pool is still where it was; without it, placeholders are shown."""
        try:
            return len(self._pool_positions) > 0
        except (ContrasiftError, OSError):
            # A pool that has moved must not keep the figures from being seen.
            self.run.narrator.say(
                "  note: the pool cannot be opened, so the report has no pictures"
            )
            return False

    def _picture(self, index: int, side: int = 48) -> str:
        if not self._has_images:
            return ""
        try:
            return thumbnail(self.run.pool.read(self._pool_positions[index]), side)
        except (OSError, ValueError, KeyError):
            return ""

    @cached_property
    def _ids(self) -> dict[int, str]:
        return dict(zip(self.examples["index"].tolist(), self.examples["id"].tolist(), strict=True))

    def _tile(self, index: int) -> Tile:
        place = self._place.get(index)
        known = place is not None
        return Tile(
            image=self._picture(index),
            id=self._ids.get(index, str(index)),
            rank=int(self.chosen["rank"][place]) if known else None,
            gain=float(self.chosen["gain"][place]) if known else None,
        )

    def _map(self) -> EmbeddingMap | None:
        if "map" not in self.records or not self.chosen:
            return None
        points = read_table(self.path / "map.parquet")
        index = points["index"].tolist()
        places = np.array([self._place[i] for i in index])
        sizes = {summary["name"]: summary["size"] for summary in self.selection["classes"]}
        names = self.chosen["latent_class"][places]
        return EmbeddingMap(
            x=points["x"],
            y=points["y"],
            latent_class=names.astype(str),
            selected=self.chosen["selected"][places],
            rank=self.chosen["rank"][places],
            class_size=np.array([sizes[name] for name in names.tolist()]),
            id=[self._ids[i] for i in index],
            image=[self._picture(i, _MAP_THUMBNAIL) for i in index],
            total=int(self.chosen["index"].size),
        )

    def _members(self) -> Iterable[tuple[dict[str, Any], np.ndarray]]:
        """Every class's summary with the places of its examples, best first."""
        if not self.selection:
            return
        names = self.chosen["latent_class"]
        for summary in self.selection["classes"]:
            yield summary, np.flatnonzero(names == summary["name"])

    def _gallery(self) -> list[ClassGallery]:
        if not self.examples:
            return []
        galleries = []
        for summary, places in list(self._members())[:_GALLERY_CLASSES]:
            index, selected = self.chosen["index"][places], self.chosen["selected"][places]
            kept = index[selected][:_GALLERY_TILES]
            dropped = index[~selected][::-1][:_GALLERY_TILES]
            galleries.append(
                ClassGallery(
                    name=str(summary["name"]),
                    size=summary["size"],
                    budget=summary["budget"],
                    kept=[self._tile(int(i)) for i in kept],
                    dropped=[self._tile(int(i)) for i in dropped],
                )
            )
        return galleries

    def _pairs(self, kind: str) -> list[Pair]:
        if "map" not in self.records or not self.chosen:
            return []
        found = read_json(self.path / "pairs.json")[kind]
        return [
            Pair(
                first=self._tile(first),
                second=self._tile(second),
                distance=distance,
                latent_class=str(self.chosen["latent_class"][self._place[first]]),
            )
            for first, second, distance in zip(
                found["first"], found["second"], found["expected_squared_distance"], strict=True
            )
        ]

    def _gains(self) -> list[GainCurve]:
        if not self.selection or not np.isfinite(self.chosen["gain"]).any():
            return []
        curves = []
        for summary, places in self._members():
            picked = places[_thin(places.size)]
            curves.append(
                GainCurve(
                    name=str(summary["name"]),
                    rank=self.chosen["rank"][picked],
                    gain=self.chosen["gain"][picked],
                    size=summary["size"],
                    budget=summary["budget"],
                    turn=summary["turn"],
                )
            )
        return curves

    def _bars(self) -> list[ClassBar]:
        return [
            ClassBar(
                name=str(summary["name"]),
                size=summary["size"],
                budget=summary["budget"],
                certificate=self._certificate(summary),
            )
            for summary, _ in self._members()
        ]

    def _certificate(self, facts: Mapping[str, Any]) -> Certificate | None:
        if facts.get("upper_bound") is None:
            return None
        return Certificate(facts["value"], facts["upper_bound"], facts["random_value"])

    def _class_facts(self) -> dict[str, Any]:
        facts = self._json("classes.json", "classes")
        agreement = facts.get("agreement", {})
        stability = facts.get("stability", {})
        shown = {
            "found by": facts.get("method"),
            "classes": facts.get("n_classes"),
            "NMI with the labels": agreement.get("nmi"),
            "ARI with the labels": agreement.get("ari"),
            "purity": agreement.get("purity"),
            "right on labels held out": facts.get("heldout_accuracy"),
            "ARI between seeds": stability.get("ari"),
            "overlap of the seeds' selections": stability.get("selection_overlap"),
            "overlap with the selection by labels": stability.get("selection_overlap_with_labels"),
        }
        return {name: value for name, value in shown.items() if value is not None}

    def _curves(self) -> list[TrainingCurve]:
        trainings = [("proxy", "proxy")] if "proxy" in self.records else []
        trainings += [(arm.subset, arm.name) for arm in trained_arms(self.run)]
        curves = []
        for subset, name in trainings:
            path = self.path / "training" / name / "metrics.csv"
            if path.exists():
                with open(path, newline="", encoding="utf-8") as file:
                    rows = list(csv.DictReader(file))
                curves.append(
                    TrainingCurve(
                        arm=subset,
                        name=name,
                        epoch=[int(row["epoch"]) for row in rows],
                        loss=[float(row["loss"]) for row in rows],
                    )
                )
        return curves

    def _unreadable(self) -> list[tuple[str, str]]:
        if not self.examples:
            return []
        pairs = zip(self.examples["id"], self.examples["error"], strict=True)
        return [(str(id), str(error)) for id, error in pairs if error is not None]

    def _commands(self) -> list[str]:
        return [
            f"contrasift run --recipe {shlex.quote(str(self.run.folder.options_path))} "
            f"--out {shlex.quote(str(self.path) + '-again')}"
        ]


def _thin(n: int) -> np.ndarray:
    """At most so many places of 0..n-1, with both ends."""
    return np.unique(np.linspace(0, n - 1, min(n, _CURVE_POINTS)).round().astype(np.int64))


def _percent(share: float) -> str:
    """Two digits, more near 100 %; never rounded up to a claim that was not proved."""
    digits = 2 if share < 0.9995 else 5
    return f"{np.floor(share * 10 ** (digits + 2)) / 10**digits:.{digits}f} %"


def _accuracy(interval: Mapping[str, Any]) -> str:
    error = interval["standard_error"]
    return f"{interval['mean']:.1%}" + (f" ± {100 * error:.1f}" if error is not None else "")


def _accuracy_sentence(
    kept: Mapping[str, Any], full: Mapping[str, Any], random: Mapping[str, Any] | None
) -> str:
    text = (
        f"A linear probe reaches {_accuracy(kept['linear'])} on an encoder trained on the selection, "
        f"{_accuracy(full['linear'])} on one trained on everything"
    )
    if random and random.get("linear"):
        text += f", and {_accuracy(random['linear'])} on a random subset per class of the same size"
    return text + " (mean ± standard error)."


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
