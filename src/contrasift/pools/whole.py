"""Everything that a source holds, and the pool that is made of it: hold-out, limit, stable indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from contrasift.errors import DataError
from contrasift.pools.base import ImageSource, Pool
from contrasift.pools.passed_over import NOTHING, PassedOver


@dataclass(frozen=True)
class Whole:
    """Everything that a source holds, before the hold-out and `limit`.

    Attributes:
        source: the images.
        name: what it is called.
        ids: by row.
        labels: int64 [n], -1 unknown; None when there are none.
        label_names: the name of each label code.
        mirror: whether a mirrored image keeps its meaning.
        test: held-out data that came with it.
        passed_over: what its place holds besides.
    """

    source: ImageSource
    name: str
    ids: Sequence[str]
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    mirror: bool = True
    test: Whole | None = None
    passed_over: PassedOver = NOTHING

    def pool(
        self, limit: int | None, image_size: int | None, holdout: float | int, seed: int
    ) -> Pool:
        """Set the test images aside, draw `limit` of the rest, and keep every index as it was."""
        everything = np.arange(len(self.source), dtype=np.int64)
        size = self.source.default_size if image_size is None else image_size
        test, training = None, everything
        if self.test is not None:
            rows = np.arange(len(self.test.source), dtype=np.int64)
            test = self.test.part(rows, size, f"{self.name} (test)")
        elif self.labels is not None and holdout > 0:
            held_out = draw_holdout(self.labels, holdout)
            training = everything[~held_out]
            if held_out.any():
                test = self.part(everything[held_out], size, f"{self.name} (held out)")
        rows = training[draw_positions(len(training), limit, seed)]
        check_enough(len(rows), "images to choose from", self.name, "Raise the limit")
        return self.part(rows, size, self.name, test)

    def part(self, rows: np.ndarray, size: int, name: str, test: Pool | None = None) -> Pool:
        """The pool of some rows."""
        ids = self.ids if len(rows) == len(self.ids) else [self.ids[int(row)] for row in rows]
        return Pool(
            self.source,
            name=name,
            index=rows,
            ids=ids,
            labels=None if self.labels is None else self.labels[rows],
            label_names=self.label_names,
            image_size=size,
            mirror=self.mirror,
            test=test,
            passed_over=self.passed_over,
        )


def draw_positions(n: int, limit: int | None, seed: int) -> Int64[np.ndarray, " m"]:
    """Positions of `limit` of n examples, ascending; with one seed, a smaller limit is a subset."""
    if limit is None or limit >= n:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.random.default_rng([seed, 1]).permutation(n)[:limit]).astype(np.int64)


def draw_holdout(labels: Int64[np.ndarray, " n"], share: float | int) -> np.ndarray:
    """Mask of the examples held out: the same share of every label, always the same draw.

    A label keeps at least one example for training, and examples without a label are never held
    out. The seed is fixed, so that every run of every pool evaluates on the same images.

    Args:
        labels: int64 [n], -1 unknown.
        share: in [0, 1).

    Returns:
        bool [n], True where held out.
    """
    shuffled = np.random.default_rng([0, 2]).permutation(len(labels))
    grouped = shuffled[np.argsort(labels[shuffled], kind="stable")]
    names, starts, sizes = np.unique(labels[grouped], return_index=True, return_counts=True)
    counts = np.minimum(sizes - 1, np.floor(share * sizes + 0.5).astype(np.int64))
    counts[names < 0] = 0
    place = np.arange(len(labels)) - np.repeat(starts, sizes)
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[grouped[place < np.repeat(counts, sizes)]] = True
    return held_out


def check_enough(n: int, what: str, where: str, remedy: str = "") -> None:
    """Stop when there is nothing to choose from.

    Raises:
        DataError: fewer than two.
    """
    if n < 2:
        raise DataError(f"at least two {what}", f"{n} in {where}", remedy)
