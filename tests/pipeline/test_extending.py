"""New examples beside a run: embedded alone, classed, judged, selected anew; and as a stream."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import contrasift as cs
from contrasift.cli import app
from contrasift.errors import DataError, UsageError
from contrasift.pipeline.extend import objective_value
from contrasift.store.embeddings import load_embeddings_file
from contrasift.store.selections import read_rule, read_selection
from contrasift.store.tables import read_table

TINY = ["--architecture", "narrow:0.125", "--epochs", 1, "--batch-size", 16, "--views", 2]


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exit_code != code:
        raise AssertionError(f"exit {result.exit_code}: {result.output}") from result.exception
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def patterns(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    which = np.random.default_rng(0).integers(0, 256, (4, 10, 10))[rng.integers(0, 4, n)]
    return np.clip(which + rng.normal(0, 40, (n, 10, 10)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A finished run `run` by k-means, and the pools new.npy and later.npy."""
    folder = tmp_path_factory.mktemp("growing")
    for name, n, seed in (("old", 90, 1), ("new", 30, 2), ("later", 20, 3)):
        np.save(folder / f"{name}.npy", patterns(n, seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        call("embed", "old.npy", *TINY, "--out", "run")
        call("classes", "run", "--classes", "kmeans", "--n-classes", 4, "--restarts", 1)
        call("select", "run", "--fraction", 0.3)
    return folder


@pytest.fixture
def pools(home):
    for name in ("old.npy", "new.npy", "later.npy"):
        shutil.copy(home / name, name)
    shutil.copytree(home / "run", "run")


def content(folder: str | Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def test_the_run_is_only_read_and_indices_go_on(pools):
    before = content("run")
    said = call("extend", "run", "new.npy", "--out", "more")
    assert "30 new examples from index 90 on" in said
    assert "nearest class mean; of old examples it gives" in said
    assert "of the run's selection it keeps" in said
    assert content("run") == before
    judged = read_table(Path("more/judged.parquet"))
    assert judged["index"].tolist() == list(range(90, 120))
    examples = read_table(Path("more/examples.parquet"))
    assert examples["index"].tolist() == list(range(90, 120))
    assert examples["row"].tolist() == list(range(30))
    old, new = load_embeddings_file(Path("run"))[0], load_embeddings_file(Path("more"))[0]
    about = {**old.description, "shape": [30, 128], "sha256": new.description["sha256"]}
    assert about == new.description
    assert set(judged["latent_class"]) <= set(
        read_table(Path("run/classes.parquet"), "latent_class")["latent_class"]
    )


def test_new_examples_are_embedded_as_one_pool_would_be(pools):
    """The rows are those of a pool that had both from the start, under the same indices."""
    call("extend", "run", "new.npy", "--out", "more")
    np.save("both.npy", np.concatenate([np.load("old.npy"), np.load("new.npy")]))
    call(
        *("embed", "both.npy", "--views", 2, "--out", "both", "--encoder"),
        "run/training/proxy/encoder.safetensors",
    )
    both = np.load("both/embeddings.npy")
    assert np.allclose(both[:90], np.load("run/embeddings.npy"), atol=1e-6)
    assert np.allclose(both[90:], np.load("more/embeddings.npy"), atol=1e-6)


def test_reselected_is_a_fresh_selection_over_all(pools):
    call("extend", "run", "new.npy", "--out", "more")
    said = call("extend", "more", "later.npy", "--out", "most", "--reselect")
    assert "of them" in said
    chosen = read_selection(Path("most/all"))
    assert chosen.budget == 42
    folders = ("run", "more", "most")
    values = np.concatenate([np.load(f"{folder}/embeddings.npy") for folder in folders])
    labels = np.concatenate(
        [
            read_table(Path(folder, "classes.parquet"), "latent_class")["latent_class"]
            for folder in folders
        ]
    )
    fresh = cs.select(values, labels, fraction=0.3, normalize="none")
    assert np.array_equal(chosen.ranking, fresh.ranking)
    assert np.array_equal(chosen.gain, fresh.gain)
    # So does the command line, from the folder as from any other.
    call("select", "most/all", "--fraction", 0.3, "--out", "fresh")
    for name in ("selection.parquet", "ranking.npy"):
        assert Path("fresh", name).read_bytes() == Path("most/all", name).read_bytes()
    examples = read_table(Path("most/all/examples.parquet"))
    assert examples["index"].tolist() == list(range(140))
    assert examples["row"].tolist() == list(range(140))
    facts = json.loads(Path("most/extension.json").read_text())["reselected"]
    one_by_one = np.concatenate(
        [
            read_selection(Path("run")).indices,
            *(
                table["index"][table["keep"]]
                for table in (read_table(Path(f, "judged.parquet")) for f in folders[1:])
            ),
        ]
    )
    assert facts["judged"] == one_by_one.size
    assert facts["overlap"] == np.isin(chosen.indices, one_by_one).mean()
    codes = np.unique(labels, return_inverse=True)[1]
    for indices, value in ((chosen.indices, "value"), (one_by_one, "judged_value")):
        selected = np.isin(np.arange(140), indices)
        naive = sum(
            (values[codes == c].astype(float) @ values[selected & (codes == c)].T).sum()
            - chosen.redundancy
            * (
                values[selected & (codes == c)].astype(float) @ values[selected & (codes == c)].T
            ).sum()
            for c in range(4)
        )
        assert facts[value] == pytest.approx(naive, rel=1e-4)


def test_an_extension_after_a_new_selection_is_judged_by_that(pools):
    call("extend", "run", "new.npy", "--out", "more", "--reselect")
    call("extend", "more", "later.npy", "--out", "most")
    assert read_rule(Path("most/rule.npz")).pool_shape[0] == 120
    assert read_rule(Path("more/rule.npz")).pool_shape[0] == 90


def test_finished_stages_are_skipped_and_others_refused(pools):
    call("extend", "run", "new.npy", "--out", "more")
    before = content("more")
    said = call("extend", "run", "new.npy", "--out", "more")
    assert said.count("finished before, skipped") == 5
    assert content("more") == before
    call("extend", "run", "later.npy", "--out", "more", code=1)
    assert content("more")["judged.parquet"] == before["judged.parquet"]
    call("extend", "run", "later.npy", "--out", "more", "--update")
    assert read_table(Path("more/judged.parquet"), "index")["index"].size == 20


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere", "new.npy", "--out", "x"], 1, "contrasift embed"),
        (["run", "gone.npy", "--out", "x"], 2, "none of them"),
        (["run", "coloured.npy", "--out", "x"], 1, "grey images, as the run's"),
        (["run", "new.npy", "--out", "run"], 1, "holds other files"),
        (["run", "new.npy", "--out", "old.npy"], 1, "a file"),
        (["embedded", "new.npy", "--out", "x"], 1, "contrasift classes embedded"),
        (["random", "new.npy", "--out", "x"], 2, "a linear rule can stand for"),
        (["half", "new.npy", "--out", "x"], 1, "a finished extension"),
        (["changed", "new.npy", "--out", "x"], 1, "another weights_sha256"),
    ],
)
def test_what_cannot_be_extended_is_explained(pools, arguments, code, words):
    np.save("coloured.npy", np.zeros((4, 10, 10, 3), dtype=np.uint8))
    if "embedded" in arguments:
        shutil.copytree("run", "embedded")
        records = json.loads(Path("run/stages.json").read_text())
        kept = {name: part for name, part in records.items() if name not in ("classes", "select")}
        Path("embedded/stages.json").write_text(json.dumps(kept))
    if "random" in arguments:
        shutil.copytree("run", "random")
        call("select", "random", "--objective", "random", "--fraction", 0.3, "--update")
    if "half" in arguments:
        Path("half").mkdir()
        Path("half/extension.json").write_text(json.dumps({"extends": "run"}))
    if "changed" in arguments:
        shutil.copytree("run", "changed")
        about = json.loads(Path("run/embeddings.json").read_text())
        Path("changed/embeddings.json").write_text(json.dumps({**about, "weights_sha256": "0"}))
    assert words in call("extend", *arguments, code=code)


def test_without_a_rule_there_is_still_a_new_selection(pools):
    call("select", "run", "--objective", "random", "--fraction", 0.3, "--update")
    call("extend", "run", "new.npy", "--out", "more", "--reselect")
    assert not Path("more/judged.parquet").exists()
    assert read_selection(Path("more/all")).budget == 36


def test_labels_that_are_the_classes_are_taken(pools):
    labels = np.arange(90) % 4
    np.savez("old.npz", images=np.load("old.npy"), labels=labels)
    new = np.where(np.arange(30) < 20, np.arange(30) % 4, 9)  # the last ten of no known class
    np.savez("new.npz", images=np.load("new.npy"), labels=new)
    call("embed", "old.npz", *TINY, "--out", "labelled")
    call("classes", "labelled", "--classes", "labels")
    call("select", "labelled", "--fraction", 0.3)
    said = call("extend", "labelled", "new.npz", "--out", "more")
    assert "20 by their labels" in said
    found = read_table(Path("more/classes.parquet"))
    assert found["latent_class"][:20].astype(str).tolist() == [str(label) for label in new[:20]]
    assert set(found["latent_class"].astype(str)) <= {"0", "1", "2", "3"}


@pytest.fixture
def judged(pools):
    call("extend", "run", "new.npy", "--out", "more")
    return read_table(Path("more/judged.parquet"))


def test_filter_judges_images_as_extend_does(judged):
    said = call("filter", "new.npy", "--run", "run", "--out", "k.parquet")
    assert f"{judged['keep'].sum()} of 30 examples kept" in said
    found = read_table(Path("k.parquet"))
    for name in judged:
        assert np.array_equal(found[name], judged[name]), name
    assert found["id"].tolist() == [str(row) for row in range(30)]
    Path("photos").mkdir()
    for number, image in enumerate(np.load("new.npy")[:6]):
        Image.fromarray(image).save(f"photos/{number}.png")
    Path("photos/3.png").write_bytes(b"no image")
    said = call("filter", "photos", "--run", "run", "--out", "p.parquet")
    assert "1 of 6 images cannot be read" in said
    found = read_table(Path("p.parquet"))
    assert found["id"].tolist() == [f"{number}.png" for number in (0, 1, 2, 4, 5)]
    assert np.array_equal(found["keep"], judged["keep"][[0, 1, 2, 4, 5]])


def test_filter_gives_a_greedy_runs_selection_back(pools):
    call("filter", "run/embeddings.npy", "--run", "run", "--out", "k.parquet")
    found = read_table(Path("k.parquet"))
    assert np.array_equal(found["index"][found["keep"]], read_selection(Path("run")).indices)
    np.save("bare.npy", np.load("run/embeddings.npy")[:20])
    call("filter", "bare.npy", "--run", "run", "--out", "b.parquet")
    assert read_table(Path("b.parquet"))["index"].tolist() == list(range(20))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["new.npy"], 2, "one of --rule and --run"),
        (["new.npy", "--run", "run", "--rule", "r.npz"], 2, "one of --rule and --run"),
        (["new.npy", "--run", "nowhere"], 1, "contrasift embed"),
        (["new.npy", "--run", "run", "--classes", "c.npy"], 2, "embeddings for --classes"),
        (["gone", "--run", "run"], 2, "none of them"),
    ],
)
def test_filter_explains(pools, arguments, code, words):
    assert words in call("filter", *arguments, "--out", "k.parquet", code=code)
    assert not Path("k.parquet").exists()


