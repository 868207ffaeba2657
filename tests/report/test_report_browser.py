from __future__ import annotations

import pytest

from contrasift.evaluation import mean_and_interval
from contrasift.report import (
    ArmResult,
    ClassBar,
    EmbeddingMap,
    GainCurve,
    Gallery,
    Missing,
    RankedClass,
    ReportData,
    Tile,
    TrainingCurve,
)
from tests.report.conftest import HOSTILE, sample, sample_gallery

pytestmark = pytest.mark.browser


def slide(tab, dial: str, stop: int) -> None:
    """Move a slider as a hand does."""
    tab.locator(f"#{dial}").evaluate(
        "(input, stop) => { input.value = stop; input.dispatchEvent(new Event('input')); }", stop
    )
    tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def test_charts_are_drawn_and_filters_filter(opened):
    tab = opened(sample())
    assert tab.locator("#accuracy .plot-container").count() == 2
    charts = ["cost", "map-plot", "gain-plot", "class-plot", "training-plot"]
    for chart in [*charts, "chart-coverage-0", "chart-negatives-0", "chart-bounds-0"]:
        assert tab.locator(f"#{chart} .main-svg").count() > 0
    # Plotly's own tool bar has a button that sends the data to a server.
    buttons = tab.locator(".modebar-btn").evaluate_all("all => all.map(b => b.dataset.title)")
    assert len(buttons) == 6
    assert not [title for title in buttons if "loud" in title or "hare" in title]
    points = tab.locator("#map-plot .point")
    assert points.count() == 60
    tab.locator("input[name=show][value=kept]").check(force=True)
    assert points.count() == 12
    tab.locator("input[name=show][value=dropped]").check(force=True)
    assert points.count() == 48
    tab.locator("input[name=show][value=all]").check(force=True)
    tab.locator("#map-class").select_option("2")
    assert points.count() == 10
    tab.locator("#map-class").select_option("")
    for colour, groups in (("class", 6), ("label", 2)):
        tab.locator(f"input[name=colour][value={colour}]").check(force=True)
        assert tab.locator("#map-legend li").count() == groups
        fills = points.evaluate_all("all => new Set(all.map(p => p.style.fill)).size")
        assert fills == groups
    ink = "getComputedStyle(document.querySelector('#class-plot text')).fill"
    before = tab.evaluate(ink)
    tab.locator("#theme").click()
    assert tab.evaluate(ink) != before
    tab.locator("input[name=colour][value=rank]").check(force=True)
    assert "best to worst" in tab.locator("#map-legend").inner_text()
    tab.locator("#gain-class").select_option("0")
    assert "gains below 0 from rank 8" in tab.locator("#gain-plot").inner_text()


def test_the_slider_moves_examples_in_and_out(opened):
    tab = opened(sample())
    rows = tab.locator("#gallery-rows .row")
    assert rows.count() == 6
    first = rows.first
    assert "2 of 10" in first.inner_text()
    assert first.locator(".tile:not(.out)").count() == 2
    slide(tab, "gallery-fraction", 7)
    assert "7 of 10" in first.inner_text()
    assert first.locator(".tile:not(.out)").count() == 7
    # The map has a slider of its own for the same fraction.
    assert tab.locator("#map-fraction").input_value() == "7"
    assert "70 % · 42 of 60" in tab.locator("#map .dial output").inner_text()
    assert "kept (42)" in tab.locator("#map-legend").inner_text()
    tab.locator("#map .dial button").click()
    assert tab.locator("#gallery-fraction").input_value() == "2"
    first.locator(".row-name").click()
    assert "Class class 0" in tab.locator("#gallery-one").inner_text()
    inside, outside = tab.locator("#tiles-in .tile"), tab.locator("#tiles-out .tile")
    assert (inside.count(), outside.count()) == (2, 8)
    assert "Comes in: 2 of 10" in tab.locator("#gallery-in").inner_text()
    # By the keyboard, one stop on.
    tab.locator("#gallery-fraction").focus()
    tab.keyboard.press("ArrowRight")
    inside.nth(2).wait_for(timeout=5000)
    assert inside.last.get_attribute("class") == "tile moved"
    assert inside.locator("img").evaluate_all("all => all.map(image => image.alt)") == [
        f"class/0-{i}.png, class label" for i in range(3)
    ]
    assert "Stays out: 7" in tab.locator("#gallery-out").inner_text()
    slide(tab, "gallery-fraction", 0)
    assert (inside.count(), outside.count()) == (0, 10)
    outside.locator("button").first.focus()
    info = tab.locator("#gallery-info").inner_text()
    assert "rank 0 of 10 in its class · kept from 1.67 % of the pool on" in info


def test_the_picker_finds_one_of_ten_thousand_classes(opened):
    data = ReportData("many", gallery=sample_gallery("κλάση", 10_000, size=2))
    tab = opened(data)
    picker = tab.locator("#gallery-pick")
    assert tab.locator("#gallery-rows .row").count() == 8
    tab.locator(".more").click()
    assert tab.locator("#gallery-rows .row").count() == 24
    picker.fill("ΚΛΆΣΗ 99")
    options = tab.locator("#gallery-options [role=option]")
    assert options.count() == 60
    assert options.first.inner_text().startswith("κλάση 99")
    assert "more: type on" in tab.locator("#gallery-options").inner_text()
    picker.fill("9876")
    assert options.count() == 1
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    assert tab.locator("#gallery-name").inner_text() == "Class κλάση 9876"
    assert tab.locator("#gallery-options").is_hidden()
    tab.locator("#gallery-after").click()
    assert tab.locator("#gallery-name").inner_text() == "Class κλάση 9877"
    picker.fill("nothing")
    assert "No class of that name" in tab.locator("#gallery-options").inner_text()
    tab.locator("#gallery-all").click()
    assert tab.locator("#gallery-rows").is_visible()


