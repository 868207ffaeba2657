"""Where contrasift keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """CONTRASIFT_CACHE, else `contrasift` in the user's cache: below XDG_CACHE_HOME, or ~/.cache."""
    if own := os.environ.get("CONTRASIFT_CACHE"):
        return Path(own).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contrasift"
