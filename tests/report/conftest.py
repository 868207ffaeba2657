from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from contrasift.evaluation import mean_and_interval
from contrasift.report import (
    ArmResult,
    ClassBar,
    EmbeddingMap,
    GainCurve,
    Gallery,
    Headline,
    Line,
    LineChart,
    Missing,
    Pair,
    RankedClass,
    ReportData,
    TextTable,
    Tile,
    Topic,
    TrainingCurve,
    thumbnail,
    write_report,
)
from contrasift.results import Certificate

HOSTILE = (
    "<b>h</b></script><script>window.hacked=1</script><!-- <img src=x onerror=hacked()> \"'&ä数字"
)


def small_image(seed: int = 0) -> str:
    """A data URI."""
    return thumbnail(np.random.default_rng(seed).integers(0, 255, (8, 8), dtype=np.uint8))


def sample_gallery(name: str, classes: int, size: int = 10, image: str = "") -> Gallery:
    """Classes of one size; the ranking takes one of each in turn."""
    total = classes * size
    budgets = np.arange(size + 1) * classes
    return Gallery(
        total=total,
        budgets=budgets,
        own=2,
        classes=[
            RankedClass(
                f"{name} {k}",
                size,
                np.arange(size + 1),
                [
                    Tile(image, f"{name}/{k}-{i}.png", i, 1.5 - i, i * classes + k, f"{name} label")
                    for i in range(size)
                ],
            )
            for k in range(classes)
        ],
    )


def sample_topic(name: str, anchor: str) -> Topic:
    """Text, a chart with a band, and a table."""
    x = [0.01, 0.2, 0.8]
    lines = [
        Line(name, x, [1.0, None, 0.2], [0.9, 0.4, 0.1], [1.1, 0.6, 0.3], role="random"),
        Line(f"{name} other", x, [0.9, 0.4, 0.1], dash=True),
    ]
    return Topic(
        anchor,
        f"{name} {anchor}",
        name,
        [f"{name} sentence"],
        [LineChart(name, name, name, lines, percent_x=True, mark=0.2, mark_text=name)],
        [TextTable(name, [name, "n"], [[name, "1"]], name)],
        name,
    )


def sample(name: str = "class", classes: int = 6, points: int = 60) -> ReportData:
    """A full report with `name` in every place that takes a text."""
    rng = np.random.default_rng(0)
    image = small_image()
    names = [f"{name} {k}" for k in range(classes)]
    tiles = [Tile(image, f"{name}/{i}.png", i, 1.5 - i) for i in range(4)] + [Tile("", name)]
    seeds = {"linear": [0.9, 0.91, 0.92], "knn": [0.8, 0.8, 0.83]}
    accuracy = {measure: mean_and_interval(values) for measure, values in seeds.items()}
    whole = Certificate(99.0, 100.0, 50.0)
    arms = [
        ArmResult("selected", "", 20, 40, accuracy, seeds, 63.0, {"proxy": 22.0, "training": 41.0}),
        ArmResult("full", "", 100, 200, accuracy, seeds, 150.0, {"training": 150.0}),
        ArmResult(
            "untrained", "", None, 0, {"linear": mean_and_interval([0.5])}, {"linear": [0.5]}
        ),
        ArmResult(name, name, 20, None, {}, {}),
    ]
    codes = np.arange(points) % classes
    gallery = sample_gallery(name, classes, image=image)
    places = np.arange(points)
    table = TextTable(name, [name, "n"], [[name, "1"]], name)
    return ReportData(
        title=f"{name} title",
        summary=[f"{name} kept", "second sentence"],
        headlines=[Headline("20", "kept", name)],
        notes=[f"{name} note"],
        pending=[Missing(f"{name} stage", f"contrasift {name}")],
        further=[Missing(f"{name} question", f"contrasift {name}")],
        arms=arms,
        comparison_note=name,
        differences=table,
        other_readings=[table],
        coverage=sample_topic(name, "coverage"),
        map=EmbeddingMap(
            x=rng.normal(size=points),
            y=rng.normal(size=points),
            latent_class=[names[k] for k in codes],
            selected=places < gallery.budgets[2],
            rank=np.arange(points) // classes,
            class_size=np.full(points, points // classes),
            place=places,
            id=[f"{name}/{i}.png" for i in range(points)],
            label=[f"{name} {'odd' if i % 2 else 'even'}" for i in range(points)],
            image=[image] * points,
            method=name,
            total=1000,
        ),
        gallery=gallery,
        near_pairs=[Pair(tiles[0], tiles[1], 0.95, name)],
        far_pairs=[Pair(tiles[2], tiles[4], 0.05, name)],
        gains=[GainCurve(label, range(10), np.arange(10.0)[::-1] - 2, 10, 2, 8) for label in names],
        certificate=whole,
        classes=[ClassBar(label, 10, 2, whole) for label in names],
        class_facts={name: name, "ARI": 0.5, "spherical": True},
        rounds=table,
        negatives=sample_topic(name, "negatives"),
        bounds=sample_topic(name, "bounds"),
        training=[TrainingCurve("selected", f"{name} 0", [1, 2], [3.0, float("nan")])],
        unreadable=[(name, f"{name} reason")],
        options={name: {name: name, "limit": None, "list": [1, 2]}},
        versions={name: name},
        commands=[f"contrasift run {name}"],
    )


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens a report and watches its console and its requests."""
    pages = []

    def open_report(data: ReportData, width: int = 1280, scheme: str = "light", **settings):
        path: Path = write_report(data, tmp_path / "report.html")
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **settings
        )
        tab = context.new_page()
        tab.complaints = []
        tab.on("console", lambda message: tab.complaints.append(message.text))
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.on(
            "request",
            lambda request: (
                request.url.startswith(("data:", "blob:", path.as_uri()))
                or tab.complaints.append(request.url)
            ),
        )
        tab.goto(path.as_uri())
        pages.append((context, tab))
        return tab

    yield open_report
    for context, tab in pages:
        assert tab.complaints == []
        context.close()
