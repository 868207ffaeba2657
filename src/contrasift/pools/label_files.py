"""A file of labels: one a line in the order of the pool, or a table of ids and labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from contrasift.errors import DataError, UsageError
from contrasift.pools.label_columns import column_labels
from contrasift.reading import read_text
from contrasift.store.tables import read_arrow

_IDS = ("id", "ids", "image_id", "file", "filename", "file_name", "path", "image", "name", "key")
_LABELS = ("label", "labels", "class", "class_name", "category", "target")
_DELIMITERS = {".tsv": "\t", ".csv": ",;\t"}
# Fewer labels than that may all differ by chance; of more, a class has more than one example.
_ENOUGH, _UNIQUE = 10, 0.9

Labels = np.ndarray | list[str]


def read_label_file(path: Path, ids: Sequence[str]) -> Labels:
    """Labels by place in the pool, from whatever form of file.

    A `.npy` array or text with one label a line (empty: unknown) is in the order of the pool. A
    `.parquet`, or text whose lines all have a comma, semicolon or tab, is a table of ids and labels,
    in any order: with a header such as `id,label`, or of two columns of which the first holds ids
    of the pool. Text of which neither is true has labels in which that sign stands.

    Args:
        path: the file.
        ids: of all examples, in the order of the pool.

    Returns:
        The labels; text is blank where none is known.

    Raises:
        UsageError: no such file.
        DataError: it cannot be read as any of these, or a table names an example twice or one that
            the pool lacks.
    """
    if not path.is_file():
        raise UsageError(
            "labels to be auto, folders, none, or a file with one label a line or a table id,label",
            f"{path}, which is no file",
        )
    if path.suffix == ".npy":
        return _array(path)
    if path.suffix == ".parquet":
        return _by_id(*_parquet_columns(path), ids, path)
    text = read_text(path, "labels").removesuffix("\n")
    rows = _rows_of_table(text, path, ids)
    return _lines(text, len(ids)) if rows is None else _by_id(*rows, ids, path)


def check_shared(codes: np.ndarray, where: str, remedy: str) -> None:
    """Stop when almost every label is unique: then they are ids, or whole lines of a table.

    Args:
        codes: int [n], −1 unknown.
        where: what to call the labels in the error.
        remedy: what to do about it.

    Raises:
        DataError: of at least ten labels, more than nine tenths are different ones.
    """
    known = codes[codes >= 0]
    distinct = np.unique(known).size
    if known.size >= _ENOUGH and distinct > _UNIQUE * known.size:
        raise DataError(
            f"labels that examples share in {where}",
            f"{distinct:,} different ones of {known.size:,} examples",
            remedy,
        )


def needs_table(example: str) -> str:
    """What a file of labels that no two examples share may lack, with an id of the pool."""
    return (
        f"A table needs the columns id and label, with ids such as {example!r}; for a pool "
        "without classes pass labels='none'"
    )


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged header is parsed as Python and fails in many ways
        raise DataError("a label file (.npy, or UTF-8 text)", f"{path}: {error}") from error


def _lines(text: str, n: int) -> list[str]:
    """A label a line; blank lines behind the last example say nothing."""
    lines = [line.strip(" \t") for line in text.split("\n")] if text else []
    while len(lines) > n and not lines[-1]:
        lines.pop()
    return lines


def _rows_of_table(text: str, path: Path, ids: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """Ids and labels of a table of text; None for a text that is none."""
    filled = "\n".join(line for line in text.split("\n") if line.strip())
    for delimiter in _DELIMITERS.get(path.suffix.lower(), "\t,;"):
        lines = filled.split("\n")
        within = any(delimiter in line.strip(" \t") for line in lines)  # not only behind a label
        if not within or any(delimiter not in line for line in lines):
            continue
        rows = _split(filled, delimiter)
        columns = _named_columns(rows[0])
        if columns is not None and rows[0][columns[0]] not in ids:
            return _columns(rows[1:], columns, len(rows[0]), path)
        if not {row[0] for row in rows}.isdisjoint(ids):
            return _columns(rows, (0, 1), 2, path)
    return None


def _split(text: str, delimiter: str) -> list[list[str]]:
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    except csv.Error:  # quotes that are part of names
        rows = [line.split(delimiter) for line in text.split("\n")]
    return [[part.strip(" \t") for part in row] for row in rows]


def _named_columns(header: Sequence[str]) -> tuple[int, int] | None:
    """Where ids and labels stand by what the columns are called; None where that is not said."""
    names = [name.lower() for name in header]
    found = [[names.index(name) for name in kind if name in names] for kind in (_IDS, _LABELS)]
    return (found[0][0], found[1][0]) if all(found) else None


def _columns(
    rows: list[list[str]], columns: tuple[int, int], width: int, path: Path
) -> tuple[list[str], list[str]]:
    wrong = next((number for number, row in enumerate(rows) if len(row) != width), None)
    if wrong is not None:
        raise DataError(
            f"{width} columns in every line of the table {path}",
            f"{len(rows[wrong])} in the line of {rows[wrong][0]!r}",
            "Give two columns, id and label, or a first line that names more; put quotes around "
            "what holds the delimiter",
        )
    return [row[columns[0]] for row in rows], [row[columns[1]] for row in rows]


def _parquet_columns(path: Path) -> tuple[list[str], list[str]]:
    table = read_arrow(path)
    columns = _named_columns(table.column_names)
    if columns is None:
        if table.num_columns != 2:
            raise DataError(
                f"the columns id and label in {path}", ", ".join(table.column_names) or "none"
            )
        columns = (0, 1)
    names, given = (table.column(place) for place in columns)
    if names.null_count or not (
        pa.types.is_integer(names.type)
        or pa.types.is_string(names.type)
        or pa.types.is_large_string(names.type)
    ):
        raise DataError(
            f"ids that are text or integers in {path}",
            f"{names.type} with {names.null_count} nulls",
        )
    codes, found = column_labels(given, (), f"column {table.column_names[columns[1]]!r} of {path}")
    if codes is None:
        return [], []
    labels = [*found, ""]  # a code of −1 is the last
    return [str(name) for name in names.to_pylist()], [labels[code] for code in codes]


def _by_id(names: list[str], labels: list[str], ids: Sequence[str], path: Path) -> list[str]:
    """Bring a table into the order of the pool; examples that it lacks have no label."""
    place_of = {id: place for place, id in enumerate(ids)}
    absent = [name for name in names if name not in place_of]
    if absent or not names:
        raise DataError(
            f"ids of the pool, such as {ids[0]!r}, in the table {path}",
            f"{len(absent):,} of {len(names):,} that it lacks, the first {absent[0]!r}"
            if absent
            else "no label at all",
            "The column `id` of a run's examples.parquet has them",
        )
    by_place = [""] * len(ids)
    seen: set[str] = set()
    for name, label in zip(names, labels, strict=True):
        if name in seen:
            raise DataError(f"every id once in {path}", f"{name!r} twice", "Keep one of its lines")
        seen.add(name)
        by_place[place_of[name]] = label
    return by_place
