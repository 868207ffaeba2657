"""Warnings about a selection, each with its reason and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from contrasift.results import Certificate, ClassSummary
from contrasift.selection.degenerate import why_nothing
from contrasift.selection.task import Outcome, SettledOptions


def notes_on(
    summaries: Sequence[ClassSummary],
    solved: Sequence[Outcome],
    options: SettledOptions,
    requested: int,
    whole: bool,
    certificate: Certificate | None = None,
) -> tuple[str, ...]:
    """What deserves a warning, in words.

    Args:
        summaries: of the classes.
        solved: what was chosen from: the classes, or the whole pool as one.
        options: how.
        requested: the budget that was asked for.
        whole: the pool was chosen from as a whole.
        certificate: of the selection.
    """
    notes = [
        _degenerate_note(summaries, solved, whole),
        _below_random_note(options, certificate),
        _sampled_note(solved),
        _no_rule_note(solved),
        _turn_note(summaries, solved, options, whole),
        _starving_note(summaries, requested, whole),
        _shrunk_note(solved, requested),
        _lowered_note(solved),
    ]
    return tuple(note for note in notes if note)


def _degenerate_note(
    summaries: Sequence[ClassSummary], solved: Sequence[Outcome], whole: bool
) -> str:
    nothing = [code for code, part in enumerate(solved) if "degenerate" in part.facts]
    if not nothing:
        return ""
    others = f" and {len(nothing) - 1:,} more of {len(solved):,} classes" if nothing[1:] else ""
    pool = whole or len(solved) == 1
    where = "the pool" if pool else f"class {summaries[nothing[0]].name}{others}"
    return why_nothing(where)


def _below_random_note(options: SettledOptions, certificate: Certificate | None) -> str:
    share = None if certificate is None else certificate.share
    if share is None or share >= 0 or certificate is None:
        return ""
    seeks = "" if options.objective == "sas" else f"; {options.objective} does not seek it"
    return (
        f"F = {certificate.value:.6g} is below the mean of random selections of this size, "
        f"{certificate.random_value:.6g} (share {share:.3g}){seeks}"
    )


def _sampled_note(solved: Sequence[Outcome]) -> str:
    parts = [part for part in solved if "sampled_ranks" in part.facts]
    if not parts:
        return ""
    ranks = sum(int(part.facts["sampled_ranks"]) for part in parts)
    return (
        f"{ranks:,} ranks in {len(parts):,} of {len(solved):,} classes are stochastic greedy's, "
        "behind greedy's own, which would have taken very long or was interrupted; "
        "optimizer='greedy' is exact however long it takes"
    )


def _no_rule_note(solved: Sequence[Outcome]) -> str:
    without = [part for part in solved if "rule_below_random" in part.facts]
    if not without:
        return ""
    return (
        f"in {len(without):,} of {len(solved):,} classes the best linear rule is worse than random: "
        "greedy chose there, and the rule takes no new example of them"
    )


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