def test_missing_images_have_placeholders(opened):
    tab = opened(ReportData("blind", gallery=sample_gallery("folder", 2)))
    boxes = tab.locator("#gallery-rows .no-image")
    assert boxes.count() == 20
    assert boxes.first.get_attribute("aria-label") == "folder/0-0.png, no image"
    assert boxes.first.inner_text() == "0-0.png"


def test_hovering_and_arrow_keys_show_the_example(opened):
    tab = opened(sample())
    card = tab.locator("#map-card")
    assert card.is_hidden()
    tab.locator("#map-plot").focus()
    tab.keyboard.press("ArrowRight")
    first = card.inner_text()
    assert ".png" in first
    assert "label class" in first
    assert card.locator("img").get_attribute("src").startswith("data:image/png")
    ring = tab.locator("#map-ring")
    before = ring.bounding_box()["x"]
    tab.keyboard.press("ArrowRight")
    assert ring.bounding_box()["x"] > before  # the next one lies to the right
    assert card.inner_text() != first
    tab.keyboard.press("Escape")
    assert card.is_hidden()
    tab.locator("#map-plot").scroll_into_view_if_needed()
    box = tab.locator("#map-plot .point").first.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    card.wait_for(state="visible", timeout=5000)
    assert "rank" in card.inner_text()


def test_theme_follows_the_system_until_it_is_chosen(opened):
    tab = opened(ReportData("early"), scheme="dark")
    theme = "document.documentElement.dataset.theme"
    background = "getComputedStyle(document.body).backgroundColor"
    assert tab.evaluate(theme) == "dark"
    dark = tab.evaluate(background)
    tab.emulate_media(color_scheme="light")
    tab.locator("html[data-theme=light]").wait_for(timeout=5000)
    tab.locator("#theme").focus()
    tab.keyboard.press("Enter")
    assert tab.evaluate(theme) == "dark"
    assert tab.evaluate(background) == dark
    tab.reload()
    assert tab.evaluate(theme) == "dark"


def test_hostile_names_are_text(opened):
    tab = opened(sample(HOSTILE))
    assert tab.locator("main script, main img[onerror], main b b").count() == 0
    assert HOSTILE in tab.locator("#gallery-rows .row-name b").first.inner_text()
    tab.locator("#gallery-rows .row-name").first.click()
    assert HOSTILE in tab.locator("#gallery-name").inner_text()
    tab.locator("#tiles-in button").first.focus()
    assert HOSTILE in tab.locator("#gallery-info").inner_text()
    tab.locator("#gallery-pick").fill("<b>")
    assert HOSTILE in tab.locator("#gallery-options").inner_text()
    for colour in ("class", "label"):
        tab.locator(f"input[name=colour][value={colour}]").check(force=True)
        assert HOSTILE in tab.locator("#map-legend").inner_text()
    assert HOSTILE in tab.locator("#gain-class").inner_text()
    for chart in ("accuracy", "chart-coverage-0", "chart-bounds-0"):
        assert "<b>h</b></script>" in tab.locator(f"#{chart}").inner_text()
    tab.locator("#map-plot").focus()
    tab.keyboard.press("ArrowRight")
    assert HOSTILE in tab.locator("#map-card b").inner_text()
    assert tab.evaluate("window.hacked") is None


@pytest.mark.parametrize("name", [HOSTILE, "x" * 300])
def test_a_phone_does_not_scroll_sideways_and_taps_work(opened, name):
    tab = opened(sample(name), width=390, has_touch=True, is_mobile=True)
    wide = "document.documentElement.scrollWidth"
    assert tab.evaluate(wide) == 390
    tab.locator("#gallery-pick").tap()
    assert tab.evaluate(wide) == 390
    tab.keyboard.press("Escape")
    tab.locator("#gallery-rows .row-name").first.tap()
    assert tab.evaluate(wide) == 390
    tab.locator("#map-plot").scroll_into_view_if_needed()
    box = tab.locator("#map-plot .point").first.bounding_box()
    tab.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.locator("#map-card").wait_for(timeout=5000)
    assert tab.evaluate(wide) == 390


def test_a_nearly_empty_report_opens(opened):
    tab = opened(ReportData("early", pending=[Missing("embeddings", "contrasift embed x")]))
    assert "contrasift embed x" in tab.inner_text("main")


def test_one_point_and_one_class_are_drawn(opened):
    tab = opened(
        ReportData(
            "one",
            arms=[ArmResult("selected", accuracy={"linear": mean_and_interval([1.0])})],
            map=EmbeddingMap([0.0], [0.0], ["0"], [True]),
            gallery=Gallery(
                1, [0, 1], 1, [RankedClass("0", 1, [0, 1], [Tile("", "a", 0, 0.5, 0)])]
            ),
            gains=[GainCurve("0", [0], [0.5], 1, 1)],
            classes=[ClassBar("0", 1, 1)],
            training=[TrainingCurve("selected", "s", [1], [2.0])],
        )
    )
    assert tab.locator("#map-plot .point").count() == 1
    # With one class there is nothing to choose from: it is open.
    assert tab.locator("#tiles-in .tile").count() == 1
