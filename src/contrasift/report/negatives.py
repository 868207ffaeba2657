"""The page about negatives: values in, one self-contained HTML file out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrasift.report.data import TextTable
from contrasift.report.page import write_page


@dataclass(frozen=True)
class DifficultyCurve:
    """A measure by percentile of difficulty.

    Attributes:
        title: what it is.
        percentile: where each bin ends.
        mean: of the bin.
        low: lower end of its interval; empty for one replicate.
        high: upper end.
    """

    title: str
    percentile: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class ImagePair:
    """Two examples that are probably the same, as thumbnails.

    Attributes:
        query: data URI.
        negative: data URI.
        similarity: their cosine.
        caption: what is known of their classes.
    """

    query: str
    negative: str
    similarity: float
    caption: str = ""


@dataclass(frozen=True)
class NegativesPage:
    """Everything that the page shows.

    Attributes:
        title: of the page.
        summary: sentences; the first in larger type.
        curves: charts by difficulty.
        hard_shares: share of the queries for which each negative is hard.
        shuffled_shares: the same by chance.
        tables: in order.
        pairs: the gallery.
    """

    title: str
    summary: Sequence[str]
    curves: Sequence[DifficultyCurve]
    hard_shares: Sequence[float]
    shuffled_shares: Sequence[float]
    tables: Sequence[TextTable] = ()
    pairs: Sequence[ImagePair] = ()


def band_table(
    title: str,
    result: Mapping[str, Any],
    first: str,
    heads: Mapping[str, str],
    cell: Callable[[str, float], str],
) -> TextTable:
    """Measures by band of difficulty, and of all negatives.

    Args:
        title: above it.
        result: what `contrasift negatives` found: `bands`, `overall`, and how many were drawn.
        first: head of the bands.
        heads: of the columns, by measure.
        cell: a measure's name and value as text.
    """
    rows = [*result["bands"].items(), ("all", result["overall"])]
    return TextTable(
        title,
        [first, *heads.values()],
        [[band, *(cell(name, values[name]) for name in heads)] for band, values in rows],
        f"Means over {result['replicates']} draws of {result['queries']:,} queries and "
        f"{result['negatives']:,} negatives.",
    )


def write_negatives_page(page: NegativesPage, path: Path) -> Path:
    """Write the page, whole or not at all; it opens from disk, without a network.

    Every text from outside is shown as text: see `write_report`.

    Raises:
        ContrasiftError: the file cannot be written.
    """
    payload = {
        "curves": [vars(curve) for curve in page.curves],
        "hard": list(page.hard_shares),
        "shuffled": list(page.shuffled_shares),
    }
    return write_page(path, "negatives.html.j2", page, payload)
