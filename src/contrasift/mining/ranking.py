"""The hardest corpus rows of some queries, of equal ones the later row first: kernels.

The order is the one that `difficulty` ranks by, from its end. A pair's similarity is the one chain
of `products`, so that the order is the same for every block size and thread count.
"""

from __future__ import annotations

import numpy as np

from contrasift.arrays import check_finite_rows, row_blocks, unit_rows
from contrasift.selection.kernels import products
from contrasift.selection.kernels.dots import compiled, embedding_rows

# Columns whose largest entry is looked at first, a row: so many for every one that is wanted.
_LANES_A_PLACE = 8
# Fewer entries a lane than this, and all of a row are sorted.
_SHORT = 8
_BLOCK = 32
_NONE = np.float32(-np.inf)
# Rows whose lengths' difference squares to less are copies: cosines from 0.9999 on.
COPY = 2e-4
COPY_COSINE = np.float32(0.9999)
# Copies of one row have similarities to a query that differ by at most √COPY, and by rounding.
_NEAR = np.float32(0.0152)


def unit_rows_of(values: np.ndarray, name: str, first: int) -> np.ndarray:
    """Rows of length one, float32.

    Raises:
        DataError: NaN, infinity, or a row of zeros.
    """
    check_finite_rows(values, name, first)
    expected = f"{name} of rows that have a direction"
    return np.ascontiguousarray(unit_rows(values, first, expected, "embed them again"))


