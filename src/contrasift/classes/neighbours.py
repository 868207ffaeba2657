"""The nearest other rows of every row of a pool: exact up to a size, beyond with a recall that is measured."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from contrasift.errors import UsageError

if TYPE_CHECKING:
    from contrasift.classes.inverted import Lists

# Every pair of rows is compared up to this many; beyond, neighbours come from lists of near rows.
EXACT_ROWS = 65_536
# Of 131,072 glyphs the classes and selections by 0.98 of the neighbours differ from those by all more
# than two seeds do; by 0.995 they do not (benchmarks/results/neighbours-glyphs.md).
RECALL = 0.995


@runtime_checkable
class Pieces(Protocol):
    """Where arrays are kept while the work goes on, so that what was done is not done again."""

    def get(self, number: int) -> dict[str, np.ndarray] | None:
        """A piece that is there and whole; else None."""
        ...

    def put(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        """Keep a piece."""
        ...


@runtime_checkable
class Elsewhere(Protocol):
    """Searches the rows of pieces of lists in other processes."""

    def __call__(
        self, points: np.ndarray, lists: Lists, k: int, probed: int, pieces: Sequence[int]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Each piece with what `inverted.search_lists` finds for its rows, in any order."""
        ...


@dataclass(frozen=True)
class Searching:
    """How neighbours among many rows are searched.

    Attributes:
        recall: share of the true neighbours that is wished; less, but at least 0.9, where it takes
            more than 64 lists a row.
        pieces: keeps what is done; None: nothing is kept.
        told: is told how many rows of all are done.
        threads: None for all processors; the result is the same for every number.
        memory_limit: bytes that the process should stay below; None: as much as it takes.
        elsewhere: searches the lists in other processes, with the same result; None: threads here.
    """

    recall: float = RECALL
    pieces: Pieces | None = None
    told: Callable[[int, int], None] | None = None
    threads: int | None = None
    memory_limit: int | None = None
    elsewhere: Elsewhere | None = None


def nearest_neighbours(
    points: np.ndarray, k: int, seed: int = 0, searching: Searching | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """The k nearest other rows of each row by Euclidean length, nearest first.

    Exact up to 65,536 rows (`selection.nearest_rows`); beyond among the rows of near lists
    (`inverted`), so many of them as hold the wished share of the true neighbours of a sample. The
    lower row comes first among equals. The same for every number of threads, and where a search was
    broken off and goes on.

    Args:
        points: float32 [n, d].
        k: below n.
        seed: of lists and sample.
        searching: how.

    Returns:
        int64 [n, k], −1 where none was found; and beyond that size facts: `lists`, `probed` (lists
        a row), `recall`, measured on a `sample` of rows, and `rows_a_list`.
    """
    from contrasift.selection.kernels.nearest_rows import nearest_rows

    how = searching or Searching()
    if points.shape[0] <= EXACT_ROWS:
        own = np.arange(points.shape[0])
        return nearest_rows(points, points, k, own=own, threads=how.threads), {}
    return _from_lists(points, k, seed, how)


def _from_lists(
    points: np.ndarray, k: int, seed: int, how: Searching
) -> tuple[np.ndarray, dict[str, Any]]:
    from contrasift.classes import inverted
    from contrasift.classes.inverted import search_lists

    n = points.shape[0]
    known = how.pieces.get(0) if how.pieces else None
    if known is None:
        frame = inverted.Frame.of(points)
        centroids, home = inverted.centroids_and_home(points, frame, seed, how.threads)
        lists = inverted.lists_of(points, frame, centroids, home)
        probed, recall = inverted.lists_needed(points, lists, k, how.recall, seed, how.threads)
        known = {
            "centroids": centroids,
            "home": home,
            "found": np.array([probed, recall]),
        }
        if how.pieces:
            how.pieces.put(0, known)
    else:
        frame = inverted.Frame.of(points)
        lists = inverted.lists_of(points, frame, known["centroids"], known["home"])
    probed, recall = int(known["found"][0]), float(known["found"][1])
    found = np.empty((n, k), dtype=np.int64)
    done = [0]

    def take(piece: int, near: np.ndarray) -> None:
        rows = lists.rows_of(piece)
        found[rows] = near
        done[0] += rows.size
        if how.told:
            how.told(done[0], n)

    waiting: deque[int] = deque()
    for piece in range(lists.pieces):
        kept = how.pieces.get(1 + piece) if how.pieces else None
        if kept:
            take(piece, kept["near"])
        else:
            waiting.append(piece)

    def keep(piece: int, near: np.ndarray) -> None:
        if how.pieces:
            how.pieces.put(1 + piece, {"near": near})
        take(piece, near)

    def work(_: int) -> None:
        while waiting:
            try:
                piece = waiting.popleft()
            except IndexError:  # another thread was faster
                return
            rows = lists.rows_of(piece)
            keep(piece, search_lists(points[rows], rows, lists, k, probed))

    if how.elsewhere is None:
        # Compiled here: a thread that waits for another's compiling keeps the lists for good.
        search_lists(points[:1], np.zeros(1, np.int64), lists, k, probed)
        in_threads(work, how.threads)
    elif waiting:
        for piece, near in how.elsewhere(points, lists, k, probed, list(waiting)):
            keep(piece, near)
    return found, {
        "lists": lists.count,
        "rows_a_list": inverted.ROWS_A_LIST,
        "probed": probed,
        "recall": recall,
        "sample": min(n, inverted.SAMPLE),
    }


def in_threads(work: Callable[[int], None], threads: int | None) -> None:
    """The same work in every thread, each of which takes what waits."""
    from contrasift.selection.kernels.dots import available_threads

    count = available_threads(threads)
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))


def check_memory(n: int, width: int, k: int, limit: int | None) -> int:
    """Bytes that classes of the graph take, all in all.

    Args:
        n: rows.
        width: D, columns after whitening.
        k: neighbours.
        limit: bytes; None: no limit.

    Raises:
        UsageError: more than the limit; says what would fit.
    """
    # The rows; then what is larger: the rows again in lists with the neighbours found, or the graph
    # as arrays and as NetworKit holds it, of which 64 bytes a neighbour were measured.
    lists, graph = 5 * width + 16 * k + 100, 80 * k
    fixed, each = 400 << 20, 4 * width + max(lists, graph)
    needed = fixed + n * each
    if limit is not None and needed > limit:
        fits = (limit - fixed) // each
        less = (
            f"Whiten to fewer components (whiten={max(8, width // 2)}), take fewer neighbours, or "
            f"at most {fits:,} rows"
            if fits > k
            else "Raise it: so little holds the classes of no rows at all"
        )
        raise UsageError(
            f"a memory limit of at least {needed / 2**30:.2f} GiB for classes of {n:,} rows of "
            f"width {width} with {k} neighbours",
            f"{limit / 2**30:.2f} GiB",
            f"{less}; classes='kmeans' reads rows in blocks",
        )
    return needed
