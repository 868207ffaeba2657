"""Warnings about a selection, each with its reason and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from contrasift.results import ClassSummary
from contrasift.selection.task import Outcome, SettledOptions


def notes_on(
    summaries: Sequence[ClassSummary],
    solved: Sequence[Outcome],
    options: SettledOptions,
    requested: int,
    whole: bool,
) -> tuple[str, ...]:
    """What deserves a warning, in words.

    Args:
        summaries: of the classes.
        solved: what was chosen from: the classes, or the whole pool as one.
        options: how.
        requested: the budget that was asked for.
        whole: the pool was chosen from as a whole.
    """
    notes = [
        _turn_note(summaries, solved, options, whole),
        _starving_note(summaries, requested, whole),
        _shrunk_note(solved, requested),
        _lowered_note(solved),
    ]
    return tuple(note for note in notes if note)


def _turn_note(
    summaries: Sequence[ClassSummary],
    solved: Sequence[Outcome],
    options: SettledOptions,
    whole: bool,
) -> str:
    turned = [code for code, part in enumerate(solved) if part.first_negative_gain is not None]
    if not turned:
        return ""
    first = turned[0]
    where = "the pool" if whole else f"class {summaries[first].name}"
    others = f" (and {len(turned) - 1} more classes)" if len(turned) > 1 else ""
    start = f"gains turn negative at rank {solved[first].first_negative_gain} of {where}{others}: "
    if options.redundancy == 0:
        return start + "these examples are unlike the rest of their class on average"
    reason = (
        "F(S) = F(V∖S) at λ = 1, so past half of a class F rewards leaving central examples out"
        if options.redundancy == 1
        else f"past the fraction 1/(2λ) = {1 / (2 * options.redundancy):.3g} F falls on average"
    )
    remedy = "a lower redundancy= (default: min(1, 1 / (4·fraction))) moves the turn on"
    return f"{start}{reason}; {remedy}"


def _starving_note(summaries: Sequence[ClassSummary], requested: int, whole: bool) -> str:
    empty = [part for part in summaries if part.budget == 0]
    if not empty or requested == 0:
        return ""
    remedy = "allocate='proportional'" if whole else "min_per_class=1"
    return (
        f"{len(empty)} of {len(summaries)} classes keep no example (first: {empty[0].name}, of "
        f"{empty[0].size}); {remedy} gives them some"
    )


def _shrunk_note(solved: Sequence[Outcome], requested: int) -> str:
    kept = sum(part.budget for part in solved)
    if kept >= requested:
        return ""
    return (
        f"double greedy shrank the selection from {requested} to {kept} examples: it keeps only "
        "what raises F; refine='swaps' keeps the size"
    )


def _lowered_note(solved: Sequence[Outcome]) -> str:
    lowered = [part for part in solved if "lowered_redundancy" in part.facts]
    if not lowered:
        return ""
    return (
        f"{len(lowered)} classes are filled beyond the fraction 1/(2λ): there the relaxation "
        "chose under the largest λ that does not discard the most central examples"
    )
