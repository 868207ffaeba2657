"""The figures of `contrasift plan`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contrasift.evaluation import METRIC_NAMES
from contrasift.report.figures.page import blank


def plan_figures(result: Mapping[str, Any]) -> list[Any]:
    """Coverage and centre against the fraction with random's band, and the loss of accuracy."""
    curves = result["curves"]
    figures = [
        _curve_figure(curves, "coverage", "Coverage: what is kept lies near everything", result),
        _curve_figure(curves, "centre", "Centre: what is kept lies at the centre", result),
    ]
    accuracy = result.get("accuracy")
    if accuracy and accuracy["advice"]["grid"] is not None:
        figures.append(_loss_figure(accuracy))
    return figures


def _curve_figure(
    curves: Mapping[str, Any], name: str, title: str, result: Mapping[str, Any]
) -> Any:
    figure = blank(f"{title} (larger is better)", "fraction kept", "mean similarity")
    x, curve = curves["fractions"], curves[name]
    _band(figure, x, curve["random_low"], curve["random_high"], "random, 95 %")
    figure.add_scatter(x=x, y=curve["random"], name="random", mode="lines", line_dash="dash")
    error = None
    if not curves["whole"]:
        error = {"type": "data", "array": curve["half_width"]}
    figure.add_scatter(x=x, y=curve["value"], name="ranking", mode="lines+markers", error_y=error)
    figure.add_vline(x=result["budget"] / result["n"], line_dash="dot", annotation_text="selected")
    return figure


def _loss_figure(accuracy: Mapping[str, Any]) -> Any:
    """The law's loss against the fraction, and every training at its distance from the law's acc(1)."""
    advice = accuracy["advice"]
    metric = METRIC_NAMES[accuracy["metric"]]
    figure = blank(f"Accuracy against the whole pool, {metric}", "fraction kept", "points")
    grid = np.array(advice["grid"])
    inside = grid >= accuracy["fractions"][0]
    x = grid[inside]
    low, high, middle = (
        -np.array(advice[name])[inside] for name in ("grid_high", "grid_low", "grid_loss")
    )
    _band(figure, x, low, high, "95 %")
    figure.add_scatter(x=x, y=middle, name="law", mode="lines")
    whole = advice["law"][0]
    for share, row in zip(accuracy["fractions"], accuracy["accuracies"], strict=True):
        figure.add_scatter(
            x=[share] * len(row),
            y=np.array(row) - whole,
            mode="markers",
            marker_color="black",
            name="short trainings",
            legendgroup="trainings",
            showlegend=share == accuracy["fractions"][0],
        )
    figure.add_hline(
        y=-accuracy["allowed_loss"], line_dash="dot", annotation_text="what it may cost"
    )
    if advice["tells"]:
        figure.add_vline(x=advice["fraction"], line_dash="dot", annotation_text="suggested")
    return figure


def _band(
    figure: Any,
    x: Sequence[float] | np.ndarray,
    low: Sequence[float] | np.ndarray,
    high: Sequence[float] | np.ndarray,
    name: str,
) -> None:
    figure.add_scatter(x=x, y=high, mode="lines", line_width=0, showlegend=False, hoverinfo="skip")
    figure.add_scatter(
        x=x, y=low, mode="lines", line_width=0, fill="tonexty", name=name,
        fillcolor="rgba(128,128,128,0.25)",
    )  # fmt: skip
