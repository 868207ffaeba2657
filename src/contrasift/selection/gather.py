"""The rows of one class at a time, out of a matrix of any type and place, in sequential passes.

A memory-mapped matrix whose classes lie scattered would be read in as many jumps as it has rows.
So classes are taken in groups that fit a buffer, and each group costs one pass from the first row
to the last: every block of rows is checked, scaled and put where its class wants it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from contrasift.arrays import (
    Columns,
    HeldColumns,
    IndexVector,
    Rows,
    column_blocks,
    forget_pages,
    row_blocks,
)
from contrasift.errors import DataError
from contrasift.selection.kernels.dots import compiled, embedding_rows, map_blocks, row_square
from contrasift.selection.kernels.linear_form import RowSizes, row_sizes

_UNIT_TOLERANCE = 1e-6  # rows this near to length one are left as they are: scaling twice is once
_FINE, _NOT_FINITE, _ZERO, _NOT_UNIT = 0, 1, 2, 3
_BLOCK_BYTES = 32 << 20
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class ClassRows:
    """Which rows belong to which class, as one permutation.

    Attributes:
        rows: int64 [n]; row numbers, class by class, ascending within a class.
        starts: int64 [K + 1]; class c owns rows[starts[c]:starts[c + 1]].
    """

    rows: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, codes: IndexVector, n_classes: int, columns: Columns | None = None) -> ClassRows:
        """Sort rows by class code, block by block: what a class has of a block is one run.

        Args:
            codes: class of every row [n].
            n_classes: K.
            columns: where the permutation shall lie; default: in memory.
        """
        rows = (columns or HeldColumns()).new(codes.size, np.int64)
        starts = np.zeros(n_classes + 1, dtype=np.int64)
        if n_classes == 1:
            starts[1] = codes.size
            for block in column_blocks(codes.size):
                rows[block] = np.arange(block.start, block.stop)
                forget_pages(rows)
            return cls(rows, starts)
        for block in column_blocks(codes.size):
            starts[1:] += np.bincount(codes[block], minlength=n_classes)
            forget_pages(codes)
        np.cumsum(starts, out=starts)
        filled = starts[:-1].copy()
        for block in column_blocks(codes.size):
            own = np.asarray(codes[block])
            # A stable sort of 16-bit keys is a radix sort: linear in n.
            keys = own.astype(np.uint16) if n_classes <= 1 << 16 else own
            counts = np.bincount(own, minlength=n_classes)
            # Places in the permutation less places in the sorted block, run by run.
            ahead = filled - (np.cumsum(counts) - counts)
            rows[np.repeat(ahead, counts) + np.arange(own.size)] = block.start + np.argsort(
                keys, kind="stable"
            )
            filled += counts
            forget_pages(codes, rows)
        return cls(rows, starts)

    @property
    def sizes(self) -> np.ndarray:
        """Examples of each class."""
        return np.diff(self.starts)

    def of_class(self, code: int) -> np.ndarray:
        """Row numbers of one class, ascending."""
        return self.rows[self.starts[code] : self.starts[code + 1]]

    def codes_at(self, block: slice) -> np.ndarray:
        """The class of every position in a block of the permutation."""
        if self.starts.size == 2:
            return np.zeros(block.stop - block.start, dtype=np.int64)
        ends = self.starts.clip(block.start, block.stop)
        return np.repeat(np.arange(self.starts.size - 1), np.diff(ends))


def positions_by_quota(class_order: IndexVector, n_classes: int) -> IndexVector:
    """For every place in turn, the position of the rank that it gives to its class.

    Positions run over all ranks of class 0, then of class 1, ...; the j-th place that a class gets
    goes to its rank j.

    Args:
        class_order: the class that receives each place in turn [n].
        n_classes: K.
    """
    turns = ClassRows.of(class_order, n_classes).rows
    positions = np.empty(turns.size, dtype=np.int64)
    positions[turns] = np.arange(turns.size)
    return positions


def sizes_in_place(values: Rows, *, scale: bool, threads: int | None = None) -> RowSizes | None:
    """How large rows are, if the matrix can serve as it is: float32, C-contiguous, nothing to scale.

    Args:
        values: [n, d].
        scale: rows should have length one.
        threads: None for all processors.

    Raises:
        DataError: NaN, infinity, or, when scaling, a row of zeros; names the first such row.
    """
    whole = isinstance(values, np.ndarray) and values.flags.c_contiguous
    if values.dtype != np.float32 or not whole:
        return None
    sizes = row_sizes(values, threads)
    if not np.isfinite(sizes.peak) or (scale and not sizes.squares.all()):
        stop_at(row_problems(values, threads), scale, values)
    if scale and (np.abs(np.sqrt(sizes.squares) - 1) > _UNIT_TOLERANCE).any():
        return None
    return sizes


def classwise(
    values: Rows,
    classes: ClassRows,
    *,
    scale: bool,
    in_place: bool = False,
    buffer_bytes: int = 1 << 30,
    threads: int | None = None,
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Every class and its rows as a float32 matrix, in the order of `classes.of_class`, in groups.

    The matrices of a group are valid until the next group is asked for.

    Args:
        values: [n, d] of any real type, possibly memory-mapped or not contiguous.
        classes: the partition of its rows.
        scale: bring rows to length one; otherwise take them as they are.
        in_place: hand out the matrix itself as the one class; see `sizes_in_place`.
        buffer_bytes: how much to gather in one pass; a class alone may need more.
        threads: None for all processors.

    Yields:
        a group: class code and float32 [size, d], C-contiguous, of each class in it.

    Raises:
        DataError: NaN, infinity, or, when scaling, a row of zeros; names the first such row.
    """
    if in_place:
        yield [(0, np.asarray(values))]
        return
    n = values.shape[0]
    position = np.empty(n, dtype=np.int64)
    position[classes.rows] = np.arange(n)
    groups = _groups(classes.starts, values.shape[1] * 4, buffer_bytes)
    largest = max(int(classes.starts[stop] - classes.starts[start]) for start, stop in groups)
    buffer = np.empty((largest, values.shape[1]), dtype=np.float32)
    for start, stop in groups:
        origin, end = int(classes.starts[start]), int(classes.starts[stop])
        _fill(values, position, origin, buffer[: end - origin], scale, threads)
        bounds = classes.starts[start : stop + 1] - origin
        yield [
            (code, buffer[first:last])
            for code, first, last in zip(range(start, stop), bounds, bounds[1:], strict=False)
        ]


