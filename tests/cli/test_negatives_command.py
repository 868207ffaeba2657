"""`contrasift negatives`: what it writes, what it finds, and one clear message for every bad input."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from contrasift.cli import app
from contrasift.negatives import parse_policy
from contrasift.negatives.wordnet import find_wordnet
from contrasift.training.encoder_files import save_encoder
from contrasift.training.encoders import build_encoder

SETTINGS = ["--queries", 30, "--negatives", 40, "--replicates", 3, "--device", "cpu", "--json"]


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert "Traceback" not in result.output
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A run of three shapes of noise, embedded by a proxy and clustered."""
    folder = tmp_path_factory.mktemp("negatives")
    rng = np.random.default_rng(0)
    shapes = rng.integers(0, 200, (3, 16, 16))
    labels = np.arange(120) % 3
    images = np.clip(shapes[labels] + rng.normal(0, 12, (120, 16, 16)), 0, 255)
    np.savez(folder / "pool.npz", images=images.astype(np.uint8), labels=labels)
    run(
        "embed", folder / "pool.npz", "--out", folder / "run", "--proxy-epochs", 2, "--batch-size",
        16, "--projection-dim", 8, "--views", 1, "--device", "cpu", "--quiet",
    )  # fmt: skip
    return folder / "run"


@pytest.fixture
def folder(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "run")
    return tmp_path / "run"


def test_everything_with_classes(folder, tmp_path):
    run("classes", folder, "--n-classes", 3, "--quiet")
    (tmp_path / "map.tsv").write_text("0\tn00000004\n1\tn00000006\n2\tn00000007\n")
    (tmp_path / "data.noun").write_text(
        "00000001 03 n 01 entity 0 000 | all\n"
        "00000004 05 n 01 dog 0 001 @ 00000001 n 0000 | barks\n"
        "00000006 05 n 01 cat 0 001 @ 00000001 n 0000 | mews\n"
        "00000007 05 n 01 tom 0 001 @ 00000006 n 0000 | chases\n"
    )
    result = run(
        "negatives", folder, *SETTINGS, "--wordnet", tmp_path / "data.noun", "--synsets",
        tmp_path / "map.tsv", "--latent", "run",
    )  # fmt: skip
    found = json.loads(result.stdout)
    assert found["encoder"] == "proxy"
    assert (found["queries"], found["negatives"], found["replicates"]) == (30, 40, 3)
    written = json.loads((folder / "negatives" / "proxy.json").read_text())
    assert {**written, "page": found["page"]} == found
    # A third of all negatives share the class, and of the hardest many more.
    assert found["overall"]["same class"] == pytest.approx(1 / 3, abs=0.05)
    tests = found["hardest_5_percent_against_the_rest"]
    assert tests["same class"]["hard"]["mean"] > 0.5 > tests["same class"]["rest"]["mean"]
    assert tests["WordNet depth"]["difference"] > 0
    assert {item["band"][1] for item in found["false_negatives"]} >= {100}
    assert all(item["truth"] is not None for item in found["false_negatives"])
    # The run's classes are the proxy's own: no second encoder agrees or disagrees.
    assert all(item["agreed"] is None for item in found["false_negatives"])
    parse_policy(found["suggestion"]["policy"])
    assert found["class_pairs"]["pairs"] == 6
    for pair in found["likeliest_false_negatives"]:
        assert pair["query"] != pair["negative"]
        assert pair["query_label"] in "012"


@pytest.mark.parametrize("latent", ["own", "run"])
def test_a_second_encoder_agrees_or_not(folder, tmp_path, latent):
    run("classes", folder, "--n-classes", 3, "--quiet")
    other = tmp_path / "other.safetensors"
    save_encoder(build_encoder("narrow", 1, 16, 8, seed=5), other)
    arm = ["--encoder", other, "--latent", latent]
    found = json.loads(run("negatives", folder, *SETTINGS, *arm).stdout)
    assert all(item["agreed"] <= item["estimate"] for item in found["false_negatives"])
    assert "two encoders" in found["suggestion"]["reason"]
    run("classes", folder, "--classes", "labels", "--update", "--quiet")
    found = json.loads(run("negatives", folder, *SETTINGS, *arm, "--update").stdout)
    assert all(item["agreed"] is None for item in found["false_negatives"])


