"""`contrasift select`: the contract of its files, and one clear message for every bad input."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from contrasift.cli import app
from contrasift.pipeline.stages.card import certificate_in_words
from contrasift.selection.select import select
from contrasift.store.inputs import parse_bytes
from contrasift.store.selections import read_selection

COLUMNS = ["index", "latent_class", "rank", "gain", "selected"]


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert "Traceback" not in result.output
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def files(rng):
    z = np.abs(rng.normal(size=(300, 8))).astype(np.float32)
    classes = rng.integers(0, 5, 300)
    np.save("z.npy", z)
    np.save("classes.npy", classes)
    return z, classes


def test_writes_what_scripts_rely_on(files):
    z, classes = files
    result = run("select", "z.npy", "--classes", "classes.npy", "--fraction", 0.2, "--out", "o")
    table = pq.read_table("o/selection.parquet")
    assert table.column_names == COLUMNS
    expected = select(z, classes, fraction=0.2)
    for name in COLUMNS:
        assert np.array_equal(table[name].to_numpy(), getattr(expected, name)), name
    facts = json.loads(Path("o/selection.json").read_text())
    assert facts["value"] == expected.value
    assert facts["budget"] == 60
    assert facts["redundancy"] == 1.0
    assert facts["seconds"] > 0
    assert facts["peak_memory_bytes"] > 1 << 20
    assert facts["certificate"] == expected.certificate.share
    assert facts["upper_bound"] - facts["value"] == facts["gap"]
    assert [part["budget"] for part in facts["classes"]] == [
        part.budget for part in expected.classes
    ]
    assert {"contrasift", "numpy", "numba", "python"} <= set(facts["versions"])
    assert np.array_equal(np.load("o/ranking.npy"), expected.ranking)
    assert "reaches at least" in result.output
    assert "60 of 300" in result.output


def test_without_classes_the_pool_is_one(files):
    z, _ = files
    run("select", "z.npy", "--classes", "none", "--budget", 30, "--out", "o")
    chosen = read_selection(Path("o"))
    assert np.array_equal(chosen.indices, select(z, budget=30).indices)
    assert set(chosen.latent_class.tolist()) == {0}


@pytest.mark.parametrize("objective", ["sas", "published", "random", "random-per-class"])
def test_reading_back_gives_the_same_selection(files, objective):
    z, classes = files
    arguments = ("select", "z.npy", "--classes", "classes.npy", "--budget", 40)
    run(*arguments, "--objective", objective, "--out", "o")
    chosen, expected = read_selection(Path("o")), select(
        z, classes, budget=40, objective=objective
    )  # fmt: skip
    for name in [*COLUMNS, "order"]:
        assert np.array_equal(
            getattr(chosen, name), getattr(expected, name), equal_nan=name == "gain"
        )
    for name in ("objective", "redundancy", "budget", "value", "classes", "notes", "certificate"):
        assert getattr(chosen, name) == getattr(expected, name)
    for name in expected.facts.keys() - {"memory_estimate_bytes"}:  # of a mapped matrix: less
        assert chosen.facts[name] == expected.facts[name]


def test_the_same_command_gives_the_same_bytes(files):
    arguments = ("select", "z.npy", "--classes", "classes.npy", "--fraction", 0.3)
    for out in ("a", "b"):
        run(*arguments, "--optimizer", "relaxed", "--out", out)
    for name in ("selection.parquet", "ranking.npy", "rule.npz"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_again_is_skipped_and_others_are_refused(files):
    arguments = ("select", "z.npy", "--classes", "none", "--out", "o")
    run(*arguments, "--fraction", 0.2)
    before = Path("o/selection.json").stat().st_mtime_ns
    assert "nothing to do" in run(*arguments, "--fraction", 0.2).output
    assert Path("o/selection.json").stat().st_mtime_ns == before
    refused = run(*arguments, "--fraction", 0.3, code=1)
    assert "--update" in refused.output
    run(*arguments, "--fraction", 0.3, "--optimizer", "relaxed", "--update")
    assert Path("o/rule.npz").exists()
    run(*arguments, "--fraction", 0.3, "--update")
    assert not Path("o/rule.npz").exists()


def test_a_selection_that_lost_a_file_is_made_again(files):
    run("select", "z.npy", "--classes", "none", "--fraction", 0.2, "--out", "o")
    Path("o/ranking.npy").unlink()
    run("select", "z.npy", "--classes", "none", "--fraction", 0.2, "--out", "o")
    assert Path("o/ranking.npy").exists()


def test_fractions_become_columns(files):
    run("select", "z.npy", "--classes", "none", "--fractions", "0.1,0.4", "--out", "o")
    table = pq.read_table("o/selection.parquet")
    assert table.column_names == [*COLUMNS, "selected_0.1", "selected_0.4"]
    assert sum(table["selected_0.1"].to_pylist()) == 30
    assert list(read_selection(Path("o")).marks) == ["0.1", "0.4"]


def test_lists_weights_and_text_classes(files):
    _z, classes = files
    Path("classes.txt").write_text("\n".join(f"c{label}" for label in classes))
    Path("keep.txt").write_text("7\n8\n")
    np.save("drop.npy", np.array([0, 1]))
    Path("weights.json").write_text('{"c0": 5}')
    run(
        *("select", "z.npy", "--classes", "classes.txt", "--budget", 50, "--out", "o"),
        *("--must-keep", "keep.txt", "--must-drop", "drop.npy", "--class-weights", "weights.json"),
    )
    chosen = read_selection(Path("o"))
    assert {7, 8} <= set(chosen.indices.tolist())
    assert not {0, 1} & set(chosen.indices.tolist())
    assert chosen.latent_class.dtype.kind == "U"
    assert chosen.classes[0].budget > 2 * chosen.classes[1].budget


def test_json_is_all_there_is_on_standard_output(files):
    result = run("select", "z.npy", "--classes", "none", "--fraction", 0.2, "--out", "o", "--json")
    facts = json.loads(result.stdout)
    assert facts["budget"] == 60
    assert "o/selection.parquet" in facts["files"]
    assert result.stderr == ""


def describe(stem: str) -> None:
    digest = hashlib.sha256(Path(f"{stem}.npy").read_bytes()).hexdigest()
    about = {"normalised": "mean of unit views", "sha256": digest}
    Path(f"{stem}.json").write_text(json.dumps(about))


def test_a_described_matrix_is_taken_as_it_is(files):
    z, _ = files
    bare = run("select", "z.npy", "--classes", "none", "--fraction", 0.2, "--out", "a")
    assert "scaled to length one" in bare.stderr
    describe("z")
    described = run("select", "z.npy", "--classes", "none", "--fraction", 0.2, "--out", "b")
    assert "as they are" in described.stderr
    assert np.array_equal(
        read_selection(Path("b")).indices, select(z, fraction=0.2, normalize="none").indices
    )
    run(
        "select",
        "z.npy",
        "--classes",
        "none",
        "--fraction",
        0.2,
        "--out",
        "c",
        "--normalize",
        "rows",
    )
    assert np.array_equal(read_selection(Path("c")).indices, read_selection(Path("a")).indices)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        "[1]",
        '{"sha256": ',
        '{"normalised": "mean of unit views"}',
        '{"sha256": "0"}',
        "",
    ],
)
def test_a_file_that_describes_something_else_is_passed_over(files, text):
    z, _ = files
    Path("z.json").write_text(text)
    done = run("select", "z.npy", "--classes", "none", "--fraction", 0.2, "--out", "o")
    assert "z.json is passed over" in done.stderr
    plain = select(z, fraction=0.2, normalize="rows")
    assert np.array_equal(read_selection(Path("o")).indices, plain.indices)


def test_a_description_of_another_matrix_is_refused(files):
    Path("z.json").write_text('{"normalised": "rows", "sha256": "0"}')
    refused = run("select", "z.npy", "--classes", "none", "--fraction", 0.2, "--out", "o", code=1)
    assert "another sha256" in refused.output


def test_a_folder_of_embeddings_with_unreadable_examples(files):
    import pyarrow as pa

    z, classes = files
    folder = Path("run")
    folder.mkdir()
    np.save(folder / "embeddings.npy", z)
    describe("run/embeddings")
    row = np.full(302, -1)
    index = np.delete(np.arange(302), [3, 200])
    row[index] = np.arange(300)
    pq.write_table(pa.table({"index": np.arange(302), "row": row}), folder / "examples.parquet")
    turn = np.argsort(-index)  # a table in another order finds its rows by index
    pq.write_table(
        pa.table({"index": index[turn], "latent_class": classes[turn]}), folder / "classes.parquet"
    )
    run("select", folder, "--fraction", 0.2, "--out", "o")
    expected = select(z, classes, fraction=0.2, normalize="none")
    assert np.array_equal(read_selection(Path("o")).indices, index[expected.indices])


def test_warnings_reach_the_reader(files):
    result = run(
        "select", "z.npy", "--classes", "none", "--fraction", 0.8, "--redundancy", 1, "--out", "o"
    )
    assert "gains turn negative" in result.output
    assert json.loads(Path("o/selection.json").read_text())["turn"] is not None


def bad(name, array):
    np.save(name, array)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["z.npy", "--fraction", "0"], 2, "(0, 1]"),
        (["z.npy", "--fraction", "1.5"], 2, "(0, 1]"),
        (["z.npy", "--fraction", "nan"], 2, "(0, 1]"),
        (["z.npy", "--fraction", "0.2", "--budget", "3"], 2, "both"),
        (["z.npy"], 2, "none"),
        (["z.npy", "--fractions", "a"], 2, "separated by commas"),
        (["z.npy", "--fractions", "0.1", "--budget", "3"], 2, "more than one"),
        (["z.npy", "--budget", "301"], 2, "301"),
        (["z.npy", "--budget", "-1"], 2, "-1"),
        (["z.npy", "--budget", "2", "--must-keep", "three.txt"], 2, "at most 2 examples"),
        (["z.npy", "--budget", "9", "--must-keep", "words.txt"], 1, "indices"),
        (["z.npy", "--budget", "9", "--must-drop", "far.txt"], 2, "999"),
        (["z.npy", "--budget", "9", "--must-keep", "absent.txt"], 1, "does not exist"),
        (["z.npy", "--budget", "9", "--classes", "short.npy"], 1, "each of the 300"),
        (["z.npy", "--budget", "9", "--classes", "absent.npy"], 1, "does not exist"),
        (["z.npy", "--budget", "9", "--classes", "objects.npy"], 1, "without Python objects"),
        (["z.npy", "--budget", "9", "--class-weights", "words.txt"], 1, "a number"),
        (["z.npy", "--budget", "9", "--memory-limit", "much"], 2, "2GB"),
        (["z.npy", "--budget", "9", "--memory-limit", "1MB"], 2, "memory limit of at least"),
        (["z.npy", "--budget", "9", "--objective", "best"], 2, "one of"),
        (["z.npy", "--budget", "9", "--normalize", "all"], 2, "all"),
        (
            ["z.npy", "--fraction", "0.9", "--optimizer", "relaxed", "--redundancy", "1"],
            2,
            "1/(2λ)",
        ),
        (["absent.npy", "--budget", "9"], 1, "does not exist"),
        (["truncated.npy", "--budget", "9"], 1, "whole .npy"),
        (["objects.npy", "--budget", "9"], 1, "without Python objects"),
        (["text.npy", "--budget", "9"], 1, "real numbers"),
        (["words.txt", "--budget", "9"], 1, "a file of embeddings"),
        (["vector.npy", "--budget", "9"], 1, "two axes, one row an example"),
        (["empty.npy", "--budget", "0"], 1, "at least one row"),
        (["nan.npy", "--budget", "9"], 1, "first of them row 4"),
        (["zero.npy", "--budget", "9"], 1, "zeros"),
        (["archive.npz", "--budget", "9"], 1, "--column"),
        ([".", "--budget", "9"], 1, "files of one kind"),
    ],
)
def test_bad_input_gives_one_message(files, arguments, code, message):
    z, classes = files
    Path("three.txt").write_text("1\n2\n3\n")
    Path("words.txt").write_text("one\ntwo\n")
    Path("far.txt").write_text("999\n")
    bad("short.npy", classes[:-1])
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    Path("truncated.npy").write_bytes(Path("z.npy").read_bytes()[:-100])
    bad("text.npy", np.array([["a", "b"]]))
    bad("vector.npy", z[0])
    bad("empty.npy", z[:0])
    bad("nan.npy", np.where(np.arange(300)[:, None] == 4, np.nan, z))
    bad("zero.npy", z * (np.arange(300)[:, None] != 4))
    np.savez("archive.npz", z=z, y=z, c=classes)
    result = run("select", *arguments, "--out", "o", code=code)
    assert message in " ".join(result.output.split())
    left = {path.name for path in Path("o").iterdir()} if Path("o").exists() else set()
    assert left <= {"classes.parquet", "classes.json"}  # found, and of use to the next command
    assert len(left) != 1


def test_a_matrix_needs_a_place_for_the_result(files):
    assert "--out" in run("select", "z.npy", "--classes", "none", "--fraction", 0.2, code=2).output


def test_out_must_be_a_folder_of_its_own(files):
    Path("file").write_text("")
    assert (
        "a file"
        in run(
            "select", "z.npy", "--classes", "none", "--budget", 3, "--out", "file", code=1
        ).output
    )
    assert (
        "a file"
        in run(
            "select", "z.npy", "--classes", "none", "--budget", 3, "--out", "file/o", code=1
        ).output
    )
    Path("run").mkdir()
    Path("run/options.yaml").write_text("pool: {}\n")
    refused = run("select", "z.npy", "--classes", "none", "--budget", 3, "--out", "run", code=1)
    assert "folder of a run" in refused.output


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_out_must_be_writable(files):
    Path("locked").mkdir(mode=0o500)
    refused = run(
        "select", "z.npy", "--classes", "none", "--budget", 3, "--out", "locked/o", code=1
    )
    assert "cannot be written" in refused.output


def test_extra_files_are_refused_within_a_run(files):
    Path("run").mkdir()
    refused = run("select", "run", "--fraction", 0.2, "--classes", "classes.npy", code=2)
    assert "--classes" in refused.output


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2 * 10**9),
        ("500 mb", 5 * 10**8),
        ("1.5GiB", 3 * 2**29),
        ("1000", 1000),
        ("1k", 1000),
    ],
)
def test_sizes(text, size):
    assert parse_bytes(text) == size


def test_certificates_are_never_rounded_up():
    def words(share, value=1.0, bound=2.0):
        return certificate_in_words({"certificate": share, "value": value, "upper_bound": bound})

    assert "at least 99.999 %" in words(0.9999999)
    assert "best selection" in words(1.0)
    assert "no better" in words(-0.2)
    assert "at least 49.999 % of the best value" in words(None, 0.9999999)
    assert "at most 0.5 below" in words(None, -1.5, -1.0)
    assert "none" in words(None, 1.0, None)


@pytest.mark.parametrize("command", ["select", "filter"])
def test_help_is_quick_and_light(command):
    code = (
        "import sys; sys.argv = ['contrasift', '" + command + "', '--help']\n"
        "from contrasift.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numba', 'torch', 'sklearn', 'faiss', 'pyarrow', 'scipy'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout
    assert "Usage" in done.stdout
    assert time.perf_counter() - begun < 3  # 0.3 s on an idle core


@pytest.mark.parametrize(("classes", "loaded"), [("none", "False False"), ("auto", "False True")])
def test_selecting_never_imports_torch(files, classes, loaded):
    code = (
        "import sys; sys.argv = ['contrasift', 'select', 'z.npy', '--fraction', '0.2', '--out', 'o']\n"
        f"sys.argv += ['--classes', '{classes}']\n"
        "from contrasift.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == loaded
