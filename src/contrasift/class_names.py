"""What a class is called: one rule for every file, column and argument that names classes.

The names of a source are all integers or all text. Text stays text, unless every name of the
source is a canonical decimal integer within int64: `12` and `-3` are, `012`, `+3`, `1_2` and `-0`
are not. Two names that differ are never one class; what a type cannot keep apart is refused.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from contrasift.errors import DataError

_CANONICAL = re.compile(r"0|-?[1-9][0-9]{0,18}")
_LEAST, _MOST = -(2**63), 2**63 - 1
_NUMBERS = (bool, np.bool_, int, np.integer, float, np.floating)
_SAVE_AS_TEXT = "Save the names as text"


def canonical_integer(text: str) -> int | None:
    """The number that a text is the one way of writing; None for any other text."""
    if _CANONICAL.fullmatch(text) is None:
        return None
    number = int(text)
    return number if _LEAST <= number <= _MOST else None


def label_array(values: Any, where: str = "classes") -> np.ndarray:
    """Labels as an array from which nothing was lost; objects and lists are looked at one by one.

    Args:
        values: an array, or a sequence of integers, whole floats, text or UTF-8 bytes.
        where: what to call them in an error.

    Raises:
        DataError: nulls, labels of several types, or of a type that cannot be a name.
    """
    if np.ma.is_masked(values):
        raise DataError(f"{where} for every example", "masked entries", "Leave those examples out")
    if isinstance(values, np.ndarray) or hasattr(values, "__array__"):
        array = np.asanyarray(values)
        if array.dtype.kind != "O" or array.ndim != 1:
            return array
        values = array.tolist()
    if not isinstance(values, Iterable):
        raise DataError(f"{where} as one label an example", repr(values))
    return _of_objects(list(values), where)


def plain_names(labels: Any, where: str = "classes") -> np.ndarray:
    """Labels as int64 or text, each as it is.

    Args:
        labels: as `label_array` takes them.
        where: what to call them in an error.

    Raises:
        DataError: what cannot be a name, or what its type cannot keep apart.
    """
    array = label_array(labels, where)
    kind = array.dtype.kind
    if kind in "bi":
        return np.asarray(array, dtype=np.int64)
    if kind == "u":
        return _within_int64(array, where)
    if kind == "f":
        return _whole(array, where)
    if kind == "U":
        return np.asarray(array)
    if kind == "S":
        return _decoded(array.tolist(), where)
    raise DataError(
        f"{where} that are integers or text",
        f"dtype {array.dtype}",
        "Save them as an int64 or a string array",
    )


def settled(names: np.ndarray) -> np.ndarray:
    """Names of a whole source: numbers if all are canonical, else as they are.

    Raises:
        DataError: text that no file can hold (lone surrogates).
    """
    if names.dtype.kind != "U":
        return names
    texts = names.tolist()
    for text in texts:
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            raise DataError("names of classes that are text", f"half a character in {text!r}")
    numbers = [canonical_integer(text) for text in texts]
    if not texts or None in numbers:
        return names
    return np.array(numbers, dtype=np.int64)


def unique_keys(keys: Iterable[Hashable], where: str) -> list[str]:
    """The names that the keys of a mapping stand for, as text.

    Raises:
        DataError: two keys for one name, such as 1 and "1", or one that cannot be a name.
    """
    names = [str(plain_names([key], where).tolist()[0]) for key in keys]
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise DataError(f"{where}, each once", f"{twice[0]!r} more than once")
    return names


def _of_objects(values: Sequence[Any], where: str) -> np.ndarray:
    kinds = {type(value) for value in values}
    if all(issubclass(kind, str) for kind in kinds):
        return _texts(values, where)
    if all(issubclass(kind, bytes) for kind in kinds):
        return _decoded(values, where)
    if all(issubclass(kind, _NUMBERS) for kind in kinds):
        numbers = [_whole(np.asarray([value]), where)[0] for value in values if _is_float(value)]
        whole = iter(numbers)
        found = [int(next(whole)) if _is_float(value) else int(value) for value in values]
        outside = [number for number in found if not _LEAST <= number <= _MOST]
        if outside:
            raise _too_large(outside[0], where)
        return np.array(found, dtype=np.int64)
    nothing = [row for row, value in enumerate(values) if value is None]
    if nothing:
        raise DataError(
            f"{where} for every example",
            f"none for {len(nothing)} of them, the first in row {nothing[0]}",
            "Leave those examples out, or give them a class of their own",
        )
    if kinds & {list, tuple, np.ndarray}:
        raise DataError(f"{where} as one label an example", "lists of them")
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(f"{where} that are all integers or all text", names, _SAVE_AS_TEXT)


def _is_float(value: Any) -> bool:
    return isinstance(value, (float, np.floating))


def _texts(values: Sequence[str], where: str) -> np.ndarray:
    ended = next((value for value in values if value.endswith("\0")), None)
    if ended is not None:  # NumPy's text drops these, and two names would be one
        raise DataError(f"{where} without a NUL character at the end", repr(ended[:60]))
    return np.array(values, dtype=str)


def _decoded(values: Sequence[bytes], where: str) -> np.ndarray:
    try:
        return _texts([value.decode("utf-8") for value in values], where)
    except UnicodeDecodeError as error:
        raise DataError(f"{where} in UTF-8", str(error), _SAVE_AS_TEXT) from error


def _within_int64(array: np.ndarray, where: str) -> np.ndarray:
    largest = array.max(initial=0)
    if int(largest) > _MOST:
        raise _too_large(int(largest), where)
    return np.asarray(array, dtype=np.int64)


def _whole(array: np.ndarray, where: str) -> np.ndarray:
    """Whole numbers below the size from which a float skips integers."""
    limit = 2.0 ** min(np.finfo(array.dtype).nmant + 1, 62)
    if not (np.isfinite(array).all() and (array == np.rint(array)).all()):
        raise DataError(
            f"{where} that are integers or text",
            f"{array.dtype} with fractions, infinities or NaN",
            "Save them as an int64 or a string array",
        )
    if array.size and np.abs(array).max() >= limit:
        raise DataError(
            f"{where} as floats below {limit:.0f}, from where on {array.dtype} skips integers",
            f"{np.abs(array).max():.0f}",
            "Save them as an int64 or a string array",
        )
    return np.asarray(array, dtype=np.int64)


def _too_large(number: int, where: str) -> DataError:
    return DataError(f"{where} as integers within int64", f"{number}", _SAVE_AS_TEXT)