def test_a_stream_is_judged_as_it_passes(judged):
    images = np.load("new.npy")
    for batch_size in (7, 256):
        found = list(cs.sift(iter(images), "run", batch_size=batch_size))
        assert [example is image for (example, _, _), image in zip(found, images, strict=False)]
        assert [keep for _, keep, _ in found] == judged["keep"].tolist()
        assert np.allclose([score for _, _, score in found], judged["score"], rtol=1e-5)
    pairs = ({"picture": Image.fromarray(image), "n": n} for n, image in enumerate(images[5:]))
    found = list(cs.sift(pairs, "run", of=lambda example: example["picture"], first_index=95))
    assert [example["n"] for example, _, _ in found] == list(range(25))
    assert [keep for _, keep, _ in found] == judged["keep"][5:].tolist()
    assert list(cs.sift([], "run")) == []


def test_a_stream_of_vectors_needs_a_rule_alone(pools):
    values = np.abs(np.random.default_rng(0).normal(size=(200, 6))).astype(np.float32)
    chosen = cs.select(values, np.arange(200) % 3, fraction=0.3, optimizer="relaxed")
    np.savez("rule.npz", **chosen.rule)
    rule = read_rule(Path("rule.npz"))
    expected = np.concatenate([part.keep for part in rule.judge(values)])
    for run in ("rule.npz", cs.Sifter("rule.npz")):
        found = [keep for _, keep, _ in cs.sift(iter(values), run, batch_size=64)]
        assert found == expected.tolist()
    with pytest.raises(UsageError, match="a run folder, to judge images"):
        list(cs.sift(np.zeros((2, 4, 4), np.uint8), "rule.npz"))
    with pytest.raises(UsageError, match="width 6"):
        list(cs.sift(values[:, :3], "rule.npz"))
    with pytest.raises(DataError, match="row 0"):
        list(cs.sift(values * np.nan, "rule.npz"))
    with pytest.raises(DataError, match="vectors of one width"):
        list(cs.sift([values[0], values[1, :2]], "rule.npz"))
    with pytest.raises(UsageError, match="batch size"):
        list(cs.sift(values, "rule.npz", batch_size=0))


