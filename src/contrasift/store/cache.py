"""Where contrasift keeps what it can make again."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np

from contrasift.errors import ContrasiftError
from contrasift.store.atomic import write_arrays

T = TypeVar("T")


def cache_folder() -> Path:
    """CONTRASIFT_CACHE, else `contrasift` in the user's cache: below XDG_CACHE_HOME, or ~/.cache."""
    if own := os.environ.get("CONTRASIFT_CACHE"):
        return Path(own).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contrasift"


def cache_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Keep arrays as a `.npz` file; a cache that cannot be written is no error."""
    with contextlib.suppress(ContrasiftError):
        write_arrays(path, arrays)


def cached(path: Path, kind: type[T], make: Callable[[], T]) -> T:
    """What a `.npz` file of the cache holds; else it is made, and kept there if that can be.

    Args:
        path: of the file.
        kind: a dataclass of arrays and of tuples of text.
        make: makes one.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            texts = json.loads(stored["texts"].tobytes())
            arrays = {name: stored[name] for name in stored.files if name != "texts"}
        return kind(**arrays, **{name: tuple(words) for name, words in texts.items()})
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        made = make()
    parts = vars(made)
    texts = {name: part for name, part in parts.items() if isinstance(part, tuple)}
    arrays = {name: part for name, part in parts.items() if name not in texts}
    arrays["texts"] = np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8)
    cache_arrays(path, **arrays)
    return made