def test_the_tables_and_the_page(folder):
    run("negatives", folder, *SETTINGS)
    bins = pq.read_table(folder / "negatives" / "proxy.parquet")
    assert bins.column_names == [
        "replicate",
        "percentile",
        "similarity",
        "same_class",
        "same_latent_class",
    ]
    assert bins.num_rows == 3 * 40
    each = pq.read_table(folder / "negatives" / "proxy-each.parquet")
    assert each.column_names == ["replicate", "index", "hard_share", "shuffled_share"]
    assert each.num_rows == 3 * 40
    share = each["hard_share"].to_numpy()
    assert share.mean() == pytest.approx(2 / 40) == each["shuffled_share"].to_numpy().mean()
    examples = pq.read_table(folder / "examples.parquet")["index"].to_numpy()
    assert set(each["index"].to_numpy()) <= set(examples)
    page = (folder / "negatives" / "proxy.html").read_text()
    assert "k-means on these very vectors" in page
    assert "Likeliest false negatives" in page
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "http://" not in outside
    assert "https://" not in outside


def test_the_same_seed_gives_the_same_numbers_and_a_second_call_is_free(folder):
    first = run("negatives", folder, *SETTINGS).stdout
    path = folder / "negatives" / "proxy.json"
    before = path.stat().st_mtime_ns
    assert run("negatives", folder, *SETTINGS).stdout == first
    assert path.stat().st_mtime_ns == before
    path.unlink()
    assert run("negatives", folder, *SETTINGS).stdout == first
    result = run("negatives", folder, *SETTINGS, "--seed", 1, code=1)
    assert "others" in result.output
    assert run("negatives", folder, *SETTINGS, "--seed", 1, "--update").stdout != first


def test_small_pools_and_words_for_people(folder):
    encoder = folder / "training" / "proxy" / "encoder.safetensors"
    result = run(
        "negatives", folder, "--encoder", encoder, "--replicates", 1, "--layer", "backbone"
    )
    assert "The pool has 96 examples: 48 queries, 48 negatives a draw." in result.stdout
    assert "share the query's class" in result.stdout
    assert (folder / "negatives" / "encoder.html").exists()


def test_bad_input(folder, tmp_path):
    both = run("negatives", folder, "--arm", "proxy", "--encoder", "resnet18", code=2)
    assert "--arm or --encoder" in both.output
    assert "--queries of at least 1" in run("negatives", folder, "--queries", 0, code=2).output
    assert "--layer to be one of head" in run("negatives", folder, "--layer", "tail", code=2).output
    assert "--latent to be one of own" in run("negatives", folder, "--latent", "x", code=2).output
    unfound = run("negatives", folder, "--latent", "run", code=1)
    assert "contrasift classes" in unfound.output
    missing = run("negatives", folder, "--arm", "full-seed3", code=1)
    assert "only proxy" in missing.output
    Path("bad.tsv").write_text("0 n02084071\n")
    assert "line 1" in run("negatives", folder, "--synsets", "bad.tsv", code=1).output
    Path("some.tsv").write_text("0\tn02084071\n")
    assert (
        "a synset for every class"
        in run("negatives", folder, "--synsets", "some.tsv", code=1).output
    )
    assert "a run folder" in run("negatives", tmp_path / "none", code=1).output


def test_a_training_under_a_policy_and_its_analysis(folder):
    train = ["train", folder, "--subset", "full", "--device", "cpu", "--quiet"]
    bad = run(*train, "--negatives", "hardest", code=2)
    assert "a policy made of difficulty(LOW,HIGH)" in bad.output
    missing = run(*train, "--negatives", "~same_latent_class", code=1)
    assert "contrasift classes" in missing.output
    run("classes", folder, "--n-classes", 3, "--quiet")
    run(*train, "--epochs", 2, "--negatives", "~same_latent_class", "--update")
    metrics = (folder / "training" / "full-seed0" / "metrics.csv").read_text().splitlines()
    assert metrics[0].endswith("removed_share,removed_mass,removed_same_class,kept_same_class")
    assert json.loads(run("negatives", folder, *SETTINGS).stdout)["encoder"] == "full-seed0"


@pytest.mark.skipif(find_wordnet() is None, reason="no WordNet here")
def test_the_machines_wordnet(folder):
    Path("map.tsv").write_text("0\tn02084071\n1\tn02121620\n2\tn04490091\n")
    result = run("negatives", folder, *SETTINGS, "--synsets", "map.tsv")
    found = json.loads(result.stdout)
    assert 0 < found["overall"]["WordNet depth"] < 14
