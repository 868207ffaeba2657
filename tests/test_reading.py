"""Text files, whatever program wrote them (the kind of fault 5)."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import numpy as np
import pytest

from contrasift.errors import ContrasiftError, DataError, visible
from contrasift.pools import open_pool
from contrasift.store.inputs import (
    load_classes_file,
    load_few_labels_file,
    load_indices_file,
    load_numbers_file,
    load_weights_file,
)
from contrasift.store.run import read_recipe_mapping
from contrasift.store.scores import read_scores
from contrasift.store.subsets import load_subset_file

INDEX = np.arange(3)


def wordnet(path: Path):
    from contrasift.negatives.wordnet import read_synset_file

    return read_synset_file(path)


def names(path: Path):
    from contrasift.training.clip import _read_lines

    return _read_lines(str(path), "names")


def texts(path: Path):
    from contrasift.text.collection import open_texts

    return list(open_texts(str(path)).texts)


def labels(path: Path):
    pool = open_pool(np.zeros((3, 8, 8), np.uint8), labels=str(path), holdout=0)
    return pool.labels.tolist(), pool.label_names


# Every input of text: its plain form, and what reads it.
READERS = {
    "classes.txt": ("1\n2\n1", lambda path: load_classes_file(path, INDEX)),
    "classes.csv": (
        "index,latent_class\n0,1\n1,2\n2,1",
        lambda path: load_classes_file(path, INDEX),
    ),
    "few.csv": ("index,label\n0,cat\n2,dog", lambda path: load_few_labels_file(path, INDEX)),
    "few-labels.csv": ("0,cat\n2,dog", lambda path: load_few_labels_file(path, INDEX)),
    "keep.txt": ("2\n0", load_indices_file),
    "weights.json": ('{"a": 2}', load_weights_file),
    "weights.txt": ("2\n1", load_weights_file),
    "scores.txt": ("0.5\n1\ninf", lambda path: read_scores(path, INDEX)),
    "scores.csv": ("index,s\n0,1\n1,2\n2,3", lambda path: read_scores(path, INDEX)),
    "recipe.yaml": ("pool:\n  limit: 3", read_recipe_mapping),
    "subset.csv": ("index,selected\n0,true\n2,true", load_subset_file),
    "subset.txt": ("0\n2", load_subset_file),
    "priors.txt": ("0.5, 0.5\n1", load_numbers_file),
    "synsets.txt": ("cat\tn02084071\ndog\tn02084072", wordnet),
    "names.txt": ("cat\ndog", names),
    "texts.txt": ("one text\nanother text", texts),
    "texts.csv": ("text,label\none text,a\nanother text,b", texts),
    "labels.txt": ("01\n1\n01", labels),
}


def variants(text: str) -> dict[str, bytes]:
    lines = text.split("\n")
    return {
        "mark": codecs.BOM_UTF8 + text.encode(),
        "crlf": text.replace("\n", "\r\n").encode(),
        "cr": text.replace("\n", "\r").encode(),
        "last line ended": (text + "\n").encode(),
        "blank last lines": (text + "\n\n\n").encode(),
        "trailing blanks": " \n".join([*lines, ""]).encode(),
        "all of it": codecs.BOM_UTF8 + "\t\r\n".join([*lines, "", ""]).encode(),
    }


def plain(value: object) -> str:
    if isinstance(value, tuple):
        return repr([plain(part) for part in value])
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)


@pytest.mark.parametrize("name", READERS)
def test_every_way_of_writing_a_text_reads_alike(tmp_path, name):
    text, read = READERS[name]
    path = tmp_path / name
    path.write_text(text)
    wanted = plain(read(path))
    for how, data in variants(text).items():
        # Blanks belong to a cell of a table, and to YAML.
        if how in ("trailing blanks", "all of it") and name.endswith(("csv", "yaml")):
            continue
        path.write_bytes(data)
        assert plain(read(path)) == wanted, how


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_called_by_its_name(tmp_path, name, coding):
    text, read = READERS[name]
    path = tmp_path / name
    path.write_bytes(text.encode(coding))
    with pytest.raises(ContrasiftError, match="UTF-16"):
        read(path)


@pytest.mark.parametrize("name", READERS)
def test_other_codings_name_the_line(tmp_path, name):
    text, read = READERS[name]
    path = tmp_path / name
    path.write_bytes(text.encode() + "\né".encode("latin-1"))
    with pytest.raises(ContrasiftError, match=r"line \d+: byte 0xe9"):
        read(path)


def test_a_value_that_belongs_to_a_row_cannot_be_blank(tmp_path):
    (tmp_path / "c.txt").write_text("a\n\nb\n")
    for read in (load_classes_file, read_scores):
        with pytest.raises(DataError, match="nothing in line 2"):
            read(tmp_path / "c.txt", INDEX)


def test_labels_may_end_in_unknown_ones(tmp_path):
    (tmp_path / "l.txt").write_text("a\n\n\n\n\n")
    assert labels(tmp_path / "l.txt") == ([0, -1, -1], ("a",))


def test_strange_line_ends_are_part_of_a_name(tmp_path):
    (tmp_path / "c.txt").write_text("a\u2028b\na\x0bb\na\x85b", encoding="utf-8")
    assert load_classes_file(tmp_path / "c.txt", INDEX).tolist() == ["a\u2028b", "a\x0bb", "a\x85b"]


@pytest.mark.parametrize("line", ["1_0", "٣", "+1", "01", "1.0", "\ufeff1", "1\xa0", "9" * 30])
def test_an_index_is_written_in_one_way(tmp_path, line):
    (tmp_path / "i.txt").write_text("0\n" + line, encoding="utf-8")
    with pytest.raises(DataError, match="one integer a line") as caught:
        load_indices_file(tmp_path / "i.txt")
    assert caught.value.got.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 猫", "plain é 猫"),
        ("a\ufeffb", r"a\ufeffb"),
        ("a\u200bb\u202e", r"a\u200bb\u202e"),
        ("a\xa0b\x1b[31m", r"a\xa0b\x1b[31m"),
        ("\udcff\U000e0001", r"\udcff\U000e0001"),
        ("two\nlines\tand", "two\nlines\tand"),
    ],
)
def test_what_nobody_sees_is_shown_escaped(text, shown):
    assert visible(text) == shown
    assert shown in str(DataError("a", text))


def test_json_that_is_none(tmp_path):
    broken = {
        "": "a JSON file",
        "[1]": "a JSON object .* got list",
        '{"a": ': "a JSON file",
        "[" * 100_000: "a JSON file",
        json.dumps({"a": "b"}): "a number for every class",
    }
    for text, message in broken.items():
        (tmp_path / "w.json").write_text(text)
        with pytest.raises(DataError, match=message):
            load_weights_file(tmp_path / "w.json")
