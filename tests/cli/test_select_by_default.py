"""`contrasift select EMBEDDINGS` without more: classes are found, kept, used again, and told."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import contrasift as cs
from contrasift.cli import app
from contrasift.errors import UsageError
from contrasift.pipeline.stages.card import certificate_in_words
from forking import started

GROUPS = 6


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert "Traceback" not in result.output
    assert result.exit_code == code, result.output
    return result


def said(result) -> str:
    return " ".join(result.output.split())


@pytest.fixture
def rows(rng, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    centres = 4 * rng.normal(size=(GROUPS, 16))
    z = (centres[np.arange(480) % GROUPS] + rng.normal(size=(480, 16))).astype(np.float32)
    np.save("z.npy", z)
    return z


def test_classes_are_found_kept_and_used_again(rows):
    first = run("select", "z.npy", "--fraction", 0.2, "--out", "o")
    assert said(first).startswith("latent classes: finding them, communities of nearest neighbours")
    found = cs.latent_classes(rows)
    table = pq.read_table("o/classes.parquet")
    np.testing.assert_array_equal(table["latent_class"].to_numpy(), found.labels)
    expected = cs.select(rows, found, fraction=0.2)
    chosen = pq.read_table("o/selection.parquet")
    np.testing.assert_array_equal(chosen["index"].to_numpy(), expected.index)
    np.testing.assert_array_equal(chosen["selected"].to_numpy(), expected.selected)
    facts = json.loads(Path("o/selection.json").read_text())
    assert facts["latent_classes"]["method"] == "graph"
    assert facts["latent_classes"]["n_classes"] == len(found.names) > 1
    assert -1 <= facts["latent_classes"]["stability"]["ari"] <= 1

    assert "nothing to do" in said(run("select", "z.npy", "--fraction", 0.2, "--out", "o"))
    written = Path("o/classes.parquet").stat().st_mtime_ns
    other = run("select", "z.npy", "--fraction", 0.1, "--out", "o", "--update")
    assert "found before" in said(other)
    assert Path("o/classes.parquet").stat().st_mtime_ns == written


def test_the_stage_alone_is_what_select_takes(rows):
    run("classes", "z.npy", "--classes", "kmeans", "--n-classes", 4, "--out", "o")
    done = run("select", "z.npy", "--fraction", 0.2, "--out", "o")
    assert "the 4 by kmeans in o/classes.parquet, found before" in said(done)
    expected = cs.select(rows, cs.latent_classes(rows, method="kmeans", n_classes=4), fraction=0.2)
    chosen = pq.read_table("o/selection.parquet")
    np.testing.assert_array_equal(chosen["index"].to_numpy(), expected.index)
    refused = run("select", "z.npy", "--fraction", 0.2, "--out", "o", "--classes", "graph", code=1)
    assert "--update" in said(refused)


def test_one_flag_has_one_meaning(rows):
    np.save("c.npy", np.arange(480) % 3)
    assert "3 classes by labels" in said(
        run("classes", "z.npy", "--classes", "c.npy", "--out", "a")
    )
    assert "--classes as a file, or one of" in said(
        run("classes", "z.npy", "--classes", "grahp", "--out", "b", code=2)
    )
    assert "Find them first" in said(
        run("select", "z.npy", "--classes", "few-labels", "--budget", 9, "--out", "b", code=2)
    )
    refused = run("classes", "z.npy", "--classes", "zero-shot", "--out", "b", code=2)
    assert "--class-names" in said(refused)
    assert "--out" in said(run("classes", "z.npy", code=2))
    assert not Path("b").exists()


def test_one_class_is_not_praised(rows):
    done = run("select", "z.npy", "--fraction", 0.2, "--classes", "none", "--out", "o")
    assert said(done).startswith("latent classes: none; within one class nothing selects better")
    assert "of training it says nothing" in said(done)
    assert not Path("o/classes.parquet").exists()
    facts = json.loads(Path("o/selection.json").read_text())
    assert "of training" not in certificate_in_words({**facts, "n_classes": 5})


def test_what_looks_at_no_classes_has_none_found(rows):
    done = run("select", "z.npy", "--budget", 9, "--objective", "random", "--out", "o")
    assert "the objective random looks at none" in said(done)
    assert not Path("o/classes.parquet").exists()


def test_classes_that_somebody_else_wrote_stay(rows):
    Path("o").mkdir()
    pq.write_table(_own(), "o/classes.parquet")
    before = Path("o/classes.parquet").read_bytes()
    refused = run("select", "z.npy", "--budget", 9, "--out", "o", "--update", code=1)
    assert "--classes o/classes.parquet" in said(refused)
    assert Path("o/classes.parquet").read_bytes() == before
    run("select", "z.npy", "--budget", 9, "--out", "p", "--classes", "o/classes.parquet")


def _own():
    import pyarrow as pa

    return pa.table({"index": np.arange(480), "latent_class": np.arange(480) % 2})


def test_other_embeddings_find_their_own_classes(rows):
    run("classes", "z.npy", "--out", "o")
    np.save("z.npy", rows[::-1].copy())
    refused = run("select", "z.npy", "--budget", 9, "--out", "o", code=1)
    assert "the classes in o" in said(refused)
    run("select", "z.npy", "--budget", 9, "--out", "o", "--update")
    np.testing.assert_array_equal(
        pq.read_table("o/classes.parquet")["latent_class"].to_numpy(),
        cs.latent_classes(rows[::-1]).labels,
    )


def select_into(pipe, out):
    CliRunner().invoke(app, ["select", "z.npy", "--budget", "50", "--out", out])


def test_killed_at_any_moment_the_same_command_goes_on(rows):
    for wait in ("classes.json", "classes.parquet"):
        killed, _ = started(select_into, wait)
        while not Path(wait, wait).exists() and killed.is_alive():
            time.sleep(0.002)
        killed.kill()
        killed.join()
        run("select", "z.npy", "--budget", 50, "--out", wait)
        chosen = pq.read_table(f"{wait}/selection.parquet")["index"].to_numpy()
        np.testing.assert_array_equal(chosen, cs.select(rows, "auto", budget=50).index)


def test_dropped_rows_that_cannot_be_compared_have_a_class(rows):
    rows[7] = np.nan
    np.save("z.npy", rows)
    refused = run("select", "z.npy", "--budget", 9, "--out", "o", code=1)
    assert "--skip-bad" in said(refused)
    assert not Path("o").exists()
    Path("drop.txt").write_text("7\n8\n")
    run("select", "z.npy", "--budget", 9, "--must-drop", "drop.txt", "--out", "o")
    table = pq.read_table("o/selection.parquet")
    assert sorted(table["index"].to_numpy()[table["dropped"].to_numpy()]) == [7, 8]
    ranking = np.load("o/ranking.npy")
    assert set(ranking[-2:]) == {7, 8}


def test_what_was_dropped_is_behind_the_least_central(rows):
    codes = np.arange(480) % 4
    drop = np.arange(0, 100, 3)
    chosen = cs.select(rows, codes, budget=60, must_drop=drop)
    plain = cs.select(rows, codes, budget=60)
    assert chosen.n_dropped == drop.size
    assert plain.n_dropped == 0
    assert set(chosen.ranking[-drop.size :]) == set(drop)
    assert set(chosen.ranking[:60]) == set(chosen.indices)
    # By turns of the classes, as without a list.
    others = chosen.ranking[: -drop.size]
    in_turn = [index for index in chosen.index[chosen.order] if index not in set(drop)]
    assert others.tolist() == in_turn


def test_few_rows_are_one_class_and_a_word_says_so(rows):
    np.save("few.npy", rows[:5])
    done = run("select", "few.npy", "--fraction", 0.4, "--out", "o")
    assert "among fewer than 20 rows nearly all are each other's neighbours" in said(done)
    assert len(cs.latent_classes(rows[:19]).names) == 1
    assert len(cs.latent_classes(rows[:19], method="graph").names) > 1
    assert len(cs.latent_classes(rows[:100]).names) > 1


def test_a_word_that_is_almost_a_method_or_a_file(rows):
    refused = run("select", "z.npy", "--classes", "grahp", "--budget", 9, "--out", "o", code=2)
    assert "Did you mean graph?" in said(refused)
    refused = run("select", "zz.npy", "--budget", 9, "--out", "o", code=1)
    assert "Did you mean z.npy?" in said(refused)


def test_python_finds_classes_by_the_same_words(rows):
    expected = cs.select(rows, cs.latent_classes(rows), budget=40)
    assert np.array_equal(cs.select(rows, "auto", budget=40).index, expected.index)
    assert len(cs.select(rows, classes="none", budget=40).classes) == 1
    with pytest.raises(UsageError, match="Did you mean graph"):
        cs.select(rows, classes="grahp", budget=40)
    assert repr(cs.latent_classes(rows)).count("\n") == 0


def test_near_copies_go_in_one_step(rows, rng):
    copies = rows[:60] + 1e-3 * rng.normal(size=(60, 16)).astype(np.float32)
    np.save("z.npy", np.concatenate([rows, copies]))
    done = run("select", "z.npy", "--fraction", 0.2, "--drop-duplicates", 0.001, "--out", "o")
    assert "60 of 540 examples are near-copies" in said(done)
    assert "60 near-copies at ε = 0.001" in said(done)
    table = pq.read_table("o/selection.parquet").to_pydict()
    gone = {index for index, out in zip(table["index"], table["dropped"], strict=True) if out}
    assert len(gone) == 60
    assert len({index % 480 for index in gone}) == 60  # one of every pair stays
    stands = dict(zip(table["index"], table["copy_of"], strict=True))
    assert {index for index, other in stands.items() if other >= 0} == gone
    assert all(stands[index] % 480 == index % 480 and stands[index] not in gone for index in gone)
    kept = {index for index, taken in zip(table["index"], table["selected"], strict=True) if taken}
    assert len(kept) == 108
    assert not kept & gone
    Path("keep.txt").write_text("0\n480\n")
    run(
        *("select", "z.npy", "--fraction", 0.2, "--drop-duplicates", 0.001),
        *("--must-keep", "keep.txt", "--out", "p"),
    )
    facts = json.loads(Path("p/selection.json").read_text())
    assert facts["duplicates"]["dropped"] == 59
    run("select", "z.npy", "--budget", 9, "--drop-duplicates", 3, "--out", "q", code=2)


def test_equal_rows_take_one_place(rows):
    np.save("z.npy", np.concatenate([rows, rows[:60]]))
    done = run("select", "z.npy", "--fraction", 0.2, "--out", "o")
    assert "60 examples equal another, which stands for them" in said(done)
    table = pq.read_table("o/selection.parquet").to_pydict()
    whose = dict(zip(table["index"], table["copy_of"], strict=True))
    assert {index: one for index, one in whose.items() if one >= 0} == {
        480 + row: row for row in range(60)
    }
    assert "60 equal another" in Path("o/selection.md").read_text(encoding="utf-8")
    run("select", "z.npy", "--fraction", 0.2, "--copies", "keep", "--out", "p")
    assert "copy_of" not in pq.read_schema("p/selection.parquet").names


def test_shards_have_the_classes_of_one_file(rows):
    Path("shards").mkdir()
    for number in range(4):
        np.save(f"shards/part_{number}.npy", rows[120 * number : 120 * (number + 1)])
    run("select", "shards", "--budget", 50, "--out", "o")
    expected = cs.select(rows, "auto", budget=50)
    chosen = pq.read_table("o/selection.parquet")
    np.testing.assert_array_equal(chosen["index"].to_numpy(), expected.index)
