"""Arrays with an entry for every example that lie on the disk, not in memory."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import ContrasiftError
from contrasift.store.atomic import reserve
from contrasift.store.faults import what_to_do


@dataclass(frozen=True)
class MappedColumns:
    """Arrays in mapped files without a name, which are gone with the process, however it ends.

    The system keeps their pages in memory while there is room, and writes them out when not.

    Attributes:
        folder: on whose disk.
    """

    folder: Path

    def new(self, n: int, kind: Any) -> np.ndarray:
        """So many zeros of a type.

        Raises:
            ContrasiftError: the folder cannot be written, or the disk is full.
        """
        kind = np.dtype(kind)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.truncate(max(1, n) * kind.itemsize)
                reserve(file.fileno())
                return np.memmap(file, dtype=kind, mode="r+", shape=(max(1, n),))[:n]
        except OSError as error:
            raise ContrasiftError(
                f"room for {n * kind.itemsize / 1e6:,.0f} MB in {self.folder}",
                error.strerror or str(error),
                f"{what_to_do(error)}, then repeat the command",
            ) from error
