"""What a further metric is measured of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.errors import DataError
from contrasift.options.words import Layer

if TYPE_CHECKING:
    from contrasift.pipeline.run import Run
    from contrasift.pools import Pool
    from reproduce.artifacts import ArtifactCache
    from reproduce.cell import Cell


@dataclass(frozen=True)
class Subject:
    """A trained encoder, and all that it comes from.

    Attributes:
        cell: the options that it was made under.
        artifacts: has the parts that it was made of, and makes others.
        encoder: images to vectors.
    """

    cell: Cell
    artifacts: ArtifactCache
    encoder: Any

    @property
    def pool(self) -> Pool:
        """The images, with the held-out ones in `test`."""
        return self.artifacts.pool(self.cell)

    @property
    def run(self) -> Run:
        """The cell's options as a run's, with narrator, device and pool, in no folder of its own."""
        return self.artifacts.run(self.cell)

    def labelled(self, *, held_out: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Readable positions in the pool, or in its held-out part, and their labels.

        At most `measure.test_limit` of those that have a label, always the same.

        Raises:
            DataError: no labels, or nothing held out.
        """
        pool = self.pool.test if held_out else self.pool
        if pool is None or pool.labels is None:
            part = " and held-out images" if held_out else ""
            raise DataError(f"a pool with labels{part}", f"{self.pool.name} without them")
        positions = self.run.test_positions if held_out else self.artifacts.readable(self.cell)
        positions = positions[pool.labels[positions] >= 0]
        most = self.cell.measure.test_limit
        positions = np.sort(np.random.default_rng(0).permutation(positions)[:most])
        return positions, pool.labels[positions]

    def views(
        self, positions: np.ndarray, *, held_out: bool = False, layer: Layer = "head"
    ) -> np.ndarray:
        """Features of length one for several random views of every example, [n, views, d]."""
        from contrasift.pipeline.studies.bounds import unit_views

        pool = self.pool.test if held_out else self.pool
        assert pool is not None
        return unit_views(
            self.run,
            pool,
            positions,
            self.encoder,
            seed=self.cell.seed,
            title="the encoder",
            layer=layer,
        )
