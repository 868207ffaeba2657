from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from contrasift.errors import ContrasiftError
from contrasift.report import (
    EmbeddingMap,
    GainCurve,
    Gallery,
    Missing,
    RankedClass,
    ReportData,
    Tile,
    fitting,
    payload,
    thumbnail,
    words,
    write_report,
)
from contrasift.report import page as module
from tests.report.conftest import HOSTILE, sample, sample_gallery


class Page(HTMLParser):
    """Ids, tags, texts, and attributes that could load something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.handlers: list[str] = []
        self.pictures_without_text = 0
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
        self.pictures_without_text += tag == "img" and "alt" not in attributes
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


def test_every_part_is_there_and_linked(full):
    parts = [
        "comparison", "coverage", "map", "gallery", "pairs", "gain", "classes", "negatives",
        "bounds", "training", "unreadable", "further", "setting",
    ]  # fmt: skip
    assert [f"#{part}" for part in parts] == [s for s in full.sources if s[:1] == "#"][1:]
    assert set(parts) <= set(full.ids)
    assert len(full.ids) == len(set(full.ids))


def test_nothing_is_loaded_from_elsewhere(full):
    assert {source[:5] for source in full.sources if source[:1] != "#"} <= {"data:"}


def test_every_picture_has_a_text(full):
    assert full.pictures_without_text == 0


def test_figures_are_shown_as_they_are_read(full):
    text = " ".join(full.text.split())
    assert "Selected 20 40 91.0 ± 0.6 81.0 ± 1.0 1 min 03 s" in text
    assert "Untrained – 0 50.0 – –" in text
    assert "50 99 100 98.000 %" in text
    assert "limit default" in text
    assert "spherical yes" in text
    assert "60 of 1,000 examples" in text


def test_numbers_that_are_none_become_null(full):
    data = json.loads(full.data)
    assert data["training"][0]["loss"] == [3.0, None]
    assert data["arms"][2]["accuracy"] == [[0.5, None, None], None]
    assert data["charts"]["coverage"][0]["lines"][0]["y"] == [1.0, None, 0.2]


def test_an_unfinished_run_shows_what_there_is_and_how_to_go_on():
    missing = [Missing("latent classes", "contrasift classes runs/x")]
    page = Page(module.render(ReportData("early", pending=missing)))
    text = " ".join(page.text.split())
    assert "Not done yet" in text
    assert "latent classes contrasift classes runs/x" in text
    assert "section" not in page.tags
    assert len(module.render(ReportData("early"))) < 100_000  # no charts, no Plotly


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(ReportData)][1:])
def test_any_part_may_be_missing(field, monkeypatch):
    monkeypatch.setattr(module, "plotly", lambda: "")  # 5 MB that no part changes
    default = ReportData("x")
    module.render(dataclasses.replace(sample(), **{field: getattr(default, field)}))
    module.render(dataclasses.replace(default, **{field: getattr(sample(), field)}))


def test_hostile_names_stay_text_everywhere(full):
    page = Page(module.render(sample(HOSTILE)))
    assert page.tags == full.tags
    assert page.handlers == []
    assert page.text.count(HOSTILE) > 30
    data = json.loads(page.data)
    assert data["map"]["id"][0] == f"{HOSTILE}/0.png"
    assert data["gallery"]["classes"][0]["name"] == f"{HOSTILE} 0"
    assert not set("<>&") & set(page.data)


def test_file_names_that_are_no_text_do_not_stop_the_page(tmp_path):
    name = "caf\udce9.png"  # how Python shows a byte that is not UTF-8
    path = write_report(ReportData("x", unreadable=[(name, "bad")]), tmp_path / "report.html")
    assert "caf?.png" in path.read_text("utf-8")


def test_is_written_whole_and_small(tmp_path):
    path = tmp_path / "new" / "report.html"
    assert write_report(sample(), path) == path
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]
    assert path.stat().st_size < 6_000_000
    (tmp_path / "file").write_text("")
    with pytest.raises(ContrasiftError, match="to write"):
        write_report(ReportData("x"), tmp_path / "file" / "report.html")


def test_a_huge_run_is_cut_to_size_and_says_so():
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    image = thumbnail(pixels)
    data = sample(classes=300, points=20_000)
    points = data.map
    assert points is not None
    data = dataclasses.replace(
        data,
        map=dataclasses.replace(points, image=[image] * 20_000, total=1_000_000),
        gallery=sample_gallery("name", 3_000, size=8, image=image),
        gains=[GainCurve("g", np.arange(5000), np.arange(5000.0), 5000, 9)] * 900,
        unreadable=[("a", "b")] * 5000,
    )
    html = module.render(data)
    assert len(html.encode()) < 15_000_000
    page = Page(html)
    text = " ".join(page.text.split())
    assert "5,000 of 1,000,000 examples" in text
    assert "of 3,000 classes have pictures" in text
    assert "60 largest of 900" in text
    assert "5,000 in all" in text
    assert "The first 1,000" in text
    classes = json.loads(page.data)["gallery"]["classes"]
    assert len(classes) == 3_000  # every one can be found, with or without pictures
    assert classes[0]["image"]
    assert classes[-1]["image"] == []


class TestFitting:
    def test_pictures_go_before_names_and_names_before_classes(self, monkeypatch):
        monkeypatch.setattr(fitting, "_GALLERY_BYTES", 400)
        tiles = [Tile("i" * 200, "name", 0, 0.0, 0)]
        gallery = Gallery(3, [0, 3], 1, [RankedClass(f"{k}", 1, [0, 1], tiles) for k in range(9)])
        fitted, _ = fitting.fitted(ReportData("x", gallery=gallery))
        assert fitted.gallery is not None
        shown = [[tile.image for tile in one.tiles] for one in fitted.gallery.classes]
        assert shown[0] == ["i" * 200]
        assert shown[1:4] == [[""]] * 3
        assert shown[-1] == []

    def test_thinned_curves_keep_their_ends(self):
        curve = fitting.thinned(GainCurve("g", range(999), range(999), 999, 9))
        assert (curve.rank[0], curve.rank[-1]) == (0, 998)
        assert len(curve.rank) == 250


class TestWords:
    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (None, "–"), (0.0, "0 s"), (0.123, "0.12 s"), (12.34, "12.3 s"), (59.97, "60.0 s"),
            (60, "1 min 00 s"), (185.2, "3 min 05 s"), (7620, "2 h 07 min"),
        ],
    )  # fmt: skip
    def test_durations(self, seconds, text):
        assert words.duration(seconds) == text

    @pytest.mark.parametrize(
        ("share", "text"),
        [(0.0, "0 %"), (0.00123, "0.12 %"), (0.02, "2 %"), (0.0425, "4.2 %"), (0.2, "20 %"), (1, "100 %")],
    )  # fmt: skip
    def test_percent(self, share, text):
        assert words.percent(share) == text

    def test_units_stay_with_their_numbers(self):
        assert (
            words.glued("80.4 % ± 0.2 in 3 min 05 s") == "80.4\xa0%\xa0±\xa00.2 in 3\xa0min 05\xa0s"
        )
        assert words.glued("3 sets of 5 hours") == "3 sets of 5 hours"


def test_largest_class_comes_first_in_colours():
    points = EmbeddingMap([0.0] * 5, [0.0] * 5, ["b", "c", "c", "a", "c"], [True] * 5)
    found = payload.map_payload(points)
    assert found["classNames"] == ["c", "a", "b"]
    assert found["class"] == [2, 0, 0, 1, 0]
    assert found["labelNames"] == []
