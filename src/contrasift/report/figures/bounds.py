"""The figures of the theory: how many negatives, the bounds, what a selection guarantees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from contrasift.report.figures.page import add_line, blank

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def advisor_figures(curve: Mapping[str, Sequence[Any]], negatives: int) -> list[Figure]:
    """υ and τ against K, and the collision term; K is marked."""
    chances = blank("Seeing every class, and colliding", "negatives K", "probability")
    add_line(chances, curve["negatives"], curve["coverage_probability"], "υ: every class is seen")
    add_line(chances, curve["negatives"], curve["collision_probability"], "τ: a negative collides")
    term = blank("The collision term", "negatives K", "E ln(Col + 1)")
    add_line(term, curve["negatives"], curve["expected_log_collisions"], "E ln(Col + 1)")
    for figure in (chances, term):
        figure.add_vline(x=negatives, line_dash="dot", annotation_text=f"K = {negatives:,}")
        figure.update_xaxes(type="log")
    return [chances, term]


_BOUNDS = {
    "nozawa-sato": "Nozawa–Sato",
    "arora": "Arora, joint weights",
    "arora-notebook": "Arora, as in the notebook (no bound)",
}
_STACK = {
    "supervised_weighted": "½ υ L_sup",
    "partial_weighted": "½ (1−υ) L_sub",
    "expected_log_collisions": "½ E ln(Col + 1)",
}


def bound_figures(subsets: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Figure]:
    """The paper's figures: upper bounds against K+1, the terms stacked, υ and τ.

    Args:
        subsets: rows by subset, as `contrasift.theory.means.mean_over_seeds` makes them.
    """
    figures = [_upper_figure(subset, rows) for subset, rows in subsets.items()]
    figures += [_stacked_figure(subset, rows) for subset, rows in subsets.items()]
    chances = blank("Seeing every class, and colliding", "K + 1", "probability")
    rows = next(iter(subsets.values()))
    draws = [row["draws"] for row in rows]
    add_line(
        chances, draws, [row["coverage_probability"] for row in rows], "υ: every class is seen"
    )
    add_line(
        chances, draws, [row["collision_probability"] for row in rows], "τ: a negative collides"
    )
    figures.append(chances)
    for figure in figures:
        figure.update_xaxes(type="category")
    return figures


def _upper_figure(subset: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Upper bounds on L_sup, as logarithms, beside L_sup itself."""
    from math import log

    figure = blank(f"Upper bounds on L_sup: trained on {subset}", "K + 1", "ln of the loss")
    draws = [row["draws"] for row in rows]
    for name, label in _BOUNDS.items():
        add_line(figure, draws, [row[name] for row in rows], label)
    supervised = [log(row["supervised"]) if row["supervised"] > 0 else None for row in rows]
    add_line(figure, draws, supervised, "L_sup as measured", line_dash="dash")
    trivial = [log(row["trivial"]) if row["trivial"] > 0 else None for row in rows]
    add_line(figure, draws, trivial, "ln C: knowing nothing", line_dash="dot")
    return figure


def _stacked_figure(subset: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The terms of the Nozawa–Sato bound on one another, beside L_Info."""
    figure = blank(
        f"Terms of the Nozawa–Sato bound: trained on {subset}", "K + 1", "loss"
    ).update_layout(barmode="relative")
    draws = [row["draws"] for row in rows]
    for name, label in _STACK.items():
        figure.add_bar(x=draws, y=[row[name] / 2 for row in rows], name=label)
    figure.add_bar(x=draws, y=[row["shift"] for row in rows], name="d(f)")
    add_line(figure, draws, [row["contrastive_loss"] for row in rows], "L_Info")
    return figure


def guarantee_figures(summary: Mapping[str, Any]) -> list[Figure]:
    """ν_align and ν_div of every class; alignment and class centres of every encoder (SAS, Fig. 8).

    Args:
        summary: what `guarantee_run` writes.
    """
    classes = summary["promise"]["classes"]
    names = [found["name"] for found in classes]
    surcharges = blank("What the selection leaves out", "latent class", "distance").update_layout(
        barmode="group"
    )
    for key, label in (
        ("nu_align", "ν_align / η"),
        ("nu_div", "ν_div"),
        ("center_shift", "‖μ − μ^S‖ ≤ ν_div"),
    ):
        surcharges.add_bar(x=names, y=[found[key] for found in classes], name=label)
    surcharges.update_xaxes(type="category")
    figures = [surcharges]
    encoders = summary["encoders"]
    if encoders:
        trained = blank(
            "Encoders on the whole pool",
            "trained on",
            "mean over examples, or over pairs of classes",
        ).update_layout(barmode="group")
        labels = [f"{found['subset']}, seed {found['seed']}" for found in encoders]
        for key, label in (
            ("alignment", "alignment E‖f(x1) − f(x2)‖"),
            ("mean_center_product", "mean μ_k·μ_ℓ"),
            ("largest_center_product", "largest μ_k·μ_ℓ"),
        ):
            trained.add_bar(x=labels, y=[found[key] for found in encoders], name=label)
        figures.append(trained)
    return figures
