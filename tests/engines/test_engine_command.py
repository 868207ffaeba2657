"""`--engine ray` on the command line: the same files, the same hashes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from contrasift.cli import app
from contrasift.engines import cluster as clusters
from contrasift.store.run import RunFolder


@pytest.fixture
def on_ray(cluster, monkeypatch):
    """`--engine ray`, with the cluster of the tests in place of one that is started."""

    @contextlib.contextmanager
    def connect(address=None, say=None):
        say("Ray on this machine")
        with clusters.plain_errors():
            yield dataclasses.replace(cluster, cpus=1)

    monkeypatch.setattr(clusters, "connect", connect)
    return ["--engine", "ray"]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def facts_of(*arguments):
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_select_prints_the_same_hash(on_ray, rng, tmp_path):
    np.save("values.npy", rng.standard_normal((300, 6)))
    np.save("classes.npy", rng.integers(0, 7, 300))
    command = ["select", "values.npy", "--classes", "classes.npy", "--fraction", "0.3"]
    alone = facts_of(*command, "--out", "a")
    spread = facts_of(*command, "--out", "b", *on_ray)
    assert spread["sha256"] == alone["sha256"]
    assert (spread["engine"], spread["tasks"]) == ("ray", 1)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == sorted(
        path.name for path in (tmp_path / "a").iterdir()
    )
    shown = run(*command, "--out", "b", *on_ray)
    assert alone["sha256"] in shown.stdout.replace("\n", "")
    assert "not counted above" in shown.stdout


def test_a_second_selection_is_refused_and_one_that_fails_leaves_nothing(tmp_path):
    np.save("values.npy", np.ones((4, 2)))
    command = ["select", "values.npy", "--classes", "none", "--fraction", "0.5", "--out", "x"]
    with RunFolder(tmp_path / "x").locked():
        refused = run(*command)
    assert refused.exit_code == 1
    assert "run.lock" in refused.output or "holds" in refused.output
    np.save("values.npy", np.full((4, 2), np.nan))
    (tmp_path / "x").rmdir()
    assert run(*command).exit_code == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_a_run_is_the_same_to_the_byte(on_ray, rng, tmp_path):
    from contrasift.training.encoder_files import save_encoder
    from contrasift.training.encoders import build_encoder

    (tmp_path / "photos").mkdir()
    for number in range(24):
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:02d}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"not an image")
    save_encoder(build_encoder("narrow:0.25", 3, 16, 16, 0), tmp_path / "encoder.safetensors")
    for out, engine in (("a", []), ("b", on_ray)):
        embed = ["--encoder", "encoder.safetensors", "--classes-encoder", "", "--image-size", "16"]
        for command in (
            ["embed", "photos", *embed, "--views", "2", "--embed-batch-size", "8", "--out", out],
            ["classes", out, "--classes", "kmeans", "--n-classes", "3", "--stability", "0"],
            ["select", out, "--fraction", "0.4"],
        ):
            done = run(*command, *engine)
            assert done.exit_code == 0, done.output
    names = ["embeddings.npy", "embeddings.json", "examples.parquet", "classes.parquet"]
    for name in [*names, "classes.json", "selection.parquet", "ranking.npy"]:
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes(), name
    assert [path.name for path in (tmp_path / "b").iterdir() if path.is_dir()] == []


@pytest.mark.slow
def test_all_stages_in_one_command_are_the_same_to_the_byte(on_ray, tmp_path):
    small = ["--limit", "60", "--image-size", "16", "--architecture", "narrow:0.25", "--views", "1"]
    small += ["--batch-size", "24", "--epochs", "1", "--proxy-epochs", "1", "--seeds", "1"]
    small += ["--classes", "kmeans", "--n-classes", "3", "--stability", "0", "--fraction", "0.4"]
    small += ["--against", "full"]
    for out, engine in (("a", []), ("b", on_ray)):
        done = run("run", "digits", *small, "--out", out, *engine)
        assert done.exit_code == 0, done.output
    made = [path.relative_to("a") for path in sorted(Path("a").rglob("*.*")) if path.is_file()]
    names = {"examples.parquet", "embeddings.npy", "classes.parquet", "selection.parquet"}
    assert names < {path.name for path in made}
    kept = [path for path in made if path.suffix in (".npy", ".parquet", ".safetensors")]
    different = [
        path for path in kept if Path("a", path).read_bytes() != Path("b", path).read_bytes()
    ]
    assert different == []
    again = run("run", "digits", *small, "--out", "b", *on_ray)
    assert again.exit_code == 0
    assert "Ray on this machine" not in again.output  # all is finished: no cluster is needed


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--address", "host:6379"], 2, "--engine ray"),
        (["--engine", "ray", "--address", "nowhere"], 2, "host:port"),
        (["--engine", "ray", "--threads", "2"], 2, "--threads"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], 1, "127.0.0.1:1"),
    ],
)
def test_bad_flags(flags, code, words, tmp_path):
    np.save("values.npy", np.ones((4, 2)))
    done = run(
        "select", "values.npy", "--classes", "none", "--fraction", "0.5", "--out", "x", *flags
    )
    assert done.exit_code == code
    assert words in done.output
    assert not (tmp_path / "x").exists()


def test_no_ray_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    np.save("values.npy", np.ones((4, 2)))
    done = run(
        "select",
        "values.npy",
        "--classes",
        "none",
        "--fraction",
        "0.5",
        "--out",
        "x",
        "--engine",
        "ray",
    )
    assert done.exit_code == 1
    assert "contrasift[ray]" in done.output
