"""Neighbours among very many rows on Ray: tasks ask for shards of rows in one index that all of them see."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contrasift.classes.inverted import Lists, search_lists
from contrasift.engines.cluster import Cluster, check_versions, versions_here
from contrasift.engines.tasks import in_tasks
from contrasift.errors import DataError
from contrasift.selection.kernels.nearest_rows import Frame, PackedColumns
from contrasift.store.atomic import write_array

_PIECES_A_TASK = 4
_ARRAYS = ("points", "packed", "halves", "names", "centroids", "order", "starts", "panels")


@dataclass(frozen=True)
class SharedLists:
    """Rows and their lists as files that every node maps; a node reads only the lists that are asked for.

    Attributes:
        folder: of the files, seen by every node.
        frame: where rows are compared.
    """

    folder: Path
    frame: Frame

    @classmethod
    def write(cls, folder: Path, points: np.ndarray, lists: Lists) -> SharedLists:
        """Put them into a folder.

        Raises:
            ContrasiftError: it cannot be written.
        """
        folder = Path(folder).resolve()
        columns = lists.columns
        parts = (
            points, columns.packed, columns.halves, columns.names,
            lists.centroids, lists.order, lists.starts, lists.panels,
        )  # fmt: skip
        for name, values in zip(_ARRAYS, parts, strict=True):
            write_array(folder / f"{name}.npy", values)
        return cls(folder, lists.frame)

    def open(self) -> tuple[np.ndarray, Lists]:
        """The rows and their lists, mapped.

        Raises:
            DataError: a file is not there, or not whole.
        """
        points, packed, halves, names, centroids, order, starts, panels = (
            _mapped(self.folder / f"{name}.npy") for name in _ARRAYS
        )
        columns = PackedColumns(packed, halves, names)
        nobody = np.empty(0, np.int32)  # which list a row is in says the order
        return points, Lists(self.frame, centroids, nobody, order, starts, columns, panels)


def _mapped(path: Path) -> np.ndarray:
    """A file's array, mapped; nothing that would be written to it reaches the file."""
    try:
        # To be written to in memory, as the kernels were compiled for.
        return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise DataError("the lists that this command wrote", f"{path}: {error}") from error


@dataclass(frozen=True)
class RaySearch:
    """Searches lists in tasks of a cluster; see `classes.neighbours.Elsewhere`.

    Attributes:
        cluster: a connected one.
        folder: for the rows and their lists; every node must see it.
    """

    cluster: Cluster
    folder: Path

    def __call__(
        self, points: np.ndarray, lists: Lists, k: int, probed: int, pieces: Sequence[int]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Each piece with the nearest rows of its rows, as they come.

        Raises:
            ContrasiftError: a worker has other versions, or the folder cannot be written.
        """
        shared = SharedLists.write(self.folder, points, lists)
        runs = [pieces[i : i + _PIECES_A_TASK] for i in range(0, len(pieces), _PIECES_A_TASK)]
        versions = versions_here()
        calls = ((number, (versions, shared, run, k, probed)) for number, run in enumerate(runs))
        try:
            for number, near in in_tasks(search_pieces, calls, cpus=self.cluster.cpus):
                yield from zip(runs[number], near, strict=True)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def search_pieces(
    versions: Mapping[str, str], shared: SharedLists, pieces: Sequence[int], k: int, probed: int
) -> list[np.ndarray]:
    """The nearest rows of the rows of some pieces.

    Raises:
        DataError: a file is not there.
        ContrasiftError: this worker has other versions.
    """
    check_versions(versions)
    points, lists = shared.open()
    found = []
    for piece in pieces:
        rows = lists.rows_of(piece)
        found.append(search_lists(points[rows], rows, lists, k, probed))
    return found
