from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from contrasift.errors import DataError, MissingExtraError, UsageError
from contrasift.text.collection import open_texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files as Debian's fortunes: texts between lines of %, an index and a link beside them."""
    (tmp_path / "wise").write_text("One\nline more\n%\nTwo\n%\n\n%\nThree % of it\n%\n")
    (tmp_path / "rude").write_text("A\n%  \nB\n%\nC\n%\nD\n%\nE\n")
    (tmp_path / "lines.txt").write_text("first\n\nsecond\n")
    (tmp_path / "wise.dat").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "wise.u8").symlink_to("wise")
    (tmp_path / ".hidden").write_text("x")
    return tmp_path


def test_a_folder_of_files_whose_names_are_labels(folder):
    texts = open_texts(folder, holdout=0)
    assert texts.label_names == ("lines", "rude", "wise")
    assert texts.texts == (
        "first", "second", "A", "B", "C", "D", "E", "One\nline more", "Two", "Three % of it",
    )  # fmt: skip
    assert texts.labels.tolist() == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2]
    assert open_texts(f"fortunes:{folder}", holdout=0).texts == texts.texts


def test_hold_out_limit_and_least_keep_the_index(folder):
    whole = open_texts(folder, holdout=0)
    part = open_texts(folder, holdout=0.4)
    assert sorted([*part.index, *part.test.index]) == list(range(10))
    for some in (part, part.test):
        assert [whole.texts[i] for i in some.index] == list(some.texts)
        assert whole.labels[some.index].tolist() == some.labels.tolist()
    small = open_texts(folder, holdout=0.4, limit=3)
    assert len(small) == 3
    assert set(small.index) < set(part.index)
    assert small.test.texts == part.test.texts
    large = open_texts(folder, least=3, holdout=0)
    assert large.label_names == ("rude", "wise")
    assert large.labels.tolist() == [0] * 5 + [1] * 3
    assert large.index.tolist() == list(range(2, 10))


def test_tables_lines_and_label_files(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text('id,text,label\n1,"a, b\nc",x\n2,d,y\n3,e,x\n')
    texts = open_texts(table, holdout=0)
    assert texts.texts == ("a, b\nc", "d", "e")
    assert texts.labels.tolist() == [0, 1, 0]
    assert open_texts(table, holdout=0, text_column="id", label_column="no").labels is None
    assert open_texts(table, labels="none").labels is None
    (tmp_path / "t.tsv").write_text("text\tlabel\na\tx\nb\ty\n")
    assert open_texts(tmp_path / "t.tsv", holdout=0).texts == ("a", "b")
    (tmp_path / "l.txt").write_text("a\nb\n\nc\n")
    (tmp_path / "labels").write_text("u\nv\n\n")
    texts = open_texts(tmp_path / "l.txt", labels=str(tmp_path / "labels"), holdout=0)
    assert texts.labels.tolist() == [0, 1, -1]


def write_ag_news(folder: Path) -> None:
    (folder / "train.csv").write_text(
        '"3","Oil up","Prices \\rise"\n"1","Vote ""today""","In Rome"\n"2","Goal","Late"\n'
    )
    (folder / "test.csv").write_text('"4","Chip","Smaller"\n')


def test_ag_news_as_it_is_released(tmp_path, monkeypatch):
    write_ag_news(tmp_path)
    texts = open_texts(f"ag-news:{tmp_path}")
    assert texts.texts == ("Oil up Prices  rise", 'Vote "today" In Rome', "Goal Late")
    assert texts.labels.tolist() == [2, 0, 1]
    assert texts.label_names == ("World", "Sports", "Business", "Sci/Tech")
    assert texts.test.labels.tolist() == [3]
    (tmp_path / "classes.txt").write_text("A\nB\nC\nD\n")
    assert open_texts(f"ag-news:{tmp_path}").label_names == ("A", "B", "C", "D")
    (tmp_path / "test.csv").write_text('"5","Chip","Smaller"\n')
    with pytest.raises(DataError, match="class numbers from 1 to 4"):
        open_texts(f"ag-news:{tmp_path}")
    (tmp_path / "test.csv").write_text('"4","Chip"\n')
    with pytest.raises(DataError, match="3 fields in every row.*2 in row 1"):
        open_texts(f"ag-news:{tmp_path}")
    monkeypatch.setenv("CONTRASIFT_DATA", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"train\.csv.*ag-news:FOLDER"):
        open_texts("ag-news")


class Split:
    """What a split of the package datasets looks like."""

    def __init__(self, columns: dict, names=None):
        self.column_names = list(columns)
        self.features = {name: types.SimpleNamespace() for name in columns}
        if names is not None:
            self.features["label"].names = names
        self._columns = columns

    def __getitem__(self, name: str) -> list:
        return self._columns[name]

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))


