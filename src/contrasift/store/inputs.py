"""Files that a user brings to a selection: classes, lists of examples, weights.

Each may be a path or the address of an object (`s3://…`), which is copied into the cache first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.class_names import canonical_integer, plain_names
from contrasift.errors import DataError, UsageError
from contrasift.ids import are_numbers, as_ids, rows_of_ids
from contrasift.reading import read_filled_lines, read_lines, read_text
from contrasift.store.atomic import load_array, read_json
from contrasift.store.remote import local_file
from contrasift.store.tables import check_columns, read_table

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def load_classes_file(path: Path | str, index: np.ndarray, ids: Any = None) -> np.ndarray:
    """One class a row: a `.npy` of integers or text, a `classes.parquet`, or lines of text.

    A `.csv` or `.tsv` may have the columns of that table. What is one name and what are two is
    settled in `contrasift.class_names`.

    Args:
        path: the file.
        index: pool index of every row; a table is brought into this order.
        ids: of every row, if they have any; then a table may have `id` instead of `index`.

    Raises:
        DataError: unreadable, or a table of other examples.
    """
    path = local_file(path)
    if path.suffix == ".npy":
        return load_array(path)
    if path.suffix == ".parquet":
        table = by_index(read_table(path), path, index, ids)
        for name in ("index", "latent_class"):
            if name not in table:
                raise DataError(f"the column {name} in {path}", ", ".join(table))
        return _classes_of_table(table, path, index)
    lines = a_value_a_line(path, "classes")
    if path.suffix in (".csv", ".tsv") and any(_SEPARATORS[path.suffix] in line for line in lines):
        return _classes_of_table(_class_columns(path, index, ids), path, index)
    return np.array(lines, dtype=str)


_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def _classes_of_table(table: Mapping[str, np.ndarray], path: Path, index: np.ndarray) -> np.ndarray:
    order = np.argsort(table["index"], kind="stable")
    if not np.array_equal(table["index"][order], np.sort(index)):
        raise DataError(
            f"one class for each of the {index.size} examples",
            f"{path} with {table['index'].size} rows, of other examples",
            "Check that both files come from the same pool",
        )
    labels = plain_names(table["latent_class"], f"classes in {path}")
    return labels[order[np.searchsorted(table["index"], index, sorter=order)]]


def by_index(
    table: dict[str, np.ndarray], path: Path, index: np.ndarray, ids: Any
) -> dict[str, np.ndarray]:
    """A table that names examples by their ids, by their pool indices instead."""
    if ids is None or "id" not in table:
        return table
    listed = table["id"]
    if are_numbers(ids) and listed.dtype == object:
        numbers = [canonical_integer(str(value)) for value in listed]
        listed = listed if None in numbers else np.array(numbers, dtype=np.int64)
    rows = rows_of_ids(ids, listed, f"`id` in {path}")
    others = {name: column for name, column in table.items() if name != "id"}
    return {**others, "index": index[rows]}


def _class_columns(path: Path, index: np.ndarray, ids: Any) -> dict[str, np.ndarray]:
    """Index and class of a table of text; the class is what stands there, not what it looks like."""
    table = by_index(read_columns(path, as_text=True), path, index, ids)
    others = [name for name in table if name != "index"]
    if "index" not in table or not ("latent_class" in others or len(others) == 1):
        raise DataError(
            f"the columns index and latent_class in {path}, or one class a line",
            ", ".join(table),
        )
    numbers = [canonical_integer(str(value)) for value in table["index"]]
    if None in numbers:
        raise DataError(f"whole numbers in the column `index` of {path}", "others")
    name = "latent_class" if "latent_class" in others else others[0]
    return {"index": np.array(numbers, dtype=np.int64), "latent_class": table[name]}


def load_few_labels_file(path: Path | str, index: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of a few examples: `index,label` a line; a first line of just that is a header.

    Args:
        path: the file.
        index: pool index of every row, ascending.

    Returns:
        int64 [n] codes, −1 where no label is given, and the sorted labels behind them.

    Raises:
        DataError: unreadable, another form of line, an example that is not there, or one with two
            labels.
    """
    path = local_file(path)
    pairs: dict[int, str] = {}
    for number, line in enumerate(read_filled_lines(path, "labels")):
        place, comma, label = (part.strip(" \t") for part in line.partition(","))
        if number == 0 and (place, label) == ("index", "label"):
            continue
        example = canonical_integer(place)
        if not (comma and label) or example is None or example < 0:
            raise DataError(
                f"`index,label` on every line of {path}", f"line {number + 1}: {line[:60]!r}"
            )
        if pairs.setdefault(example, label) != label:
            raise DataError(
                f"one label an example in {path}",
                f"example {place} as {pairs[example]!r} and as {label!r}",
            )
    given = np.array(sorted(pairs), dtype=np.int64)
    absent = np.setdiff1d(given, index)
    if absent.size:
        raise DataError(
            f"indices of embedded examples in {path}",
            f"{absent.size} of {given.size} others, the first of them {absent[0]}",
            "The column `index` of examples.parquet has them",
        )
    names = tuple(sorted(set(pairs.values())))
    code = {name: number for number, name in enumerate(names)}
    known = np.full(index.size, -1, dtype=np.int64)
    known[np.searchsorted(index, given)] = [code[pairs[int(place)]] for place in given]
    return known, names


