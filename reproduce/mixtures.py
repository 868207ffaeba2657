"""Pools made of others: images set aside to explore on, corrupted ones, foreign ones, copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from contrasift.errors import DataError, UsageError
from contrasift.options import Options, PoolOptions, option
from contrasift.pools import Pool, open_pool
from contrasift.pools.base import ImageSource
from contrasift.pools.prepare import ImageArray
from contrasift.pools.whole import Whole, draw_holdout

_SET_ASIDE = 0.2
CLEAN, CORRUPTED, FOREIGN, COPY = range(4)
KINDS = ("clean", "corrupted", "foreign", "copy")


@dataclass(frozen=True)
class MixtureOptions(Options):
    """What replaces part of a pool, whose size stays; junk has no label."""

    corrupted: float = option(0.0, "Share that is replaced by badly corrupted images.")
    foreign: float = option(0.0, "Share that is replaced by images of --foreign-pool.")
    foreign_pool: str = option("", "Where foreign images come from.")
    copies: float = option(0.0, "Share that is replaced by near-duplicates of a few others.")
    copied: int = option(50, "How many images the near-duplicates are of.")
    long_tail: float = option(
        1.0, "Size of the largest class over that of the smallest, falling geometrically."
    )
    seed: int = option(0, "Seed of the mixture.")

    def __post_init__(self) -> None:
        """Check the shares."""
        super().__post_init__()
        if (
            min(self.corrupted, self.foreign, self.copies) < 0
            or (self.corrupted + self.foreign + self.copies) >= 1
        ):
            raise UsageError("shares of a pool that leave some of it clean", f"{self.as_dict()}")
        if bool(self.foreign) != bool(self.foreign_pool):
            raise UsageError(
                "mixture.foreign and mixture.foreign_pool together", f"{self.as_dict()}"
            )
        if self.long_tail < 1 or self.copied < 1:
            raise UsageError("mixture.long_tail and mixture.copied of at least 1", "less")

    @property
    def changes(self) -> bool:
        """Whether the pool becomes another."""
        return bool(self.corrupted or self.foreign or self.copies or self.long_tail > 1)


def make_pool(options: PoolOptions, mixture: MixtureOptions, explore: bool) -> Pool:
    """The pool of a cell.

    Args:
        options: which images.
        mixture: what replaces some of them.
        explore: evaluate on a fifth of every label of the training pool, set aside first and always
            the same, in place of the pool's own test images.

    Raises:
        DataError: no labels to set aside by.
    """
    pool = open_pool(
        options.pool,
        labels=options.labels,
        limit=options.limit,
        image_size=options.image_size,
        holdout=options.holdout,
        seed=options.seed,
    )
    if explore:
        pool = set_aside(pool)
    return mix(pool, mixture) if mixture.changes else pool


def set_aside(pool: Pool) -> Pool:
    """A pool without a fifth of every label, which becomes its held-out part.

    Raises:
        DataError: it has no labels.
    """
    if pool.labels is None:
        raise DataError("a labelled pool to explore on", f"{pool.name} without labels")
    aside = draw_holdout(pool.labels, _SET_ASIDE)
    everything = np.arange(len(pool))
    test = _taken(pool, [pool], np.zeros(aside.sum(), int), everything[aside])
    return _taken(pool, [pool], np.zeros((~aside).sum(), int), everything[~aside], test=test)


def mix(pool: Pool, options: MixtureOptions) -> Pool:
    """A pool of the same size in which some images are replaced; their ids begin with their kind.

    Corrupted and foreign images have no label, copies that of their original.

    Raises:
        DataError: no labels where classes are thinned out.
    """
    rng = np.random.default_rng([options.seed, 3])
    positions = np.arange(len(pool))
    if options.long_tail > 1:
        positions = _long_tail(pool, options.long_tail, rng)
    n = positions.size
    counts = [round(share * n) for share in (options.corrupted, options.foreign, options.copies)]
    kind = np.repeat([CORRUPTED, FOREIGN, COPY], counts)
    kind = rng.permutation(np.concatenate([kind, np.full(n - kind.size, CLEAN)]))
    which, source = np.zeros(n, dtype=np.int64), positions.copy()
    pools = [pool]
    if options.foreign:
        foreign = open_pool(options.foreign_pool, image_size=pool.image_size)
        pools.append(foreign)
        which[kind == FOREIGN] = 1
        source[kind == FOREIGN] = rng.choice(
            len(foreign), counts[1], replace=counts[1] > len(foreign)
        )
    if options.copies:
        originals = rng.choice(positions[kind == CLEAN], options.copied)
        source[kind == COPY] = rng.choice(originals, counts[2])
    return _taken(pool, pools, which, source, kind, test=pool.test)


class MixtureSource(ImageSource):
    """Images picked from pools, some of them changed; every row by itself, for ever the same.

    Attributes:
        kind: int [n]; a place in `KINDS`.
    """

    def __init__(
        self, pools: Sequence[Pool], which: np.ndarray, position: np.ndarray, kind: np.ndarray
    ) -> None:
        self._pools, self._which, self._position = tuple(pools), which, position
        self.kind = kind
        self.channels = pools[0].channels
        self.default_size = pools[0].image_size
        self.threads = max(pool.threads for pool in pools)
        self.always_readable = all(pool.always_readable for pool in pools)

    def __len__(self) -> int:
        return int(self._which.size)

    def decode(self, row: int, size: int) -> ImageArray:
        """One image, uint8 [size, size, channels]."""
        image = self._pools[int(self._which[row])].read(int(self._position[row]))
        picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
        picture = picture.convert("L" if self.channels == 1 else "RGB")
        if picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.BICUBIC)
        if self.kind[row] == CORRUPTED:
            picture = corrupt(picture, np.random.default_rng([row, 5]))
        elif self.kind[row] == COPY:
            picture = _nearly_the_same(picture, np.random.default_rng([row, 7]))
        values = np.asarray(picture)
        return np.ascontiguousarray(values[:, :, None] if values.ndim == 2 else values)

    def content(self) -> Iterable[Any]:
        """What the images are made of."""
        for pool in self._pools:
            yield pool.fingerprint.encode()
        for values in (self._which, self._position, self.kind):
            yield np.ascontiguousarray(values, dtype=np.int64).tobytes()


def corrupt(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Noise, blur, a covering patch or lost contrast, so bad that little can be recognised."""
    how = rng.integers(4)
    values = np.asarray(picture).astype(np.float64)
    if how == 0:
        values = 0.3 * values + 0.7 * rng.uniform(0, 255, values.shape)
    elif how == 1:
        return picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 8))
    elif how == 2:
        side = int(0.8 * max(picture.size))
        top, left = rng.integers(0, max(picture.size) - side + 1, 2)
        values[top : top + side, left : left + side] = rng.uniform(0, 255)
    else:
        values = rng.uniform(0, 235) + 0.05 * values
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _nearly_the_same(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A shift by at most a pixel and faint noise."""
    values = np.roll(np.asarray(picture).astype(np.float64), rng.integers(-1, 2, 2), axis=(0, 1))
    values += rng.normal(0, 3, values.shape)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _long_tail(pool: Pool, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Positions such that class k of K keeps ratio^(−k/(K−1)) of its share."""
    if pool.labels is None:
        raise DataError("a labelled pool for mixture.long_tail", f"{pool.name} without labels")
    codes = np.unique(pool.labels[pool.labels >= 0])
    kept = [np.flatnonzero(pool.labels < 0)]
    for place, code in enumerate(rng.permutation(codes)):
        members = rng.permutation(np.flatnonzero(pool.labels == code))
        share = ratio ** (-place / max(1, codes.size - 1))
        kept.append(members[: max(1, round(share * members.size))])
    return np.sort(np.concatenate(kept))


def _taken(
    pool: Pool,
    pools: Sequence[Pool],
    which: np.ndarray,
    position: np.ndarray,
    kind: np.ndarray | None = None,
    test: Pool | None = None,
) -> Pool:
    """A pool of picked images that is otherwise like `pool`."""
    kind = np.full(which.size, CLEAN) if kind is None else kind
    source = MixtureSource(pools, which, position, kind)
    labels = None
    if pool.labels is not None:
        known = (which == 0) & (kind != CORRUPTED)
        labels = np.full(which.size, -1, dtype=np.int64)
        labels[known] = pool.labels[position[known]]
    ids = [f"{KINDS[k]}/{pools[w].ids[p]}" for k, w, p in zip(kind, which, position, strict=True)]
    whole = Whole(source, pool.name, ids, labels, pool.label_names, mirror=pool.mirror)
    rows = np.arange(which.size, dtype=np.int64)
    return whole.part(rows, pool.image_size, pool.name, test)
