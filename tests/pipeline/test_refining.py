from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from contrasift.cli.console import ConsoleNarrator
from contrasift.errors import UsageError
from contrasift.options import ClassesOptions, PoolOptions, RunOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages import rounds as refining
from contrasift.store.embeddings import load_embeddings_file
from contrasift.store.run import RunFolder, StageRecord
from contrasift.store.tables import read_table
from tests.pipeline.conftest import TINY

POOL = ["digits", *TINY[: TINY.index("--restarts")]]
FIND = ["--n-classes", 5, "--restarts", 1, "--stability", 0]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A run that has its embeddings."""
    from typer.testing import CliRunner

    from contrasift.cli import app

    folder = tmp_path_factory.mktemp("refining") / "run"
    result = CliRunner().invoke(app, [str(a) for a in ("embed", *POOL, "--out", folder)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def folder(embedded, tmp_path):
    return Path(shutil.copytree(embedded, tmp_path / "run"))


def facts_of(folder: Path) -> dict:
    return json.loads((folder / "classes.json").read_text())


def classes_of(path: Path) -> np.ndarray:
    return read_table(path / "classes.parquet", "latent_class")["latent_class"]


def selected(path: Path) -> set[int]:
    table = read_table(path / "selection.parquet", "index", "selected")
    return set(table["index"][table["selected"]].tolist())


def test_the_last_round_is_what_later_stages_use(folder, contrasift, monkeypatch):
    rising = iter([1.0, 0.0])
    monkeypatch.setattr(refining, "_ari", lambda record: next(rising))  # does not end early
    contrasift("classes", folder, *FIND, "--rounds", 2)
    facts = facts_of(folder)
    history = facts["rounds"]["history"]
    assert facts["rounds"]["used"] == 2
    assert facts["rounds"]["ended_by"] == "rounds"
    assert [entry["round"] for entry in history] == [0, 1, 2]
    rounds = [folder / "rounds" / str(number) for number in range(3)]
    found, chosen = [classes_of(path) for path in rounds], [selected(path) for path in rounds]
    for number in (1, 2):
        expected = adjusted_rand_score(found[number - 1], found[number])
        assert history[number]["ari_to_previous"] == pytest.approx(expected)
        common = len(chosen[number] & chosen[number - 1])
        share = common / max(len(chosen[number]), len(chosen[number - 1]))
        assert history[number]["selection_overlap_with_previous"] == pytest.approx(share)
        assert set(history[number]["agreement"]) == {"ari", "nmi", "purity", "n"}
    assert "ari_to_previous" not in history[0]
    assert np.array_equal(classes_of(folder), found[2])
    # The selection is made from the last round's matrix.
    contrasift("select", folder)
    assert selected(folder) == chosen[2]
    described, _ = load_embeddings_file(folder)
    assert np.array_equal(described.values, np.load(rounds[2] / "embeddings.npy"))
    assert not np.array_equal(described.values, np.load(folder / "embeddings.npy"))
    about = json.loads((rounds[2] / "embeddings.json").read_text())
    before = json.loads((folder / "embeddings.json").read_text())
    assert about["weights_sha256"] != before["weights_sha256"]
    # Without rounds everything is as before them.
    contrasift("classes", folder, *FIND, "--rounds", 0, "--update")
    assert RunFolder(folder).matrix == "embeddings"
    assert np.array_equal(classes_of(folder), found[0])


@pytest.mark.parametrize("method", ["few-labels", "propagate"])
def test_few_labels_are_found_again_in_every_round(folder, contrasift, method):
    few = ["--classes", method, "--label-share", 0.1, "--stability", 0]
    contrasift("classes", folder, *few, "--rounds", 1)
    facts = facts_of(folder)
    assert facts["rounds"]["used"] == 1
    assert facts["method"] == method
    homes = [folder / "rounds" / str(number) for number in range(2)]
    assert set(classes_of(homes[1])) <= set("0123456789")
    scores = [read_table(home / "classes.parquet", "score")["score"] for home in homes]
    assert (scores[0] != scores[1]).any()


def test_more_rounds_go_on_from_those_that_are_done(folder, contrasift):
    contrasift("classes", folder, *FIND, "--rounds", 1)
    again = contrasift("classes", folder, *FIND, "--rounds", 1).output
    assert again.count("finished before, skipped") == again.count("\n") == 4
    more = contrasift("classes", folder, *FIND, "--rounds", 2, "--update").output
    for stage in ("round 0", "round 1"):
        assert f"{stage:<28} finished before, skipped" in more
    assert "round 2 ..." in more
    # A round whose matrix is lost is made again, to the same bytes.
    path = folder / "rounds" / "2" / "embeddings.npy"
    before = path.read_bytes()
    path.unlink()
    contrasift("classes", folder, *FIND, "--rounds", 2, "--update")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("agreements", "used", "ended"),
    [([0.3, 0.5, 0.4], 3, "stability"), ([0.3, 0.3], 2, "stability"), ([0.1, 0.2, 0.3, 0.4], 4, "rounds")],
)  # fmt: skip
def test_it_ends_when_the_agreement_stops_rising(monkeypatch, tmp_path, agreements, used, ended):
    def round_of(run, number, fingerprint):
        facts = {"n_classes": 3}
        if number:
            facts["ari_to_previous"] = agreements[number - 1]
        return StageRecord(fingerprint, 1.0, {}, facts)

    monkeypatch.setattr(refining, "_check", lambda run: None)
    monkeypatch.setattr(refining, "_round", round_of)
    options = RunOptions(PoolOptions(pool="none"), classes=ClassesOptions(rounds=4))
    last, _, told = refining.refine(
        Run(RunFolder(tmp_path), options, ConsoleNarrator(quiet=True)), "x"
    )
    assert (last, told["used"], told["ended_by"]) == (used, used, ended)


def test_a_run_with_rounds(tmp_path, contrasift):
    more = ["--seeds", 1, "--rounds", 1, "--n-classes", 5, "--stability", 0]
    contrasift("run", "digits", *TINY, *more, "--out", tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    preparation = summary["preparation_seconds"]
    assert {"round 0", "round 1"} < set(preparation)
    row = next(row for row in summary["table"] if row["subset"] == "selected")
    assert row["preparation_seconds"] == pytest.approx(
        sum(preparation.values()) - preparation["scan"]
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--rounds", -1], "--rounds of at least 0"),
        (["--rounds", 1, "--classes", "labels"], "--rounds with classes that are found"),
    ],
)  # fmt: skip
def test_rounds_that_cannot_be(folder, contrasift, more, words):
    assert words in " ".join(contrasift("classes", folder, *more, code=2).output.split())


def test_rounds_need_a_proxy_of_ones_own(folder, contrasift, monkeypatch):
    monkeypatch.setattr(refining, "SAME_ENCODER", "another")  # so that "same" is another's
    said = contrasift("classes", folder, *FIND, "--rounds", 1, code=2).output
    assert "which train the proxy anew" in " ".join(said.split())


def test_rounds_leave_the_fingerprint_of_the_options_alone():
    assert ClassesOptions(rounds=3).fingerprint("x") == ClassesOptions().fingerprint("x")
    with pytest.raises(UsageError, match="rounds="):
        ClassesOptions(classes="zero-shot", class_names="x", rounds=1)
