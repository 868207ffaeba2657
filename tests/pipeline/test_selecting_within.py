"""A run that selects within its training: what it leaves, and that interruptions change nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import contrasift.embedding.embed as embedding
from contrasift.cli.console import ConsoleNarrator
from contrasift.errors import UsageError
from contrasift.options import RunOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages import within
from contrasift.pipeline.stages.find_classes import ClassTask
from contrasift.pipeline.stages.scan import scan
from contrasift.pipeline.stages.train import train
from contrasift.store.arms import Arm
from contrasift.store.atomic import sha256_of
from contrasift.store.run import RunFolder, read_recipe_mapping
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
    more = ["--against", "random", "--out", str(folder)]
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
        "selected": 20, "random": 20, "untrained": 0,
    }  # fmt: skip
    assert set(summary["selected_minus"]) == {"random"}
    one = summary["one_training"]
    assert one["epochs"] == 4
    assert min(one.values()) > 0
    random = whole / "training/random-seed0/selections"
    first, second = (np.load(random / number / "selected.npy") for number in "12")
    assert len(first) == len(second) == 36
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


def opened(whole: Path, folder: Path, **changes) -> Run:
    """The same run in another folder, scanned."""
    options = RunOptions.from_mapping(read_recipe_mapping(whole / "options.yaml"))
    train_options = dataclasses.replace(options.train, **changes)
    options = dataclasses.replace(options, train=train_options)
    run = Run(RunFolder(folder), options, ConsoleNarrator(quiet=True))
    run.folder.path.mkdir(exist_ok=True)
    run.folder.write_options(options)
    scan(run)
    return run


def test_interrupted_anywhere_it_ends_with_the_same_weights(whole, tmp_path, monkeypatch):
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
                train(opened(whole, tmp_path), Arm("selected", 0))
    train(opened(whole, tmp_path), Arm("selected", 0))
    assert weights(tmp_path) == weights(whole)
    assert (tmp_path / ARM / "metrics.csv").read_text().count("\n") == 5


def test_other_subsets_are_refused(whole, tmp_path):
    with pytest.raises(UsageError, match="random-per-class or full for select_after="):
        train(opened(whole, tmp_path), Arm("top-0.1", 0))


def test_a_training_on_everything_does_not_switch(whole, tmp_path):
    record = train(opened(whole, tmp_path, epochs=2), Arm("full", 1))
    assert "selections" not in record.facts
    assert not (tmp_path / "training/full-seed1/selections").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--select-after", 4], "--select-after below the 4 epochs"),
        (["--fraction", 0.1], "leaves 24 examples for a batch of 24"),
        (["--fraction", 0.95, "--mix", 0.5], "leaves 12 examples for a batch of 24"),
        (["--encoder", "resnet18"], "got --encoder resnet18"),
        (["--rounds", 1], "got --rounds 1"),
        (["--select-with", "average"], "--method moco or --method byol"),
        (["--negatives", "~same_latent_class"], "negatives that need no latent classes"),
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
