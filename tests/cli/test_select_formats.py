"""`contrasift select` on every format: the same bytes, ids all the way."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import contrasift as cs
from contrasift.cli import app
from contrasift.errors import DataError, UsageError
from contrasift.store.selections import read_selection

sys.path.append(str(Path(__file__).parents[1] / "matrices"))
from producers import PRODUCERS, WIDE, table

N, D = 60, 8
ROWS = np.random.default_rng(3).standard_normal((N, D)).astype(np.float32)
CLASSES = np.array(["a", "b", "c"])[np.random.default_rng(4).integers(0, 3, N)]
IDS = [f"{number * 7919 % 1009:032x}" for number in range(N)]
OBJECTS = {"dataset_object", "pandas_frame", "polars_frame", "duckdb_relation"}


def run(*arguments: Any, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("classes.npy", CLASSES)
    return tmp_path


def columns(path: Path | str) -> dict[str, bytes]:
    found = pq.read_table(path)
    names = ("index", "latent_class", "rank", "gain", "selected")
    return {name: str(found[name].to_pylist()).encode() for name in names}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", sorted(set(PRODUCERS) - OBJECTS))
def test_the_same_bytes_and_ids_from_every_format(here: Path, name: str, dtype: str):
    if dtype == "float16" and name in WIDE:
        pytest.skip("holds no half floats")
    rows = ROWS.astype(dtype)
    Path("made").mkdir()
    np.save("plain.npy", rows)
    place, how = PRODUCERS[name](Path("made"), rows, IDS)
    flags = [word for key, value in how.items() for word in (f"--{key}", value)]
    common = ["--classes", "classes.npy", "--fraction", 0.3, "--quiet"]
    run("select", "plain.npy", *common, "--out", "a")
    run("select", place, *flags, *common, "--out", "b")
    assert columns("a/selection.parquet") == columns("b/selection.parquet")
    found = pq.read_table("b/selection.parquet")
    ids = IDS if name != "zarr" else [int(text, 16) % 2**62 for text in IDS]
    assert found["id"].to_pylist() == [ids[row] for row in found["index"].to_pylist()]
    assert "id" not in pq.read_schema("a/selection.parquet").names
    chosen = read_selection(Path("b"))
    assert chosen.selected_ids == [ids[row] for row in chosen.indices]
    assert chosen.to_arrow()["id"].to_pylist() == found["id"].to_pylist()
    # A second time there is nothing to do, nothing is copied again.
    again = run("select", place, *flags, *common[:-1], "--out", "b")
    assert "nothing to do" in again.output


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_objects_in_python(here: Path, name: str):
    source, how = PRODUCERS[name](here, ROWS, IDS)
    expected = cs.select(ROWS, CLASSES, fraction=0.3)
    found = cs.select(cs.open_embeddings(source, **how), CLASSES, fraction=0.3)
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.gain, expected.gain)
    assert found.ids.to_pylist() == [IDS[row] for row in found.index]


def test_lists_by_id():
    pq.write_table(table(ROWS, IDS), "e.parquet")
    keep, drop = [5, 17, 40], [1, 2]
    Path("keep.txt").write_text("\n".join(IDS[row] for row in keep))
    np.save("drop.npy", np.array([IDS[row] for row in drop]))
    turn = np.random.default_rng(0).permutation(N)
    scores = np.random.default_rng(1).random(N)
    by_id = pa.table({"id": [IDS[row] for row in turn], "latent_class": CLASSES[turn].tolist()})
    pq.write_table(by_id, "classes.parquet")
    pq.write_table(pa.table({"id": [IDS[row] for row in turn], "s": scores[turn]}), "s.parquet")
    lists = ("--must-keep", "keep.txt", "--must-drop", "drop.npy", "--classes", "classes.parquet")
    run("select", "e.parquet", *lists, "--fraction", 0.3, "--out", "a")
    expected = cs.select(ROWS, CLASSES, fraction=0.3, must_keep=keep, must_drop=drop)
    found = read_selection(Path("a"))
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.selected, expected.selected)
    by_scores = ("--objective", "scores", "--scores", "s.parquet")
    run("select", "--classes", "none", "e.parquet", *by_scores, "--budget", 7, "--out", "b")
    assert set(read_selection(Path("b")).indices) == set(np.argsort(-scores)[:7])


def test_the_lists_of_datacomp_and_selections():
    np.save("e.npy", ROWS)
    halves = np.array([(int(text[:16], 16), int(text[16:], 16)) for text in IDS], dtype="u8,u8")
    np.save("uids.npy", halves)
    np.save("keep.npy", np.sort(halves[[7, 3]]))
    run(
        "select",
        "--classes",
        "none",
        "e.npy",
        "--id",
        "uids.npy",
        "--must-keep",
        "keep.npy",
        "--budget",
        9,
        "--out",
        "a",
    )
    first = read_selection(Path("a"))
    assert {3, 7} <= set(first.indices)
    lists = ("--id", "uids.npy", "--must-drop", "a/selection.parquet")
    run("select", "--classes", "none", "e.npy", *lists, "--budget", 9, "--out", "b")
    assert not set(first.indices) & set(read_selection(Path("b")).indices)
    # The same by indices, of embeddings without ids.
    run(
        "select",
        "--classes",
        "none",
        "e.npy",
        "--must-drop",
        "a/selection.parquet",
        "--budget",
        9,
        "--out",
        "c",
    )
    np.testing.assert_array_equal(
        read_selection(Path("b")).indices, read_selection(Path("c")).indices
    )


def test_whole_numbers_as_ids():
    numbers = [1000 + 3 * row for row in range(N)]
    pq.write_table(pa.table({"id": numbers, "v": ROWS.tolist()}), "e.parquet")
    matrix = cs.open_embeddings("e.parquet")
    found = cs.select(matrix, budget=5, must_keep=[1003, 1009])
    assert {1, 3} <= set(found.indices)
    assert {1003, 1009} <= set(found.selected_ids or ())
    Path("keep.txt").write_text("1003\n1009\n")
    run(
        "select",
        "--classes",
        "none",
        "e.parquet",
        "--must-keep",
        "keep.txt",
        "--budget",
        5,
        "--out",
        "o",
    )
    assert {1, 3} <= set(read_selection(Path("o")).indices)
    with pytest.raises(UsageError, match=r"must_keep= with ids.*such as 1000; got 1.*: 7"):
        cs.select(matrix, budget=5, must_keep=[7])


def test_ids_that_are_not_there():
    pq.write_table(table(ROWS, IDS), "e.parquet")
    Path("keep.txt").write_text("one\ntwo\n" + IDS[0])
    refused = run(
        "select", "e.parquet", "--must-keep", "keep.txt", "--budget", 9, "--out", "o", code=2
    )
    assert "--must-keep with ids" in " ".join(refused.output.split())
    assert "'one', 'two'" in " ".join(refused.output.split())
    assert not Path("o").exists()


def test_bad_rows_are_refused_or_left_out(here: Path):
    rows = ROWS.copy()
    rows[[4, 31]] = np.nan
    rows[50] = 0
    Path("made").mkdir()
    place, _ = PRODUCERS["npy_shards"](Path("made"), rows, IDS)
    common = ("--classes", "classes.npy", "--fraction", 0.3)
    refused = run("select", place, *common, "--out", "o", code=1)
    said = " ".join(refused.output.split())
    assert "NaN or infinity in 2 row(s), the first of them row 4" in said
    assert "part_2.npy" in said
    assert "--skip-bad" in said
    assert not Path("o").exists()
    done = run("select", place, *common, "--out", "o", "--skip-bad")
    assert "3 rows are left out" in done.output
    listed = pq.read_table("o/skipped.parquet").to_pydict()
    assert listed["row"] == [4, 31, 50]
    assert listed["reason"] == ["NaN, infinity or null"] * 2 + ["zero"]
    good = np.delete(np.arange(N), [4, 31, 50])
    expected = cs.select(ROWS[good], CLASSES[good], fraction=0.3)
    found = read_selection(Path("o"))
    np.testing.assert_array_equal(found.index, good[expected.index])
    np.testing.assert_array_equal(found.selected, expected.selected)
    assert found.ids.to_pylist() == [IDS[row] for row in found.index]
    assert json.loads(Path("o/selection.json").read_text())["left_out"] == 3
    # Mean views of length zero are rows like others.
    run("select", place, *common, "--out", "p", "--skip-bad", "--normalize", "none")
    assert pq.read_table("p/skipped.parquet")["row"].to_pylist() == [4, 31]


def test_nothing_is_left_out_where_nothing_is_bad():
    np.save("e.npy", ROWS)
    run("select", "e.npy", "--classes", "classes.npy", "--budget", 9, "--out", "o", "--skip-bad")
    assert not Path("o/skipped.parquet").exists()
    expected = cs.select(ROWS, CLASSES, budget=9)
    np.testing.assert_array_equal(read_selection(Path("o")).index, expected.index)


def test_the_copy_is_announced_and_used_again():
    pq.write_table(table(ROWS, IDS), "e.parquet")
    said = run("select", "--classes", "none", "e.parquet", "--fraction", 0.3, "--out", "o").output
    assert "MB are written to o/cache/embeddings-" in " ".join(said.split())
    copies = list(Path("o/cache").iterdir())
    assert len(copies) == 1
    said = run(
        "select", "--classes", "none", "e.parquet", "--fraction", 0.4, "--out", "o", "--update"
    ).output
    assert "are written" not in said
    assert list(Path("o/cache").iterdir()) == copies


def test_other_ids_are_another_selection():
    np.save("e.npy", ROWS)
    Path("ids.txt").write_text("\n".join(IDS))
    run("select", "--classes", "none", "e.npy", "--id", "ids.txt", "--fraction", 0.3, "--out", "o")
    Path("ids.txt").write_text("\n".join(reversed(IDS)))
    run(
        "select",
        "--classes",
        "none",
        "e.npy",
        "--id",
        "ids.txt",
        "--fraction",
        0.3,
        "--out",
        "o",
        code=1,
    )
    run("select", "--classes", "none", "e.npy", "--fraction", 0.3, "--out", "o", code=1)


def test_eight_bits_on_the_command_line():
    np.save("e.npy", (ROWS * 30).round().clip(-127, 127).astype(np.int8))
    refused = run("select", "--classes", "none", "e.npy", "--budget", 9, "--out", "o", code=1)
    assert "--scale" in refused.output
    run("select", "--classes", "none", "e.npy", "--budget", 9, "--out", "o", "--scale", 0.03)
    run(
        "select",
        "--classes",
        "none",
        "e.npy",
        "--budget",
        9,
        "--out",
        "p",
        "--scale",
        "one",
        code=2,
    )


def test_shards_under_a_memory_limit(here: Path):
    Path("made").mkdir()
    place, _ = PRODUCERS["npy_shards"](Path("made"), ROWS.astype(np.float16), IDS)
    run("select", place, "--classes", "classes.npy", "--fraction", 0.3, "--out", "o")
    expected = cs.select(ROWS.astype(np.float16), CLASSES, fraction=0.3)
    found = read_selection(Path("o"))
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.gain, expected.gain)
    assert not Path("o/cache").exists()


def test_a_relaxed_selection_of_shards(here: Path):
    Path("made").mkdir()
    place, _ = PRODUCERS["npy_shards"](Path("made"), ROWS, IDS)
    run(
        "select",
        "--classes",
        "none",
        place,
        "--fraction",
        0.3,
        "--optimizer",
        "relaxed",
        "--out",
        "o",
    )
    expected = cs.select(ROWS, fraction=0.3, optimizer="relaxed")
    np.testing.assert_array_equal(read_selection(Path("o")).indices, expected.indices)


def test_ids_twice_are_refused_before_the_work():
    pq.write_table(table(ROWS, [IDS[0], *IDS[:-1]]), "e.parquet")
    with pytest.raises(DataError, match="more than once"):
        cs.select(cs.open_embeddings("e.parquet"), budget=3)
    refused = run("select", "--classes", "none", "e.parquet", "--budget", 9, "--out", "o", code=1)
    assert "--id none" in refused.output
    assert not Path("o").exists()
    run("select", "--classes", "none", "e.parquet", "--budget", 9, "--out", "o", "--id", "none")


def test_bad_rows_of_shards_may_be_dropped_by_id(here: Path):
    rows = ROWS.copy()
    rows[[4, 31]] = np.nan
    Path("made").mkdir()
    place, _ = PRODUCERS["npy_shards"](Path("made"), rows, IDS)
    drop = [IDS[row] for row in (4, 9, 31)]
    found = cs.select(
        cs.open_embeddings(place), CLASSES, fraction=0.3, must_drop=drop, must_keep=[IDS[0]]
    )
    expected = cs.select(rows, CLASSES, fraction=0.3, must_drop=[4, 9, 31], must_keep=[0])
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.selected, expected.selected)
    assert found.ids.to_pylist() == [IDS[row] for row in found.index]
    with pytest.raises(UsageError, match=f"1 in both, among them '{IDS[9]}'"):
        cs.select(cs.open_embeddings(place), budget=5, must_drop=drop, must_keep=[IDS[9]])


def test_exports_of_datacomp(here: Path):
    Path("made").mkdir()
    place, how = PRODUCERS["datacomp"](Path("made"), ROWS, IDS)
    run(
        "select",
        "--classes",
        "none",
        place,
        "--column",
        how["column"],
        "--fraction",
        0.3,
        "--out",
        "o",
    )
    chosen = read_selection(Path("o"))
    run("export", "o", "--to", "ids", "--out", "ids.txt")
    assert Path("ids.txt").read_text().splitlines() == chosen.selected_ids
    run("export", "o", "--to", "datacomp", "--out", "uids.npy")
    pairs = np.load("uids.npy")
    assert pairs.dtype == np.dtype("u8,u8")
    assert [f"{a:016x}{b:016x}" for a, b in pairs.tolist()] == sorted(chosen.selected_ids)
    run("export", "o", "--to", "metadata", "--out", "filtered")
    names = sorted(path.name for path in Path("filtered").iterdir())
    assert names == sorted(path.name for path in Path("made").glob("*.parquet"))
    found = [uid for name in names for uid in pq.read_table(f"filtered/{name}")["uid"].to_pylist()]
    assert found == chosen.selected_ids
    run("export", "o", "--to", "rows", "--out", "rows.parquet")
    assert pq.read_table("rows.parquet")["uid"].to_pylist() == chosen.selected_ids
    assert "url" in pq.read_schema("rows.parquet").names
    run("export", "o", "--to", "rows", "--out", "rows.parquet", code=1)
    run("export", "o", "--to", "datacomp", "--out", "uids.txt", code=2)


@pytest.mark.parametrize(
    "name", ["parquet", "parquet_large_list_folder", "arrow", "lance", "huggingface"]
)
def test_exports_of_tables(here: Path, name: str):
    Path("made").mkdir()
    place, how = PRODUCERS[name](Path("made"), ROWS, IDS)
    flags = [word for key, value in how.items() for word in (f"--{key}", value)]
    run("select", "--classes", "none", place, *flags, "--fraction", 0.3, "--out", "o")
    run("export", "o", "--to", "rows", "--out", "rows.parquet")
    chosen = read_selection(Path("o"))
    found = pq.read_table("rows.parquet")
    assert found["id"].to_pylist() == chosen.selected_ids
    np.testing.assert_array_equal(found["vector"].to_pylist(), ROWS[chosen.indices].tolist())
    refused = run("export", "o", "--to", "datacomp", "--out", "x.txt", code=2)
    assert ".npy" in refused.output


def test_exports_of_comma_separated_values(here: Path):
    place, _ = PRODUCERS["csv"](here, ROWS, IDS)
    run("select", "--classes", "none", place, "--fraction", 0.3, "--out", "o")
    run("export", "o", "--to", "rows", "--out", "rows.parquet")
    found = pq.read_table("rows.parquet")
    assert found["filename"].to_pylist() == read_selection(Path("o")).selected_ids


def test_every_command_takes_any_format():
    pq.write_table(table(ROWS, IDS), "e.parquet")
    how = ("--classes", "classes.npy", "--fraction", 0.3)
    run("select", "e.parquet", *how, "--optimizer", "relaxed", "--out", "a")
    run(
        "filter",
        "e.parquet",
        "--rule",
        "a/rule.npz",
        "--classes",
        "classes.npy",
        "--out",
        "k.parquet",
    )
    found, chosen = pq.read_table("k.parquet").to_pydict(), read_selection(Path("a"))
    kept = [id for id, keep in zip(found["id"], found["keep"], strict=True) if keep]
    assert kept == chosen.selected_ids
    run("select", "e.parquet", *how, "--objective", "random-per-class", "--out", "b")
    compared = json.loads(run("compare-selections", "a", "b", "--json").stdout)
    assert compared == json.loads(
        run("compare-selections", "a", "b", "--embeddings", "e.parquet", "--json").stdout
    )
    assert compared["selections"][0]["coverage"] > 0


def test_a_plan_of_a_selection_and_of_embeddings():
    np.save("e.npy", ROWS)
    Path("drop.txt").write_text("3\n4\n")
    lists = ("--classes", "classes.npy", "--must-drop", "drop.txt", "--fraction", 0.3)
    run("select", "e.npy", *lists, "--out", "a")
    plan = json.loads(run("plan", "a", "--json").stdout)
    assert (plan["n"], plan["budget"]) == (58, 18)
    assert plan["curves"]["coverage"]["value"][-1] == pytest.approx(1)
    run("plan", "e.npy", "--out", "b")
    assert json.loads(Path("b/plan.json").read_text())["budget"] == 12
    assert "--out" in run("plan", "e.npy", code=2).output
    assert "does not exist" in run("plan", "none.npy", code=1).output
    assert "a run, with images" in run("plan", "a", "--accuracy", code=2).output
    assert "--column" in run("plan", "a", "--column", "x", code=2).output


def test_exports_that_cannot_be(here: Path):
    np.save("e.npy", ROWS)
    run("select", "--classes", "none", "e.npy", "--fraction", 0.3, "--out", "o")
    assert "--id" in run("export", "o", "--to", "ids", "--out", "x", code=1).output
    refused = run("export", "o", "--to", "rows", "--out", "x.parquet", code=2)
    assert "a source with tables" in " ".join(refused.output.split())
    np.save("e.npy", ROWS + 1)
    assert (
        "another by now" in run("export", "o", "--to", "rows", "--out", "x.parquet", code=1).output
    )
    assert not Path("x.parquet").exists()
