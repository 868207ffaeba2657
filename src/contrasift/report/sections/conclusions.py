"""What the report says at its head: sentences, large figures, and what is missing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from contrasift.report import Headline, Missing, arm_label, duration, percent
from contrasift.report.files import RunFiles
from contrasift.report.sections.selection import certificate_of
from contrasift.report.verdict import (
    against_random,
    judge_name,
    judges_that_gain,
    signed,
    verdict,
    without_selecting,
)

_PARTS = {
    "embed": "embedding",
    "embed-classes": "embedding for the classes",
    "select": "selection",
}


def summary(files: RunFiles) -> list[str]:
    """Sentences, the most important first; each only if its figures are there."""
    if not files.selection or not files.total:
        return []
    sentences = [
        *verdict(files.comparison),
        f"{files.budget:,} of {files.total:,} examples ({_share(files)}) were kept, from "
        f"{len(files.selection['classes']):,} latent "
        + ("classes." if len(files.selection["classes"]) != 1 else "class."),
    ]
    certificate = certificate_of(files.selection)
    if certificate is not None and certificate.share is not None:
        sentences.append(
            f"The selection reaches at least {certified(certificate.share)} of what any choice of "
            "this size could gain over random in its objective; that is proved, not estimated."
        )
    if len(files.selection["classes"]) == 1:
        sentences.append(
            "A selection in one class says nothing of training: within one class it was no better "
            "than random in our experiments. Latent classes: contrasift select --classes auto."
        )
    sentences += _accuracy_sentences(files)
    sentences += _cost_sentences(files)
    sentences += _coverage_sentences(files)
    return sentences


def _share(files: RunFiles) -> str:
    return percent(files.budget / files.total)


def certified(share: float) -> str:
    """Two digits, more near 100 %; never rounded up to a claim that was not proved."""
    digits = 2 if share < 0.9995 else 5
    return f"{np.floor(share * 10 ** (digits + 2)) / 10**digits:.{digits}f} %"


def _accuracy_sentences(files: RunFiles) -> list[str]:
    rows, judge = files.trained, _leading_judge(files)
    kept = rows.get("selected", {}).get(judge)
    if not kept:
        return []
    others = [
        f"{_accuracy(rows[name][judge])} on {words}"
        for name, words in (
            ("random-per-class", "a random subset per class of the same size"),
            ("full", "everything"),
        )
        if rows.get(name, {}).get(judge)
    ]
    text = f"Judged by {_judge_name(files, judge)}, an encoder trained on the selection reaches {_accuracy(kept)}"
    if others:
        text += ", " + " and ".join(others)
    return [text + (" (mean ± standard error)." if kept["standard_error"] is not None else ".")]


def _leading_judge(files: RunFiles) -> str:
    """The first judge that tells the selection from a random choice; else the first there is."""
    return (judges_that_gain(files.comparison) or ["knn"])[0]


def _judge_name(files: RunFiles, judge: str) -> str:
    return judge_name(judge, files.comparison.get("labels_per_class", 10))


def _accuracy(interval: Mapping[str, Any]) -> str:
    error = interval["standard_error"]
    return f"{100 * interval['mean']:.1f} %" + (
        f" ± {100 * error:.1f}" if error is not None else ""
    )


def preparation(files: RunFiles) -> dict[str, float]:
    """Seconds of choosing by part; reading the images once is needed for any training."""
    if files.comparison:
        parts = files.comparison["preparation_seconds"]
    else:
        stages = ("proxy", "embed", "embed-classes", "classes", "select")
        parts = {
            name: files.records[name].seconds
            for name in stages
            if name in files.records and files.records[name].seconds
        }
    return {_PARTS.get(name, name): one for name, one in parts.items() if name != "scan"}


def net_saved(files: RunFiles) -> float | None:
    """Seconds that one training on the selection, not on everything, saves less those of choosing."""
    saved = files.comparison.get("saved_per_training_seconds")
    return None if saved is None else saved - files.comparison["selection_seconds"]


def saves(files: RunFiles) -> bool:
    """Whether saved time is worth a word: a random subset would save as much, and for nothing."""
    return files.comparison["match"] == "epochs" and bool(judges_that_gain(files.comparison))


def _cost_sentences(files: RunFiles) -> list[str]:
    parts = preparation(files)
    if not parts:
        return []
    listed = ", ".join(f"{name} {duration(seconds)}" for name, seconds in parts.items())
    sentences = [f"Choosing cost {duration(sum(parts.values()))}: {listed}."]
    if without := without_selecting(files.comparison):
        return [*sentences, without]
    net = net_saved(files)
    if net is None or not saves(files):
        return sentences
    saved = files.comparison["saved_per_training_seconds"]
    count = files.comparison["trainings_to_pay_back"]
    if count is None:
        sentences.append("A training on the selection saved no time against one on everything.")
    else:
        begun = f"A training on the selection takes {duration(saved)} less than one on everything"
        ending = (
            f"net of choosing, one training saves {duration(net)}."
            if net >= 0
            else f"net of choosing, one training alone costs {duration(-net)} more, and the choice "
            f"has paid for itself after {count:,} trainings."
        )
        sentences.append(f"{begun}; {ending}")
    return sentences


def _coverage_sentences(files: RunFiles) -> list[str]:
    measures = files.measures
    if "coverage" not in measures or files.budget == 0:
        return []
    at = int(np.argmin(np.abs(np.array(measures["budgets"]) - files.budget)))
    points = {
        name: {part: numbers[at] for part, numbers in measures[name].items()}
        for name in ("coverage", "centre")
    }
    return beside_random(points)


def beside_random(measured: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Coverage and centre of a selection and of random ones, which are similarities everywhere.

    Args:
        measured: `value`, `random`, `random_low` and `random_high` of each that was measured.
    """
    words = {
        "coverage": "Coverage, an example's mean similarity to the nearest kept one of its class, is",
        "centre": "Centre, its mean similarity to all kept ones of its class, is",
    }
    return [
        f"{said} {one['value']:.3f}; random choices reach {one['random']:.3f} "
        f"({one['random_low']:.3f} to {one['random_high']:.3f}): {_standing(one)}."
        for name, said in words.items()
        if (one := measured.get(name))
    ]


