"""A latent class that no worker holds: passes over its parts, as map and reduce.

Every answer of `Passes` is a map over parts of the class and an exact reduction: fixed-point sums
add as integers, scores and squares are put side by side, and the k-th largest score is narrowed
down by histograms of scores that stay where they were computed, in Ray's object store. So the
answers are those of one process, bit for bit, however the class is divided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from contrasift.engines.files import SharedMatrix, SharedRows
from contrasift.engines.tasks import RETRIES, in_tasks
from contrasift.selection.gather import gather
from contrasift.selection.kernels import dots, linear_form
from contrasift.selection.kernels.passes import TopRows, replay_block

_BINS = 1 << 16
# So many different scores of one part are sent to be ordered; more are narrowed down further.
_MOST_VALUES = 1 << 16


class SpreadRows:
    """The rows of a class, in parts that tasks read from the matrix by themselves.

    Attributes:
        n: rows.
        width: columns.
    """

    def __init__(
        self, matrix: SharedMatrix, rows: SharedRows, *, scale: bool, part_rows: int, cpus: int
    ) -> None:
        """Look at every row once: its length, and whether it can be used.

        Args:
            matrix: the embeddings, where every node sees them.
            rows: those of the class, ascending.
            scale: rows are brought to length one.
            part_rows: rows of a part.
            cpus: of the cluster.

        Raises:
            ray.exceptions.RayError: with a `DataError` behind it for rows that cannot be used.
        """
        self.n: int = rows.size
        self.width: int = int(matrix.open().shape[1])
        self._rows = rows.open()
        self._source = (matrix, scale)
        self._cpus = cpus
        self._bounds = np.append(np.arange(0, self.n, part_rows), self.n)
        self._parts = [rows.part(start, stop) for start, stop in self._spans()]
        self._free: np.ndarray | None = None
        self._free_parts: list[Any] = []
        self._squares = np.empty(self.n)
        peak = 0
        for (start, stop), (bits, squares) in self._in_order(_inspect):
            self._squares[start:stop] = squares
            peak = max(peak, bits)
        self._scale = dots.scale_of_peak(np.uint32(peak).view(np.float32), self.n)

    @property
    def scale(self) -> float:
        """See `Passes`."""
        return self._scale

    def fixed_total(self) -> np.ndarray:
        """See `Passes`."""
        return dots.add_exactly([s for _, s in self._in_order(_total, self._scale)], self.width)

    def fixed_sum(self, rows: np.ndarray) -> np.ndarray:
        """See `Passes`."""
        return dots.add_exactly(self._sums_of_runs(np.sort(rows)), self.width)

    def squares(self) -> np.ndarray:
        """See `Passes`."""
        return self._squares

    def scores(self, direction: np.ndarray) -> np.ndarray:
        """See `Passes`."""
        scores = np.empty(self.n)
        for (start, stop), (_, part) in self._in_order(_scores, direction, None):
            scores[start:stop] = part
        return scores

    def best(self, direction: np.ndarray, free: np.ndarray, places: int) -> TopRows:
        """See `Passes`."""
        import ray

        task: Any = ray.remote(_scores).options(num_returns=2, max_retries=RETRIES)
        free_parts = self._free_in_parts(free)
        pairs = [
            task.remote(self._source, part, direction, own)
            for part, own in zip(self._parts, free_parts, strict=True)
        ]
        ends = [end for end in ray.get([pair[0] for pair in pairs]) if end is not None]
        scored = [(pair[1], own) for pair, own in zip(pairs, free_parts, strict=True)]
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
        theta, missing, ties = _kth_largest(scored, low, high, places)
        return self._sum_best(scored, theta, missing, ties)

    def replay(self, order: np.ndarray, total: np.ndarray, redundancy: float) -> np.ndarray:
        """See `Passes`."""
        before = np.zeros(self.width, dtype=np.int64)
        calls, sums = [], self._sums_of_runs(order)
        for run, own in zip(self._runs(order), sums, strict=True):
            calls.append((self._source, self._rows[run], before, self._scale, total, redundancy))
            before = before + own
        gains = dict(in_tasks(_replay, enumerate(calls), cpus=self._cpus))
        return np.concatenate([np.empty(0), *(gains[number] for number in range(len(calls)))])

    def _sum_best(
        self, scored: list[tuple[Any, Any]], theta: float, missing: int, ties: list[int]
    ) -> TopRows:
        """The sum of all free rows above θ and of the `missing` lowest ones at it."""
        import ray

        task = ray.remote(_sum_chosen).options(max_retries=RETRIES)
        taken, waiting = [], []
        for (scores, free), part, count in zip(scored, self._parts, ties, strict=True):
            taken.append(min(count, missing))
            missing -= taken[-1]
            source, scale = self._source, self._scale
            waiting.append(task.remote(source, part, scores, free, theta, taken[-1], scale))
        fixed, last_tie = [], -1
        for (start, _), (own, tie), count in zip(
            self._spans(), ray.get(waiting), taken, strict=True
        ):
            fixed.append(own)
            last_tie = start + tie if count else last_tie
        return TopRows(dots.add_exactly(fixed, self.width), theta, last_tie)

    def _spans(self) -> list[tuple[int, int]]:
        bounds = self._bounds.tolist()
        return list(pairwise(bounds))

    def _in_order(
        self, function: Callable[..., Any], *arguments: Any
    ) -> Iterator[tuple[tuple[int, int], Any]]:
        """A function of every part, as answers come, each with the span of its part."""
        calls = (
            (span, (self._source, part, *arguments))
            for span, part in zip(self._spans(), self._parts, strict=True)
        )
        yield from in_tasks(function, calls, cpus=self._cpus)

    def _runs(self, order: np.ndarray) -> list[np.ndarray]:
        step = int(self._bounds[1]) if self.n else 1
        return [order[start : start + step] for start in range(0, order.size, step)]

    def _sums_of_runs(self, order: np.ndarray) -> list[np.ndarray]:
        """Fixed-point sums of rows, run by run."""
        runs = self._runs(order)
        calls = ((i, (self._source, self._rows[run], self._scale)) for i, run in enumerate(runs))
        sums = dict(in_tasks(_sum, calls, cpus=self._cpus))
        return [sums[number] for number in range(len(runs))]

    def _free_in_parts(self, free: np.ndarray) -> list[Any]:
        import ray

        if self._free is not free:
            self._free = free
            spans = self._spans()
            self._free_parts = (
                [None] * len(spans)
                if free.all()
                else [ray.put(free[start:stop]) for start, stop in spans]
            )
        return self._free_parts


def _kth_largest(
    scored: list[tuple[Any, Any]], low: float, high: float, places: int
) -> tuple[float, int, list[int]]:
    """The k-th largest of the scores of all parts, which lie in low … high.

    Returns:
        θ, how many of the rows at θ belong to the k largest, and how many each part has.
    """
    import ray

    histogram = ray.remote(_histogram).options(max_retries=RETRIES)
    values_in = ray.remote(_values_in).options(max_retries=RETRIES)
    missing = places
    while True:
        counts = np.zeros(_BINS, dtype=np.int64)
        for bins, own in ray.get([histogram.remote(*part, low, high) for part in scored]):
            counts[bins] += own
        from_top = np.cumsum(counts[::-1])[::-1]
        chosen = int(np.flatnonzero(from_top >= missing)[-1])
        missing -= int(from_top[chosen] - counts[chosen])
        answers = ray.get([values_in.remote(*part, low, high, chosen) for part in scored])
        found = [values for _, _, values, _ in answers if values is not None]
        if len(found) == len(answers):
            break
        low = min(least for least, _, values, _ in answers if values is None or values.size)
        high = max(most for _, most, values, _ in answers if values is None or values.size)
    every = np.concatenate(found)
    repeats = np.concatenate([own for _, _, _, own in answers])
    order = np.argsort(-every, kind="stable")
    theta = float(every[order][np.searchsorted(np.cumsum(repeats[order]), missing)])
    missing -= int(repeats[every > theta].sum())
    ties = [
        int(own[values == theta].sum()) for values, (*_, own) in zip(found, answers, strict=True)
    ]
    return theta, missing, ties


def _read(source: tuple[SharedMatrix, bool], rows: SharedRows | np.ndarray) -> np.ndarray:
    matrix, scale = source
    rows = rows.read() if isinstance(rows, SharedRows) else rows
    values = gather(matrix.open(), rows, scale=scale, threads=1)
    return dots.embedding_rows(values)


def _inspect(source: tuple[SharedMatrix, bool], rows: SharedRows) -> tuple[int, np.ndarray]:
    values = _read(source, rows)
    peak = dots.peak_bits_block(values.view(np.uint32), 0, rows.size)
    return int(peak), linear_form.squared_norms(values, 1)


def _total(source: tuple[SharedMatrix, bool], rows: SharedRows, scale: float) -> np.ndarray:
    return linear_form.fixed_total(_read(source, rows), scale, 1)


def _sum(source: tuple[SharedMatrix, bool], rows: np.ndarray, scale: float) -> np.ndarray:
    return linear_form.fixed_total(_read(source, np.sort(rows)), scale, 1)


def _scores(
    source: tuple[SharedMatrix, bool],
    rows: SharedRows,
    direction: np.ndarray,
    free: np.ndarray | None,
) -> tuple[tuple[float, float] | None, np.ndarray]:
    """The least and the largest score of the free rows, and all scores."""
    scores = linear_form.scores(_read(source, rows), direction, 1)
    some = scores if free is None else scores[free]
    return (float(some.min()), float(some.max())) if some.size else None, scores


def _bins_of(
    scores: np.ndarray, free: np.ndarray | None, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """The free scores within low … high, and the number of each one's bin: larger is higher."""
    some = scores if free is None else scores[free]
    some = some[(some >= low) & (some <= high)]
    if high == low:
        return some, np.zeros(some.size, dtype=np.int64)
    place = (some - low) / (high - low) * _BINS
    return some, np.minimum(place.astype(np.int64), _BINS - 1)


