"""Any encoder as the proxy, another for the classes, names for the classes, and runs compared."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from contrasift.store.run import RunFolder
from contrasift.store.tables import read_table

POOL = ["digits", "--limit", 90, "--image-size", 16]
TRAIN = ["--architecture", "narrow:0.25", "--epochs", 3, "--proxy-epochs", 3, "--batch-size", 24]


def save_clip(folder: Path, seed: int) -> None:
    config = {
        "embed_dim": 8,
        "vision_cfg": {
            "image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8,
        },
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(**config)
    folder.mkdir()
    about = {"model_cfg": config, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with kept epochs, one with its first epoch as the proxy, one with CLIP for classes."""
    from typer.testing import CliRunner

    from contrasift.cli import app

    folder = tmp_path_factory.mktemp("proxies")
    save_clip(folder / "clip", seed=0)
    (folder / "names.txt").write_text("zero\none\ntwo\nthree\n")

    def run(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == 0, result.output

    views = ["--views", 1]
    run("embed", *POOL, *TRAIN, *views, "--keep-epochs", "1", "--out", folder / "a")
    run("embed", *POOL, *views, "--encoder", f"{folder / 'a'}@epoch=1", "--out", folder / "b")
    source = f"open-clip:{folder / 'clip'}"
    run(
        "embed", *POOL, *views, "--encoder", folder / "a", "--classes-encoder", source,
        "--out", folder / "c",
    )  # fmt: skip
    return folder


@pytest.fixture
def runs(made, tmp_path):
    """A copy to work on."""
    shutil.copytree(made, tmp_path / "runs")
    return tmp_path / "runs"


def fails(contrasift, *arguments, code, words):
    result = contrasift(*arguments, code=code)
    said = " ".join(result.output.split())
    assert words in said, said
    assert "Traceback" not in said


def test_a_checkpoint_of_an_earlier_epoch_embeds(made):
    about = {name: json.loads((made / name / "embeddings.json").read_text()) for name in "abc"}
    assert about["a"]["weights_sha256"] == about["c"]["weights_sha256"]
    assert about["a"]["weights_sha256"] != about["b"]["weights_sha256"]
    a, b, c = (np.load(made / name / "embeddings.npy") for name in "abc")
    assert a.shape == b.shape == (90, 128)
    assert np.array_equal(a, c)
    assert not np.allclose(a, b)


def test_the_proxy_may_be_another_network_that_learns_in_another_way(tmp_path, contrasift):
    small = ["--proxy-architecture", "narrow:0.125", "--proxy-method", "byol", "--proxy-epochs", 1]
    run = tmp_path / "run"
    contrasift("embed", *POOL, *TRAIN[:4], *small, "--batch-size", 24, "--views", 1, "--out", run)
    about = json.loads((run / "embeddings.json").read_text())["encoder"]
    assert (about["architecture"], about["trained_with"]) == ("narrow:0.125", "byol")
    options = RunFolder(run).read_options()
    assert (options.train.architecture, options.train.method) == ("narrow:0.25", "simclr")


def test_what_only_the_training_takes_does_not_reach_its_proxy(tmp_path, contrasift):
    run = tmp_path / "run"
    train = ["--method", "moco", "--temperature", 0.05, "--split-bn", 2, "--batch-size", 24]
    contrasift(
        "embed", *POOL, *TRAIN[:4], *train, "--queue-size", 48, "--proxy-method", "simclr",
        "--proxy-epochs", 1, "--views", 1, "--out", run,
    )  # fmt: skip
    about = json.loads((run / "embeddings.json").read_text())["encoder"]
    assert about["trained_with"] == "simclr"
    other = RunFolder(run).read_options().train.with_method("simclr")
    assert (other.resolved().temperature, other.split_bn, other.batch_size) == (0.5, 1, 24)


def test_classes_have_a_matrix_of_their_own(made):
    rows = np.load(made / "c" / "class_embeddings.npy")
    assert rows.shape == (90, 8)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    about = json.loads((made / "c" / "class_embeddings.json").read_text())
    assert about["encoder"]["mean"] == list(open_clip.OPENAI_DATASET_MEAN)
    assert about["encoder"]["interpolation"] == "bicubic"
    assert (about["views"], about["plain_view"]) == (0, True)
    assert not (made / "a" / "class_embeddings.npy").exists()


def test_several_encoders_lay_their_features_side_by_side(runs, contrasift):
    clip = f"open-clip:{runs / 'clip'}"
    contrasift(
        "embed", *POOL, "--views", 1, "--encoder", runs / "a", "--classes-encoder", f"{clip}, same",
        "--out", runs / "d",
    )  # fmt: skip
    contrasift("classes", runs / "d", "--n-classes", 4, "--restarts", 1, "--stability", 0)
    rows = np.load(runs / "d" / "class_embeddings.npy")
    assert np.array_equal(rows[:, :8], np.load(runs / "c" / "class_embeddings.npy"))
    np.testing.assert_allclose(np.linalg.norm(rows[:, 8:], axis=1), 1, atol=1e-6)
    about = json.loads((runs / "d" / "class_embeddings.json").read_text())
    assert [len(about["side_by_side"]), about["shape"]] == [2, list(rows.shape)]
    assert not list((runs / "d").glob("class_embeddings-*"))


def test_kmeans_finds_its_classes_there(runs, contrasift):
    contrasift("classes", runs / "a", "--n-classes", 4, "--restarts", 1, "--stability", 0)
    contrasift("classes", runs / "c", "--n-classes", 4, "--restarts", 1, "--stability", 0)
    found = [read_table(runs / name / "classes.parquet", "latent_class") for name in "ac"]
    assert not np.array_equal(found[0]["latent_class"], found[1]["latent_class"])


def test_another_encoder_for_classes_leaves_the_similarities_alone(runs, contrasift):
    fails(
        contrasift, "embed", *POOL, "--classes-encoder", "proxy", "--out", runs / "c", code=1,
        words="classes-encoder is",
    )  # fmt: skip
    before = (runs / "c" / "embeddings.npy").stat()
    result = contrasift(
        "embed", *POOL, *TRAIN, "--classes-encoder", "proxy", "--update", "--out", runs / "c"
    )
    assert (runs / "c" / "embeddings.npy").stat() == before
    assert np.load(runs / "c" / "class_embeddings.npy").shape == (90, 32), result.output


def test_zero_shot_classes(runs, contrasift):
    (runs / "templates.txt").write_text("a {}.\nthe digit {}\n")
    command = [
        "classes",
        runs / "c",
        "--classes",
        "zero-shot",
        "--class-names",
        runs / "names.txt",
        "--stability",
        0,
    ]
    contrasift(*command, "--templates", runs / "templates.txt")
    about = json.loads((runs / "c" / "classes.json").read_text())
    table = read_table(runs / "c" / "classes.parquet", "latent_class", "score")
    assert set(table["latent_class"]) <= {"zero", "one", "two", "three"}
    assert about["method"] == "zero-shot"
    assert about["candidates"] == 4
    assert about["templates"] == ["a {}.", "the digit {}"]
    assert about["n_classes"] == len(set(table["latent_class"])) == 4 - len(about["unused"])
    assert set(about["agreement"]) == {"ari", "nmi", "purity", "n"}
    assert 0.25 <= table["score"].min() <= table["score"].max() <= 1
    again = contrasift(*command, "--templates", runs / "templates.txt")
    assert "finished before, skipped" in again.output
    contrasift("select", runs / "c", "--fraction", 0.3)
    # Another list is another stage, even under the same name.
    (runs / "names.txt").write_text("four\nfive\n")
    fails(contrasift, *command, code=1, words="--update")
    contrasift(*command, "--update")
    found = read_table(runs / "c" / "classes.parquet", "latent_class")
    assert set(found["latent_class"]) <= {"four", "five"}


def test_the_text_tower_must_be_that_of_the_images(runs, contrasift):
    command = [
        "classes",
        runs / "c",
        "--classes",
        "zero-shot",
        "--class-names",
        runs / "names.txt",
        "--stability",
        0,
    ]
    stored = json.loads((runs / "c" / "class_embeddings.json").read_text())["encoder"]["pretrained"]
    (runs / "clip").rename(runs / "moved")
    contrasift(*command, "--clip", f"open-clip:{runs / 'moved'}")
    assert stored != f"open-clip:{runs / 'moved'}"
    save_clip(runs / "clip", seed=1)
    fails(
        contrasift, *command, "--clip", f"open-clip:{runs / 'clip'}", "--update", code=1,
        words="whose image tower has other weights",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("run", "more", "code", "words"),
    [
        ("a", ["--class-names", "names.txt"], 2, "embedded with an open-clip model"),
        ("c", [], 2, "--class-names for --classes zero-shot"),
        ("c", ["--class-names", "none.txt"], 2, "none.txt, which is neither"),
        ("c", ["--class-names", "empty.txt"], 1, "at least two classes; got 0"),
        ("c", ["--class-names", "names.txt", "--templates", "names.txt"], 1, "one {}"),
    ],
)
def test_zero_shot_mistakes(runs, contrasift, monkeypatch, run, more, code, words):
    monkeypatch.chdir(runs)
    (runs / "empty.txt").write_text("\n")
    result = contrasift("classes", run, "--classes", "zero-shot", *more, code=code)
    said = " ".join(result.output.split()).replace(" got ", "; got ")
    assert words in said, said
    assert not (runs / run / "classes.parquet").exists()


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("torchvision:resnet51", 2, "Nearest names: resnet50"),
        ("a@epoch=2", 1, "It kept 1, 3"),
        ("names.pt", 2, "a pickle"),
        ("open-clip:nothing", 2, "open-clip:ARCHITECTURE/TAG"),
        ("resnet18=clip/open_clip_model.safetensors", 1, "another architecture"),
    ],
)
@pytest.mark.parametrize("flag", ["--encoder", "--classes-encoder"])
def test_encoder_mistakes(made, contrasift, monkeypatch, tmp_path, flag, source, code, words):
    monkeypatch.chdir(made)
    base = ["--encoder", "a", "--views", 1] if flag == "--classes-encoder" else []
    fails(
        contrasift, "embed", *POOL, *base, flag, source, "--out", tmp_path / "x", code=code,
        words=words,
    )  # fmt: skip