def _standing(one: Mapping[str, float]) -> str:
    if one["value"] > one["random_high"]:
        return "more than random"
    return "less than random" if one["value"] < one["random_low"] else "as random"


def headlines(files: RunFiles) -> list[Headline]:
    """The few figures to remember."""
    if not files.selection or not files.total:
        return []
    found = []
    kept, judge = files.trained.get("selected", {}), _leading_judge(files)
    if kept.get(judge):
        n = kept[judge]["n"]
        note = f"{_judge_name(files, judge)}, {n} seed{'s' if n > 1 else ''}"
        difference = against_random(files.comparison).get(judge)
        if difference:
            note += (
                f"; {signed(difference['mean'])} points to {arm_label('random-per-class').lower()}"
            )
        found.append(Headline(_accuracy(kept[judge]), "accuracy on the selection", note))
    found.append(
        Headline(f"{files.budget:,}", "examples kept", f"of {files.total:,} ({_share(files)})")
    )
    parts = preparation(files)
    if parts:
        dearest = max(parts, key=lambda name: parts[name])
        note = f"{dearest}: {percent(parts[dearest] / max(1e-9, sum(parts.values())))}"
        found.append(Headline(duration(sum(parts.values())), "cost of choosing", note))
    net = net_saved(files)
    if net is not None and saves(files):
        count = files.comparison["trainings_to_pay_back"]
        note = (
            "never pays" if count is None else f"pays after {count:,} training{'s' * (count != 1)}"
        )
        shown = duration(net) if net >= 0 else f"−{duration(-net)}"
        found.append(Headline(shown, "saved by one training, net", note))
    certificate = certificate_of(files.selection)
    if certificate is not None and certificate.share is not None:
        share = certified(certificate.share)
        found.append(Headline(share, "of the objective's possible gain", "proved; no accuracy"))
    return found


def pending(files: RunFiles) -> list[Missing]:
    """What the page needs and the run lacks, with the command that makes it."""
    run = shlex.quote(str(files.path))
    pool = shlex.quote(files.run.options.pool.pool)
    commands = {
        "scan": ("reading the pool", f"contrasift embed {pool} --out {run}"),
        "embed": ("embeddings", f"contrasift embed {pool} --out {run}"),
        "classes": ("latent classes", f"contrasift classes {run}"),
        "select": ("selection", f"contrasift select {run}"),
        "map": ("map and pairs", f"contrasift report {run}"),
        "measures": ("coverage at other fractions", f"contrasift report {run}"),
    }
    return [Missing(*made) for stage, made in commands.items() if stage not in files.records]


def further(files: RunFiles) -> list[Missing]:
    """What could still be asked of the run, with the command that answers it."""
    run = shlex.quote(str(files.path))
    found = []
    trained = any(name.startswith("train ") for name in files.records)
    if not files.selection:
        return []
    if not trained:
        found.append(
            Missing(
                "What training on it gives, beside random and everything",
                f"contrasift run --recipe {shlex.quote(str(files.run.folder.options_path))} --out {run}",
            )
        )
    elif not files.comparison:
        found.append(Missing("Accuracies of the trained encoders", f"contrasift evaluate {run}"))
    if trained and not any((files.path / "negatives").glob("*.json")):
        found.append(
            Missing("Which negatives are hard, and which false", f"contrasift negatives {run}")
        )
    if trained and not (files.path / "bounds.json").exists():
        found.append(Missing("What the loss proves about accuracy", f"contrasift bounds {run}"))
    return found
