"""The figures of `contrasift compare`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from contrasift.errors import RunFolderError
from contrasift.report.figures.page import blank

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_BINS = 50
_EXAMPLES_A_BIN = 10  # at least, on average: fewer show nothing but noise


@runtime_checkable
class RankedRun(Protocol):
    """A run with the rank of every example, if it has a selection."""

    @property
    def path(self) -> Path:
        """Its folder."""
        ...

    @property
    def ranks(self) -> np.ndarray | None:
        """0 the best."""
        ...


def comparison_figures(
    runs: Sequence[RankedRun], found: Sequence[Mapping[str, Any]]
) -> list[Figure]:
    """Rank against rank, as a density, for every comparison; and the overlap at every fraction.

    Args:
        runs: the reference, then the others.
        found: of `compare_runs`, one for each of the others.

    Raises:
        RunFolderError: no two of the runs have selections.
    """
    curves = blank(
        f"Overlap of selections with {runs[0].path}, by size",
        "share of the pool that is kept",
        "share of it in both",
    )
    figures = []
    for other, comparison in zip(runs[1:], found, strict=True):
        if runs[0].ranks is None or other.ranks is None:
            continue
        curve = comparison["curve"]
        curves.add_scatter(
            x=curve["fractions"], y=curve["overlaps"], name=str(other.path), mode="lines+markers"
        )
        counts = rank_density(runs[0].ranks, other.ranks)
        ticks = (np.arange(counts.shape[0]) + 0.5) / counts.shape[0]
        figure = blank(
            f"Ranks: {other.path} against {runs[0].path} (Spearman "
            f"{comparison['ranks']['spearman'] or 0:.3f})",
            f"rank in {runs[0].path}, 0 the best",
            f"rank in {other.path}",
        )
        figure.add_heatmap(x=ticks, y=ticks, z=counts.T, colorscale="Blues", name="examples")
        figures.append(figure)
    if not figures:
        raise RunFolderError("two runs with selections, to plot", "none", "Run `contrasift select`")
    curves.add_scatter(
        x=[0, 1], y=[0, 1], name="chance", mode="lines", line={"dash": "dot", "color": "grey"}
    )
    return [*figures, curves]


def rank_density(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How many examples have each pair of ranks, in bins of equal width."""
    bins = max(1, min(_BINS, math.isqrt(first.size // _EXAMPLES_A_BIN)))
    counts = np.zeros((bins, bins), dtype=np.int64)
    np.add.at(counts, (first * bins // first.size, second * bins // second.size), 1)
    return counts
