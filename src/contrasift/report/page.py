"""From `ReportData` to one HTML file that opens from disk, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from contrasift.report import words
from contrasift.report.data import ReportData
from contrasift.report.fitting import fitted
from contrasift.report.payload import measures_of, payload_of, script_json, topics_of
from contrasift.store.atomic import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

# In the order in which they run.
_SCRIPTS = ("base", "lines", "comparison", "fraction", "map", "gallery", "selection", "start")


def write_report(data: ReportData, path: Path) -> Path:
    """Write the page, whole or not at all.

    Every text from outside is shown as text: Jinja escapes it in the markup, the data block holds
    no `<`, `>` or `&`, and the scripts set text, never markup. The page asks for nothing from a
    network, and its content policy forbids it to.

    Args:
        data: what to show; parts that are missing are left out.
        path: of the HTML file; its folder is made if need be.

    Raises:
        ContrasiftError: the file cannot be written.
    """
    write_text(path, render(data))
    return path


def render(data: ReportData) -> str:
    """The page as text: see `write_report`."""
    data, cuts = fitted(data)
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            cuts=cuts,
            sections=_sections(data),
            measures=[(name, words.measure_label(name)) for name in measures_of(data)],
            arm_label=words.arm_label,
            style=asset("report.css"),
            script=Markup("\n").join(asset(f"js/{name}.js") for name in _SCRIPTS),
            plotly=plotly() if _has_charts(data) else "",
            payload=Markup(script_json(payload_of(data))),  # noqa: S704 - made safe for a script block
        )
    )
    # File names may hold bytes that are no text; they become visible replacement marks.
    return html.encode("utf-8", "replace").decode("utf-8")


def write_page(path: Path, template: str, page: object, payload: Mapping[str, Any]) -> Path:
    """Render a page with its numbers for the charts, and write it whole.

    Raises:
        ContrasiftError: the file cannot be written.
    """
    html = (
        environment()
        .get_template(template)
        .render(
            page=page,
            style=asset("report.css"),
            plotly=plotly(),
            payload=Markup(script_json(payload)),  # noqa: S704 - made safe for a script block
        )
    )
    write_text(path, html.encode("utf-8", "replace").decode("utf-8"))
    return path


def environment() -> Environment:
    """Templates that escape whatever they are given, and fail on what they are not."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("contrasift.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        count=words.count,
        glued=words.glued,
        hundredths=words.hundredths,
        duration=words.duration,
        number=words.number,
        value=words.option,
    )
    return made


def asset(name: str) -> Markup:
    """A style sheet or a script of our own."""
    text = resources.files("contrasift.report").joinpath("templates", name).read_text("utf-8")
    return Markup(text)  # noqa: S704 - our own file


def plotly() -> Markup:
    """The library that draws the charts."""
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())  # noqa: S704 - a library


def _has_charts(data: ReportData) -> bool:
    charts = any(topic.charts for topic in topics_of(data))
    return bool(data.arms or data.map or data.gains or data.classes or data.training or charts)


def _sections(data: ReportData) -> list[tuple[str, str]]:
    """Anchor and title of every part that there is, in the order of the page."""
    setting = data.options or data.versions or data.commands
    parts = [
        ("comparison", "Comparison", data.arms),
        ("coverage", "Fractions", data.coverage),
        ("map", "Map", data.map),
        ("gallery", "Gallery", data.gallery),
        ("pairs", "Pairs", data.near_pairs or data.far_pairs),
        ("gain", "Gain", data.gains or data.certificate),
        ("classes", "Classes", data.classes or data.class_facts or data.rounds),
        ("negatives", "Negatives", data.negatives),
        ("bounds", "Bounds", data.bounds),
        ("training", "Training", data.training),
        ("unreadable", "Unreadable", data.unreadable),
        ("further", "Next", data.further),
        ("setting", "Repeat it", setting),
    ]
    return [(anchor, title) for anchor, title, present in parts if present]