def selected(runs, contrasift, *names):
    for name in names:
        contrasift("classes", runs / name, "--n-classes", 3, "--restarts", 1, "--stability", 0)
        contrasift("select", runs / name, "--fraction", 0.2)


def test_compare_says_what_two_runs_share(runs, contrasift):
    selected(runs, contrasift, "a", "b")
    plot = runs / "ranks.html"
    out = contrasift("compare", runs / "a", runs / "b", "--json", "--plot", plot, "--pairs", 999)
    result = json.loads(out.stdout)
    assert [run["budget"] for run in result["runs"]] == [18, 18]
    assert result["runs"][1]["encoder"] == "narrow:0.25"
    (found,) = result["comparisons"]
    tables = [read_table(runs / name / "selection.parquet", "index", "selected") for name in "ab"]
    sets = [set(table["index"][table["selected"]].tolist()) for table in tables]
    assert found["overlap"]["common"] == len(sets[0] & sets[1])
    assert found["overlap"]["chance"] == pytest.approx(0.2)
    orders = [np.load(runs / name / "ranking.npy") for name in "ab"]
    ranks = [np.argsort(order) for order in orders]  # places by index, for all are embedded
    assert found["ranks"]["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert found["similarities"]["pairs"] == 999
    assert -1 <= found["classes"]["ari"] <= 1
    page = plot.read_text()
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page
    text = contrasift("compare", runs / "a", runs / "b").stdout
    assert "by chance within classes" in text
    assert f"{found['overlap']['share']:.1%}" in text


def test_a_run_agrees_with_itself(runs, contrasift):
    selected(runs, contrasift, "a")
    out = contrasift("compare", runs / "a", runs / "a", runs / "c", "--json")
    same, other = json.loads(out.stdout)["comparisons"]
    assert same["ranks"]["kendall_within"] == same["classes"]["ari"] == pytest.approx(1)
    assert same["overlap"]["share"] == same["overlap"]["jaccard"] == 1
    assert set(same["curve"]["overlaps"]) == {1.0}
    # The third shares the similarities and has no selection yet.
    assert other["similarities"]["pearson"] == pytest.approx(1)
    assert other["ranks"] is other["overlap"] is other["classes"] is other["curve"] is None


def test_runs_that_cannot_be_compared(runs, contrasift, tmp_path):
    def embed(name, *pool):
        contrasift("embed", *pool, "--encoder", runs / "a", "--views", 1, "--out", runs / name)

    embed("other-part", *POOL, "--seed", 1)
    images = np.load(Path(runs / "a" / "embeddings.npy"))[:, :64].reshape(90, 8, 8)
    np.save(runs / "pool.npy", np.abs(images).clip(0, 1).astype(np.float32))
    embed("array", runs / "pool.npy")
    embed("larger", "digits", "--limit", 90, "--image-size", 20)
    (runs / "noise").mkdir()
    for others, code, words in (
        (["other-part"], 2, "of them in both"),
        (["array"], 2, "runs of the same pool"),
        (["b", "array"], 2, "runs of the same pool"),
        (["none"], 1, "no options.yaml"),
        (["noise"], 1, "no options.yaml"),
        ([], 2, "at least two runs"),
        (["b", "--plot", runs / "x.html"], 1, "two runs with selections"),
    ):
        arguments = [
            runs / other if isinstance(other, str) and other[0] != "-" else other
            for other in others
        ]
        fails(contrasift, "compare", runs / "a", *arguments, code=code, words=words)
    contrasift("compare", runs / "a", runs / "larger")  # the size of images may differ


def test_a_pool_that_changed_is_another(runs, contrasift, monkeypatch):
    monkeypatch.chdir(runs)
    rng = np.random.default_rng(0)
    for name in ("x", "y"):
        np.save("pool.npy", rng.integers(0, 256, (30, 16, 16), dtype=np.uint8))
        contrasift("embed", "pool.npy", "--encoder", "a", "--views", 1, "--out", name)
    fails(contrasift, "compare", "x", "y", code=2, words="which has changed in between")


def test_broken_run_folders_are_explained(runs, contrasift):
    selected(runs, contrasift, "a", "b")
    ranking = np.load(runs / "b" / "ranking.npy")
    np.save(runs / "b" / "ranking.npy", ranking[:-1])
    fails(contrasift, "compare", runs / "a", runs / "b", code=1, words="then: contrasift select")
    np.save(runs / "b" / "embeddings.npy", np.zeros((3, 2), np.float32))
    fails(contrasift, "compare", runs / "a", runs / "b", code=1, words="then: contrasift embed")


def test_comparing_needs_no_torch(made):
    code = (
        "import sys\n"
        "from contrasift.cli import app\n"
        f"app(['compare', {str(made / 'a')!r}, {str(made / 'b')!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
