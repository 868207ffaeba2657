"""A file of labels that is a table of ids and labels is read by id; a list goes on as a list."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from contrasift.cli import app
from contrasift.errors import DataError
from contrasift.pools import open_pool

N = 12
IDS = [f"{number}.png" for number in range(N)]
NAMES = ["cat", "dog", "cow"]
WANTED = [NAMES[number % 3] for number in range(N)]
# Not the order of the pool.
ROWS = [(IDS[number], WANTED[number]) for number in reversed(range(N))]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "p").mkdir()
    for number, name in enumerate(IDS):
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(tmp_path / "p" / name)
    return tmp_path / "p"


def labelled(source, labels) -> list[str]:
    pool = open_pool(source, labels=labels, holdout=0)
    assert pool.labels is not None
    return [pool.label_names[code] if code >= 0 else "" for code in pool.labels]


def written(rows, delimiter=",", header="") -> str:
    lines = [delimiter.join(row) for row in rows]
    return "".join(f"{line}\n" for line in ([header] if header else []) + lines)


TABLES = {
    "l.csv": written(ROWS),
    "header.csv": written(ROWS, header="id,label"),
    "other-header.CSV": written(ROWS, header="Filename,Class"),
    "more-columns.csv": written(
        [(label, "x", id) for id, label in ROWS], header="label,split,image_id"
    ),
    "l.tsv": written(ROWS, "\t"),
    "semicolons.csv": written(ROWS, ";", "id;label"),
    "l.txt": written(ROWS, ","),
    "tabs.txt": written(ROWS, "\t"),
    "quoted.csv": written([(f'"{id}"', f'"{label}"') for id, label in ROWS], header='"id","label"'),
    "mark.csv": "\ufeff" + written(ROWS, header="id,label"),
    "windows.csv": written(ROWS, header="id, label").replace("\n", "\r\n") + "\r\n\r\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_text_is_read_by_id(folder, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(TABLES[name].encode())
    assert labelled(folder, path) == WANTED


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (pa.array([label for _, label in ROWS]), WANTED),
        (pa.array([label for _, label in ROWS]).dictionary_encode(), WANTED),
        (pa.array([int(id.split(".")[0]) % 3 for id, _ in ROWS]), [str(n % 3) for n in range(N)]),
    ],
)
def test_a_parquet_table_is_read_by_id(folder, tmp_path, labels, wanted):
    columns = {"id": [id for id, _ in ROWS], "label": labels}
    pq.write_table(pa.table(columns), tmp_path / "l.parquet")
    assert labelled(folder, tmp_path / "l.parquet") == wanted


def test_rows_of_an_array_are_named_by_number(tmp_path):
    images = np.zeros((4, 8, 8), np.uint8)
    pq.write_table(pa.table({"id": [2, 0], "label": ["b", "a"]}), tmp_path / "l.parquet")
    (tmp_path / "l.csv").write_text("2,b\n0,a\n")
    for name in ("l.parquet", "l.csv"):
        assert labelled(images, tmp_path / name) == ["a", "", "b", ""]


def test_class_names_follow_the_one_rule(folder, tmp_path):
    names = ["1", "01", "1_0", "10"]
    rows = [(id, names[number % 4]) for number, id in enumerate(IDS)]
    (tmp_path / "l.csv").write_text(written(rows))
    assert labelled(folder, tmp_path / "l.csv") == [names[number % 4] for number in range(N)]


def test_examples_without_a_label_are_told(folder, tmp_path):
    (tmp_path / "l.csv").write_text(written([*ROWS[:8], (ROWS[8][0], "")]))
    assert labelled(folder, tmp_path / "l.csv") == [""] * 4 + WANTED[4:]
    out = tmp_path / "run"
    arguments = f"embed {folder} --labels {tmp_path / 'l.csv'} --image-size 8 --views 1 --out {out}"
    arguments += " --architecture narrow:0.125 --proxy-epochs 1 --batch-size 4"
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 0, result.output
    assert re.search(r"4 of \d+ examples have no label", " ".join(result.output.split()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (written([*ROWS, ("99.png", "cat")]), r"ids of the pool.*1 of 13.*'99\.png'"),
        (written([*ROWS, ROWS[0]]), r"every id once.*'11\.png' twice"),
        (written([("a/" + id, label) for id, label in ROWS], header="id,label"), "12 of 12"),
        ("id,label\n", "no label at all"),
        (written(ROWS) + "3.png,cat,dog\n", r"2 columns in every line.*3 in the line"),
        # Nothing of it is an id of the pool: whole lines would be labels, nearly all unique.
        (written([("a/" + id, label) for id, label in ROWS]), r"share.*12 different.*id and label"),
        ("".join(f"name{number}\n" for number in range(N)), r"share.*labels='none'"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder, tmp_path, text, said):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        open_pool(folder, labels=tmp_path / "l.csv")


def test_refused_tables_in_parquet(folder, tmp_path):
    path = tmp_path / "l.parquet"
    for columns, said in [
        ({"a": [1], "b": [1], "c": [1]}, "the columns id and label"),
        ({"id": ["0.png", None], "label": ["a", "b"]}, "ids that are text or integers"),
        ({"id": [0.5], "label": ["a"]}, "ids that are text or integers"),
        ({"id": ["0.png"], "label": [[1]]}, "labels"),
        ({"id": ["0.png"], "label": pa.array([None], pa.string())}, "no label at all"),
    ]:
        pq.write_table(pa.table(columns), path)
        with pytest.raises(DataError, match=said):
            open_pool(folder, labels=path)


def test_a_list_with_commas_in_its_names_stays_a_list(folder, tmp_path):
    names = ["tench, Tinca tinca", "cock, rooster"]
    wanted = [names[number % 2] for number in range(N)]
    for name in ("l.txt", "l.csv"):
        (tmp_path / name).write_text("".join(f"{label}\n" for label in wanted))
        assert labelled(folder, tmp_path / name) == wanted


SIGNS = st.text(
    st.characters(codec="utf-8", exclude_characters='",;', exclude_categories=("C", "Z")),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(SIGNS, min_size=1, max_size=3, unique=True),
    order=st.permutations(range(N)),
    kept=st.integers(1, N),
    header=st.sampled_from(["", "id,label", "Path,Category"]),
)
def test_any_order_and_share_of_lines(tmp_path_factory, names, order, kept, header):
    path = tmp_path_factory.mktemp("table") / "l.csv"
    given_here = {str(place): names[place % len(names)] for place in order[:kept]}
    path.write_text(written(given_here.items(), header=header), encoding="utf-8")
    found = labelled(np.zeros((N, 8, 8), np.uint8), path)
    numbers = all(is_plain(name) for name in given_here.values())
    for place, label in enumerate(found):
        wanted = given_here.get(str(place), "")
        assert label == ("" if numbers and wanted.startswith("-") else wanted)


def is_plain(text: str) -> bool:
    return text == str(int(text)) if text.lstrip("-").isdecimal() and text.isascii() else False
