"""The parts of the report about the selection and its classes: coverage, gains, sizes, rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from contrasift.narration import shown
from contrasift.report import ClassBar, GainCurve, Line, LineChart, TextTable, Topic
from contrasift.report.files import RunFiles
from contrasift.report.sections.pictures import evenly
from contrasift.results import Certificate

_CURVE_POINTS = 200


def certificate_of(facts: Mapping[str, Any]) -> Certificate | None:
    """Of a selection or of one of its classes, if it has one."""
    if facts.get("upper_bound") is None:
        return None
    return Certificate(facts["value"], facts["upper_bound"], facts["random_value"])


def coverage(files: RunFiles) -> Topic | None:
    """Coverage and centre against the fraction, with random's band."""
    measures = files.measures
    if "coverage" not in measures:
        return None
    own = files.budget / files.total
    how = "all examples" if measures["whole"] else f"{measures['rows']:,} examples drawn at random"
    caption = (
        f"Measured on {how}, against every kept example of their classes. Shades: for random, "
        f"95 % of choices with the same budgets by class ({measures['random_rankings']} were drawn)"
    )
    caption += "." if measures["whole"] else "; for the ranking, the 95 % interval of the draw."
    if files.selection.get("optimizer") == "relaxed":
        caption += " The relaxation chose for its own fraction; another one chooses another set."
    else:
        caption += (
            " Past the run's own fraction the ranking goes on by gain at the final selection: select "
            "at that fraction to see what the method itself does there."
        )
    return Topic(
        "coverage",
        "What other fractions would reach",
        "Two similarities that a subset should keep large. Coverage: an example's similarity to the "
        "nearest kept one of its class. Centre: its similarity to the kept ones of its class on "
        "average. What seeks the one often pays in the other.",
        charts=[
            _measure_chart(measures, "coverage", "Coverage: to the nearest kept", own),
            _measure_chart(measures, "centre", "Centre: to the kept on average", own),
        ],
        caption=caption,
    )


def _measure_chart(measures: Mapping[str, Any], name: str, title: str, own: float) -> LineChart:
    found, x = measures[name], measures["fractions"]
    value, half = np.array(found["value"]), np.array(found["half_width"])
    return LineChart(
        title,
        "fraction kept",
        "similarity",
        [
            Line("random per class", x, found["random"], found["random_low"], found["random_high"], role="random"),
            Line("this ranking", x, value, value - half, value + half, role="selected"),
        ],
        percent_x=True,
        mark=own,
        mark_text="this run",
    )  # fmt: skip


def gains(files: RunFiles) -> list[GainCurve]:
    """Gain by rank of every class."""
    if not files.selection or not np.isfinite(files.chosen["gain"]).any():
        return []
    curves = []
    for summary, rows in files.members():
        picked = rows.start + evenly(rows.stop - rows.start, _CURVE_POINTS)
        curves.append(
            GainCurve(
                name=str(summary["name"]),
                rank=files.chosen["rank"][picked],
                gain=files.chosen["gain"][picked],
                size=summary["size"],
                budget=summary["budget"],
                first_negative_gain=summary["first_negative_gain"],
            )
        )
    return curves


def class_bars(files: RunFiles) -> list[ClassBar]:
    """Sizes and budgets, largest class first."""
    return [
        ClassBar(str(one["name"]), one["size"], one["budget"], certificate_of(one))
        for one, _ in files.members()
    ]


def class_facts(files: RunFiles) -> dict[str, Any]:
    """How the classes were found and how well they agree with labels."""
    facts = files.classes
    agreement, stability = facts.get("agreement", {}), facts.get("stability", {})
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
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in shown.items()
        if value is not None
    }


def rounds(files: RunFiles) -> TextTable | None:
    """The rounds in which classes were refined."""
    found = files.classes.get("rounds")
    if not found:
        return None
    ends = {
        "stability": "classes no longer agreed better with those of the round before",
        "rounds": "as many as were asked for",
    }
    return TextTable(
        "Rounds of refinement",
        ["Round", "Classes", "ARI with the round before", "Selections overlap", "NMI with labels", "Seconds"],
        [
            [
                f"{row['round']}" + (", used" if row["round"] == found["used"] else ""),
                f"{row['n_classes']:,}",
                shown(row.get("ari_to_previous"), ".2f"),
                shown(row.get("selection_overlap_with_previous"), ".2f"),
                shown(row.get("agreement", {}).get("nmi"), ".2f"),
                f"{row['seconds']:,.1f}",
            ]
            for row in found["history"]
        ],
        "A round trains the proxy anew on what the round before selected, and finds the classes again. "
        f"Ended by: {ends.get(found['ended_by'], found['ended_by'])}.",
    )  # fmt: skip
