"""The parts of the report that show images: the map, the gallery, the telling pairs."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from contrasift.errors import ContrasiftError
from contrasift.report import EmbeddingMap, Gallery, Pair, RankedClass, Tile, thumbnail
from contrasift.report.files import RunFiles
from contrasift.store.atomic import read_json
from contrasift.store.tables import positions_of, read_table

_MAP_SIDE, _TILE_SIDE = 32, 64
_PICTURES = 2400
_LEAST_TILES, _MOST_TILES, _NAMES_ONLY = 8, 48, 6
# Of how many fractions the gallery knows the places by class.
_STEPS, _FEW_STEPS, _MANY_CLASSES = 100, 20, 500


class Pictures:
    """Thumbnails of a run's examples; without its pool, placeholders."""

    def __init__(self, files: RunFiles) -> None:
        self.files = files
        self.missing: int = 0

    @cached_property
    def _positions(self) -> np.ndarray | None:
        """The position in the pool of every row of examples.parquet; None if there is no pool."""
        run = self.files.run
        try:
            return positions_of(self.files.examples["index"], run.pool.index)
        except (ContrasiftError, OSError, KeyError) as error:
            # A pool that has moved must not keep the figures from being seen.
            run.narrator.say(
                f"  note: the pool cannot be shown, so the report has no pictures: {error}"
            )
            return None

    def picture(self, index: int, side: int) -> str:
        """A thumbnail as data URI; empty if the image cannot be had."""
        if self._positions is None:
            return ""
        spot = np.searchsorted(self.files.examples["index"], index)
        try:
            return thumbnail(self.files.run.pool.read(int(self._positions[spot])), side)
        except (ContrasiftError, OSError, ValueError, KeyError):
            self.missing += 1
            return ""

    def thumbnails(self, rows: np.ndarray) -> list[str]:
        """Small ones, for the map, of rows of the selection's table."""
        return [self.picture(one, _MAP_SIDE) for one in self.files.chosen["index"][rows].tolist()]

    def tiles(self, rows: np.ndarray, *, pictures: bool = True) -> list[Tile]:
        """What is known of rows of the selection's table."""
        files, index = self.files, self.files.chosen["index"][rows]
        labels = files.labels(index) or [""] * index.size
        columns = (files.chosen["rank"][rows], files.chosen["gain"][rows], files.places[rows])
        return [
            Tile(
                image=self.picture(one, _TILE_SIDE) if pictures else "",
                id=id,
                rank=rank,
                gain=gain,
                place=place,
                label=label,
            )
            for one, id, label, rank, gain, place in zip(
                index.tolist(),
                files.ids(index),
                labels,
                *(column.tolist() for column in columns),
                strict=True,
            )
        ]

    def map(self) -> EmbeddingMap | None:
        """The map, as the stage of that name drew it."""
        files = self.files
        if "map" not in files.records or not files.chosen:
            return None
        points = read_table(files.path / "map.parquet")
        rows = files.rows_of(points["index"])
        there = rows >= 0
        index, rows = points["index"][there], rows[there]
        names = files.chosen["latent_class"][rows].astype(str)
        sizes = {str(one["name"]): one["size"] for one in files.selection["classes"]}
        return EmbeddingMap(
            x=points["x"][there],
            y=points["y"][there],
            latent_class=names,
            selected=files.chosen["selected"][rows],
            rank=files.chosen["rank"][rows],
            place=files.places[rows],
            class_size=np.array([sizes[name] for name in names.tolist()]),
            id=files.ids(index),
            label=files.labels(index),
            image=[self.picture(one, _MAP_SIDE) for one in index.tolist()],
            total=files.total,
        )

    def gallery(self) -> Gallery | None:
        """Every class from best to worst, at evenly spaced ranks, and its places at every fraction."""
        files = self.files
        members = list(files.members())
        if not members:
            return None
        tiles = int(np.clip(_PICTURES // len(members), _LEAST_TILES, _MOST_TILES))
        budgets = self._budgets(len(members))
        classes = []
        for number, (summary, rows) in enumerate(members):
            shown = number < _PICTURES // tiles
            picked = rows.start + evenly(rows.stop - rows.start, tiles if shown else _NAMES_ONLY)
            places = np.sort(files.places[rows])
            classes.append(
                RankedClass(
                    name=str(summary["name"]),
                    size=summary["size"],
                    kept=np.searchsorted(places, budgets),
                    tiles=self.tiles(picked, pictures=shown),
                )
            )
        own = int(np.searchsorted(budgets, files.budget))
        return Gallery(total=files.total, budgets=budgets, own=own, classes=classes)

    def _budgets(self, n_classes: int) -> np.ndarray:
        """The stops of the slider, the run's own among them."""
        steps = _STEPS if n_classes <= _MANY_CLASSES else _FEW_STEPS
        stops = np.round(np.linspace(0, self.files.total, steps + 1)).astype(np.int64)
        return np.union1d(stops, [self.files.budget])

    def pairs(self, kind: str) -> list[Pair]:
        """Telling pairs: of `small` or `large` distance, so very similar or hardly."""
        files = self.files
        if "map" not in files.records or not files.chosen:
            return []
        found: dict[str, Any] = read_json(files.path / "pairs.json")[kind]
        ends = [
            files.rows_of(np.asarray(found[end], dtype=np.int64)) for end in ("first", "second")
        ]
        return [
            Pair(
                *self.tiles(np.array([first, second])),
                similarity=1 - distance / 2,
                latent_class=str(files.chosen["latent_class"][first]),
            )
            for first, second, distance in zip(
                *(rows.tolist() for rows in ends), found["expected_squared_distance"], strict=True
            )
            if min(first, second) >= 0
        ]


def evenly(n: int, count: int) -> np.ndarray:
    """At most so many of 0..n−1, evenly spaced, both ends among them."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(np.int64))