def _histogram(
    scores: np.ndarray, free: np.ndarray | None, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    return np.unique(_bins_of(scores, free, low, high)[1], return_counts=True)


def _values_in(
    scores: np.ndarray, free: np.ndarray | None, low: float, high: float, chosen: int
) -> tuple[float, float, np.ndarray | None, np.ndarray]:
    """Ends of a bin, its different scores (None if there are too many), how often each is there."""
    some, bins = _bins_of(scores, free, low, high)
    values, counts = np.unique(some[bins == chosen], return_counts=True)
    if values.size > _MOST_VALUES:
        return float(values[0]), float(values[-1]), None, counts[:0]
    ends = (float(values[0]), float(values[-1])) if values.size else (0.0, 0.0)
    return *ends, values, counts


def _sum_chosen(
    source: tuple[SharedMatrix, bool],
    rows: SharedRows,
    scores: np.ndarray,
    free: np.ndarray | None,
    theta: float,
    taken: int,
    scale: float,
) -> tuple[np.ndarray, int]:
    """The sum of the free rows above θ and of the first `taken` at it; the last one of these."""
    free = np.ones(rows.size, dtype=np.bool_) if free is None else free
    last_tie = int(np.flatnonzero(free & (scores == theta))[taken - 1]) if taken else -1
    values = _read(source, rows)
    # The compiled kernel is made for arrays that may be written.
    own, allowed = np.array(scores), np.array(free)
    return sum_chosen_block(values, own, allowed, 0, rows.size, theta, last_tie, scale), last_tie


def _replay(
    source: tuple[SharedMatrix, bool],
    rows: np.ndarray,
    before: np.ndarray,
    scale: float,
    total: np.ndarray,
    redundancy: float,
) -> np.ndarray:
    ascending = np.sort(rows)
    values = _read(source, ascending)
    order = np.searchsorted(ascending, rows)
    return replay_block(values, order, np.array(before), scale, np.array(total), redundancy)


@dots.compiled
def sum_chosen_block(values, scores, free, start, stop, theta, last_tie, scale):
    """Fixed-point sum of the free rows above θ, or at θ and not beyond the last tie taken."""
    sums = np.zeros(values.shape[1], np.int64)
    for i in range(start, stop):
        if free[i] and (scores[i] > theta or (scores[i] == theta and i <= last_tie)):
            dots.add_row(values, i, scale, sums)
    return sums
