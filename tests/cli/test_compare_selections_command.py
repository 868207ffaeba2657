"""`contrasift compare-selections`: figures that can be checked by hand, and every bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contrasift.cli import app
from contrasift.pipeline.studies import compare_selections as comparing_selections
from contrasift.pipeline.studies.compare_selections import compare_selections
from contrasift.selection.select import select
from contrasift.store.selections import write_selection
from contrasift.store.tables import write_table


def run(*arguments, code=0):
    result = CliRunner().invoke(app, ["compare-selections", *map(str, arguments)])
    assert "Traceback" not in result.output
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def pool(rng):
    """A pool of two classes in two selections, and in a folder with its true labels."""
    z = np.abs(rng.normal(size=(80, 6))).astype(np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    classes = np.repeat(["a", "b"], [50, 30])
    Path("pool").mkdir()
    np.save("pool/embeddings.npy", z)
    write_table(Path("pool/examples.parquet"), {"index": np.arange(80), "label": classes})
    for name, objective in (("sas", "sas"), ("random", "random-per-class")):
        found = select(z, classes, fraction=0.25, objective=objective, normalize="none")
        write_selection(Path(name), found)
    return z, classes


def test_measures_are_those_of_the_definitions(pool):
    z, classes = pool
    result = compare_selections([Path("sas"), Path("random")], embeddings=Path("pool"), whole=True)
    assert (result["n"], result["n_classes"], result["redundancy"]) == (80, 2, 1.0)
    gram = z.astype(np.float64) @ z.T.astype(np.float64)
    for row in result["selections"]:
        chosen = np.zeros(80, dtype=bool)
        table = comparing_selections.read_selection(Path(row["name"]))
        chosen[table.indices] = True
        value = coverage = centre = gap = 0.0
        for name in ("a", "b"):
            here, kept = classes == name, chosen & (classes == name)
            value += gram[np.ix_(here, kept)].sum() - gram[np.ix_(kept, kept)].sum()
            coverage += gram[np.ix_(here, kept)].max(axis=1).sum() / 80
            centre += gram[np.ix_(here, kept)].mean() * here.sum() / 80
            gap += np.linalg.norm(z[here].mean(0) - z[kept].mean(0)) * here.sum() / 80
        assert row["kept"] == 20
        assert row["value"] == pytest.approx(value, rel=1e-6)
        assert row["coverage"] == pytest.approx(coverage, rel=1e-5)
        assert row["coverage_interval"] is None
        assert row["centre"] == pytest.approx(centre, rel=1e-5)
        assert row["herding_gap"] == pytest.approx(gap, rel=1e-4)
        assert row["classes"] == row["labels"]
    sas, chance = result["selections"]
    assert 0.95 < sas["share_over_random"] <= 1
    assert abs(chance["share_over_random"]) < 0.9 * sas["share_over_random"]
    (pair,) = result["pairs"]
    assert pair["share_by_chance"] == 0.25
    assert -0.5 < pair["rank_correlation_within"] < 0.5


def test_a_sample_comes_with_an_interval(pool, monkeypatch):
    monkeypatch.setattr(comparing_selections, "SAMPLE", 40)
    found = [
        compare_selections([Path("sas"), Path("random")], embeddings=Path("pool"), whole=whole)
        for whole in (True, False)
    ]
    for exact, sampled in zip(*(result["selections"] for result in found), strict=True):
        low, high = sampled["coverage_interval"]
        assert low < sampled["coverage"] < high
        assert abs(exact["coverage"] - sampled["coverage"]) < 3 * (high - low)


def test_lists_of_indices_have_no_ranking(pool):
    np.save("list.npy", np.array([3, 1, 2]))
    Path("lines.txt").write_text("1\n2\n70\n", encoding="utf-8")
    result = json.loads(run("list.npy", "lines.txt", "--embeddings", "pool", "--json").stdout)
    assert [row["kept"] for row in result["selections"]] == [3, 3]
    assert result["pairs"][0]["shared"] == 2
    assert result["pairs"][0]["rank_correlation"] is None
    assert "–" in run("list.npy", "lines.txt", "--embeddings", "pool").stdout


def test_the_table_and_the_plot(pool):
    shown = run("sas", "random", "--embeddings", "pool", "--out", "compared").stdout
    for word in ("1 sas", "2 random", "coverage", "centre", "labels", "by chance 25%"):
        assert word in shown
    assert "…" not in shown
    result = json.loads(Path("compared/comparison.json").read_text(encoding="utf-8"))
    assert len(result["pairs"]) == 1
    page = Path("compared/comparison.html").read_text(encoding="utf-8")
    assert page.count("plotly-graph-div") >= 7
    assert 'src="http' not in page


def test_without_embeddings_there_are_overlap_and_balance(pool):
    result = compare_selections([Path("sas"), Path("random/selection.parquet")])
    assert "redundancy" not in result
    assert "coverage" not in result["selections"][0]
    assert result["selections"][1]["name"] == "random"
    assert result["selections"][0]["classes"]["total_variation"] < 0.03
    shown = run("sas", "random").stdout
    assert "F, coverage, centre and gap need the embeddings" in " ".join(shown.split())
    assert shown.count("coverage") == 1


def test_the_same_selection_shares_everything(pool):
    write_selection(Path("again/sas"), comparing_selections.read_selection(Path("sas")))
    (pair,) = compare_selections([Path("sas"), Path("again/sas")])["pairs"]
    assert (pair["first"], pair["second"]) == ("./sas", "again/sas") or pair[
        "second"
    ] == "again/sas"
    assert (pair["share"], pair["jaccard"], pair["rank_correlation"]) == (1, 1, 1)


def test_bad_input(pool, rng):
    assert "at least two" in run("sas", code=2).output
    assert "twice" in run("sas", "sas", code=2).output
    assert "without one" in run("sas", "pool", code=1).output
    assert "does not exist" in run("sas", "none.txt", code=1).output
    assert "λ" in run("sas", "random", "--redundancy", "-1", code=2).output
    np.save("twice.npy", np.array([1, 1]))
    assert "every index once" in run("sas", "twice.npy", code=1).output
    np.save("list.npy", np.array([1]))
    np.save("other.npy", np.array([1, 80]))
    assert "of one pool" in run("sas", "other.npy", code=1).output
    assert "--embeddings" in run("list.npy", "other.npy", code=2).output
    small = select(rng.normal(size=(40, 3)), budget=5)
    write_selection(Path("small"), small)
    assert "of one pool" in run("sas", "small", code=1).output
