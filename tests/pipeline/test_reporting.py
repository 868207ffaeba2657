"""What the report reads of a run folder: unfinished, moved, of one class, of many."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contrasift.cli.console import ConsoleNarrator
from contrasift.options import RunOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages import measure as measuring
from contrasift.pipeline.stages import select as selecting
from contrasift.pipeline.stages.map import make_map
from contrasift.pipeline.stages.report import report, report_data
from contrasift.report.files import RunFiles
from contrasift.report.sections import conclusions as report_words
from contrasift.report.sections.pictures import Pictures, evenly
from contrasift.report.verdict import points, signed
from contrasift.store.atomic import write_json
from contrasift.store.run import RunFolder
from contrasift.store.tables import read_table, write_table


def make_run(folder: Path, n: int = 60, n_classes: int = 3, stages: str = "scan embed classes"):
    """A run of random embeddings and pictures, as far as those stages."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "pool.npy", rng.integers(0, 256, (n, 8, 8), dtype=np.uint8))
    run_folder = RunFolder(folder / "run")
    options = RunOptions.from_mapping(
        {
            "pool": {"pool": str(folder / "pool.npy")},
            "select": {"fraction": 0.2},
        }
    )
    (folder / "run").mkdir()
    run_folder.write_options(options)
    path, index = run_folder.path, np.arange(n)
    if "scan" in stages:
        examples = {
            "index": index,
            "id": [f"<i>{i}" for i in range(n)],
            "label": [f"λ{i % 2}" for i in range(n)],
            "error": [None] * n,
            "row": index,
        }
        write_table(path / "examples.parquet", examples)
        run_folder.finish("scan", "s", 1.0, ["examples.parquet"], n=n)
    if "embed" in stages:
        values = rng.normal(size=(n, 8)).astype(np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        np.save(path / "embeddings.npy", values)
        write_json(path / "embeddings.json", {"shape": list(values.shape)})
        run_folder.finish("embed", "e", 2.0, ["embeddings.npy"])
    if "classes" in stages:
        codes = rng.integers(0, n_classes, n)
        write_table(path / "classes.parquet", {"index": index, "latent_class": codes})
        write_json(path / "classes.json", {"method": "kmeans", "n_classes": n_classes})
        run_folder.finish("classes", "c", 3.0, ["classes.parquet"])
    return Run(run_folder, options, ConsoleNarrator(quiet=True))


@pytest.fixture
def chosen(tmp_path):
    run = make_run(tmp_path)
    selecting.select(run)
    return run


def test_the_page_of_a_run_without_training(chosen):
    make_map(chosen)
    path = report(chosen)
    data = report_data(chosen)
    assert path.stat().st_size < 6_000_000
    assert data.summary[0] == "12 of 60 examples (20 %) were kept, from 3 latent classes."
    assert data.pending == []
    assert "contrasift run" in data.further[0].command
    assert data.map is not None
    assert all(image.startswith("data:image/png") for image in data.map.image)
    assert set(data.map.label) == {"λ0", "λ1"}
    assert data.coverage is not None
    assert [chart.mark for chart in data.coverage.charts] == [0.2, 0.2]
    assert [line.name for line in data.coverage.charts[0].lines] == [
        "random per class",
        "this ranking",
    ]
    assert data.gallery is not None
    assert len(data.gallery.classes) == 3


def test_the_gallery_is_the_ranking(chosen):
    gallery = Pictures(RunFiles(chosen)).gallery()
    assert gallery is not None
    table = read_table(chosen.folder.path / "selection.parquet")
    ranking = np.load(chosen.folder.path / "ranking.npy").tolist()
    assert gallery.budgets[gallery.own] == 12
    for one in gallery.classes:
        rows = table["latent_class"] == int(one.name)
        members = table["index"][rows]
        assert [tile.id for tile in one.tiles] == [f"<i>{i}" for i in members]
        assert [tile.place for tile in one.tiles] == [ranking.index(i) for i in members]
        for budget, kept in zip(gallery.budgets, one.kept, strict=True):
            assert kept == sum(ranking.index(i) < budget for i in members)
        selected = [tile.place < 12 for tile in one.tiles]
        assert selected == table["selected"][rows].tolist()


@pytest.mark.parametrize(
    ("stages", "missing"),
    [
        ("", ["reading the pool", "embeddings", "latent classes", "selection", "map and pairs", "coverage at other fractions"]),
        ("scan embed", ["latent classes", "selection", "map and pairs", "coverage at other fractions"]),
        ("scan embed classes", ["selection", "map and pairs", "coverage at other fractions"]),
    ],
)  # fmt: skip
def test_an_unfinished_run_says_what_is_missing(tmp_path, stages, missing):
    run = make_run(tmp_path, stages=stages)
    data = report_data(run)
    assert [item.what for item in data.pending] == missing
    assert data.gallery is data.map is data.coverage is None
    command = f"contrasift select {run.folder.path}"
    assert command in report(run).read_text("utf-8")


def test_missing_embeddings_pool_and_images_do_not_stop_the_page(chosen):
    (chosen.folder.path / "embeddings.npy").unlink()
    np.save(chosen.options.pool.pool, np.zeros((2, 8, 8), dtype=np.uint8))
    text = report(chosen).read_text("utf-8")
    assert "Coverage at other fractions could not be measured" in text
    gallery = Pictures(RunFiles(chosen)).gallery()
    assert gallery is not None
    assert {tile.image for one in gallery.classes for tile in one.tiles} == {""}


def test_one_class_and_one_example(tmp_path):
    run = make_run(tmp_path, n=1, n_classes=1)
    selecting.select(run)
    make_map(run)
    data = report_data(run)
    report(run)
    assert data.summary[0] == "1 of 1 examples (100 %) were kept, from 1 latent class."


def test_many_classes_have_names_where_they_have_no_pictures(tmp_path, monkeypatch):
    from contrasift.report.sections import pictures as report_pictures

    run = make_run(tmp_path, n=400, n_classes=100)
    selecting.select(run)
    monkeypatch.setattr(report_pictures, "_PICTURES", 80)
    gallery = Pictures(RunFiles(run)).gallery()
    assert gallery is not None
    pictured = [any(tile.image for tile in one.tiles) for one in gallery.classes]
    assert pictured == [True] * 10 + [False] * (len(pictured) - 10)
    assert all(one.tiles[0].id for one in gallery.classes)
    sizes = [one.size for one in gallery.classes]
    assert sizes == sorted(sizes, reverse=True)


def test_rows_drawn_shrink_with_the_classes():
    one = measuring.rows_to_draw(np.zeros(1_000_000, dtype=np.int64))
    many = measuring.rows_to_draw(np.arange(1_000_000) % 1000)
    assert (one, many) == (256, 2000)
    assert measuring.rows_to_draw(np.zeros(200_000, dtype=np.int64)) == 1000


def comparison(run: Run, saved: float | None, payback: int | None, *, low: float) -> None:
    """An evaluation.json whose selection cost 100 s and gains 0.4 points in every judge."""
    spread = {"mean": 0.8, "standard_error": 0.01, "low": 0.75, "high": 0.85, "n": 2}
    row = {
        "subset": "selected", "seeds": [0, 1], "examples": 12, "steps": 3, "preparation": {},
        "training_seconds": 5.0, "seconds": 105.0, "linear": spread, "knn": spread,
        "mean_classifier": None,
    }  # fmt: skip
    difference = {**spread, "mean": 0.004, "low": low, "high": 0.012}
    write_json(
        run.folder.path / "evaluation.json",
        {
            "table": [row],
            "selected_minus": {"random-per-class": dict.fromkeys(("linear", "knn", "mean_classifier"), difference)},
            "preparation_seconds": {"scan": 7.0, "embed": 99.0, "select": 1.0},
            "match": "epochs",
            "selection_seconds": 100.0,
            "saved_per_training_seconds": saved,
            "trainings_to_pay_back": payback,
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("saved", "payback", "sentence", "figure"),
    [
        (150.0, 1, "net of choosing, one training saves 50.0 s.", "50.0 s"),
        (40.0, 3, "one training alone costs 1 min 00 s more, and the choice has paid for itself after 3 trainings.", "−1 min 00 s"),
        (-5.0, None, "saved no time", "−1 min 45 s"),
    ],
)  # fmt: skip
def test_time_saved_is_net_of_choosing(chosen, saved, payback, sentence, figure):
    comparison(chosen, saved, payback, low=0.001)
    files = RunFiles(chosen)
    text = " ".join(report_words.summary(files))
    assert sentence in text
    assert "Choosing cost 1 min 40 s: embedding 1 min 39 s, selection 1.0 s." in text
    assert text.startswith(
        "The selection beats a random choice of its size: nearest neighbours +0.4 ("
    )
    shown = {item.label: item.value for item in report_words.headlines(files)}
    assert shown["saved by one training, net"] == figure


def test_without_a_gain_over_random_nothing_is_said_to_be_saved(chosen):
    comparison(chosen, 150.0, 1, low=-0.02)
    files = RunFiles(chosen)
    text = " ".join(report_words.summary(files))
    assert text.startswith("A random subset of this size does as well here and costs nothing")
    assert "saves" not in text
    assert "paid for itself" not in text
    assert not any("saved" in item.label for item in report_words.headlines(files))


def test_differences_have_signs():
    assert signed(-0.0123) == "−1.2"
    assert points({"mean": 0.01, "low": None, "high": None}) == "+1.0"


@pytest.mark.parametrize(("n", "count"), [(0, 3), (1, 3), (3, 3), (10, 3), (10, 1)])
def test_evenly(n, count):
    found = evenly(n, count).tolist()
    assert len(found) == min(n, count)
    assert found == sorted(set(found))
    if min(n, count) > 1:
        assert (found[0], found[-1]) == (0, n - 1)


def test_certified_shares_are_never_rounded_up():
    assert report_words.certified(0.99999999) == "99.99999 %"
    assert report_words.certified(0.91239) == "91.23 %"


def test_bounds_and_rounds_are_shown_if_they_are_there(chosen):
    row = {
        "draws": 32, "contrastive_loss": 3.0, "shift": 0.1, "supervised": 1.5, "trivial": 2.3,
        "supervised_weighted": 1.0, "partial_weighted": 0.5, "expected_log_collisions": 1.0,
        "coverage_probability": 0.7, "collision_probability": 0.9,
        "upper_bounds": {"nozawa-sato": {"log_value": 1.9}, "arora": {"log_value": None}},
    }  # fmt: skip
    rows = [row, {**row, "draws": 64}]
    path = chosen.folder.path
    write_json(path / "bounds.json", {"encoders": [{"subset": "full", "seed": 0, "rows": rows}]})
    facts = json.loads((path / "classes.json").read_text())
    history = [{"round": 0, "seconds": 1.0, "n_classes": 3}]
    facts["rounds"] = {"used": 0, "ended_by": "rounds", "history": history}
    write_json(path / "classes.json", facts)
    data = report_data(chosen)
    assert data.bounds is not None
    first = data.bounds.charts[0]
    assert first.title == "Trained on: Full pool"
    lines = {line.name: list(line.y) for line in first.lines}
    assert lines["Nozawa–Sato"] == [1.9, 1.9]
    assert lines["Arora"] == [None, None]
    assert lines["L_sup as measured"] == pytest.approx([np.log(1.5)] * 2)
    assert data.rounds is not None
    assert data.rounds.rows == [["0, used", "3", "–", "–", "–", "1.0"]]
    report(chosen)
