"""How many negatives: what the coupon calculators say of a batch or a queue, in numbers and in words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from contrasift.arrays import finite_or_none
from contrasift.theory.coupon import (
    collision_probability,
    coverage_probability,
    draws_to_cover,
    expected_collisions,
    expected_draws,
    expected_log_collisions,
    expected_log_collisions_bound,
    log_coverage_probability,
    log_no_collision_probability,
)
from contrasift.theory.urns import Urn

LEVELS = (0.5, 0.95, 0.99)
FAMILIAR_NEGATIVES = (255, 65_536)  # SimCLR's batch of 256 on a CPU, MoCo's queue


def describe_negatives(urn: Urn, negatives: int) -> dict[str, Any]:
    """Every number about K negatives; logarithms are None where a probability is exactly zero."""
    log_covered = log_coverage_probability(urn, negatives + 1)
    log_free = log_no_collision_probability(urn, negatives)
    return {
        "negatives": negatives,
        "draws": negatives + 1,
        "coverage_probability": math.exp(log_covered),
        "log_coverage_probability": finite_or_none(log_covered),
        "collision_probability": collision_probability(urn, negatives),
        "log_no_collision_probability": finite_or_none(log_free),
        "expected_collisions": expected_collisions(urn, negatives),
        "expected_log_collisions": expected_log_collisions(urn, negatives),
        "expected_log_collisions_bound": expected_log_collisions_bound(urn, negatives),
    }


def advise(urn: Urn, negatives: int) -> dict[str, Any]:
    """The advisor's answer: the numbers for K negatives, and how many would do.

    Args:
        urn: what is drawn from.
        negatives: K, what is asked about.

    Returns:
        The fields of `describe_negatives`; `n_classes`, `uniform`, `replacement`, `expected_draws`
        (E[K+1]), `draws_to_cover` (by probability, as text), and `familiar`: the same fields for a
        batch of 256 and a queue of 65,536, as far as the pool has so many.
    """
    familiar = [
        describe_negatives(urn, k)
        for k in FAMILIAR_NEGATIVES
        if k != negatives and (urn.size is None or k < urn.size)
    ]
    return {
        "n_classes": urn.n_classes,
        "uniform": urn.uniform,
        "replacement": urn.size is None,
        "expected_draws": expected_draws(urn),
        "draws_to_cover": {str(level): draws_to_cover(urn, level) for level in LEVELS},
        **describe_negatives(urn, negatives),
        "familiar": familiar,
    }


def in_words(advice: dict[str, Any]) -> list[str]:
    """The answer as sentences, one paragraph each."""
    kind = "equally likely classes" if advice["uniform"] else "classes of different sizes"
    put_back = "" if advice["replacement"] else ", drawn without replacement"
    cover = advice["draws_to_cover"]
    lines = [
        f"{advice['n_classes']:,} {kind}{put_back}: all of them are seen after "
        f"{advice['expected_draws']:,.2f} examples on average, so K+1 = "
        f"{math.ceil(advice['expected_draws']):,}; with 50 % after {cover['0.5']:,}, with 95 % after "
        f"{cover['0.95']:,}, with 99 % after {cover['0.99']:,}."
    ]
    lines += [_sentence(row, advice) for row in [advice, *advice["familiar"]]]
    return lines


def _sentence(row: dict[str, Any], advice: dict[str, Any]) -> str:
    shown = (
        f"K = {row['negatives']:,} negatives ({row['draws']:,} examples with the anchor): they see "
        f"every class with probability {probability_text(row['coverage_probability'], row['log_coverage_probability'])}"
        f"; one of them or more shares the anchor's class with probability "
        f"{complement_text(row['collision_probability'], row['log_no_collision_probability'])}, on "
        f"average {number_text(row['expected_collisions'])} of them do. "
    )
    return shown + _meaning(row, advice)


def _meaning(row: dict[str, Any], advice: dict[str, Any]) -> str:
    covered = row["coverage_probability"]
    if row["draws"] < advice["n_classes"]:
        text = (
            "Fewer examples than classes: no batch ever asks to tell all classes apart, and the bound "
            "on the full supervised loss is vacuous"
        )
        if advice["uniform"]:
            text += (
                "; as the classes are equally likely, the best classifier is nevertheless the same "
                "one: telling apart the few classes of each batch suffices"
            )
        return text + "."
    if covered < 0.05:
        return (
            "Hardly any batch holds all classes: the bound on the full supervised loss says next to "
            "nothing."
        )
    if covered < 0.95:
        return (
            "Some batches hold all classes and some do not: more negatives give the full supervised "
            "loss more weight in the bound."
        )
    return (
        "Nearly every batch holds all classes: more negatives no longer help in this respect, they "
        "only collide more often."
    )


def probability_text(value: float, log_value: float | None) -> str:
    """A probability for people, also where a float would be zero."""
    if log_value is None:
        return "0"
    if log_value > -1e-4:
        missing = -math.expm1(log_value)
        # Below 1e-11 the difference to one is rounding.
        return f"1 − {missing:.1e}" if missing > 1e-11 else "1"
    return f"{value:.4g}" if value >= 1e-4 else power_of_ten(log_value)


def complement_text(value: float, log_complement: float | None) -> str:
    """A probability that may be too near one for a float."""
    if log_complement is None:
        return "1"
    return f"1 − {power_of_ten(log_complement)}" if log_complement < -9 else f"{value:.4g}"


def number_text(value: float) -> str:
    """Three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def power_of_ten(log_value: float) -> str:
    """e^x as digits and a power of ten, for any x."""
    exponent = math.floor(log_value / math.log(10))
    return f"{math.exp(log_value - exponent * math.log(10)):.2f}e{exponent:+03d}"


def curve(urn: Urn) -> dict[str, list[Any]]:
    """υ and τ against K, on a logarithmic grid of at most 60 points.

    It goes from one negative to a little beyond the draws that see all classes with 99 %.

    Args:
        urn: what is drawn from.

    Returns:
        `negatives`, `coverage_probability`, `collision_probability`, `expected_log_collisions`.
    """
    top = 2 * draws_to_cover(urn, LEVELS[-1])
    if urn.size is not None:
        top = max(1, min(top, urn.size - 1))
    grid = np.unique(np.round(np.geomspace(1, max(2, top), 60)).astype(np.int64))
    if urn.size is not None:
        grid = grid[grid < urn.size]
    return {
        "negatives": grid.tolist(),
        "coverage_probability": [coverage_probability(urn, int(k) + 1) for k in grid],
        "collision_probability": [collision_probability(urn, int(k)) for k in grid],
        "expected_log_collisions": [expected_log_collisions(urn, int(k)) for k in grid],
    }
