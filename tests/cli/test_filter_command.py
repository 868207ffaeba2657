"""`contrasift filter`: the rule of a selection on the pool and on new examples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from contrasift.cli import app
from contrasift.store.selections import read_rule, read_selection


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert "Traceback" not in result.output
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def pool(rng):
    z = np.abs(rng.normal(size=(300, 8))).astype(np.float32)
    z[50:110] = z[50]  # ties, so that the threshold alone cannot give the selection back
    classes = rng.integers(0, 4, 300)
    np.save("z.npy", z)
    np.save("classes.npy", classes)
    run(
        *("select", "z.npy", "--classes", "classes.npy", "--fraction", 0.3, "--out", "o"),
        *("--optimizer", "relaxed"),
    )
    return z, classes


def test_the_pool_gives_back_the_selection(pool):
    run("filter", "z.npy", "--classes", "classes.npy", "--rule", "o/rule.npz", "--out", "k.parquet")
    table = pq.read_table("k.parquet")
    assert table.column_names == ["index", "latent_class", "score", "keep"]
    kept = table["index"].to_numpy()[table["keep"].to_numpy()]
    assert np.array_equal(kept, read_selection(Path("o")).indices)


def test_new_examples_are_judged_by_the_threshold_alone(pool):
    z, classes = pool
    np.save("new.npy", z[::-1])
    np.save("new_classes.npy", classes[::-1])
    result = run(
        *("filter", "new.npy", "--classes", "new_classes.npy", "--rule", "o/rule.npz"),
        *("--out", "k.parquet", "--json"),
    )
    rule = read_rule(Path("o/rule.npz"))
    table = pq.read_table("k.parquet")
    threshold = rule.threshold[np.searchsorted(rule.names, classes[::-1])]
    assert np.array_equal(table["keep"].to_numpy(), table["score"].to_numpy() >= threshold)
    summary = json.loads(result.stdout)
    assert summary["n"] == 300
    assert not summary["is_pool"]
    assert summary["kept"] == table["keep"].to_numpy().sum()


def test_without_classes_the_nearest_centroid_decides(pool):
    run("filter", "z.npy", "--rule", "o/rule.npz", "--out", "k.parquet")
    rule = read_rule(Path("o/rule.npz"))
    z = np.load("z.npy").astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    distance = ((z[:, None] - rule.centroid) ** 2).sum(axis=2)
    found = pq.read_table("k.parquet")["latent_class"].to_numpy()
    assert np.array_equal(found, rule.names[distance.argmin(axis=1)])


def test_a_pool_with_text_classes(pool):
    _, classes = pool
    np.save("names.npy", np.array([f"class {label}" for label in classes]))
    run(
        *("select", "z.npy", "--classes", "names.npy", "--fraction", 0.3, "--out", "t"),
        *("--optimizer", "relaxed"),
    )
    run("filter", "z.npy", "--classes", "names.npy", "--rule", "t/rule.npz", "--out", "k.parquet")
    table = pq.read_table("k.parquet")
    kept = table["index"].to_numpy()[table["keep"].to_numpy()]
    assert np.array_equal(kept, read_selection(Path("t")).indices)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["narrow.npy", "--rule", "o/rule.npz"], 2, "width 8"),
        (["nan.npy", "--rule", "o/rule.npz"], 1, "first of them row 3"),
        (["vector.npy", "--rule", "o/rule.npz"], 1, "two axes"),
        (["absent.npy", "--rule", "o/rule.npz"], 1, "does not exist"),
        (["z.npy", "--rule", "absent.npz"], 1, "does not exist"),
        (["z.npy", "--rule", "z.npy"], 1, "rule.npz"),
        (["z.npy", "--rule", "other.npz"], 1, "the rule of a selection"),
        (["z.npy", "--rule", "truncated.npz"], 1, "whole rule.npz"),
        (["z.npy", "--rule", "o/rule.npz", "--classes", "far.npy"], 2, "classes of the rule"),
        (["z.npy", "--rule", "o/rule.npz", "--classes", "words.txt"], 1, "classes of type"),
        (["z.npy", "--rule", "o/rule.npz", "--classes", "short.npy"], 1, "each of the 300"),
    ],
)
def test_bad_input_gives_one_message(pool, arguments, code, message):
    z, classes = pool
    np.save("narrow.npy", z[:, :5])
    np.save("vector.npy", z[0])
    np.save("nan.npy", np.where(np.arange(300)[:, None] == 3, np.nan, z))
    np.save("far.npy", classes + 1)
    np.save("short.npy", classes[1:])
    np.savez("other.npz", a=z)
    Path("words.txt").write_text("word\n" * 300)
    Path("truncated.npz").write_bytes(Path("o/rule.npz").read_bytes()[:300])
    result = run("filter", *arguments, "--out", "k.parquet", code=code)
    assert message in " ".join(result.output.split())
    assert not Path("k.parquet").exists()


def test_out_is_a_file(pool):
    refused = run("filter", "z.npy", "--rule", "o/rule.npz", "--out", "o", code=1)
    assert "a folder" in refused.output