def test_images_of_another_kind_end_a_stream(pools):
    for image, words in (
        (np.zeros((4, 4, 3), np.uint8), "as the run's"),
        (np.zeros((4, 4), np.complex64), "uint8, bool, or floats"),
        (b"no image", "an image that can be read"),
    ):
        with pytest.raises(DataError, match=words):
            list(cs.sift([image], "run"))


def test_a_sifter_is_a_stage_that_travels(judged):
    stage = pickle.loads(pickle.dumps(cs.Sifter("run", column="image")))
    batch = {"image": np.load("new.npy"), "index": np.arange(90, 120), "name": list("x" * 30)}
    found = stage(batch)
    assert list(found) == ["image", "index", "name", "keep", "score", "latent_class"]
    for name in ("keep", "latent_class"):
        assert np.array_equal(found[name], judged[name])
    with pytest.raises(UsageError, match="a column `index`"):
        stage({"image": batch["image"]})
    with pytest.raises(UsageError, match="a column `image`"):
        stage({"index": batch["index"]})
    values = np.load("more/embeddings.npy")
    assert cs.Sifter("run")({"embedding": values})["keep"].shape == (30,)


def test_the_value_of_any_set_is_that_of_its_definition(rng):
    values, codes = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    selected = rng.random(30) < 0.4
    naive = 0.0
    for code in range(3):
        similar = values[codes == code] @ values[codes == code].T
        chosen = selected[codes == code]
        naive += similar[:, chosen].sum() - 0.7 * similar[np.ix_(chosen, chosen)].sum()
    assert objective_value(values, codes, 3, selected, 0.7) == pytest.approx(naive)
