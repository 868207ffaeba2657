"""Collections of short texts with labels: files, folders, CSV, AG News, Hugging Face data sets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError, UsageError, with_extra
from contrasift.pools.label_files import check_shared, needs_table, read_label_file
from contrasift.pools.labels import check_label_count, encode_labels, natural_key
from contrasift.pools.named import data_folder
from contrasift.pools.whole import check_enough, draw_holdout, draw_positions
from contrasift.reading import read_text

# Where Debian's packages fortunes and fortunes-min put their files.
_FORTUNES = Path("/usr/share/games/fortunes")
_AG_NEWS_NAMES = ("World", "Sports", "Business", "Sci/Tech")
_SEPARATOR = re.compile(r"^%[ \t\r]*$", re.MULTILINE)
_FORMS = (
    "fortunes, ag-news[:FOLDER], hf:NAME, a .csv or .tsv file with a header, a .txt file with one "
    "text a line, or a folder of files whose names are the labels"
)


@dataclass(frozen=True)
class Texts:
    """Texts by position, with an index that never changes.

    Attributes:
        name: what the collection is called.
        texts: [m].
        index: int64 [m]; the place of each text in the whole source, ascending.
        labels: int64 [m], −1 unknown; None when nothing is labelled.
        label_names: the name of each label code.
        test: held-out, labelled texts; None if there are none.
    """

    name: str
    texts: tuple[str, ...]
    index: np.ndarray
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    test: Texts | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, places: np.ndarray, name: str = "") -> Texts:
        """Some of the texts, each with its index."""
        return Texts(
            name or self.name,
            tuple(self.texts[int(place)] for place in places),
            self.index[places],
            None if self.labels is None else self.labels[places],
            self.label_names,
        )


def open_texts(
    source: str | Path,
    *,
    text_column: str = "text",
    label_column: str = "label",
    labels: str = "auto",
    least: int = 1,
    limit: int | None = None,
    holdout: float | int = 0.2,
    seed: int = 0,
) -> Texts:
    """Open a collection of texts.

    Args:
        source: `fortunes` or `fortunes:FOLDER`; `ag-news` or `ag-news:FOLDER` (the CSV release);
            `hf:NAME` or `hf:FOLDER` (package datasets); a `.csv` or `.tsv` file with a header; any
            other file with one text a line; a folder of files, each of texts between lines `%` or
            one a line, whose names are the labels.
        text_column: of a CSV file or a Hugging Face data set.
        label_column: the same; a file without this column has no labels.
        labels: `auto`, `none`, or a file with one label a line or a table of ids (from 0) and labels.
        least: labels with fewer texts (those with a test set: training texts) are left out.
        limit: use only so many texts, drawn with the seed.
        holdout: share of every label held out where there is no test set.
        seed: of the draw that `limit` makes.

    Returns:
        The texts, and held-out ones as `test`.

    Raises:
        UsageError: no such source, or options that mean nothing.
        DataError: data that cannot be used as they are.
        MissingExtraError: the package datasets is not installed.
    """
    if limit is not None and limit < 1:
        raise UsageError("a limit of at least 1", str(limit))
    if not 0 <= holdout < 1:
        raise UsageError("a hold-out share in [0, 1)", str(holdout))
    whole = _with_labels(_whole(str(source), text_column, label_column), labels)
    whole = _with_frequent_labels(whole, least)
    test, training = whole.test, np.arange(len(whole))
    if test is None and whole.labels is not None and holdout > 0:
        held_out = draw_holdout(whole.labels, holdout)
        training = training[~held_out]
        if held_out.any():
            test = whole.part(np.flatnonzero(held_out), f"{whole.name} (held out)")
    places = training[draw_positions(len(training), limit, seed)]
    check_enough(len(places), "texts to learn from", whole.name, "Raise the limit")
    return replace(whole.part(places), test=test)


def _whole(source: str, text_column: str, label_column: str) -> Texts:
    name, colon, rest = source.partition(":")
    if name == "fortunes":
        return _folder(Path(rest).expanduser() if colon else _FORTUNES, "fortunes")
    if name == "ag-news":
        return _ag_news(Path(rest).expanduser() if colon else data_folder() / "ag-news")
    if name == "hf" and colon:
        return _hugging_face(rest, text_column, label_column)
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, path.name)
    if not path.is_file():
        raise UsageError(f"texts: {_FORMS}", repr(source))
    if path.suffix in (".csv", ".tsv"):
        return _table(path, text_column, label_column)
    return _collection(path.stem, _pieces(_read(path)), None, str(path))


def _collection(name: str, texts: Sequence[str], labels: Any, where: str) -> Texts:
    codes, names = (None, ()) if labels is None else encode_labels(labels, where)
    return Texts(name, tuple(texts), np.arange(len(texts), dtype=np.int64), codes, names)


def _read(path: Path) -> str:
    return read_text(path, "texts")


def _pieces(content: str) -> list[str]:
    """Texts between lines of `%`; in a file without any, one a line. Empty ones are no texts."""
    separated = _SEPARATOR.search(content) is not None
    pieces = _SEPARATOR.split(content) if separated else content.split("\n")
    return [piece.strip() for piece in pieces if piece.strip()]


def _folder(folder: Path, name: str) -> Texts:
    if not folder.is_dir():
        raise DataError(
            f"a folder of texts, {folder}",
            "none",
            "Debian's packages fortunes and fortunes-min have them" if name == "fortunes" else "",
        )
    texts: list[str] = []
    labels: list[str] = []
    # `.dat` are indices into the texts; links would bring the same texts twice.
    files = [
        path
        for path in folder.iterdir()
        if path.is_file()
        and not path.is_symlink()
        and path.suffix != ".dat"
        and not path.name.startswith(".")
    ]
    for path in sorted(files, key=lambda file: natural_key(file.name)):
        found = _pieces(_read(path))
        texts += found
        labels += [path.stem] * len(found)
    check_enough(len(texts), "texts", str(folder))
    return _collection(name, texts, labels, str(folder))


def _table(path: Path, text_column: str, label_column: str) -> Texts:
    rows = _csv_rows(path, "\t" if path.suffix == ".tsv" else ",")
    header, rows = (rows[0], rows[1:]) if rows else ([], [])
    if text_column not in header:
        raise DataError(
            f"a column {text_column!r} in {path}",
            f"columns {', '.join(map(repr, header))}",
            "Name it with text_column=",
        )
    text = header.index(text_column)
    label = header.index(label_column) if label_column in header else None
    _check_width(path, rows, len(header), first_line=2)
    labels = None if label is None else [row[label] for row in rows]
    return _collection(path.stem, [row[text] for row in rows], labels, str(path))


def _csv_rows(path: Path, delimiter: str = ",") -> list[list[str]]:
    try:
        return [row for row in csv.reader(io.StringIO(_read(path)), delimiter=delimiter) if row]
    except csv.Error as error:
        raise DataError(f"a CSV file {path}", str(error)) from error


def _check_width(path: Path, rows: list[list[str]], width: int, first_line: int) -> None:
    for number, row in enumerate(rows, start=first_line):
        if len(row) != width:
            raise DataError(f"{width} fields in every row of {path}", f"{len(row)} in row {number}")


def _ag_news(folder: Path) -> Texts:
    """The release of Zhang, Zhao and LeCun (2015): class index, title, description; no header."""
    names = _AG_NEWS_NAMES
    if (folder / "classes.txt").is_file():
        names = tuple(_read(folder / "classes.txt").split("\n"))
        names = tuple(name.strip() for name in names if name.strip())
    train, test = (_ag_news_part(folder / f"{part}.csv", names) for part in ("train", "test"))
    return replace(train, test=test)


def _ag_news_part(path: Path, names: tuple[str, ...]) -> Texts:
    if not path.is_file():
        raise DataError(
            f"AG News' {path.name} in {path.parent}",
            "no such file",
            "Put train.csv and test.csv of the ag_news_csv release there, or name their folder: "
            "ag-news:FOLDER",
        )
    rows = _csv_rows(path)
    _check_width(path, rows, 3, first_line=1)
    allowed = {str(number) for number in range(1, len(names) + 1)}
    wrong = next((row[0] for row in rows if row[0] not in allowed), None)
    if wrong is not None:
        raise DataError(f"class numbers from 1 to {len(names)} in {path}", repr(wrong))
    # The release writes line ends as backslashes.
    texts = tuple(f"{title} {description}".replace("\\", " ") for _, title, description in rows)
    codes = np.array([int(row[0]) - 1 for row in rows], dtype=np.int64)
    return Texts(
        "ag-news" + (" (test)" if path.stem == "test" else ""),
        texts,
        np.arange(len(texts), dtype=np.int64),
        codes,
        names,
    )


def _hugging_face(name: str, text_column: str, label_column: str) -> Texts:
    datasets = with_extra("datasets", "text")
    try:
        folder = Path(name).expanduser()
        found = datasets.load_from_disk(folder) if folder.is_dir() else datasets.load_dataset(name)
    except Exception as error:  # whatever the network does
        raise DataError(f"the data set {name}", str(error).split("\n")[0]) from error
    splits = dict(found) if isinstance(found, dict) else {"train": found}
    train = splits.get("train") or next(iter(splits.values()))
    whole = _split(train, name, text_column, label_column)
    if "test" not in splits or whole.labels is None:
        return whole
    test = _split(splits["test"], f"{name} (test)", text_column, label_column)
    if test.label_names != whole.label_names:
        raise DataError(f"the same labels in train and test of {name}", f"{test.label_names}")
    return replace(whole, test=test)


def _split(split: Any, name: str, text_column: str, label_column: str) -> Texts:
    if text_column not in split.column_names:
        raise DataError(
            f"a column {text_column!r} in {name}",
            f"columns {', '.join(map(repr, split.column_names))}",
            "Name it with text_column=",
        )
    texts = [str(text) for text in split[text_column]]
    if label_column not in split.column_names:
        return _collection(name, texts, None, name)
    names = getattr(split.features[label_column], "names", None)
    if names is None:
        return _collection(name, texts, list(split[label_column]), name)
    codes = np.array(split[label_column], dtype=np.int64)
    index = np.arange(len(texts), dtype=np.int64)
    return Texts(name, tuple(texts), index, codes, tuple(names))


def _with_labels(whole: Texts, labels: str) -> Texts:
    if labels == "auto":
        return whole
    if labels == "none":
        return Texts(whole.name, whole.texts, whole.index)
    if whole.test is not None:
        raise UsageError(f"labels=auto or none for {whole.name}, which has a test set", labels)
    ids = [str(row) for row in range(len(whole))]
    codes, names = encode_labels(read_label_file(Path(labels).expanduser(), ids), labels)
    check_label_count(len(codes), len(whole), labels)
    check_shared(codes, labels, needs_table(ids[0]))
    return Texts(whole.name, whole.texts, whole.index, codes, names)


def _with_frequent_labels(whole: Texts, least: int) -> Texts:
    """Without the labels that fewer than `least` texts have; codes are dealt out anew."""
    if least <= 1:
        return whole
    if whole.labels is None:
        raise UsageError("labels for least=", f"none in {whole.name}")
    sizes = np.bincount(whole.labels[whole.labels >= 0], minlength=len(whole.label_names))
    kept = np.flatnonzero(sizes >= least)
    if kept.size == 0:
        raise UsageError(f"a label with at least {least} texts", f"at most {sizes.max(initial=0)}")
    names = tuple(whole.label_names[code] for code in kept)
    first = _of_labels(whole, kept, names)
    test = None if whole.test is None else _of_labels(whole.test, kept, names)
    return replace(first, test=test)


def _of_labels(whole: Texts, kept: np.ndarray, names: tuple[str, ...]) -> Texts:
    """The texts of some labels, which get the codes 0, 1, ..."""
    assert whole.labels is not None
    part = whole.part(np.flatnonzero(np.isin(whole.labels, kept)))
    assert part.labels is not None
    codes = np.searchsorted(kept, part.labels).astype(np.int64)
    return replace(part, labels=codes, label_names=names)
