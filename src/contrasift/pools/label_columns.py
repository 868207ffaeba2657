"""A column of labels in a table, of any of Arrow's types, as codes and names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contrasift.errors import DataError
from contrasift.pools.labels import encode_labels

LABEL_COLUMNS = ("label", "labels", "cls", "class", "fine_label")
# What to do about a column that cannot be used.
WITHOUT = "Go without it (labels='none'), or name a file of labels as labels="
_LARGEST = 2**63 - 1


def label_column(names: list[str]) -> str | None:
    """Which of a table's columns has the labels, if any."""
    return next((name for name in LABEL_COLUMNS if name in names), None)


def column_labels(
    column: pa.ChunkedArray, names: tuple[str, ...], where: str
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Codes and names of a column of labels.

    Integers of any width, whole floats, truth values (0 and 1) and text are labels, also as a
    dictionary; nulls are unknown. Of integers beyond int64 the names are their digits.

    Args:
        column: as it was read.
        names: what integers stand for, as Hugging Face's `ClassLabel` has it; () without.
        where: what to call the column in an error.

    Returns:
        int64 [n], -1 unknown, and the names; (None, ()) where every row is null.

    Raises:
        DataError: another type, fractions, or an integer without a name.
    """
    if column.null_count == len(column):
        return None, ()
    plain = _plain(column)
    if plain is None:
        raise _refused(column, where)
    values = pc.unique(plain.drop_null())  # pyright: ignore[reportAttributeAccessIssue]
    try:
        listed = values.to_pylist()
        if names and pa.types.is_integer(values.type):
            codes, found = _of_names(listed, names, where), names
        else:
            codes, found = encode_labels(_comparable(listed), where)
    except UnicodeDecodeError as error:
        raise DataError(f"{where} in UTF-8", str(error), WITHOUT) from error
    except DataError as error:
        raise _refused(column, where, error.got) from error
    place = pc.index_in(plain, value_set=values)  # pyright: ignore[reportAttributeAccessIssue]
    rows = place.fill_null(len(listed)).to_numpy()
    return np.append(codes, -1)[rows], found


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The column as integers, floats or text; None where it is nothing of these."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column
    if pa.types.is_boolean(kind):
        return column.cast(pa.int8())
    if pa.types.is_floating(kind):
        return column.cast(pa.float64())
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    return None


def _comparable(values: list[Any]) -> list[Any]:
    beyond = any(isinstance(value, int) and value > _LARGEST for value in values)
    return [str(value) for value in values] if beyond else values


def _of_names(values: list[int], names: tuple[str, ...], where: str) -> np.ndarray:
    if max(values) >= len(names):
        raise DataError(f"labels below {len(names)} in {where}", str(max(values)))
    return np.array([max(value, -1) for value in values], dtype=np.int64)


def _refused(column: pa.ChunkedArray, where: str, got: str = "") -> DataError:
    return DataError(
        f"labels that are integers or text in {where}",
        f"{column.type}" + (f" with {got}" if got else ""),
        WITHOUT,
    )
