"""What leaves a run: the selected examples with their ids, labels, classes, ranks and images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError, RunFolderError
from contrasift.pipeline.pool_of_run import check_pool, find_pool
from contrasift.pools import Pool, UnreadableExample
from contrasift.store.made import is_there
from contrasift.store.run import RunFolder
from contrasift.store.tables import positions_of, read_table

Say = Callable[[str], None]


@dataclass(frozen=True)
class ChosenExamples:
    """Examples of a run in the order of their pool index.

    Attributes:
        index: int64 [k]; pool index.
        latent_class: [k].
        rank: int64 [k]; within the class, the best is 0.
        gain: float [k].
        selected: bool [k].
        ids: [k]; None for a run from a bare matrix.
        labels: [k], None where there is none.
        pool: where the images are; None until `with_pool`.
        positions: int64 [k]; where they are in the pool.
    """

    index: np.ndarray
    latent_class: np.ndarray
    rank: np.ndarray
    gain: np.ndarray
    selected: np.ndarray
    ids: list[str] | None
    labels: list[str | None]
    pool: Pool | None = None
    positions: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.index.size)

    def need_ids(self) -> list[str]:
        """The ids.

        Raises:
            RunFolderError: the run was made from a bare matrix.
        """
        if self.ids is None:
            raise RunFolderError(
                "a selection of examples with ids",
                "one from embeddings without",
                "Export its indices, or select with id=",
            )
        return self.ids

    def image(self, row: int) -> tuple[bytes, str]:
        """The bytes of an image file, as stored in the pool, and the extension of its format.

        Raises:
            DataError: it can no longer be read.
        """
        assert self.pool is not None
        assert self.positions is not None
        try:
            return self.pool.encoded(int(self.positions[row]))
        except UnreadableExample as error:
            raise self._gone(row, error.reason) from error

    def file(self, row: int) -> Path | None:
        """The file that is this image, if there is one.

        Raises:
            DataError: there was, and it has gone.
        """
        assert self.pool is not None
        assert self.positions is not None
        path = self.pool.file(int(self.positions[row]))
        if path is not None and not path.is_file():
            raise self._gone(row, "no such file")
        return path

    def _gone(self, row: int, reason: str) -> DataError:
        return DataError(
            f"the image of {self.need_ids()[row]}",
            reason,
            "It could be read when the run was made: restore it, or embed the pool again",
        )

    def facts(self, row: int) -> dict[str, Any]:
        """What is known of an example, ready for JSON; without `label` where there is none."""
        facts: dict[str, Any] = {
            "id": self.need_ids()[row],
            "index": int(self.index[row]),
            "latent_class": np.asarray(self.latent_class)[row : row + 1].tolist()[0],
            "rank": int(self.rank[row]),
        }
        label = self.labels[row]
        return facts if label is None else {**facts, "label": label}


def read_chosen(run: Path, *, everything: bool = False) -> ChosenExamples:
    """The selected examples of a run folder, or every example that was ranked.

    Raises:
        RunFolderError: there is no selection.
    """
    path = run / "selection.parquet"
    if not is_there(path):
        raise RunFolderError(
            f"a selection in {run}",
            "none",
            f"Make one first: contrasift select {run} --fraction 0.2",
        )
    table = read_table(path, "index", "latent_class", "rank", "gain", "selected")
    order = np.argsort(table["index"], kind="stable")
    if not everything:
        order = order[table["selected"][order]]
    ids, labels = _names(run, table["index"][order])
    return ChosenExamples(
        index=table["index"][order],
        latent_class=table["latent_class"][order],
        rank=table["rank"][order],
        gain=table["gain"][order],
        selected=table["selected"][order],
        ids=ids,
        labels=labels,
    )


def with_pool(chosen: ChosenExamples, run: Path, say: Say) -> ChosenExamples:
    """The same examples with their images.

    Raises:
        RunFolderError: the run was made from a bare matrix, or its pool is another one by now.
    """
    chosen.need_ids()
    folder = RunFolder.existing(run)
    pool = find_pool(folder, folder.read_options().pool)
    check_pool(folder, pool, say, keep=False)  # a run is only read here
    return replace(chosen, pool=pool, positions=positions_of(chosen.index, pool.index))


def _names(run: Path, index: np.ndarray) -> tuple[list[str] | None, list[str | None]]:
    path = run / "examples.parquet"
    if not is_there(path):
        return _own_ids(run, index), [None] * index.size
    table = read_table(path, "index", "id", "label")
    rows = np.searchsorted(table["index"], index)
    found = rows < table["index"].size
    if not found.all() or not np.array_equal(table["index"][rows], index):
        raise RunFolderError(
            f"a selection of the examples in {path}",
            "one of others",
            f"Delete {run / 'selection.parquet'}, then: {RunFolder(run).command_of('select')}",
        )
    return table["id"][rows].tolist(), table["label"][rows].tolist()


def _own_ids(run: Path, index: np.ndarray) -> list[Any] | None:
    """The ids that a selection itself has."""
    path = run / "selection.parquet"
    table = read_table(path)
    if "id" not in table:
        return None
    order = np.argsort(table["index"], kind="stable")
    return table["id"][order[np.searchsorted(table["index"], index, sorter=order)]].tolist()