def in_blocks(
    values: Rows, *, scale: bool, threads: int | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """The rows in order, block by block, checked and scaled exactly as `classwise` does it.

    Args:
        values: [n, d] of any real type, possibly memory-mapped.
        scale: bring rows to length one.
        threads: None for all processors.

    Yields:
        first row number, float32 [rows, d] C-contiguous.

    Raises:
        DataError: as `classwise`.
    """
    for block in row_blocks(values.shape[0], values.shape[1] * 8, _BLOCK_BYTES):
        part = _plain_block(values[block], threads)
        out = np.empty(part.shape, dtype=np.float32)
        problems = np.empty(len(part), dtype=np.uint8)
        _place_in_threads(part, np.arange(len(part)), 0, out, scale, problems, threads)
        forget_pages(values)
        stop_at(problems, scale, values, np.arange(block.start, block.stop))
        yield block.start, out


def gather(
    values: Rows, rows: np.ndarray, *, scale: bool, threads: int | None = None
) -> np.ndarray:
    """Some rows as a matrix of their own, checked and scaled exactly as `classwise` does it.

    Args:
        values: [n, d] of any real type, possibly memory-mapped or elsewhere.
        rows: int64 [m]; row numbers, ascending.
        scale: bring rows to length one.
        threads: None for all processors.

    Returns:
        float32 [m, d], C-contiguous.

    Raises:
        DataError: as `classwise`, among these rows.
    """
    out = np.empty((rows.size, values.shape[1]), dtype=np.float32)
    for block in row_blocks(rows.size, values.shape[1] * 8, _BLOCK_BYTES):
        which = rows[block]
        adjacent = which[-1] - which[0] + 1 == which.size
        read = values[which[0] : which[-1] + 1] if adjacent else values[which]
        part = _plain_block(read, threads)
        problems = np.empty(len(part), dtype=np.uint8)
        places = np.arange(len(part))
        _place_in_threads(part, places, 0, out[block], scale, problems, threads)
        forget_pages(values)
        stop_at(problems, scale, values, which)
    return out


def converted(part: np.ndarray, *, scale: bool) -> np.ndarray:
    """Some rows by one thread, scaled exactly as `classwise` does it, and not checked.

    Args:
        part: [m, d] of any real type.
        scale: bring rows to length one.
    """
    narrow = part.dtype in (np.float16, np.float32)
    rows = _plain_block(part) if narrow and not scale else inspected(part, scale=scale)[0]
    return embedding_rows(rows)


def inspected(part: np.ndarray, *, scale: bool) -> tuple[np.ndarray, np.ndarray]:
    """Some rows by one thread as `converted`, and what is wrong with each, as `row_problems`."""
    plain = _plain_block(part)
    out = np.empty(plain.shape, dtype=np.float32)
    problems = np.empty(len(plain), dtype=np.uint8)
    _place_in_threads(plain, np.arange(len(plain)), 0, out, scale, problems, 1)
    return embedding_rows(out), problems


def row_problems(values: Rows, threads: int | None = None) -> np.ndarray:
    """What is wrong with each row: 0 nothing, 1 not finite, 2 zero, 3 not of length one.

    Args:
        values: [n, d] of any real type, possibly memory-mapped.
        threads: None for all processors.

    Returns:
        uint8 [n].
    """
    problems = np.empty(values.shape[0], dtype=np.uint8)
    nowhere = np.empty((0, values.shape[1]), dtype=np.float32)
    for block in row_blocks(values.shape[0], values.shape[1] * 8, _BLOCK_BYTES):
        part = _plain_block(values[block], threads)
        outside = np.full(len(part), -1)
        _place_in_threads(part, outside, 0, nowhere, True, problems[block], threads)
        forget_pages(values)
    return problems


def _fill(
    values: Rows,
    position: np.ndarray,
    origin: int,
    out: np.ndarray,
    scale: bool,
    threads: int | None,
) -> None:
    """Put the rows whose position lies in origin..origin + len(out) into `out`."""
    problems = np.empty(values.shape[0], dtype=np.uint8)
    for block in row_blocks(values.shape[0], values.shape[1] * 8, _BLOCK_BYTES):
        part = _plain_block(values[block], threads)
        _place_in_threads(part, position[block], origin, out, scale, problems[block], threads)
        forget_pages(values)
    stop_at(problems, scale, values)


def _place_in_threads(
    part: np.ndarray,
    position: np.ndarray,
    origin: int,
    out: np.ndarray,
    scale: bool,
    problems: np.ndarray,
    threads: int | None,
) -> None:
    part = part.view()
    part.flags.writeable = False  # one compiled version, whether or not the caller may write
    map_blocks(
        lambda start, stop: _place(part, start, stop, position, origin, out, scale, problems),
        len(part),
        threads,
    )


def _plain_block(block: np.ndarray, threads: int | None = 1) -> np.ndarray:
    """The block contiguous, in float32 where that is exact, else in float64."""
    if block.dtype == np.float16:
        halves = np.ascontiguousarray(block).view(np.uint16).view()
        halves.flags.writeable = False  # one compiled version
        out = np.empty(block.shape, dtype=np.float32)
        bits = out.view(np.uint32)
        map_blocks(partial(_widen, halves, out, bits), len(block), threads)
        return out
    kind = np.float32 if block.dtype == np.float32 else np.float64
    return np.ascontiguousarray(block, dtype=kind)


def stop_at(
    problems: np.ndarray, scale: bool, values: Rows, rows: np.ndarray | None = None
) -> None:
    """Name how many rows cannot be used, and the first by its number, and its file if it has one.

    Args:
        problems: of `row_problems`.
        scale: rows of zeros cannot be used.
        values: the matrix.
        rows: which of its rows they are of; default: all.

    Raises:
        DataError: there are such rows.
    """
    place = getattr(values, "place", lambda row: f"row {row}")

    def first_of(which: np.ndarray) -> str:
        return place(int(which[0] if rows is None else rows[which[0]]))

    bad = np.flatnonzero(problems == _NOT_FINITE)
    if bad.size:
        raise DataError(
            "embeddings of finite numbers",
            f"NaN or infinity in {bad.size} row(s), the first of them {first_of(bad)}",
            "Drop them (must_drop=), leave them out (skip_bad=True), or embed them again",
        )
    zero = np.flatnonzero(problems == _ZERO)
    if scale and zero.size:
        raise DataError(
            "rows that can be scaled to length one",
            f"{zero.size} row(s) of zeros, the first of them {first_of(zero)}",
            "Drop them (must_drop=), leave them out (skip_bad=True), or, if rows are mean views, "
            "pass normalize='none'",
        )


def _groups(starts: np.ndarray, row_bytes: int, buffer_bytes: int) -> list[tuple[int, int]]:
    """Runs of classes start..stop whose rows fit the buffer together; at least one class each."""
    room = max(1, buffer_bytes // row_bytes)
    groups, start, n_classes = [], 0, starts.size - 1
    while start < n_classes:
        stop = int(np.searchsorted(starts, starts[start] + room, side="right")) - 1
        stop = min(max(stop, start + 1), n_classes)
        groups.append((start, stop))
        start = stop
    return groups


@compiled
def _widen(halves, numbers, bits, start, stop):
    """Float16 as float32, by their bits: several at a time, which NumPy does not.

    Shifted by the 13 bits that a mantissa gains, they are 2⁻¹¹² times too small, the exponent's bias
    being 15 there and 127 here; infinity and NaN have no exponent of their own.
    """
    for i in range(start, stop):
        for j in range(halves.shape[1]):
            bits[i, j] = np.uint32(halves[i, j] & 0x7FFF) << np.uint32(13)
        for j in range(halves.shape[1]):
            numbers[i, j] *= np.float32(2.0**112)
        for j in range(halves.shape[1]):
            half = np.uint32(halves[i, j])
            special = np.uint32(0x7F800000) if (half & 0x7C00) == 0x7C00 else np.uint32(0)
            bits[i, j] |= ((half & np.uint32(0x8000)) << np.uint32(16)) | special


@compiled
def _place(block, start, stop, position, origin, out, scale, problems):
    """Check rows start..stop; write those that belong into `out`, scaled if asked."""
    d = block.shape[1]
    for i in range(start, stop):
        squares = row_square(block, i)
        norm = np.sqrt(squares)
        if not (1e-150 < norm < 1e150):
            # Too small or large to square, zero, or not finite: look at the entries themselves.
            largest = 0.0
            finite = True
            for j in range(d):
                entry = abs(np.float64(block[i, j]))
                finite = finite and np.isfinite(entry)
                largest = max(largest, entry)
            if not finite:
                problems[i] = _NOT_FINITE
                continue
            squares = 0.0
            if largest > 0:
                for j in range(d):
                    entry = np.float64(block[i, j]) / largest
                    squares += entry * entry
            norm = largest * np.sqrt(squares)
        if norm == 0:
            problems[i] = _ZERO
        elif abs(norm - 1) > _UNIT_TOLERANCE:
            problems[i] = _NOT_UNIT
        else:
            problems[i] = _FINE
        row = position[i] - origin
        if row < 0 or row >= out.shape[0]:
            continue
        if scale and problems[i] == _NOT_UNIT:  # no entry exceeds the norm, none is above 1
            for j in range(d):
                out[row, j] = np.float64(block[i, j]) / norm
            continue
        for j in range(d):
            entry = np.float64(block[i, j])
            if abs(entry) > _FLOAT32_MAX:
                problems[i] = _NOT_FINITE
            out[row, j] = entry
