"""Arrays of work that goes on where it was broken off, kept in a folder of shards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contrasift.errors import DataError
from contrasift.store.atomic import load_array, write_array
from contrasift.store.shards import ShardFolder


@dataclass(frozen=True)
class KeptPieces:
    """Does what `classes.neighbours.Pieces` asks for: a piece is a shard, an array a `.npy` of it.

    Attributes:
        folder: of the work.
    """

    folder: ShardFolder

    def get(self, number: int) -> dict[str, np.ndarray] | None:
        """The arrays of a piece that is there, and what was written; else None."""
        try:
            names = self.folder.entry(number)["files"]
        except DataError:
            return None
        return {
            name.removesuffix(".npy"): load_array(self.folder.file(number, name), memory_map=False)
            for name in names
        }

    def put(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        """Write the arrays of a piece, then vouch for them.

        Raises:
            ContrasiftError: the folder cannot be written.
        """
        self.folder.path.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            write_array(self.folder.file(number, f"{name}.npy"), array)
        self.folder.finish(number, [f"{name}.npy" for name in arrays])
