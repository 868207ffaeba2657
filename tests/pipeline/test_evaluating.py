"""Subsets of one's own, encoders from elsewhere, and training dynamics, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contrasift.errors import UsageError
from contrasift.pipeline.arms import parse_arm
from contrasift.pipeline.studies.dynamics import combine, in_words
from contrasift.store.arms import Arm
from contrasift.store.tables import read_table, write_table
from contrasift.training.supervised import Recorded

POOL = ["--limit", "120", "--image-size", "16"]
SHORT = ["--epochs", "1", "--batch-size", "16"]


class TestArms:
    def test_names(self):
        assert parse_arm("random-per-class", 2) == Arm("random-per-class", 2)
        assert parse_arm("0.10", 0).name == "top-0.1-seed0"
        assert parse_arm("1", 0).subset == "top-1.0"

    def test_a_file_is_known_by_what_it_lists(self):
        Path("my list!.txt").write_text("3\n1\n")
        np.save("my list!.npy", np.array([1, 3]))
        Path("other.txt").write_text("3\n2\n")
        first, second = parse_arm("my list!.txt", 0), parse_arm("my list!.npy", 0)
        assert first == second
        assert first.subset.startswith("file-my-list-")
        assert first.listed is not None
        assert first.listed.tolist() == [1, 3]
        assert parse_arm("other.txt", 0).subset != first.subset

    @pytest.mark.parametrize("text", ["0", "1.5", "-0.1", "nan"])
    def test_shares_out_of_range(self, text):
        with pytest.raises(UsageError, match=r"share of the ranking in \(0, 1\]"):
            parse_arm(text, 0)

    def test_neither_a_name_nor_a_file(self):
        with pytest.raises(UsageError, match="selected, random-per-class, random, full"):
            parse_arm("gone.npy", 0)

    def test_order_in_tables(self):
        arms = [Arm("top-0.1", 0), Arm("full", 0), Arm("file-a-1", 0), Arm("selected", 1)]
        found = [arm.subset for arm in sorted(arms, key=lambda arm: arm.order)]
        assert found == ["selected", "full", "file-a-1", "top-0.1"]


class TestScores:
    def recorded(self, correct, probability):
        p = np.array(probability, dtype=np.float32)
        return Recorded(np.array(correct, dtype=bool), p, 1 - p, 2 * (1 - p))

    def test_never_learned_counts_as_every_epoch(self):
        # Example 0 is forgotten once, example 1 never learned, in the first training only.
        first = self.recorded([[1, 0], [0, 0], [1, 0]], [[0.5, 0.1]] * 3)
        second = self.recorded([[1, 1], [1, 1], [1, 1]], [[0.9, 0.3]] * 3)
        columns = combine([first, second], 2)
        assert columns["forgetting_events"].tolist() == [0.5, 1.5]
        assert columns["never_learned"].tolist() == [False, False]
        assert combine([first], 2)["forgetting_events"].tolist() == [1.0, 3.0]
        assert combine([first], 2)["never_learned"].tolist() == [False, True]
        np.testing.assert_allclose(columns["confidence"], [0.7, 0.2], atol=1e-6)
        np.testing.assert_allclose(columns["el2n"], [0.3, 0.8], atol=1e-6)
        np.testing.assert_allclose(columns["grand"], [0.6, 1.6], atol=1e-6)

    def test_el2n_is_taken_early(self):
        part = self.recorded([[1], [1]], [[0.4], [0.8]])
        assert combine([part], 1)["el2n"][0] == pytest.approx(0.6)
        assert combine([part], 2)["el2n"][0] == pytest.approx(0.2)

    def test_words(self):
        assert in_words("confidence", 0.1, 0.3) == "what is ranked first is rather easy"
        assert in_words("confidence", -0.3, -0.1) == "what is ranked first is rather hard"
        assert in_words("el2n", 0.1, 0.3) == "what is ranked first is rather hard"
        assert in_words("forgetting_events", -0.3, -0.1).endswith("rather seldom forgotten")
        assert in_words("el2n", -0.1, 0.3).startswith("no relation")


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    """A run of digits as far as its selection."""
    from typer.testing import CliRunner

    from contrasift.cli import app

    folder = str(tmp_path_factory.mktemp("selected") / "run")
    for command in (
        ["embed", "digits", *POOL, *SHORT, "--proxy-epochs", "1", "--views", "1", "--out", folder],
        ["classes", folder, "--classes", "labels"],
        ["select", folder, "--fraction", "0.3"],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    return folder


def test_lists_and_shares_are_trained_on_and_evaluated(selected, contrasift):
    index = read_table(Path(selected) / "selection.parquet")["index"]
    listed = np.sort(index)[:40]
    np.save("mine.npy", listed)
    contrasift("train", selected, "--subset", "mine.npy", "--match", "steps")
    contrasift("train", selected, "--subset", "0.5")
    stages = json.loads((Path(selected) / "stages.json").read_text())
    own = next(name for name in stages if name.startswith("train file-mine-"))
    assert stages[own]["facts"]["examples"] == 40
    assert stages[own]["facts"]["steps"] == 120 // 16  # as the whole pool has in one epoch
    assert stages["train top-0.5-seed0"]["facts"]["examples"] == 60
    assert stages["train top-0.5-seed0"]["facts"]["steps"] == 120 // 16
    again = contrasift("train", selected, "--subset", "mine.npy").stderr
    assert "finished before" in again
    shown = contrasift("evaluate", selected, "--layer", "both", "--probe", "sgd").stdout
    assert "first 0.5 of ranking" in shown
    assert "After the projection head, MoCo's SGD protocol" in shown
    summary = json.loads((Path(selected) / "evaluation.json").read_text())
    readings = {(r["layer"], r["probe"]) for r in summary["other_readings"]}
    assert readings == {("backbone", "sgd"), ("head", "sgd")}
    rows = {row["subset"] for row in summary["other_readings"][0]["table"]}
    assert rows == {own.removeprefix("train ").removesuffix("-seed0"), "top-0.5", "untrained"}


def test_lists_that_do_not_fit_the_pool(selected, contrasift):
    Path("twice.txt").write_text("1\n2\n1\n")
    said = contrasift("train", selected, "--subset", "twice.txt", code=1).stderr
    assert "repeat another, such as 1" in said
    Path("beyond.txt").write_text("1\n99999\n")
    assert (
        "2 others, such as 1, 99999"
        in contrasift("train", selected, "--subset", "beyond.txt", code=1).stderr
    )
    assert "0.2" in contrasift("train", selected, "--subset", "7", code=2).stderr


def test_an_encoder_from_elsewhere(selected, contrasift):
    source = Path(selected) / "training/proxy/encoder.safetensors"
    on_pool = contrasift(
        "evaluate", "digits", *POOL, "--encoder", source, "--layer", "both", "--json"
    )
    layers = json.loads(on_pool.stdout)["layers"]
    assert set(layers) == {"backbone", "head"}
    assert set(layers["head"]["details"]["top5"]) == {
        "linear",
        "knn",
        "mean_classifier",
        "few_labels",
    }
    contrasift("evaluate", selected, "--encoder", source)
    summary = json.loads((Path(selected) / "evaluation.json").read_text())
    row = next(row for row in summary["table"] if row["subset"].startswith("encoder-"))
    assert row["linear"]["mean"] == layers["backbone"]["linear"]
    assert row["top5"]["knn"]["mean"] == layers["backbone"]["details"]["top5"]["knn"]


def test_dynamics_score_what_select_takes(selected, contrasift):
    short = ["--epochs", 3, "--seeds", 2, "--batch-size", 32]
    shown = contrasift("dynamics", selected, *short).stdout
    assert "rank correlation" in shown
    assert "- el2n: " in shown
    table = read_table(Path(selected) / "scores.parquet")
    assert list(table) == [
        "index", "forgetting_events", "never_learned", "confidence", "variability", "el2n", "grand"
    ]  # fmt: skip
    assert np.isfinite(table["forgetting_events"]).all()
    assert table["never_learned"].dtype == bool
    facts = json.loads((Path(selected) / "dynamics.json").read_text())
    part = facts["selection"]["el2n"]
    chosen = read_table(Path(selected) / "selection.parquet")
    kept = np.isin(table["index"], chosen["index"][chosen["selected"]])
    assert part["mean_selected"] == pytest.approx(table["el2n"][kept].mean())
    assert part["mean_rest"] == pytest.approx(table["el2n"][~kept].mean())
    from scipy.stats import spearmanr

    ranking = np.load(Path(selected) / "ranking.npy").tolist()
    early = [-ranking.index(i) for i in table["index"]]
    assert part["correlation"]["value"] == pytest.approx(spearmanr(table["el2n"], early).statistic)
    assert "finished before" in contrasift("dynamics", selected, *short).stderr


def test_dynamics_need_labels(contrasift, rng):
    np.save("bare.npy", rng.integers(0, 256, (40, 16, 16), dtype=np.uint8))
    said = contrasift("dynamics", "bare.npy", "--out", "run", "--epochs", 1, code=1).stderr
    assert "a pool with labels" in said
    np.savez(
        "one.npz",
        images=rng.integers(0, 256, (40, 16, 16), dtype=np.uint8),
        labels=np.zeros(40, dtype=np.int64),
    )
    said = contrasift("dynamics", "one.npz", "--out", "one", "--epochs", 1, code=1).stderr
    assert "at least two classes" in said
    assert "--out" in contrasift("dynamics", "digits", "--epochs", 1, code=2).stderr


def test_scores_are_a_table_that_others_can_write():
    write_table(Path("scores.parquet"), {"index": np.arange(3), "el2n": np.ones(3)})
    from contrasift.store.scores import read_scores

    assert read_scores(Path("scores.parquet"), np.arange(3), "el2n").tolist() == [1, 1, 1]
