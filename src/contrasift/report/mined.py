"""What is said of mined negatives: sentences and tables from `mined.json`; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if share < 0.1 else f"{100 * share:.1f} %"


def mined_sentences(result: Mapping[str, Any]) -> list[str]:
    """What the numbers say, most important first."""
    kept, left_out = result["queries_kept"], result["queries_left_out"]
    found = [
        f"{result['negatives']:,} negatives for {kept:,} of {result['queries']:,} queries, from a "
        f"corpus of {result['corpus']:,}, by {result['policy']}."
    ]
    found += _false(result)
    if left_out:
        why = ", ".join(f"{name} ({count:,})" for name, count in result["too_few_because"].items())
        found.append(
            f"{left_out:,} queries are left out: they have fewer than {result['per_query']}, because "
            f"of {why}."
        )
    if result["above_their_positive"] > 0:
        found.append(
            f"{_percent(result['above_their_positive'])} of the negatives score above the query's "
            "positive."
        )
    if result["search"] == "approximate":
        found.append(
            f"The search was approximate: recall {result['measured_recall']:.3f} on a sample of "
            f"{result['sample']:,} queries."
        )
    return found


def _false(result: Mapping[str, Any]) -> list[str]:
    found = []
    if "truth" in result:
        low, high = _percent(result["truth_low"]), _percent(result["truth_high"])
        found.append(
            f"{_percent(result['truth'])} of them are known to be false ({low} to {high})."
        )
    if "estimate" in result:
        by = "two encoders" if result["encoders_that_judge"] == 2 else "one encoder"
        found.append(
            f"{_percent(result['estimate'])} are thought to be false, by latent classes of {by}."
        )
    elif result["classes_used_by_the_policy"]:
        found.append(
            "How many are false cannot be estimated: the policy itself compares the latent classes. "
            "Give those of another encoder with other_classes=."
        )
    return found
