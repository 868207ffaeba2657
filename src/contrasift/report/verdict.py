"""What a comparison comes to, in words: the selection against a random choice of its size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from contrasift.evaluation import METRICS
from contrasift.report.words import duration, percent

_RANDOM = ("random-per-class", "random")
_ADVICE = (
    "What may change that: a pool of many classes, few labels to learn from, or the fraction that "
    "`contrasift plan` suggests."
)


def judge_name(metric: str, labels_per_class: int = 10) -> str:
    """What a judge is called in a sentence."""
    return {
        "knn": "nearest neighbours",
        "few_labels": f"{labels_per_class} labels a class",
        "linear": "linear probe",
        "mean_classifier": "class means",
    }[metric]


def against_random(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """The paired differences to a random choice of the same size, by judge; empty without one."""
    differences = summary.get("selected_minus", {})
    return next((differences[name] for name in _RANDOM if name in differences), {})


def judges_that_gain(summary: Mapping[str, Any]) -> list[str]:
    """The judges whose interval of the difference to random lies above zero."""
    return [metric for metric, low, _ in _ends(summary) if low > 0]


def verdict(summary: Mapping[str, Any]) -> list[str]:
    """The conclusion, then what the other judges see; nothing without a random choice beside.

    Args:
        summary: as in evaluation.json.

    Returns:
        Sentences, the conclusion first.
    """
    found = against_random(summary)
    if not found:
        return []
    ends = _ends(summary)
    if not ends:
        return ["One seed cannot tell the selection from a random choice of its size; three may."]
    gains = judges_that_gain(summary)
    losses = [metric for metric, _, high in ends if high < 0]
    rest = [metric for metric, _, _ in ends if metric not in gains + losses]
    count = f"points of accuracy, 95 % intervals; {found[ends[0][0]]['n']} seeds, equal {summary['match']}"
    if not gains and not losses:
        first = "A random subset of this size does as well here and costs nothing to choose"
        return [f"{first}: {_listed(summary, rest)} ({count}).", _ADVICE]
    beats = f"beats a random choice of its size: {_listed(summary, gains)}"
    loses = f"is worse than a random choice of its size: {_listed(summary, losses)}"
    said = [words for words, these in ((beats, gains), (loses, losses)) if these]
    sentences = [f"The selection {', but '.join(said)} ({count})."]
    if rest:
        sentences.append(f"Not significant: {_listed(summary, rest)}.")
    return sentences


def without_selecting(summary: Mapping[str, Any]) -> str:
    """What a training that selected on its way would have been on everything; empty for others."""
    one = summary.get("one_training")
    if not one:
        return ""
    total = one["training_seconds"] + one["selection_seconds"]
    epoch = one["seconds_of_an_epoch_on_everything"]
    return (
        f"Selecting within the training took {duration(one['selection_seconds'])} of its "
        f"{duration(total)} ({percent(one['selection_seconds'] / total)}). Its {one['epochs']:.0f} "
        f"epochs would have taken {duration(one['epochs'] * epoch)} on everything, where an epoch "
        f"took {duration(epoch)}; the same time has {total / epoch:.1f} epochs on everything."
    )


def _ends(summary: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Judge and ends of its interval, the telling judges first; none of a single seed."""
    found = against_random(summary)
    return [
        (metric, found[metric]["low"], found[metric]["high"])
        for metric in METRICS
        if metric in found and found[metric]["low"] is not None
    ]


def _listed(summary: Mapping[str, Any], metrics: list[str]) -> str:
    found, labels = against_random(summary), summary.get("labels_per_class", 10)
    return ", ".join(f"{judge_name(m, labels)} {points(found[m])}" for m in metrics)


def points(interval: Mapping[str, Any]) -> str:
    """A difference in percentage points with its interval, where it has one."""
    text = signed(interval["mean"])
    if interval["low"] is None or not math.isfinite(interval["low"]):
        return text
    return f"{text} ({signed(interval['low'])} to {signed(interval['high'])})"


def signed(share: float) -> str:
    """A difference in percentage points with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")
