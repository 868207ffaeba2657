from __future__ import annotations

import dataclasses
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.evaluation import mean_and_interval
from contrasift.report import (
    ArmResult,
    ClassBar,
    ClassGallery,
    EmbeddingMap,
    GainCurve,
    Headline,
    Pair,
    ReportData,
    Tile,
    TrainingCurve,
    thumbnail,
    write_report,
)
from contrasift.report import page as module
from contrasift.results import Certificate

HOSTILE = (
    "<b>h</b></script><script>window.hacked=1</script><!-- <img src=x onerror=hacked()> \"'&ä数字"
)


def sample(name: str = "class", classes: int = 6, points: int = 60) -> ReportData:
    """A full report with `name` in every place that takes a text."""
    rng = np.random.default_rng(0)
    image = thumbnail(rng.integers(0, 255, (8, 8), dtype=np.uint8))
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
    return ReportData(
        title=f"{name} title",
        summary=[f"{name} kept", "second sentence"],
        headlines=[Headline("20", "kept", name)],
        notes=[f"{name} note"],
        pending=[f"{name} stage"],
        arms=arms,
        comparison_note=name,
        map=EmbeddingMap(
            x=rng.normal(size=points),
            y=rng.normal(size=points),
            latent_class=[names[k] for k in codes],
            selected=rng.random(points) < 0.4,
            rank=np.arange(points) // classes,
            class_size=np.full(points, points // classes),
            id=[f"{name}/{i}.png" for i in range(points)],
            image=[image] * points,
            method=name,
            total=1000,
        ),
        gallery=[ClassGallery(label, 10, 2, tiles, tiles) for label in names],
        near_pairs=[Pair(tiles[0], tiles[1], 0.1, name)],
        far_pairs=[Pair(tiles[2], tiles[4], 1.9, name)],
        gains=[GainCurve(label, range(10), np.arange(10.0)[::-1] - 2, 10, 2, 8) for label in names],
        certificate=whole,
        classes=[ClassBar(label, 10, 2, whole) for label in names],
        class_facts={name: name, "ARI": 0.5, "spherical": True},
        training=[TrainingCurve("selected", f"{name} 0", [1, 2], [3.0, float("nan")])],
        unreadable=[(name, f"{name} reason")],
        options={name: {name: name, "limit": None, "list": [1, 2]}},
        versions={name: name},
        commands=[f"contrasift run {name}"],
    )


class Page(HTMLParser):
    """Ids, tags, texts, and attributes that could load something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.data = ""
        self._script: str | None = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"] or "")
        self.sources += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action")]
        self.handlers += [k for k, _ in attrs if k.startswith("on")]
        self._script = attributes.get("id", tag) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.text += " "
        if tag in ("script", "style"):
            self._script = None

    def handle_data(self, data):
        if self._script == "data":
            self.data += data
        elif self._script is None:
            self.text += data


@pytest.fixture(scope="module")
def full() -> Page:
    return Page(module.render(sample()))


class TestPage:
    def test_every_part_is_there_and_linked(self, full):
        parts = [
            "comparison", "map", "gallery", "pairs", "gain", "classes", "training", "unreadable",
            "setting",
        ]  # fmt: skip
        assert [f"#{part}" for part in parts] == [s for s in full.sources if s[:1] == "#"][1:]
        assert set(parts) <= set(full.ids)
        assert len(full.ids) == len(set(full.ids))

    def test_nothing_is_loaded_from_elsewhere(self, full):
        assert {source[:5] for source in full.sources if source[:1] != "#"} <= {"data:"}

    def test_figures_are_shown_as_they_are_read(self, full):
        text = " ".join(full.text.split())
        assert "Selected 20 40 91.0 ± 0.6 81.0 ± 1.0 1 min 03 s" in text
        assert "Untrained – 0 50.0 – –" in text
        assert "50 99 100 98.000 %" in text
        assert "limit default" in text
        assert "spherical yes" in text
        assert "60 of 1,000 examples" in text

    def test_numbers_that_are_none_become_null(self, full):
        data = json.loads(full.data)
        assert data["training"][0]["loss"] == [3.0, None]
        assert data["arms"][2]["accuracy"] == [[0.5, None, None], None]

    def test_an_unfinished_run_shows_what_there_is(self):
        page = Page(module.render(ReportData("early", pending=["embed", "classes"])))
        assert "Not done yet: embed, classes." in page.text
        assert "section" not in page.tags
        assert len(module.render(ReportData("early"))) < 100_000  # no charts, no Plotly

    @pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(ReportData)][1:])
    def test_any_part_may_be_missing(self, field):
        default = ReportData("x")
        data = dataclasses.replace(sample(), **{field: getattr(default, field)})
        module.render(data)
        module.render(dataclasses.replace(default, **{field: getattr(sample(), field)}))

    def test_hostile_names_stay_text_everywhere(self, full):
        page = Page(module.render(sample(HOSTILE)))
        assert page.tags == full.tags
        assert page.handlers == []
        assert page.text.count(HOSTILE) > 20
        data = json.loads(page.data)
        assert data["map"]["id"][0] == f"{HOSTILE}/0.png"
        assert not set("<>&") & set(page.data)

    def test_file_names_that_are_no_text_do_not_stop_the_page(self, tmp_path):
        name = "caf\udce9.png"  # how Python shows a byte that is not UTF-8
        path = write_report(ReportData("x", unreadable=[(name, "bad")]), tmp_path / "report.html")
        assert "caf?.png" in path.read_text("utf-8")

    def test_is_written_whole_and_small(self, tmp_path):
        path = tmp_path / "new" / "report.html"
        assert write_report(sample(), path) == path
        assert [item.name for item in path.parent.iterdir()] == ["report.html"]
        assert path.stat().st_size < 6_000_000
        (tmp_path / "file").write_text("")
        with pytest.raises(ContrasiftError, match="to write"):
            write_report(ReportData("x"), tmp_path / "file" / "report.html")

    def test_a_huge_run_is_cut_to_size_and_says_so(self):
        image = thumbnail(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
        data = sample(classes=900, points=20_000)
        points = data.map
        assert points is not None
        data = dataclasses.replace(
            data,
            map=dataclasses.replace(points, image=[image] * 20_000, total=1_000_000),
            gallery=[
                dataclasses.replace(g, kept=[Tile(image)] * 10, dropped=[Tile(image)] * 10)
                for g in data.gallery
            ],
            gains=[GainCurve("g", np.arange(5000), np.arange(5000.0), 5000, 9)] * 900,
            unreadable=[("a", "b")] * 5000,
        )
        html = module.render(data)
        assert len(html.encode()) < 15_000_000
        text = " ".join(Page(html).text.split())
        assert "5,000 of 1,000,000 examples" in text
        assert "of 900 classes" in text
        assert "60 largest of 900" in text
        assert "5,000 in all" in text
        assert "The first 1,000" in text

    def test_thinned_curves_keep_their_ends(self):
        curve = module._thinned(GainCurve("g", range(999), range(999), 999, 9))
        assert (curve.rank[0], curve.rank[-1]) == (0, 998)
        assert len(curve.rank) == 250

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (None, "–"), (0.0, "0 s"), (0.123, "0.12 s"), (12.34, "12.3 s"), (59.97, "60.0 s"),
            (60, "1 min 00 s"), (185.2, "3 min 05 s"), (7620, "2 h 07 min"),
        ],
    )  # fmt: skip
    def test_durations(self, seconds, text):
        assert module._duration(seconds) == text

    def test_largest_class_comes_first_in_colours(self):
        points = EmbeddingMap([0.0] * 5, [0.0] * 5, ["b", "c", "c", "a", "c"], [True] * 5)
        payload = module._map_payload(points)
        assert payload["classNames"] == ["c", "a", "b"]
        assert payload["class"] == [2, 0, 0, 1, 0]


class TestThumbnail:
    @staticmethod
    def decode(uri: str) -> np.ndarray:
        import base64
        import io

        from PIL import Image

        head, _, body = uri.partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(body))) as picture:
            return np.asarray(picture.convert("L" if picture.mode == "L" else "RGBA"))

    def test_small_images_come_back_exactly(self):
        grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
        assert (self.decode(thumbnail(grey)) == grey).all()
        assert (self.decode(thumbnail(grey[:, :, None])) == grey).all()
        colour = np.random.default_rng(0).integers(0, 255, (8, 8, 4), dtype=np.uint8)
        assert (self.decode(thumbnail(colour)) == colour).all()
        few = np.array([[[255, 0, 0], [0, 255, 0]]], dtype=np.uint8)
        assert (self.decode(thumbnail(few))[:, :, :3] == few).all()

    @pytest.mark.parametrize(
        ("shape", "expected"),
        [((96, 48, 3), (48, 24)), ((10, 200), (2, 48)), ((1, 500), (1, 48)), ((48, 48), (48, 48))],
    )
    def test_large_images_shrink_in_proportion(self, shape, expected):
        assert self.decode(thumbnail(np.zeros(shape, dtype=np.uint8))).shape[:2] == expected

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((4, 4)),
            np.zeros((4, 4, 2), dtype=np.uint8),
            np.zeros((0, 4), dtype=np.uint8),
            np.zeros(4, dtype=np.uint8),
        ],
    )
    def test_bad_images(self, image):
        with pytest.raises(DataError, match="uint8 image"):
            thumbnail(image)

    def test_bad_side(self):
        with pytest.raises(UsageError, match="at least 1 pixel"):
            thumbnail(np.zeros((4, 4), dtype=np.uint8), side=0)


@pytest.fixture(scope="module")
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

    def open_report(data: ReportData, width: int = 1280, scheme: str = "light"):
        path: Path = write_report(data, tmp_path / "report.html")
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
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


@pytest.mark.browser
class TestBrowser:
    def test_charts_are_drawn_and_controls_work(self, opened):
        tab = opened(sample())
        assert tab.locator("#accuracy .plot-container").count() == 2
        for chart in ("cost", "map-plot", "gain-plot", "class-plot", "training-plot"):
            assert tab.locator(f"#{chart} .main-svg").count() > 0
        # Plotly's own tool bar has a button that sends the data to a server.
        buttons = tab.locator(".modebar-btn").evaluate_all("all => all.map(b => b.dataset.title)")
        assert len(buttons) == 6
        assert not [title for title in buttons if "loud" in title or "hare" in title]
        points = tab.locator("#map-plot .point")
        assert points.count() == 60
        kept = sum(bool(value) for value in sample().map.selected)
        tab.locator("input[name=show][value=kept]").check(force=True)
        assert points.count() == kept
        tab.locator("input[name=show][value=dropped]").check(force=True)
        assert points.count() == 60 - kept
        tab.locator("input[name=show][value=all]").check(force=True)
        tab.locator("#map-class").select_option("2")
        assert points.count() == 10
        tab.locator("#map-class").select_option("")
        tab.locator("input[name=colour][value=class]").check(force=True)
        assert tab.locator("#map-legend li").count() == 6
        fills = points.evaluate_all("all => new Set(all.map(p => p.style.fill)).size")
        assert fills == 6
        tab.locator("input[name=colour][value=rank]").check(force=True)
        assert "best to worst" in tab.locator("#map-legend").inner_text()
        tab.locator("#gain-class").select_option("0")
        assert "gains below 0 from rank 8" in tab.locator("#gain-plot").inner_text()

    def test_hovering_and_arrow_keys_show_the_example(self, opened):
        tab = opened(sample())
        card = tab.locator("#map-card")
        assert card.is_hidden()
        tab.locator("#map-plot").focus()
        tab.keyboard.press("ArrowRight")
        assert "class/0.png" in card.inner_text()
        assert card.locator("img").get_attribute("src").startswith("data:image/png")
        tab.keyboard.press("ArrowRight")
        assert "class/1.png" in card.inner_text()
        tab.keyboard.press("ArrowLeft")
        tab.keyboard.press("ArrowLeft")
        assert "class/59.png" in card.inner_text()
        tab.keyboard.press("Escape")
        assert card.is_hidden()
        # The page scrolls smoothly, so that a position read too early would be stale.
        tab.evaluate("document.getElementById('map').scrollIntoView({behavior: 'instant'})")
        box = tab.locator("#map-plot .point").nth(5).bounding_box()
        tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
        card.wait_for(state="visible", timeout=5000)
        assert "rank" in card.inner_text()

    def test_theme_follows_the_system_until_it_is_chosen(self, opened):
        tab = opened(sample(), scheme="dark")
        theme = "document.documentElement.dataset.theme"
        background = "getComputedStyle(document.body).backgroundColor"
        assert tab.evaluate(theme) == "dark"
        dark = tab.evaluate(background)
        tab.emulate_media(color_scheme="light")
        tab.wait_for_function(f"{theme} === 'light'", timeout=5000)
        tab.locator("#theme").focus()
        tab.keyboard.press("Enter")
        assert tab.evaluate(theme) == "dark"
        assert tab.evaluate(background) == dark
        tab.reload()
        assert tab.evaluate(theme) == "dark"

    def test_the_filter_finds_a_class(self, opened):
        tab = opened(sample())
        tab.locator("#gallery-filter").fill("CLASS 3")
        assert tab.locator("details.class:visible").count() == 1
        assert tab.locator("#gallery-count").inner_text() == "1 class"

    def test_hostile_names_are_text(self, opened):
        tab = opened(sample(HOSTILE))
        assert tab.evaluate("window.hacked") is None
        assert tab.locator("main script, main img[onerror]").count() == 0
        assert HOSTILE in tab.locator("#h-gallery ~ details summary b").first.inner_text()
        tab.locator("input[name=colour][value=class]").check(force=True)
        assert HOSTILE in tab.locator("#map-legend").inner_text()
        assert HOSTILE in tab.locator("#gain-class").inner_text()
        assert "<b>h</b></script>" in tab.locator("#accuracy").inner_text()
        tab.locator("#map-plot").focus()
        tab.keyboard.press("ArrowRight")
        assert f"{HOSTILE}/0.png" in tab.locator("#map-card b").inner_text()

    @pytest.mark.parametrize("name", ["class", HOSTILE, "x" * 300])
    def test_a_phone_does_not_scroll_sideways(self, opened, name):
        tab = opened(sample(name), width=390)
        assert tab.evaluate("document.documentElement.scrollWidth") == 390

    def test_a_nearly_empty_report_opens(self, opened):
        tab = opened(ReportData("early", pending=["embed"]))
        assert "Not done yet: embed" in tab.inner_text("main")

    def test_one_point_and_one_class_are_drawn(self, opened):
        tab = opened(
            ReportData(
                "one",
                arms=[ArmResult("selected", accuracy={"linear": mean_and_interval([1.0])})],
                map=EmbeddingMap([0.0], [0.0], ["0"], [True]),
                gains=[GainCurve("0", [0], [0.5], 1, 1)],
                classes=[ClassBar("0", 1, 1)],
                training=[TrainingCurve("selected", "s", [1], [2.0])],
            )
        )
        assert tab.locator("#map-plot .point").count() == 1