def load_examples_file(path: Path | str, index: np.ndarray, ids: Any = None) -> Any:
    """Examples by their ids; where the embeddings have none, by their pool indices.

    A `.npy` of ids, of indices, or of DataComp's pairs; text with one a line; or a table with a
    column `id` or `index`, of which the rows that are `selected` count if it says so.

    Args:
        path: the file.
        index: pool index of every row.
        ids: of every row, or None.

    Returns:
        ids if there are any, else int64 indices.

    Raises:
        DataError: unreadable, or indices that are no integers.
        UsageError: ids that the embeddings do not have.
    """
    path = local_file(path)
    if path.suffix == ".parquet":
        return _examples_of_table(path, index, ids)
    if ids is None:
        return load_indices_file(path)
    if path.suffix == ".npy":
        return as_ids(load_array(path, memory_map=False), str(path))
    return as_ids(integer_lines(path) if are_numbers(ids) else _ids_in_lines(path), str(path))


def read_target(path: Path | str, index: np.ndarray, ids: Any = None) -> Any:
    """What is to be near: a `.npy` matrix of vectors, or examples as `load_examples_file` reads them.

    Args:
        path: the file.
        index: pool index of every row.
        ids: of every row, or None.

    Raises:
        DataError: unreadable, or indices that are no integers.
        UsageError: ids that the embeddings do not have.
    """
    path = local_file(path)
    if path.suffix == ".npy":
        found = load_array(path, memory_map=False)
        if found.ndim == 2:
            return found
    return load_examples_file(path, index, ids)


def _ids_in_lines(path: Path) -> list[str]:
    return list(read_filled_lines(path, "ids"))


def _examples_of_table(path: Path, index: np.ndarray, ids: Any) -> Any:
    table = read_table(path)
    if "selected" in table:
        table = {name: column[table["selected"]] for name, column in table.items()}
    if ids is not None and "id" in table:
        return as_ids(table["id"], f"`id` in {path}")
    if "index" not in table:
        wanted = "index" if ids is None else "id"
        raise DataError(f"a column `{wanted}` in {path}", ", ".join(table) or "no column")
    if ids is None:
        return table["index"]
    order = np.argsort(index, kind="stable")
    place = np.minimum(np.searchsorted(index, table["index"], sorter=order), index.size - 1)
    absent = np.flatnonzero(index[order[place]] != table["index"])
    if absent.size:
        raise DataError(f"indices of the embeddings in {path}", f"{table['index'][absent[0]]}")
    return ids.take(order[place])


