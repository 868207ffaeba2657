from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from contrasift.errors import DataError, UsageError
from contrasift.options import ClassesOptions, EmbedOptions, PoolOptions, RunOptions, SelectOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages import classes as clustering
from contrasift.pipeline.stages.classes import classes
from contrasift.results import LatentClasses
from contrasift.store.inputs import load_few_labels_file
from contrasift.store.run import RunFolder
from contrasift.store.tables import read_table, write_table

N = 120


class Listener(SimpleNamespace):
    quiet = True

    def say(self, text: str) -> None:
        self.heard.append(text)

    def working(self, stage):
        self.say(f"{stage} ...")
        return contextlib.nullcontext()

    def progress(self, title, unit="examples"):
        raise AssertionError("nothing here takes long")


@pytest.fixture
def run(tmp_path):
    """A folder as `embed` leaves it, without images: classes need only the matrices."""

    def make(select=None, labelled=True, **options):
        rng = np.random.default_rng(0)
        labels = np.arange(N) % 4
        rows = (np.eye(8)[labels] + 0.15 * rng.normal(size=(N, 8))).astype(np.float32)
        np.save(tmp_path / "embeddings.npy", rows)
        (tmp_path / "embeddings.json").write_text("{}")
        names = [f"label {code}" if labelled else None for code in labels]
        write_table(
            tmp_path / "examples.parquet",
            {"index": np.arange(N), "row": np.arange(N), "label": names},
        )
        folder = RunFolder(tmp_path)
        folder.finish("embed", "before", 0.0, ["embeddings.npy"])
        options = RunOptions(
            PoolOptions(pool="none"),
            embed=EmbedOptions(classes_encoder=""),
            classes=ClassesOptions(**options),
            select=select or SelectOptions(fraction=0.25),
        )
        return Run(folder, options, Listener(heard=[]), update=True)

    return make


def facts_of(run: Run) -> dict:
    return json.loads((run.folder.path / "classes.json").read_text())


def test_classes_say_how_stable_they_and_their_selections_are(run):
    one = run(classes="graph", resolution="1")
    classes(one)
    facts = facts_of(one)
    assert facts["method"] == "graph"
    assert facts["agreement"]["ari"] == 1.0
    assert facts["stability"]["ari"] == 1.0
    assert facts["stability"]["partitions"] == 2
    assert facts["stability"]["selection_overlap"] == 1.0
    assert facts["stability"]["selection_overlap_with_labels"] == 1.0
    assert facts["stability"]["fraction"] == 0.25
    said = " ".join(one.narrator.heard)
    for words in ("4 classes by graph", "NMI 1.00", "between seeds: ARI 1.00", "overlap 100%"):
        assert words in said
    table = read_table(one.folder.path / "classes.parquet")
    assert set(table) == {"index", "latent_class", "score"}


def test_unstable_classes_are_named_and_do_not_select_the_same(run):
    one = run(classes="kmeans", n_classes=40, restarts=1, stability=2)
    classes(one)
    stability = facts_of(one)["stability"]
    assert stability["partitions"] == 2
    assert 0 < stability["ari"] < 1
    assert stability["selection_overlap"] < 1


def test_no_stability_where_it_is_not_asked_for_or_says_nothing(run):
    one = run(classes="kmeans", stability=0)
    classes(one)
    assert "stability" not in facts_of(one)
    given = run(classes="labels")
    classes(given)
    assert "stability" not in facts_of(given)
    random = run(
        classes="kmeans", labelled=False, select=SelectOptions(fraction=0.2, objective="random")
    )
    classes(random)
    assert "selection_overlap" not in facts_of(random)["stability"]


