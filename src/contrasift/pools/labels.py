"""Labels of any kind as codes and names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError, UsageError

_DIGITS = re.compile(r"([0-9]+)")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def natural_key(text: str) -> tuple[Any, ...]:
    """Sort key that puts `img9` before `img10`; the text itself settles what is then equal."""
    pieces = _DIGITS.split(text)
    numbered = tuple((0, int(p), "") if p.isdigit() and p.isascii() else (1, 0, p) for p in pieces)
    return (numbered, text)


def encode_labels(values: Any, where: str = "labels") -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as codes 0..K-1 in the order of their names, -1 for unknown ones.

    Args:
        values: integers (negative: unknown), whole floats (NaN: unknown), or text (empty: unknown).
        where: what to call them in an error.

    Returns:
        codes int64 [n], and the K names: numbers in numerical, text in natural order.

    Raises:
        DataError: another shape, or values that cannot be labels.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(f"{where} as one label an image", f"an array of shape {array.shape}")
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.tolist()):
        array = array.astype(str)
    if array.dtype.kind in "fbiu":
        return _encode_numbers(array, where)
    if array.dtype.kind not in "SU":
        raise DataError(f"{where} that are integers or text", f"dtype {array.dtype}")
    texts = [value.strip() for value in array.astype(str).tolist()]
    known = [text for text in texts if text]
    if known and all(_INTEGER.fullmatch(text) for text in known):
        return _encode_numbers(np.array([int(text) if text else -1 for text in texts]), where)
    names = sorted(set(known), key=natural_key)
    code = {name: place for place, name in enumerate(names)} | {"": -1}
    return np.array([code[text] for text in texts], dtype=np.int64), tuple(names)


def _encode_numbers(array: np.ndarray, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    if array.dtype.kind == "f":
        numbers = np.where(np.isnan(array), -1, array)
        if not np.isfinite(numbers).all() or (numbers != np.rint(numbers)).any():
            raise DataError(f"{where} that are whole numbers", "fractions or infinities")
        array = numbers
    whole = array.astype(np.int64)
    known = np.unique(whole[whole >= 0])
    codes = np.where(whole < 0, -1, np.searchsorted(known, whole)).astype(np.int64)
    return codes, tuple(str(value) for value in known.tolist())


def read_label_file(path: Path) -> np.ndarray | list[str]:
    """Labels from a `.npy` file, or from a text file with one label a line (empty: unknown).

    Raises:
        UsageError: no such file.
        DataError: it cannot be read as either.
    """
    if not path.is_file():
        raise UsageError(
            "labels to be auto, folders, none, or a file with one label a line",
            f"{path}, which is no file",
        )
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError, EOFError) as error:
        raise DataError("a label file (.npy, or UTF-8 text)", f"{path}: {error}") from error
    return text.removesuffix("\n").split("\n") if text else []


def check_label_count(n_labels: int, n_images: int, where: str) -> None:
    """Stop when labels and images do not match.

    Raises:
        DataError: names both counts.
    """
    if n_labels != n_images:
        raise DataError(
            f"one label for each of the {n_images} images",
            f"{n_labels} labels in {where}",
            "Give one label a line in the order of the pool index, an empty line where unknown",
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
