from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from contrasift.cli import app
from contrasift.errors import DataError, RunFolderError, UsageError
from contrasift.pipeline.studies.bound_table import table_text
from contrasift.pipeline.studies.text import bound_texts, embed_texts
from contrasift.text.collection import Texts, open_texts
from contrasift.text.encoder import load_words, save_words, train_words
from contrasift.text.options import TextOptions

TOPICS = {
    "sea": "ship wave salt fish boat sail harbour tide",
    "sky": "bird cloud wing wind star moon feather storm",
    "town": "street house tram market square bridge tower cafe",
}
OPTIONS = TextOptions(min_count=1, dim=16, projection_dim=8, epochs=8, batch_size=16)


def write_topics(folder: Path, n: int = 30) -> Path:
    """Three files of texts, each with words of its own."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for name, words in TOPICS.items():
        texts = [" ".join(rng.choice(words.split(), 6)) for _ in range(n)]
        (folder / name).write_text("\n%\n".join(texts) + "\n")
    return folder


@pytest.fixture
def topics(tmp_path) -> Texts:
    return open_texts(write_topics(tmp_path / "topics"))


@pytest.mark.parametrize("kind", ["erase", "replace"])
def test_it_learns_and_comes_back_from_its_file(topics, tmp_path, kind):
    options = TextOptions(**{**OPTIONS.as_dict(), "augmentation": kind})
    state = torch.get_rng_state()
    trained = train_words(topics, options, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert trained.losses[-1] < trained.losses[0]
    path = tmp_path / "e.safetensors"
    save_words(trained, path)
    again = load_words(path)
    assert again.vocabulary.words == trained.vocabulary.words
    assert again.losses == trained.losses
    for layer in ("head", "backbone"):
        views = trained.views(topics, 2, 5, layer)
        np.testing.assert_array_equal(views, again.views(topics, 2, 5, layer))
        np.testing.assert_allclose(np.linalg.norm(views, axis=2), 1, atol=1e-6)
    np.testing.assert_array_equal(
        train_words(topics, options, seed=1).embed(topics, 2, 0), trained.embed(topics, 2, 0)
    )
    assert (train_words(topics, options, seed=2).embed(topics, 2, 0) != 0).any()
    # Words of one topic occur together alone: embeddings must tell the topics apart.
    rows = trained.features(topics.texts)
    means = np.stack([rows[topics.labels == c].mean(axis=0) for c in range(3)])
    nearest = ((rows[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == topics.labels).mean() > 0.9
    with pytest.raises(UsageError, match="a layer"):
        trained.features(topics.texts, "tail")


def quiet(title: str):
    import contextlib

    return contextlib.nullcontext(lambda done, total: None)


def test_embeddings_in_a_folder(topics, tmp_path):
    out = tmp_path / "out"
    result = embed_texts(topics, OPTIONS, out, seed=0, progress=quiet)
    values = np.load(out / "embeddings.npy")
    assert values.shape == (len(topics), 8)
    assert result["accuracy"]["linear"] > 0.8
    names = (out / "labels.txt").read_text().splitlines()
    assert names == [topics.label_names[code] for code in topics.labels]
    before = (out / "embeddings.npy").stat().st_mtime_ns
    assert embed_texts(topics, OPTIONS, out, seed=0, progress=quiet) == result
    assert (out / "embeddings.npy").stat().st_mtime_ns == before
    with pytest.raises(RunFolderError, match="other texts or with other options"):
        embed_texts(topics, OPTIONS, out, seed=1, progress=quiet)


def test_the_table_of_the_bounds(topics, tmp_path):
    out = tmp_path / "out"
    settings = {"draws": [32, 64], "seeds": 2, "progress": quiet, "source": {"texts": "topics"}}
    result = bound_texts(topics, OPTIONS, out, **settings)
    assert result["source"] == {"texts": "topics"}
    cells = {(cell["draws"], cell["seed"]): cell for cell in result["cells"]}
    assert sorted(cells) == [(32, 0), (32, 1), (64, 0), (64, 1)]
    for cell in cells.values():
        for bound in cell["lower_bounds"].values():
            assert bound <= cell["contrastive_loss"]
        assert cell["n_classes"] == 3
        assert cell["seconds"] > 0
        assert cell["made_with"]["versions"]["contrasift"]
    # Three equal classes: 1 − (2/3)^31, and 1 − 3 (2/3)^32 + 3 (1/3)^32.
    cell = cells[32, 0]
    assert cell["collision_probability"] == pytest.approx(1 - (2 / 3) ** 31, rel=1e-12)
    assert cell["coverage_probability"] == pytest.approx(1 - 3 * (2 / 3) ** 32 + 3 / 3**32)
    table = (out / "bounds.md").read_text()
    assert "| K + 1 | 32 | 64 |" in table
    assert "| τ | 1.000 | 1.000 |" in table
    assert (out / "bounds.html").stat().st_size > 1000
    # What is there is not done again.
    written = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    bound_texts(topics, OPTIONS, out, **settings)
    assert written == {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}


def test_a_table_of_two_seeds_and_missing_values():
    bound = {"log_value": 2.0}
    names = (
        "collision_probability",
        "coverage_probability",
        "contrastive_loss",
        "shift",
        "trivial",
    )
    names += ("expected_log_collisions", "supervised_without_collision", "supervised_weighted")
    names += ("partial_without_collision", "partial_weighted", "same_class_spread", "supervised")
    cell = {
        **dict.fromkeys(names, 1.0),
        "draws": 2,
        "coverage_probability": 1e-9,
        "accuracy": dict.fromkeys(("mean_classifier", "linear", "linear_backbone"), 0.5),
        "lower_bounds": {"arora": 0.25, "nozawa-sato": -0.5},
        "upper_bounds": {"arora": bound, "nozawa-sato": {"log_value": None}},
    }
    text = table_text([cell, {**cell, "contrastive_loss": 3.0}, {**cell, "draws": 16}])
    assert "| K + 1 | 2 | 16 |" in text
    assert "| L_Info | 2.000 ± 1.414 | 1.000 |" in text
    assert "| ln of Nozawa–Sato's upper bound | – | – |" in text
    assert "| ln of Arora's upper bound on L_sup | 2.000 | 2.000 |" in text
    assert "| υ | 1.0e-09 | 1.0e-09 |" in text
    assert "| μ acc, % | 50.000 | 50.000 |" in text


def test_bad_bounds(topics, tmp_path):
    bare = Texts("x", topics.texts, topics.index)
    settings = {"draws": [64], "seeds": 1, "progress": quiet}
    with pytest.raises(DataError, match="labels and held-out texts"):
        bound_texts(bare, OPTIONS, tmp_path, **settings)
    with pytest.raises(UsageError, match="at least one seed"):
        bound_texts(topics, OPTIONS, tmp_path, draws=[1], seeds=1, progress=quiet)
    names = (*topics.label_names, "empty")
    test = topics.test
    more = Texts("x", test.texts, test.index, test.labels, names)
    with pytest.raises(DataError, match="none of empty.*least="):
        bound_texts(
            Texts("x", topics.texts, topics.index, topics.labels, names, more),
            OPTIONS,
            tmp_path,
            **settings,
        )
    with pytest.raises(UsageError, match="a batch size of at most"):
        train_words(topics, TextOptions(min_count=1, batch_size=500), seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 1.0}, "rate= in"),
        ({"temperature": 0.0}, "temperature= above 0"),
        ({"min_count": 0}, "min_count= of at least 1"),
        ({"batch_size": 1}, "batch_size= of at least 2"),
        ({"augmentation": "swap"}, "augmentation="),
    ],
)
def test_bad_options(settings, message):
    with pytest.raises(UsageError, match=message):
        TextOptions(**settings)


def test_the_command(tmp_path):
    folder, runner = write_topics(tmp_path / "topics"), CliRunner()
    common = ["--min-count", "1", "--dim", "8", "--epochs", "1", "--batch-size", "16", "--quiet"]
    out = tmp_path / "out"
    done = runner.invoke(app, ["text", str(folder), "--out", str(out), *common])
    assert done.exit_code == 0, done.output
    assert "72 texts, 24 words" in done.output
    chosen = ["select", str(out / "embeddings.npy"), "--classes", str(out / "labels.txt")]
    done = runner.invoke(
        app, [*chosen, "--fraction", "0.25", "--out", str(tmp_path / "chosen"), "--quiet"]
    )
    assert done.exit_code == 0, done.output
    table = tmp_path / "table"
    done = runner.invoke(
        app,
        [
            "text",
            str(folder),
            "-o",
            str(table),
            *common,
            "--bounds",
            "64",
            "--seeds",
            "1",
            "--json",
        ],
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["cells"][0]["draws"] == 64
    done = runner.invoke(app, ["text", str(folder), "-o", str(table), "--bounds", "4,x"])
    assert done.exit_code == 2


def test_the_parser_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, contrasift.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