def load_indices_file(path: Path | str) -> np.ndarray:
    """Pool indices: a `.npy` of integers, or text with one a line.

    Raises:
        DataError: unreadable, or not integers.
    """
    path = local_file(path)
    is_array = path.suffix == ".npy"
    numbers = load_array(path, memory_map=False) if is_array else integer_lines(path)
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        raise DataError(
            f"indices in {path}, one integer a line",
            f"{numbers.dtype} of shape {numbers.shape}",
            "Write them with numpy.save, or as text",
        )
    return plain_names(numbers, f"indices in {path}")


def integer_lines(path: Path) -> np.ndarray:
    """Whole numbers in a text file, one a line.

    Raises:
        DataError: unreadable, or a line that is none; it is shown.
    """
    numbers = []
    for line in read_filled_lines(path, "indices"):
        number = canonical_integer(line)
        if number is None:
            raise DataError(f"indices in {path}, one integer a line", f"{line[:60]!r}")
        numbers.append(number)
    return np.array(numbers, dtype=np.int64)


def load_weights_file(path: Path | str) -> dict[str, float] | np.ndarray:
    """Weights of classes: JSON from name to weight, or a list in ascending order of names.

    Raises:
        DataError: unreadable, or not numbers.
    """
    path = local_file(path)
    if path.suffix == ".json":
        weights: Mapping[str, Any] = read_json(path, twice="refused")
        try:
            return {name: float(weight) for name, weight in weights.items()}
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"a number for every class in {path}", str(error)) from error
    if path.suffix == ".npy":
        listed = load_array(path, memory_map=False)
    else:
        listed = np.array(a_value_a_line(path, "weights"))
    try:
        return listed.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"a number for every class in {path}", str(error)) from error


def load_numbers_file(path: Path | str) -> np.ndarray:
    """A list of numbers: .npy, or text with spaces, commas or line ends between them.

    Returns:
        float64, or as the array has them.

    Raises:
        DataError: unreadable, or not numbers.
    """
    path = local_file(path)
    if path.suffix == ".npy":
        return load_array(path, memory_map=False)
    words = read_text(path, "numbers").replace(",", " ").split()
    try:
        return np.array([float(word) for word in words])
    except ValueError as error:
        raise DataError(f"numbers in {path}", str(error)) from error


def read_columns(path: Path, *, as_text: bool = False) -> dict[str, np.ndarray]:
    """The columns of a table of text, whose first line names them.

    Args:
        path: the file, with commas, or with tabs if it is called `.tsv`.
        as_text: do not guess what is a number.
    """
    import pyarrow as pa
    from pyarrow import csv

    text = read_text(path, "a table")
    separator = _SEPARATORS.get(path.suffix, ",")
    names = [name.strip('"') for name in text.partition("\n")[0].split(separator)]
    kinds = dict.fromkeys(names, pa.string()) if as_text else None
    try:
        table = csv.read_csv(
            pa.BufferReader(text.encode()),
            parse_options=csv.ParseOptions(delimiter=separator),
            convert_options=csv.ConvertOptions(column_types=kinds, strings_can_be_null=False),
        )
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"a table of comma-separated values at {path}", str(error)) from error
    check_columns(table, path)
    return {name: table[name].to_numpy() for name in table.column_names}


def parse_bytes(text: str) -> int:
    """A size such as 2GB, 500 MB, 1.5GiB or 1000000.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    if match is None:
        raise UsageError("a size such as 2GB, 500MB or 1.5GiB", text)
    number, unit, binary = match.groups()
    return int(float(number) * (_BINARY_UNITS if binary else _UNITS)[unit])


def a_value_a_line(path: Path, name: str) -> list[str]:
    """Lines of which each belongs to an example or a class, so that none may be blank."""
    lines = read_lines(path, name)
    if "" in lines:
        raise DataError(
            f"{name} in every line of {path}",
            f"nothing in line {lines.index('') + 1}",
            "The first line is the first one's, and so on: fill the blank ones, or remove them",
        )
    return lines
