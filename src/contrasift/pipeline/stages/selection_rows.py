"""The rows that a selection in a folder was made from, found again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from contrasift.arrays import directions
from contrasift.errors import RunFolderError
from contrasift.matrices import Matrix
from contrasift.narration import Narrator
from contrasift.options import MatrixReading
from contrasift.pipeline.stages.matrix_rows import opened


class SelectionRows:
    """Embeddings in the order of a selection's table.

    Attributes:
        matrix: as it was opened.
        scaled: whether rows were brought to length one.
    """

    def __init__(self, facts: Mapping[str, Any], index: np.ndarray, narrator: Narrator) -> None:
        """Open the source.

        Args:
            facts: of the selection.
            index: int64 [n]; of every row of its table.
            narrator: who tells of it.

        Raises:
            RunFolderError: a selection from no file, or the source is another by now.
            ContrasiftError: it can no longer be read.
        """
        self.matrix: Matrix = source_of(facts, narrator)
        self.scaled = facts["rows"] == "scaled to length one"
        self._index = index

    @cached_property
    def where(self) -> np.ndarray:
        """int64 [n]; the matrix's row for every row of the selection's table."""
        known = self.matrix.index
        if known is None:
            return self._index
        order = np.argsort(known, kind="stable")
        return order[np.searchsorted(known, self._index, sorter=order)]

    @property
    def stored(self) -> np.ndarray:
        """int64 [n]; the same among all rows that are stored."""
        return self.matrix.stored_rows(self.where)

    def values(self, table_rows: np.ndarray | slice) -> np.ndarray:
        """float32; rows as they were selected by."""
        found = self.matrix[self.where[table_rows]]
        return directions(found)[0] if self.scaled else np.asarray(found, dtype=np.float32)


def source_of(facts: Mapping[str, Any], narrator: Narrator) -> Matrix:
    """The embeddings of a selection, if they are still those that were selected from.

    Raises:
        RunFolderError: a selection from no file, or others by now.
        ContrasiftError: they can no longer be read.
    """
    place = facts.get("source", {}).get("place")
    if not isinstance(place, str) or "reading" not in facts:
        raise RunFolderError("a selection from embeddings in files", "one from others")
    matrix = opened(place, MatrixReading(**facts["reading"]), narrator)
    if matrix.fingerprint != facts["inputs"]["embeddings"]:
        raise RunFolderError(f"the embeddings that were selected from at {place}", "others")
    return matrix
