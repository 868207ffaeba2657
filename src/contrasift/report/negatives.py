"""The page about negatives: values in, one self-contained HTML file out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from contrasift.report.page import _asset, script_json
from contrasift.store.atomic import write_text


@dataclass(frozen=True)
class Curve:
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
class Table:
    """Rows of text under a heading.

    Attributes:
        title: what it shows.
        columns: heads; the first column is text, the others are numbers.
        rows: cells as they are to be read.
        note: a sentence below.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


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
    curves: Sequence[Curve]
    hard_shares: Sequence[float]
    shuffled_shares: Sequence[float]
    tables: Sequence[Table] = ()
    pairs: Sequence[ImagePair] = ()


def write_negatives_page(page: NegativesPage, path: Path) -> Path:
    """Write the page, whole or not at all; it opens from disk, without a network.

    Every text from outside is shown as text: see `write_report`.

    Raises:
        ContrasiftError: the file cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("contrasift.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    payload = {
        "curves": [vars(curve) for curve in page.curves],
        "hard": list(page.hard_shares),
        "shuffled": list(page.shuffled_shares),
    }
    html = environment.get_template("negatives.html.j2").render(
        page=page,
        style=_asset("report.css"),
        plotly=Markup(get_plotlyjs()),  # noqa: S704 - a library
        payload=Markup(script_json(payload)),  # noqa: S704 - made safe for a script block
    )
    write_text(path, html.encode("utf-8", "replace").decode("utf-8"))
    return path