def test_few_labels_from_a_file_and_by_share(run, tmp_path):
    file = tmp_path / "few.csv"
    file.write_text("index,label\n" + "".join(f"{i},name {i % 4}\n" for i in range(20)))
    for method in ("few-labels", "propagate"):
        one = run(classes=method, few_labels=str(file))
        classes(one)
        facts = facts_of(one)
        assert facts["labelled"] == 20
        assert facts["agreement"]["purity"] > 0.95
        assert facts["stability"].keys() == {"selection_overlap_with_labels", "fraction"}
        table = read_table(one.folder.path / "classes.parquet")
        assert sorted(set(table["latent_class"])) == [f"name {code}" for code in range(4)]
        two = run(classes=method, label_share=0.1)
        classes(two)
        assert facts_of(two)["labelled"] == 12
        assert facts_of(two)["stability"]["partitions"] == 2


def test_another_file_of_labels_is_another_fingerprint(run, tmp_path):
    file = tmp_path / "few.csv"
    file.write_text("0,a\n1,b\n")
    first = classes(run(classes="propagate", few_labels=str(file))).fingerprint
    file.write_text("0,a\n1,b\n5,b\n")
    assert classes(run(classes="propagate", few_labels=str(file))).fingerprint != first


def test_classes_from_a_file(run, tmp_path):
    np.save(tmp_path / "mine.npy", np.arange(N) % 3)
    one = run(classes="labels", classes_file=str(tmp_path / "mine.npy"))
    classes(one)
    assert facts_of(one)["n_classes"] == 3
    assert facts_of(one)["agreement"]["ari"] < 0.1
    np.save(tmp_path / "mine.npy", np.arange(N - 1))
    with pytest.raises(DataError, match="119 classes"):
        classes(run(classes="labels", classes_file=str(tmp_path / "mine.npy")))


def test_what_failed_leaves_the_classes_before(run, tmp_path):
    classes(run(classes="kmeans", n_classes=4))
    before = (tmp_path / "classes.parquet").read_bytes()
    with pytest.raises(UsageError, match="as many as there are examples"):
        classes(run(classes="kmeans", n_classes=N + 1))
    with pytest.raises(UsageError, match="a pool without any"):
        classes(run(classes="few-labels", label_share=0.1, labelled=False))
    assert (tmp_path / "classes.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("3;a\n", "line 1: '3;a'"),
        ("index,label\n3,\n", "line 2: '3,'"),
        ("3,a\n3,b\n", "example 3 as 'a' and as 'b'"),
        ("3,a\n99,b\n", "1 of 2 others, the first of them 99"),
        ("-1,a\n", "line 1"),
    ],
)
def test_files_of_few_labels_that_cannot_be_used(tmp_path, text, match):
    file = tmp_path / "few.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=match):
        load_few_labels_file(file, np.arange(10))
    with pytest.raises(DataError, match="does not exist"):
        load_few_labels_file(tmp_path / "none.csv", np.arange(10))


def test_labels_with_commas_and_gaps_in_the_index(tmp_path):
    file = tmp_path / "few.csv"
    file.write_text("8, dog, small\n2,cat\n2,cat\n")
    known, names = load_few_labels_file(file, np.array([2, 5, 8]))
    assert known.tolist() == [0, -1, 1]
    assert names == ("cat", "dog, small")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_classes": "0"}, "n_classes= of at least 1"),
        ({"n_classes": "some"}, "n_classes= of at least 1"),
        ({"classes": "graph", "n_classes": 9}, "classes='kmeans' for n_classes="),
        ({"resolution": 0}, "resolution= above 0"),
        ({"resolution": "low"}, "resolution= above 0"),
        ({"whiten": -1}, "whiten="),
        ({"graph_neighbours": 0}, "graph_neighbours="),
        ({"max_class_size": 0}, "max_class_size="),
        ({"stability": -1}, "stability="),
        ({"classes": "few-labels"}, "label_share= or few_labels="),
        ({"label_share": 0.1}, "label_share= or few_labels="),
        (
            {"classes": "propagate", "label_share": 0.1, "few_labels": "x"},
            "label_share= or few_labels=",
        ),
        ({"classes": "propagate", "label_share": 1.5}, "label_share= in"),
        ({"classes_file": "x"}, "classes='labels' for classes_file="),
    ],
)
def test_illegal_options(options, match):
    with pytest.raises(UsageError, match=match):
        ClassesOptions(**options)


