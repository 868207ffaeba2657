"""`contrasift mine` and `contrasift export` of what it wrote, from files with ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from contrasift.cli import app
from contrasift.errors import DataError
from contrasift.matrices import open_embeddings
from contrasift.pipeline.studies.mine_inputs import UsableSides

Q, N = 24, 120


@pytest.fixture
def files(rng):
    """Queries and a corpus of eight kinds, with ids, pairs, labels and texts."""
    kinds = rng.normal(size=(8, 12))
    labels = np.arange(N) % 8
    corpus = (kinds[labels] + 0.6 * rng.normal(size=(N, 12))).astype(np.float32)
    queries = (corpus[:Q] + 0.5 * rng.normal(size=(Q, 12))).astype(np.float32)
    for name, rows in (("q", queries), ("d", corpus)):
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 12)
        ids = [f"{name}{number}" for number in range(len(rows))]
        texts = [f"text <b>of</b> {one}" for one in ids]
        pq.write_table(
            pa.table({"id": ids, "text": texts, "embedding": vectors}), f"{name}.parquet"
        )
    lines = [f"q{i}\td{i}\t1" for i in range(Q)] + ["q0\td9\t2", "q0\td17\t0"]
    Path("qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    np.save("labels.npy", labels)


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def refused(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code in (1, 2)
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


MINE = ("mine", "q.parquet", "d.parquet", "--positives", "qrels.tsv", "--per-query", 3)


def test_from_files_to_a_judgement_and_a_page(files):
    texts = ("--query-texts", "q.parquet:text", "--corpus-texts", "d.parquet:text")
    judge = ("--labels", "labels.npy", "--classes", "kmeans")
    shown = run(*MINE, *judge, *texts, "--out", "out")
    assert f"{3 * Q} negatives for {Q} of {Q} queries, from a corpus of {N}" in shown
    table = pq.read_table("out/mined.parquet").to_pydict()
    facts = json.loads(Path("out/mined.json").read_text())
    assert table["query"][:3] == ["q0"] * 3
    assert table["rank"][:3] == [1, 2, 3]
    assert {"d0", "d9"}.isdisjoint(table["negative"][:3])
    codes = [int(one[1:]) % 8 for one in table["negative"]]
    own = [int(one[1:]) % 8 for one in table["query"]]
    same = [
        a == b or (q == "q0" and a == 1) for a, b, q in zip(codes, own, table["query"], strict=True)
    ]
    assert table["known_false"] == same
    assert facts["truth"] == pytest.approx(np.mean(same))
    assert facts["estimate"] == pytest.approx(np.mean(table["false_probability"]))
    assert [line["truth"] for line in facts["by_rank"]] == pytest.approx(
        [np.mean(same[rank::3]) for rank in range(3)]
    )
    page = Path("out/mined.html").read_text()
    assert "text &lt;b&gt;of&lt;/b&gt; d" in page
    assert "http" not in page.replace("http-equiv", "").split("<script>")[0]
    assert not (Path("out") / "mined.pieces").exists()
    assert "nothing to do" in run(*MINE, *judge, *texts, "--out", "out")
    assert "Choose another --out, or pass --update" in refused(*MINE, "--seed", 1, "--out", "out")


def test_classes_that_the_policy_used_do_not_judge(files):
    shown = run(*MINE, "--policy", "~same_latent_class", "--classes", "kmeans", "--out", "out")
    assert "cannot be estimated" in shown
    assert "false_probability" not in pq.read_table("out/mined.parquet").column_names
    shown = run(
        *MINE, "--policy", "~same_latent_class", "--other-classes", "labels.npy", "--out", "other"
    )
    assert "by latent classes of one encoder" in shown


@pytest.mark.parametrize("form", ["triplet", "n-tuple", "labeled-list"])
def test_exports_are_what_trainers_take(files, form):
    texts = ("--query-texts", "q.parquet:text", "--corpus-texts", "d.parquet:text")
    run(*MINE, "--classes", "none", *texts, "--out", "out")
    table = pq.read_table("out/mined.parquet").to_pydict()
    first = table["negative"][:3]
    run("export", "out", "--to", form, "--out", "ids.jsonl")
    lines = [json.loads(line) for line in Path("ids.jsonl").read_text().splitlines()]
    if form == "triplet":
        assert len(lines) == 3 * (Q + 1)
        assert lines[:3] == [{"anchor": "q0", "positive": "d0", "negative": one} for one in first]
    elif form == "n-tuple":
        assert len(lines) == Q + 1
        named = {f"negative_{place + 1}": one for place, one in enumerate(first)}
        assert lines[0] == {"anchor": "q0", "positive": "d0", **named}
    else:
        assert len(lines) == Q
        assert lines[0] == {"query": "q0", "docs": ["d0", "d9", *first], "labels": [1, 1, 0, 0, 0]}
    run("export", "out", "--to", form, "--texts", "--out", "texts")
    datasets = pytest.importorskip("datasets")
    data = datasets.load_from_disk("texts")
    assert len(data) == len(lines)
    assert data[0][data.column_names[0]] == "text <b>of</b> q0"
    assert "exists" in refused("export", "out", "--to", form, "--out", "ids.jsonl")


def test_one_matrix_and_pairs_of_rows(rng):
    rows = rng.normal(size=(30, 5)).astype(np.float32)
    np.save("rows.npy", rows)
    np.save("pairs.npy", np.stack([np.arange(30), (np.arange(30) + 1) % 30], axis=1))
    run(
        "mine",
        "rows.npy",
        "--positives",
        "pairs.npy",
        "--policy",
        "all",
        "--classes",
        "none",
        "--out",
        "out",
    )
    table = pq.read_table("out/mined.parquet").to_pydict()
    assert len(table["query"]) == 240
    assert all(
        n not in (q, (q + 1) % 30) for q, n in zip(table["query"], table["negative"], strict=True)
    )
    run("export", "out", "--to", "triplet", "--out", "rows.jsonl")
    assert json.loads(Path("rows.jsonl").read_text().splitlines()[0])["positive"] == 1
    assert "texts that were named" in refused(
        "export", "out", "--to", "triplet", "--texts", "--out", "texts.jsonl"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--policy", "~same_class"), "Give --labels"),
        (("--policy", "~same_latent_class", "--classes", "none"), "Find them: --classes auto"),
        (("--policy", "above(0.999)"), "none of 24, mostly because of above(0.999)"),
        (("--policy", "above(0.999)", "--allow-fewer"), "try Loosen the policy"),
        (("--per-query", 120), "mostly because of a corpus with too few rows"),
        (("--policy", "hard(3)"), "For example: 'difficulty(95,100) & ~same_class'"),
        (("--positives", "empty.tsv"), "pairs in empty.tsv got none with a score above 0"),
        (("--positives", "empty.npy"), "pairs in empty.npy got none"),
        (("--id", "none", "--positives", "half.npy"), "queries as row numbers"),
        (("--id", "none", "--positives", "beyond.npy"), "rows of the corpus, 0 to 119 got 24"),
        (("--id", "none", "--skip-bad", "--positives", "beyond.npy"), "rows of the corpus, 0 to"),
        (("--corpus-texts", "d.parquet:words"), "the column words in d.parquet got id, text, emb"),
        (("--query-texts", "short.txt"), "a text for each of the 24 rows"),
        (("--images", "photo"), "a column 'photo' of images"),
        (("--per-query", 121), "--per-query from 1 to the 120 rows"),
        (("--positives", "none.tsv"), "none.tsv"),
        (("--positives", "lost.tsv"), "1 that they have not: 'd999'"),
        (("--positives", "thin.tsv"), "a column of queries and one of the corpus"),
        (("--positives", "few.tsv"), "a positive for each of the 24 queries"),
        (("--positives", "rows"), "as many queries as rows of the corpus"),
        (("--positives", ""), "the pairs of queries and corpus"),
        (("--labels", "few.npy"), "120 examples"),
        (("--classes", "graf"), "graf"),
        (("--recall", 0), "--recall in (0, 1]"),
    ],
)
def test_mistakes_are_explained(files, words, said):
    Path("lost.tsv").write_text("query\tpositive\nq0\td999\n")
    Path("thin.tsv").write_text("a\tb\tc\nq0\td0\t1\n")
    Path("few.tsv").write_text("query\tpositive\nq0\td0\n")
    Path("empty.tsv").write_text("query\tpositive\tscore\nq0\td0\t0\n")
    Path("short.txt").write_text("one\ntwo\n")
    own = np.arange(Q)
    np.save("few.npy", np.zeros(3, int))
    np.save("empty.npy", np.zeros((0, 2), int))
    np.save("half.npy", np.stack([own + 0.5, own], axis=1))
    np.save("beyond.npy", np.stack([own, own + N], axis=1))
    shown = refused(*MINE, "--classes", "none", *words, "--out", "out")
    assert said in shown
    # What stops it is said before anything is copied.
    late = ("above(0.999)", 120)
    assert ("are written to" in shown) == any(one in late for one in words)


def test_row_numbers_where_there_are_ids(files):
    np.save("rows.npy", np.stack([np.arange(Q)] * 2, axis=1))
    how = (*MINE, "--positives", "rows.npy", "--classes", "none")
    assert "If they are row numbers: --id none" in refused(*how, "--out", "out")
    run(*how, "--id", "none", "--out", "out")
    assert pq.read_table("out/mined.parquet").to_pydict()["query"][:4] == [0, 0, 0, 1]


def test_a_damaged_folder_is_mined_again_or_explained(files):
    how = (*MINE, "--classes", "none", "--out", "out")
    run(*how)
    whole = Path("out/mined.parquet").read_bytes()
    for name in ("mined.html", "positives.parquet", "mined.parquet"):
        Path("out", name).unlink()
        run(*how)
        assert Path("out", name).exists()
    assert Path("out/mined.parquet").read_bytes() == whole
    Path("out/mined.json").write_text("{")
    assert "or pass --update to replace it" in refused(*how)
    run(*how, "--update")
    assert "nothing to do" in run(*how)


def rewrite(name: str, change) -> None:
    """Write a table again with other vectors, and perhaps fewer rows: (ids, rows) to either."""
    table = pq.read_table(f"{name}.parquet")
    rows = np.array(table["embedding"].to_pylist(), dtype=np.float32)
    ids, rows = change(np.array(table["id"].to_pylist()), rows)
    texts = [f"text <b>of</b> {one}" for one in ids]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    changed = pa.table({"id": ids.tolist(), "text": texts, "embedding": vectors})
    pq.write_table(changed, f"{name}.parquet")


def test_bad_rows_are_left_out_and_listed(files):
    def spoil(row: int, value: float):
        def change(ids, rows):
            rows[row] = value
            return ids, rows

        return change

    rewrite("q", spoil(3, np.nan))
    rewrite("d", spoil(5, 0.0))  # the only positive of q5
    texts = ("--query-texts", "q.parquet:text", "--corpus-texts", "d.parquet:text")
    how = (*MINE, "--labels", "labels.npy", "--classes", "labels.npy")
    assert "--skip-bad" in refused(*how, "--out", "out")
    shown = run(*how, *texts, "--skip-bad", "--out", "out")
    assert "2 queries are skipped: skipped.parquet says why" in shown
    listed = pq.read_table("out/skipped.parquet").to_pydict()
    assert listed["side"] == ["queries", "corpus", "queries"]
    assert listed["row"] == [3, 5, 5]
    assert listed["reason"][2] == "no positive that is left"
    assert "id 'q3'" in listed["place"][0]
    run("export", "out", "--to", "triplet", "--texts", "--out", "texts.jsonl")
    lines = [json.loads(line) for line in Path("texts.jsonl").read_text().splitlines()]
    table = pq.read_table("out/mined.parquet").to_pydict()
    pairs = set(zip(table["query"], table["negative"], strict=True))
    said = {(one["anchor"].split()[-1], one["negative"].split()[-1]) for one in lines}
    assert said == pairs
    assert table["negative"] == [f"d{row}" for row in table["negative_row"]]

    rewrite("q", lambda ids, rows: (np.delete(ids, [3, 5]), np.delete(rows, [3, 5], axis=0)))
    rewrite("d", lambda ids, rows: (np.delete(ids, 5), np.delete(rows, 5, axis=0)))
    np.save("labels.npy", np.delete(np.arange(N) % 8, 5))
    kept = [line for line in Path("qrels.tsv").read_text().splitlines()
            if not {"q3", "q5"} & {*line.split("\t")}]  # fmt: skip
    Path("qrels.tsv").write_text("\n".join(kept) + "\n")
    run(*how, "--out", "clean")
    clean = pq.read_table("clean/mined.parquet").to_pydict()
    for name in ("query", "negative", "rank", "similarity", "false_probability", "known_false"):
        assert table[name] == clean[name], name


@pytest.mark.parametrize(("third", "left"), [(3, [2, 3]), (1, None)])
def test_queries_that_lose_their_positives_take_others_with_them(third, left):
    rows = np.eye(4, dtype=np.float32)
    rows[0] = np.nan
    np.save("rows.npy", rows)
    matrix = open_embeddings("rows.npy")
    pairs = np.array([[1, 0], [2, third], [3, 2], [0, 1]])  # 1 loses 0, perhaps 2 loses 1, ...
    if left is None:
        with pytest.raises(DataError, match="a positive that can be compared; got none of 4"):
            UsableSides.of(matrix, matrix, pairs, 1)
        return
    sides = UsableSides.of(matrix, matrix, pairs, 1)
    assert sides.left is sides.right
    assert np.flatnonzero(sides.use_left).tolist() == left
    assert sides.skipped["row"] == [0, 1]
    assert np.flatnonzero(sides.comparable).tolist() == [1, 2, 3]


def test_the_gallery_shows_a_column_of_images(files):
    from PIL import Image

    table = pq.read_table("d.parquet")
    Path("pictures").mkdir()
    for number in range(N):
        Image.new("RGB", (9, 9), (number, 200, 20)).save(f"pictures/{number}.png")
    paths = pa.array([f"pictures/{number}.png" for number in range(N)])
    pq.write_table(table.append_column("picture", paths), "d.parquet")
    shown = (*MINE, "--classes", "none", "--allow-fewer")
    run(*shown, "--out", "plain")
    run(*shown, "--images", "picture", "--out", "out")
    plain, pictured = (
        Path(f"{one}/mined.html").read_text().count("data:image/png") for one in ("plain", "out")
    )
    assert pictured - plain == 2 * Q  # a positive and a negative of every query


@pytest.mark.parametrize(
    ("end", "said"), [("nan", "NaN"), ("twice", "more than once"), ("wide", "one width")]
)
def test_bad_matrices_are_explained(files, end, said):
    table = pq.read_table("d.parquet")
    rows = np.array(table["embedding"].to_pylist(), dtype=np.float32)
    ids = table["id"].to_pylist()
    if end == "nan":
        rows[5, 2] = np.nan
    elif end == "twice":
        ids[3] = ids[4]
    else:
        rows = rows[:, :11]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    pq.write_table(pa.table({"id": ids, "embedding": vectors}), "d.parquet")
    assert said in refused(*MINE, "--classes", "none", "--out", "out")
