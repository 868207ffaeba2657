"""A run that selects within its training: what it leaves, and that interruptions change nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import contrasift.embedding.embed as embedding
from contrasift.embedding import embed as _  # noqa: F401  (the module, before it is patched)
from contrasift.pipeline.stages import within
from contrasift.pipeline.stages.find_classes import ClassTask
from contrasift.store.atomic import sha256_of
from contrasift.store.run import RunFolder
from contrasift.store.tables import read_table

TINY = [
    "digits", "--limit", "120", "--image-size", "16", "--batch-size", "24", "--architecture",
    "narrow:0.25", "--epochs", "4", "--views", "1", "--fraction", "0.3", "--embed-batch-size", "24",
    "--select-after", "1", "--reselect-every", "2", "--quiet",
]  # fmt: skip
ARM = "training/selected-seed0"


def weights(folder: Path) -> str:
    return sha256_of(folder / ARM / "encoder.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    from typer.testing import CliRunner

    from contrasift.cli import app

    folder = tmp_path_factory.mktemp("within") / "run"
    more = ["--against", "random,full", "--out", str(folder)]
    result = CliRunner().invoke(app, ["run", *TINY, *more])
    assert result.exit_code == 0, result.output
    return folder


def test_the_last_selection_is_the_runs_own(whole):
    nested = whole / ARM / "selections" / "2"
    for name in ("embeddings.npy", "classes.parquet", "selection.parquet", "ranking.npy"):
        assert sha256_of(whole / name) == sha256_of(nested / name)
    table = read_table(whole / "selection.parquet", "index", "selected")
    chosen = np.load(nested / "selected.npy")
    np.testing.assert_array_equal(chosen, np.sort(table["index"][table["selected"]]))
    records = RunFolder(whole).records()
    assert "proxy" not in records
    told = records["train selected-seed0"].facts["selections"]
    assert [one["epoch"] for one in told] == [1, 3]
    assert all(one["certificate"] is not None and one["n_classes"] > 0 for one in told)
    assert 0 <= told[1]["overlap_with_previous"] <= 1
    for stage in ("embed", "classes", "select"):
        assert records[stage].seconds == pytest.approx(sum(one["stages"][stage] for one in told))
    assert (whole / "report.html").is_file()


def test_every_arm_has_the_steps_of_the_whole_pool(whole):
    summary = json.loads((whole / "evaluation.json").read_text())
    assert {row["subset"]: row["steps"] for row in summary["table"]} == {
        "selected": 16, "random": 16, "full": 16, "untrained": 0,
    }  # fmt: skip
    assert set(summary["selected_minus"]) == {"random", "full"}
    random = whole / "training/random-seed0/selections"
    first, second = (np.load(random / number / "selected.npy") for number in "12")
    assert len(first) == len(second) == 29
    assert set(first) != set(second)
    assert not (random / "1" / "embeddings.npy").exists()


def raising_at(call: int, function):
    """The function, which raises at a call."""
    calls = iter(range(call))

    def wrapper(*arguments, **options):
        if next(calls, None) is None:
            raise OSError("stopped")
        return function(*arguments, **options)

    return wrapper


def test_interrupted_anywhere_it_ends_with_the_same_weights(
    whole, contrasift, tmp_path, monkeypatch
):
    run = ["run", *TINY, "--out", tmp_path / "run"]
    monkeypatch.setattr(embedding, "_JOURNAL_SECONDS", 0.0)
    stops = {
        "in the embedding": (embedding, "_embed_batch", 2),
        "in the classes": (ClassTask, "find", 0),
        "between classes and selection": (within, "select", 0),
        "in the second embedding": (embedding, "_embed_batch", 6),
    }
    for holder, name, call in stops.values():
        with monkeypatch.context() as patch:
            patch.setattr(holder, name, raising_at(call, getattr(holder, name)))
            with pytest.raises(OSError, match="stopped"):
                from typer.testing import CliRunner

                from contrasift.cli import app

                CliRunner().invoke(app, [str(a) for a in run], catch_exceptions=False)
    half = tmp_path / "run" / ARM / "selections" / "1" / "embeddings.npy.partial"
    assert not half.exists()
    contrasift(*run)
    assert weights(tmp_path / "run") == weights(whole)
    assert (tmp_path / "run" / ARM / "metrics.csv").read_text().count("\n") == 5


def test_a_training_by_itself(whole, contrasift, tmp_path):
    contrasift("run", *TINY, "--out", tmp_path / "run", "--epochs", 2, "--reselect-every", 1)
    rows = list(csv.DictReader((tmp_path / "run" / ARM / "metrics.csv").open()))
    assert [row["examples"] for row in rows] == ["96", "29"]
    contrasift("train", tmp_path / "run", "--subset", "random", "--seed", 3, "--quiet")
    assert (tmp_path / "run/training/random-seed3/selections/1/selected.npy").is_file()
    result = contrasift("train", tmp_path / "run", "--subset", "0.1", code=2)
    assert "for --select-after" in result.output


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--select-after", 4], "--select-after below the 4 epochs"),
        (["--fraction", 0.1], "leaves 24 examples for a batch of 24"),
        (["--fraction", 0.9, "--mix", 0.5], "leaves 12 examples for a batch of 24"),
        (["--encoder", "resnet18"], "encoder='resnet18'"),
        (["--rounds", 1], "rounds=1"),
        (["--select-with", "average"], "--method moco or --method byol"),
        (["--reselect-every", 0], "--reselect-every of at least 1"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(contrasift, tmp_path, more, words):
    result = contrasift("run", *TINY, *more, "--out", tmp_path / "run", code=2)
    assert words in " ".join(result.output.split())
    assert not (tmp_path / "run" / "training").exists()


def test_without_select_after_its_options_are_refused(contrasift, tmp_path):
    result = contrasift("run", "digits", "--mix", 0.2, "--out", tmp_path / "run", code=2)
    assert "--select-after for --mix" in result.output
