"""What the stages left in a run folder, as the report needs it; each file is read once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from contrasift.store.atomic import load_array, read_json
from contrasift.store.selections import read_facts
from contrasift.store.tables import read_table


class RunFiles:
    """Files of a run; of stages that are not finished they are empty.

    `run` has a folder, options, a narrator and, opened when it is first needed, a pool.
    """

    def __init__(self, run: Any) -> None:
        self.run = run
        self.path: Any = run.folder.path
        self.records: Any = run.folder.records()

    @cached_property
    def examples(self) -> dict[str, np.ndarray]:
        """`examples.parquet`."""
        return self._table("examples.parquet", "scan")

    @cached_property
    def chosen(self) -> dict[str, np.ndarray]:
        """`selection.parquet`: by class, best first."""
        return self._table("selection.parquet", "select")

    @cached_property
    def selection(self) -> dict[str, Any]:
        """`selection.json`."""
        return read_facts(self.path) if "select" in self.records else {}

    @cached_property
    def classes(self) -> dict[str, Any]:
        """`classes.json`."""
        return self._json("classes.json", "classes")

    @cached_property
    def measures(self) -> dict[str, Any]:
        """`measures.json`."""
        return self._json("measures.json", "measures")

    @cached_property
    def comparison(self) -> dict[str, Any]:
        """`evaluation.json`."""
        return self.optional("evaluation.json")

    @cached_property
    def trained(self) -> Mapping[str, Mapping[str, Any]]:
        """Rows of the comparison by subset."""
        return {row["subset"]: row for row in self.comparison.get("table", ())}

    def optional(self, name: str) -> dict[str, Any]:
        """A JSON file that may be there."""
        path = self.path / name
        return read_json(path) if path.exists() else {}

    def _table(self, name: str, stage: str) -> dict[str, np.ndarray]:
        return read_table(self.path / name) if stage in self.records else {}

    def _json(self, name: str, stage: str) -> dict[str, Any]:
        return read_json(self.path / name) if stage in self.records else {}

    @property
    def total(self) -> int:
        """How many examples were ranked."""
        return int(self.chosen["index"].size)

    @property
    def budget(self) -> int:
        """How many were kept."""
        return int(self.selection["budget"])

    @cached_property
    def _by_index(self) -> np.ndarray:
        return np.argsort(self.chosen["index"], kind="stable")

    def rows_of(self, index: np.ndarray) -> np.ndarray:
        """Where examples are in the selection's table; -1 for those that are not."""
        table = self.chosen["index"]
        spots = np.searchsorted(table, index, sorter=self._by_index)
        rows = self._by_index[np.minimum(spots, table.size - 1)]
        return np.where(table[rows] == index, rows, -1)

    @cached_property
    def places(self) -> np.ndarray:
        """The place of every row of the selection's table in the ranking of the whole pool."""
        ranking = load_array(self.path / "ranking.npy", memory_map=False)
        places = np.empty(self.total, dtype=np.int64)
        places[self.rows_of(ranking)] = np.arange(self.total)
        return places

    def members(self) -> Iterator[tuple[dict[str, Any], slice]]:
        """Every class's summary, largest first, with its rows in the selection's table."""
        if not self.selection or not self.total:
            return
        names = self.chosen["latent_class"]
        starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
        ends = np.r_[starts[1:], names.size]
        rows = {
            str(names[start]): slice(int(start), int(end))
            for start, end in zip(starts, ends, strict=True)
        }
        nothing = slice(0, 0)
        for summary in sorted(self.selection["classes"], key=lambda one: -one["size"]):
            yield summary, rows.get(str(summary["name"]), nothing)

    def _spots(self, index: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.examples["index"], index)

    def ids(self, index: np.ndarray) -> list[str]:
        """Names of examples; their numbers where nothing else is known."""
        if not self.examples:
            return [str(one) for one in index.tolist()]
        return [str(id) for id in self.examples["id"][self._spots(index)].tolist()]

    def labels(self, index: np.ndarray) -> list[str]:
        """Labels of examples, or nothing if the pool has none."""
        if not self._has_labels:
            return []
        found = self.examples["label"][self._spots(index)].tolist()
        return ["" if label is None else str(label) for label in found]

    @cached_property
    def _has_labels(self) -> bool:
        column = self.examples.get("label")
        return column is not None and any(label is not None for label in column.tolist())
