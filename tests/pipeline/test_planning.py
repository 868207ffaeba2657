"""`contrasift plan`: the curves of a run, short trainings beside it, and what is suggested."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from contrasift.errors import UsageError
from contrasift.options.plan import PlanRequest
from contrasift.pipeline.arms import arm_positions

TINY = ["--limit", "80", "--image-size", "16", "--views", "1", "--batch-size", "16",
        "--proxy-epochs", "1", "--epochs", "4"]  # fmt: skip


@pytest.fixture
def selected(contrasift):
    contrasift("embed", "digits", *TINY, "--out", "r", "-q")
    contrasift("classes", "r", "--classes", "labels", "-q")
    contrasift("select", "r", "--fraction", "0.25", "-q")


@pytest.fixture
def trained(monkeypatch):
    """Trainings that take no time: the accuracy follows a law, and every arm is noted."""
    arms = []

    def train(run, arm):
        arms.append((run, arm))
        return SimpleNamespace(seconds=1.0)

    def evaluate(run, arm):
        share = len(arm_positions(run, arm)) / 80
        path = run.folder.path / "evaluation" / f"{arm.name}.json"
        path.parent.mkdir(exist_ok=True)
        rough = 0.0002 * np.random.default_rng(len(arms)).standard_normal()
        linear = 0.8 - 0.01 * (1 / share - 1) + rough + 0.02 * arm.seed
        path.write_text(json.dumps({"linear": linear, "knn": 0.5, "mean_classifier": 0.4}))
        return SimpleNamespace(seconds=0.5)

    monkeypatch.setattr("contrasift.pipeline.studies.plan.train", train)
    monkeypatch.setattr("contrasift.pipeline.studies.plan.evaluate", evaluate)
    return arms


def test_the_curves_are_those_of_the_run_s_ranking(contrasift, selected):
    from contrasift.pipeline.stages.embed import load_embeddings
    from contrasift.store.tables import read_latent_classes, read_table

    shown = contrasift("plan", "r").stdout
    assert "At 0.25 of the pool, over all examples and 20 random selections" in shown
    assert "--accuracy tries it" in shown
    plan = json.loads(Path("r/plan.json").read_text())
    curves = plan["curves"]
    assert plan["budget"] == 20
    assert curves["whole"]
    embeddings = load_embeddings(Path("r"))
    _, codes = np.unique(
        read_latent_classes(Path("r/classes.parquet"), embeddings.index), return_inverse=True
    )
    table = read_table(Path("r/selection.parquet"), "index", "selected")
    kept = np.isin(embeddings.index, table["index"][table["selected"]])
    gram = embeddings.values.astype(np.float64) @ embeddings.values.T.astype(np.float64)
    same = codes[:, None] == codes[kept]
    coverage = np.where(same, gram[:, kept], -np.inf).max(axis=1).mean()
    centre = np.mean([row[here].mean() for row, here in zip(gram[:, kept], same, strict=True)])
    place = curves["budgets"].index(20)
    for name, whole in (("coverage", coverage), ("centre", centre)):
        assert curves[name]["value"][place] == pytest.approx(whole, abs=1e-6)
    assert "larger is better" in Path("r/plan.html").read_text()
    assert "(larger is better)" in shown


def test_a_suggestion_with_its_interval(contrasift, selected, trained):
    shown = json.loads(
        contrasift(
            "plan", "r", "--accuracy", "--loss", "2", "--fractions", "0.2,0.4,0.8", "--json"
        ).stdout
    )
    found = shown["accuracy"]
    advice = found["advice"]
    # 0.8 − 0.01·(1/f − 1) loses two points at f = 1/3.
    assert advice["tells"]
    assert advice["fraction"] == pytest.approx(1 / 3, abs=0.02)
    assert advice["fraction_low"] < 1 / 3 < advice["fraction_high"]
    assert any("Suggestion: --fraction 0.3" in sentence for sentence in shown["sentences"])
    assert found["epochs"] == 1
    assert found["seconds"] == pytest.approx(9 * 1.5)
    assert "suggested" in Path("r/plan.html").read_text()


def test_trainings_are_on_what_select_would_choose(contrasift, selected, trained):
    contrasift("plan", "r", "--accuracy", "--fractions", "0.25,0.5,1", "--seeds", "2", "-q")
    assert [arm.seed for _, arm in trained] == [0, 0, 0, 1, 1, 1]
    sizes = [arm.listed.size for _, arm in trained]
    assert sizes == [20, 40, 80] * 2
    short = trained[0][0]
    assert short.folder.path == Path("r/plan/epochs-1")
    assert short.options.train.epochs == 1
    contrasift("select", "r", "--fraction", "0.5", "--update", "-q")
    from contrasift.store.selections import read_selection

    assert trained[1][1].listed.tolist() == read_selection(Path("r")).indices.tolist()


def test_a_real_training_stays_out_of_the_run_s_comparison_and_is_done_once(contrasift, selected):
    arguments = ("plan", "r", "--accuracy", "--fractions", "0.5", "--seeds", "1", "--epochs", "1")
    first = contrasift(*arguments)
    assert "three fractions are needed" in first.stdout
    again = contrasift(*arguments)
    assert again.stderr.count("finished before, skipped") >= 2
    stages = json.loads(Path("r/stages.json").read_text())
    assert not [name for name in stages if "fraction-" in name]
    assert not Path("r/evaluation").exists()
    inner = json.loads(Path("r/plan/epochs-1/stages.json").read_text())
    assert len([name for name in inner if name.startswith("evaluate fraction-0.5-")]) == 1
    assert not Path("r/plan/epochs-1/run.lock").exists()


def test_what_cannot_be_planned_is_said_before_any_work(contrasift, selected, trained):
    shown = contrasift("plan", "r", "--accuracy", "--fractions", "0.1,0.5,1", code=2)
    assert "at least one batch (16 examples)" in shown.stderr
    assert not trained


def test_accuracy_needs_labels(contrasift, rng, trained):
    np.save("images.npy", rng.integers(0, 255, (60, 16, 16), dtype=np.uint8))
    contrasift("embed", "images.npy", *TINY[2:], "--out", "r", "-q")
    contrasift("plan", "r", code=1)
    contrasift("classes", "r", "--classes", "kmeans", "--n-classes", "3", "-q")
    contrasift("select", "r", "--fraction", "0.2", "-q")
    contrasift("plan", "r", "-q")
    shown = contrasift("plan", "r", "--accuracy", code=1)
    assert "labels" in shown.stderr
    assert not trained


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"loss": 0.0}, "loss="),
        ({"fractions": "0.1,x"}, "fractions= in"),
        ({"fractions": "0.1,1.5"}, "fractions= in"),
        ({"fractions": "0.1,0.1"}, "that differ"),
        ({"seeds": 0}, "seeds= of at least 1"),
        ({"epochs": 0}, "epochs= of at least 1"),
        ({"sample": 1}, "sample= of at least 2"),
        ({"metric": "lineer"}, "Did you mean linear"),
    ],
)
def test_bad_requests(given, expected):
    with pytest.raises(UsageError, match=expected):
        PlanRequest(**given)