def packed_units(values: object, name: str) -> np.ndarray:
    """All rows of length one, as the kernels read them: float32 [panels, d, columns of a tile]."""
    n, d = values.shape  # type: ignore[attr-defined]
    width = products.TILE.columns
    packed = np.empty((-(-n // width), d, width), dtype=np.float32)
    for block in row_blocks(packed.shape[0], 32 * d * width, 8 << 20):
        first, last = block.start * width, min(block.stop * width, n)
        rows = unit_rows_of(np.asarray(values[first:last]), name, first)  # type: ignore[index]
        products.pack(embedding_rows(rows), 0, rows.shape[0], packed[block])
    return packed


def hardest(similar: np.ndarray, n: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The `depth` largest entries of each row, largest first, of equal ones the later first.

    Args:
        similar: float32 [b, at least n]; −∞ is no candidate.
        n: columns.
        depth: at least 1.

    Returns:
        int64 [b, depth], −1 where there are no more candidates; their values, float32.
    """
    lanes = min(_LANES_A_PLACE * depth, n)
    if n < _SHORT * lanes:
        return _all_sorted(similar[:, :n], min(depth, n))
    largest = np.empty((similar.shape[0], lanes), dtype=np.float32)
    _lanes(similar, n, largest)
    # The depth-th largest of the lanes' largest is at most the depth-th largest of all.
    least = np.partition(largest, lanes - depth, axis=1)[:, lanes - depth]
    keys = np.zeros((similar.shape[0], 2 * depth + _BLOCK), dtype=np.uint64)
    full = np.zeros(similar.shape[0], dtype=np.bool_)
    counts = np.zeros(similar.shape[0], dtype=np.int64)
    _collect(similar, n, 0, least, keys, counts, full)
    columns, values = _from_keys(keys, similar, depth)
    if full.any():  # too many are equal
        columns[full], values[full] = _all_sorted(similar[full, :n], depth)
    return columns, values


def _all_sorted(similar: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    bits = (similar + np.float32(0)).view(np.uint32)  # −0 + 0 = 0
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    keys = (ordered.astype(np.uint64) << np.uint64(32)) | np.arange(bits.shape[1], dtype=np.uint64)
    keys[similar == _NONE] = 0
    return _from_keys(keys, similar, depth)


def _from_keys(keys: np.ndarray, similar: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values by descending keys; a key of 0 is none."""
    keys.sort(axis=1)
    best = keys[:, ::-1][:, :depth]
    columns = (best & np.uint64(0xFFFFFFFF)).astype(np.int64)
    values = np.take_along_axis(similar, columns, axis=1)
    none = best == 0
    columns[none], values[none] = -1, _NONE
    return columns, values


@compiled
def _lanes(similar, n, largest):
    """The largest entry of each lane: of every so-many-th column."""
    lanes = largest.shape[1]
    whole = n - n % lanes
    for r in range(similar.shape[0]):
        row, best = similar[r], largest[r]
        for c in range(lanes):
            best[c] = row[c]
        for start in range(lanes, whole, lanes):
            for c in range(lanes):
                value = row[start + c]
                best[c] = value if value > best[c] else best[c]


@compiled
def _collect(similar, columns, first, limits, keys, counts, full):
    """Keys of the entries from each row's limit on, as many as there is room for; who had too little."""
    room = keys.shape[1]
    for r in range(similar.shape[0]):
        row = similar[r]
        bits = row.view(np.uint32)
        limit = limits[r]
        count = counts[r]
        for start in range(0, columns, _BLOCK):
            if start + _BLOCK <= columns:
                some = row[start : start + _BLOCK]
                hopeful = False
                for c in range(_BLOCK):
                    hopeful |= some[c] >= limit
                if not hopeful:
                    continue
            for c in range(start, min(start + _BLOCK, columns)):
                value = row[c]
                if value >= limit and value > _NONE:
                    if count == room:
                        full[r] = True
                        break
                    high = np.uint64(_ordered(value, bits[c])) << np.uint64(32)
                    keys[r, count] = high | np.uint64(first + c)
                    count += 1
            if full[r]:
                break
        counts[r] = count


@compiled
def cut(similar, columns, ceiling, above):
    """Make entries above each row's ceiling no candidates, and add how many they are."""
    for r in range(similar.shape[0]):
        row, limit = similar[r], ceiling[r]
        count = 0
        for c in range(columns):
            too_much = row[c] > limit
            count += too_much
            row[c] = _NONE if too_much else row[c]
        above[r] += count


class Hardest:
    """The hardest so far of some rows, whose similarities come a group of columns at a time.

    Attributes:
        keys: uint64 [b, room]; of what may be among the hardest, 0 for none.
        counts: int64 [b]; how many there are of each row.
        limits: float32 [b]; entries below are none of them.
    """

    def __init__(self, b: int, depth: int, group: int) -> None:
        self.depth: int = depth
        self.keys: np.ndarray = np.zeros((b, 2 * depth + _BLOCK + group), dtype=np.uint64)
        self.counts: np.ndarray = np.zeros(b, dtype=np.int64)
        self.limits: np.ndarray = np.full(b, _NONE, dtype=np.float32)
        self._full = np.zeros(b, dtype=np.bool_)

    def look(self, similar: np.ndarray, columns: int, first: int) -> None:
        """Look at the first `columns` of a group, which are `first` and so on among all."""
        # There is room for all of a group.
        _collect(similar, columns, first, self.limits, self.keys, self.counts, self._full)
        if self.counts.max() > 2 * self.depth + _BLOCK:
            self._compact()

    def _compact(self) -> None:
        most = int(self.counts.max())
        keys = self.keys[:, :most]
        keys.partition(most - self.depth, axis=1)
        kept = keys[:, most - self.depth :].copy()
        keys[:] = 0
        self.keys[:, : self.depth] = kept
        self.counts = np.minimum(self.counts, self.depth)
        full = self.counts == self.depth
        # What is equal to the last one comes later: it is harder.
        self.limits[full] = _values_of(kept.min(axis=1))[full]
        short = np.flatnonzero(~full)
        self.keys[short] = np.sort(self.keys[short], axis=1)[:, ::-1]

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        """As `hardest` gives them."""
        self.keys.sort(axis=1)
        best = self.keys[:, ::-1][:, : self.depth]
        columns = (best & np.uint64(0xFFFFFFFF)).astype(np.int64)
        values = _values_of(best)
        none = best == 0
        columns[none], values[none] = -1, _NONE
        return columns, values


def _values_of(keys: np.ndarray) -> np.ndarray:
    """The similarities that keys were made of."""
    ordered = (keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(ordered >> np.uint32(31), ordered ^ np.uint32(1 << 31), ~ordered)
    return bits.view(np.float32)


@compiled
def _ordered(value, bits):
    """A whole number that grows with the value; −0 counts as 0."""
    if value == 0:
        return np.uint32(0x80000000)
    return np.uint32(bits ^ np.uint32(0xFFFFFFFF if bits >> 31 else 0x80000000))


@compiled
def mark_copies(rows, similarity, positives, beside, packed, copies):
    """Mark rows whose vector is that of the query or of one of its positives: see `COPY`.

    rows [b, k]; similarity [b, k]; positives [b, p], −1 for none; beside [b, p], their similarities.
    """
    width = packed.shape[2]
    for r in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            row = rows[r, place]
            if row < 0:
                continue
            value = similarity[r, place]
            if value >= COPY_COSINE:
                copies[r, place] = True
                continue
            for number in range(positives.shape[1]):
                other = positives[r, number]
                if other < 0 or abs(value - beside[r, number]) > _NEAR:
                    continue
                square = 0.0
                for c in range(packed.shape[1]):
                    step = np.float64(packed[row // width, c, row % width]) - np.float64(
                        packed[other // width, c, other % width]
                    )
                    square += step * step
                    if square > COPY:
                        break
                if square <= COPY:
                    copies[r, place] = True
                    break