def test_a_number_and_its_text_are_one_option():
    assert ClassesOptions(n_classes=12) == ClassesOptions(n_classes="12")
    assert ClassesOptions(resolution=2.0) == ClassesOptions(resolution="2")


@pytest.mark.parametrize(("joined", "said"), [(0.31, True), (0.29, False)])
def test_many_examples_in_small_communities_are_told(joined, said):
    facts = {"rows_joined": joined, "smallest": 20}
    one = np.zeros(2, np.int64)
    found = LatentClasses(one, one[:1], np.ones(2, np.float32), "graph", facts)
    notes = clustering._notes(ClassesOptions(), found, {})
    assert (
        any("31% of the examples were in communities of fewer than 20" in n for n in notes) == said
    )


def test_a_search_that_was_killed_goes_on(run, monkeypatch):
    import contextlib

    from contrasift.classes import inverted
    from contrasift.classes import neighbours as searching
    from contrasift.pipeline.stages import find_classes
    from contrasift.store.pieces import KeptPieces

    for module in (searching, find_classes):
        monkeypatch.setattr(module, "EXACT_ROWS", 50)
    monkeypatch.setattr(inverted, "ROWS_A_LIST", 10)
    monkeypatch.setattr(inverted, "PIECE", 2)
    told = []
    monkeypatch.setattr(
        Listener, "progress", lambda *_: contextlib.nullcontext(lambda *at: told.append(at))
    )
    whole = run(stability=0)
    classes(whole)
    folder = whole.folder.path
    expected = (folder / "classes.parquet").read_bytes(), (folder / "classes.json").read_bytes()
    recall = facts_of(whole)["neighbours_search"]["recall"]
    assert recall >= 0.95
    assert not (folder / "classes.pieces").exists()
    for name in ("classes.parquet", "classes.json"):
        (folder / name).unlink()

    write, made = KeptPieces.put, []

    def dies(self, number, arrays):
        if len(made) == 3:
            raise KeyboardInterrupt("killed")
        made.append(number)
        write(self, number, arrays)

    monkeypatch.setattr(KeptPieces, "put", dies)
    with pytest.raises(KeyboardInterrupt, match="killed"):
        classes(run(stability=0))
    assert len(list((folder / "classes.pieces").rglob("*.json"))) == 3
    made.clear()
    monkeypatch.setattr(KeptPieces, "put", lambda *given: made.append(given[1]) or write(*given))
    classes(run(stability=0))
    assert made[0] == 3
    assert ((folder / "classes.parquet").read_bytes(), (folder / "classes.json").read_bytes()) == (
        expected
    )
    assert told[-1] == (N, N)
    assert any("classes of 120 examples: about 0.4 GiB" in line for line in whole.narrator.heard)


def test_nested_levels_are_columns(run):
    made = run(resolutions="0.2,9")
    classes(made)
    table = read_table(made.folder.path / "classes.parquet")
    assert {"latent_class_at_0.2", "latent_class_at_9"} <= set(table)
    assert max(table["latent_class_at_0.2"]) <= max(table["latent_class_at_9"])


def test_a_memory_limit_that_cannot_be_met(run):
    with pytest.raises(UsageError, match=r"(?s)a memory limit of at least 0.39 GiB.*Raise it"):
        classes(run(memory_limit="100MB"))
    assert ClassesOptions(memory_limit="1GB").fingerprint() == ClassesOptions().fingerprint()


@pytest.mark.parametrize("text", ["0", "1,", "a", "-2", "inf"])
def test_further_resolutions_that_are_none(text):
    with pytest.raises(UsageError, match="resolutions= above 0"):
        ClassesOptions(resolutions=text)
