"""Labels of any kind as codes and names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from contrasift.class_names import label_array, plain_names, settled
from contrasift.errors import DataError

_DIGITS = re.compile(r"([0-9]+)")


def natural_key(text: str) -> tuple[Any, ...]:
    """Sort key that puts `img9` before `img10`; the text itself settles what is then equal."""
    pieces = _DIGITS.split(text)
    return (tuple(_piece_key(piece) for piece in pieces), text)


def _piece_key(piece: str) -> tuple[int, int, str]:
    """Numbers by their value, however many digits they have, before other text."""
    if not (piece.isdigit() and piece.isascii()):
        return (1, 0, piece)
    digits = piece.lstrip("0")
    return (0, len(digits), digits)


def encode_labels(values: Any, where: str = "labels") -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as codes 0..K-1 in the order of their names, -1 for unknown ones.

    What is one name and what are two is settled in `contrasift.class_names`.

    Args:
        values: integers (negative: unknown), whole floats (NaN: unknown), or text (blank: unknown).
        where: what to call them in an error.

    Returns:
        codes int64 [n], and the K names: numbers in numerical, text in natural order.

    Raises:
        DataError: another shape, or values that cannot be labels.
    """
    array = label_array(_one_column(values), where)
    if array.ndim != 1:
        raise DataError(f"{where} as one label an image", f"an array of shape {array.shape}")
    known = np.flatnonzero(_is_given(array))
    names, inverse = np.unique(plain_names(array[known], where), return_inverse=True)
    names = settled(names)
    if names.dtype.kind == "U":
        order = np.array(sorted(range(names.size), key=lambda at: natural_key(names[at])), int)
    else:
        order = np.argsort(names)
        order = order[names[order] >= 0]
    place = np.full(names.size, -1, dtype=np.int64)
    place[order] = np.arange(order.size)
    codes = np.full(array.size, -1, dtype=np.int64)
    codes[known] = place[inverse]
    return codes, tuple(str(name) for name in names[order].tolist())


def _one_column(values: Any) -> Any:
    """A matrix of one column, which MATLAB's files hold, as a vector."""
    array = values if hasattr(values, "dtype") else _listed(list(values))
    if hasattr(array, "dtype") and array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    return array


def _listed(rows: list[Any]) -> Any:
    if any(isinstance(row, (list, tuple, np.ndarray)) for row in rows):
        try:
            return np.asarray(rows)
        except ValueError as error:
            raise DataError("one label an example", "lists of several lengths") from error
    unknown = "" if any(isinstance(row, str) for row in rows) else -1
    return [unknown if isinstance(row, float) and row != row else row for row in rows]


def _is_given(array: np.ndarray) -> np.ndarray:
    """Which labels are there: numbers but NaN, and text with a sign in it."""
    if array.dtype.kind == "f":
        return ~np.isnan(array)
    if array.dtype.kind in "SU":
        return np.char.str_len(np.char.strip(array)) > 0
    return np.ones(array.size, dtype=bool)


def check_label_count(n_labels: int, n_images: int, where: str) -> None:
    """Stop when labels and images do not match.

    Raises:
        DataError: names both counts.
    """
    if n_labels != n_images:
        raise DataError(
            f"one label for each of the {n_images} images",
            f"{n_labels} labels in {where}",
            "Give one label a line in the order of the pool index, an empty line where unknown, or a "
            "table with the columns id and label",
        )


def component_labels(ids: Sequence[str]) -> list[str]:
    """The first folder of each relative path; empty, so unknown, for files outside of any."""
    return [text.partition("/")[0] if "/" in text else "" for text in ids]


class Coder:
    """Labels of many examples, one at a time, in memory that grows with the number of names only.

    Args:
        n: how many examples there are; those that are never added have no label.
    """

    def __init__(self, n: int) -> None:
        self._places = np.full(n, -1, dtype=np.int64)
        self._place_of: dict[str, int] = {}

    @property
    def distinct(self) -> int:
        """How many names there are so far."""
        return len(self._place_of)

    def add(self, row: int, name: str) -> None:
        """The label of an example; empty text is none."""
        if name:
            self._places[row] = self._place_of.setdefault(name, len(self._place_of))

    def finish(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Codes and names, as `encode_labels` gives them."""
        codes, names = encode_labels(list(self._place_of))
        return np.append(codes, -1)[self._places], names
