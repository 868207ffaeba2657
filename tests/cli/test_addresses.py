"""Addresses of objects on the command line, and those that results are not written to."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
from typer.testing import CliRunner

from contrasift.cli import app


@pytest.fixture
def memory():
    """An empty storage of objects."""
    storage = fsspec.filesystem("memory")
    storage.store.clear()
    yield storage
    storage.store.clear()


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def facts_of(*arguments):
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_select_and_filter_give_what_they_give_for_files(memory, rng):
    np.save("values.npy", rng.standard_normal((80, 5)).astype(np.float32))
    np.save("classes.npy", rng.integers(0, 3, 80))
    Path("keep.txt").write_text("7\n9\n")
    for name in ("values.npy", "classes.npy", "keep.txt"):
        memory.pipe_file(f"memory://bucket/{name}", Path(name).read_bytes())
    results = {}
    for home in ("", "memory://bucket/"):
        out = "there" if home else "here"
        results[out] = facts_of(
            *("select", f"{home}values.npy", "--classes", f"{home}classes.npy", "--fraction", 0.3),
            *("--must-keep", f"{home}keep.txt", "--optimizer", "relaxed", "--out", out),
        )
        judged = facts_of(
            *(
                "filter",
                f"{home}values.npy",
                "--rule",
                f"{out}/rule.npz",
                "--out",
                f"{out}.parquet",
            ),
            *("--classes", f"{home}classes.npy"),
        )
        assert (judged["is_pool"], judged["kept"]) == (True, 24)
    assert results["there"]["sha256"] == results["here"]["sha256"]
    assert Path("there/rule.npz").read_bytes() == Path("here/rule.npz").read_bytes()
    again = run(
        "select",
        "memory://bucket/values.npy",
        "--classes",
        "memory://bucket/classes.npy",
        "--fraction",
        0.3,
        "--must-keep",
        "memory://bucket/keep.txt",
        "--optimizer",
        "relaxed",
        "--out",
        "there",
    )
    assert "nothing to do" in again.output


@pytest.mark.parametrize(
    "command",
    [
        ["select", "values.npy", "--classes", "none", "--fraction", "0.5"],
        ["filter", "values.npy", "--rule", "rule.npz"],
        ["embed", "digits"],
        ["run", "digits"],
        ["export", "runs/x"],
        ["extend", "runs/x", "more"],
    ],
)
def test_results_are_not_written_to_an_address(command):
    done = run(*command, "--out", "s3://bucket/out")
    assert done.exit_code == 2
    assert "an address" in done.output
    assert "copy it to the storage" in done.output.replace("\n", " ")
    assert not Path("s3:").exists()


@pytest.mark.parametrize(
    ("place", "code", "said"),
    [
        ("memory://bucket/none.npy", 1, "nothing there"),
        ("memory://bucket/text.npy", 1, "a whole .npy file"),
        ("nosuch://bucket/x.npy", 2, "s3://"),
        ("memory://bucket/run", 1, "the address of a file of embeddings"),
    ],
)
def test_addresses_that_cannot_be_read_are_explained(memory, place, code, said):
    memory.pipe_file("memory://bucket/text.npy", b"text")
    done = run("select", place, "--classes", "none", "--fraction", "0.5", "--out", "x")
    assert done.exit_code == code, done.output
    assert said in done.output.replace("\n", " ")
    assert "Traceback" not in done.output
    assert not Path("x").exists()


def test_a_run_that_is_an_address_is_refused():
    done = run("classes", "s3://bucket/run")
    assert done.exit_code == 2
    assert "run folders on this machine" in done.output.replace("\n", " ")