def test_hugging_face_data_sets(monkeypatch):
    train = Split({"text": ["a", "b", "c"], "label": [1, 0, 1]}, ["no", "yes"])
    test = Split({"text": ["d"], "label": [0]}, ["no", "yes"])
    found: dict = {"train": train, "test": test}
    module = types.SimpleNamespace(load_dataset=lambda name: found)
    monkeypatch.setitem(sys.modules, "datasets", module)
    texts = open_texts("hf:some/set")
    assert texts.texts == ("a", "b", "c")
    assert texts.label_names == ("no", "yes")
    assert texts.labels.tolist() == [1, 0, 1]
    assert texts.test.texts == ("d",)
    del found["test"]
    assert open_texts("hf:some/set", holdout=0).test is None
    found["train"] = Split({"text": ["a", "b"], "label": ["u", "v"]})
    assert open_texts("hf:x", holdout=0).label_names == ("u", "v")
    with pytest.raises(DataError, match="a column 'body'"):
        open_texts("hf:x", text_column="body")

    def fail(name: str) -> None:
        raise ConnectionError("offline\nmore")

    module.load_dataset = fail
    with pytest.raises(DataError, match="some/set; got offline$"):
        open_texts("hf:some/set")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"contrasift\[text\]"):
        open_texts("hf:some/set")


def test_real_data_sets_from_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["p", "q"])}
    )
    rows = {"text": ["a", "b", "c"], "label": [0, 1, 1]}
    split = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": split, "test": split}).save_to_disk(tmp_path / "set")
    texts = open_texts(f"hf:{tmp_path / 'set'}")
    assert texts.texts == ("a", "b", "c")
    assert texts.labels.tolist() == [0, 1, 1]
    assert texts.label_names == texts.test.label_names == ("p", "q")


def test_bad_collections(folder, tmp_path):
    with pytest.raises(UsageError, match="fortunes, ag-news"):
        open_texts("no such thing")
    with pytest.raises(DataError, match="Debian's packages"):
        open_texts(f"fortunes:{tmp_path / 'none'}")
    with pytest.raises(UsageError, match="a label with at least 9 texts; got at most 5"):
        open_texts(folder, least=9)
    with pytest.raises(UsageError, match="limit of at least 1"):
        open_texts(folder, limit=0)
    with pytest.raises(UsageError, match="hold-out share"):
        open_texts(folder, holdout=1)
    with pytest.raises(DataError, match="at least two texts"):
        open_texts(folder, limit=1)
    (tmp_path / "bad").write_bytes(b"caf\xe9\n%\nx\n")
    with pytest.raises(DataError, match="texts in UTF-8"):
        open_texts(folder)
    (tmp_path / "t.csv").write_text("text,label\na,b,c\n")
    with pytest.raises(DataError, match="2 fields in every row.*3 in row 2"):
        open_texts(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("words\na\n")
    with pytest.raises(DataError, match="text_column="):
        open_texts(tmp_path / "t.csv")
    (tmp_path / "l.txt").write_text("a\nb\n")
    with pytest.raises(UsageError, match="labels for least="):
        open_texts(tmp_path / "l.txt", least=2)
    assert np.array_equal(open_texts(tmp_path / "l.txt").index, [0, 1])
