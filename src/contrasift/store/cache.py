"""Where contrasift keeps what it can make again."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np

from contrasift.errors import ContrasiftError
from contrasift.store.atomic import atomic_path


def cache_folder() -> Path:
    """CONTRASIFT_CACHE, else `contrasift` in the user's cache: below XDG_CACHE_HOME, or ~/.cache."""
    if own := os.environ.get("CONTRASIFT_CACHE"):
        return Path(own).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contrasift"


def cache_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Keep arrays as a `.npz` file; a cache that cannot be written is no error."""
    with (
        contextlib.suppress(ContrasiftError),
        atomic_path(path) as temporary,
        open(temporary, "wb") as file,
    ):
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
