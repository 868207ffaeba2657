"""What an interrupted training goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from contrasift.store.atomic import atomic_path


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """`torch.save`, whole or not at all: if it fails, the checkpoint before stays.

    Raises:
        ContrasiftError: the folder cannot be written, or the disk is full.
    """
    with atomic_path(path, "the run goes on from its last good epoch") as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch reports a full disk as one
            raise OSError(str(error).splitlines()[0]) from error
