"""k-center: farthest-first, exact, by few matrix products."""

from __future__ import annotations

import numpy as np

from contrasift.arrays import EmbeddingMatrix, IndexVector, RowMask
from contrasift.selection.baselines.nearest import improve, product_slack, with_offsets
from contrasift.selection.baselines.ranked import Ranked
from contrasift.selection.kernels import dots, linear_form, products
from contrasift.selection.kernels.dots import compiled, row_dot
from contrasift.selection.kernels.nearest_rows import map_rows

_CANDIDATES = 1024  # rows that are brought up to date together before some of them are chosen
_MOST_CANDIDATES = 16_384
_GROUP = 8  # panels of centres that meet a block of rows at once: their products stay in the cache


def k_center(
    values: EmbeddingMatrix,
    budget: int,
    keep: IndexVector | None = None,
    eligible: RowMask | None = None,
    threads: int | None = None,
) -> Ranked:
    """Farthest-first: each time the row farthest from all that were chosen before.

        i_{t+1} = argmax_i min_{j ∈ i_1..i_t} ‖z_i − z_j‖²

    The largest remaining gap is within a factor two of the best for every prefix
    (Gonzalez 1985); as a way to choose training examples: Sener & Savarese 2018. The first row is
    the one nearest to the mean, or what must be kept. Smaller budgets are prefixes.

    Lazily: a row's squared gap only shrinks, so one that was computed against fewer centres is an
    upper bound. The rows with the largest bounds are brought up to date together, by one matrix
    product with the centres since their last one, and the farthest of them are chosen while no
    other bound exceeds theirs. So most rows meet most centres only once, in large products.

    Args:
        values: z [n, d].
        budget: how many to choose; the others follow by their gap to what was chosen.
        keep: rows that come first, in this order.
        eligible: rows that may be chosen; the others come last.
        threads: None for all processors; the ranking does not depend on it.

    Returns:
        the ranking; scores are the squared gap to what was chosen before, +inf of the first row,
        and for what was not chosen the squared gap to the choice.

    Raises:
        DataError: NaN or infinity.
    """
    n = values.shape[0]
    if n == 0:
        return Ranked(np.empty(0, dtype=np.int64), np.empty(0), 0)
    z = dots.embedding_rows(values)
    gaps = _Gaps(z, max(budget, 1), threads)
    may = np.ones(n, dtype=bool) if eligible is None else eligible.copy()
    kept = np.empty(0, dtype=np.int64) if keep is None else keep
    if budget > 0:
        if kept.size == 0:
            kept = _nearest_to_mean(z, may, threads)
        for row in kept[:budget]:
            gaps.choose_first(int(row))
        may[gaps.chosen] = False
        gaps.fill(may, budget)
    gaps.refresh(np.flatnonzero(gaps.open))
    return gaps.ranked(eligible)


def _nearest_to_mean(z: np.ndarray, may: np.ndarray, threads: int | None) -> np.ndarray:
    """Of the rows that may be chosen the one with the smallest ‖z_i − μ‖²; none if none may."""
    rows = np.flatnonzero(may)
    mean = linear_form.total_of(z, threads) / z.shape[0]
    gap = linear_form.squared_norms(z, threads) - 2 * linear_form.scores(z, mean, threads)
    return rows[np.argsort(gap[rows], kind="stable")[:1]]


class _Gaps:
    """Every row's squared gap to the centres so far: exact, or an upper bound from fewer centres.

    Kept as closest_i = max_j ⟨z_i, z_j⟩ − ‖z_j‖²/2, from which the gap is ‖z_i‖² − 2·closest_i.

    Attributes:
        chosen: rows, in the order of their choice.
        open: bool [n]; not chosen.
    """

    def __init__(self, z: np.ndarray, budget: int, threads: int | None) -> None:
        n, d = z.shape
        self.open = np.ones(n, dtype=bool)
        self._z = z
        self._threads = threads
        self._squares = linear_form.squared_norms(z, threads)
        self._halves = self._squares / 2
        self._slack = product_slack(d, float(self._squares.max()))
        self._closest = np.full(n, -np.inf)
        self._seen = np.zeros(n, dtype=np.int64)
        self._rows = np.empty(min(budget, n), dtype=np.int64)
        # Centres with their offsets, as panels; a place without one is nearest to nothing.
        columns = products.TILE.columns
        self._panels = np.zeros((-(-self._rows.size // columns), d + 1, columns), np.float32)
        self._panels[:, d] = -np.inf
        self._score = np.full(n, np.inf)
        self._count = 0

    @property
    def chosen(self) -> np.ndarray:
        return self._rows[: self._count]

    def choose_first(self, row: int) -> None:
        """Choose a row whatever its gap."""
        self.refresh(np.array([row]))
        self._score[row] = self._gap_of(np.array([row]))[0]
        self._rows[self._count] = row
        self._add_centres(self._count + 1)

    def fill(self, may: np.ndarray, budget: int) -> None:
        """Choose the farthest, one after another, up to the budget."""
        rows = np.flatnonzero(may)
        self.refresh(rows)
        bounds = np.full(self._z.shape[0], -1.0)
        bounds[rows] = self._gap_of(rows)
        size, left = _CANDIDATES, rows.size
        while self._count < budget and left:
            block, bound, bound_row = _largest(bounds, min(size, left))
            self.refresh(block)
            count = _choose(
                block, bound, bound_row, budget, self._count, self._z, self._squares, self._halves,
                self._closest, self._seen, self._rows, self._score,
            )  # fmt: skip
            new = self._rows[self._count : count]
            bounds[block] = self._gap_of(block)
            bounds[new] = -1.0
            left -= new.size
            size = _CANDIDATES if new.size else min(2 * size, _MOST_CANDIDATES)
            self._add_centres(count)

    def _add_centres(self, count: int) -> None:
        """Let the rows that were chosen last, up to `count`, be centres."""
        places = np.arange(self._count, count)
        new = self._rows[places]
        panels, columns = np.divmod(places, products.TILE.columns)
        self._panels[panels, :, columns] = with_offsets(self._z[new], self._halves[new])
        self.open[new] = False
        self._count = count

    def refresh(self, rows: np.ndarray) -> None:
        """Bring rows up to date with every centre."""
        stale = rows[self._seen[rows] < self._count]
        stale = stale[np.argsort(self._seen[stale], kind="stable")]
        map_rows(lambda some: self._refresh_some(stale[some]), stale.size, self._threads)
        self._seen[stale] = self._count

    def _refresh_some(self, rows: np.ndarray) -> None:
        columns = products.TILE.columns
        unseen = slice(int(self._seen[rows[0]]) // columns, -(-self._count // columns))
        _meet(
            dots.embedding_rows(with_offsets(self._z[rows])), self._panels[unseen], _GROUP, rows,
            self._z, self._rows[unseen.start * columns :], self._halves, self._slack, self._closest,
        )  # fmt: skip

    def ranked(self, eligible: np.ndarray | None) -> Ranked:
        """The chosen rows, then the others by their gap, then those that may not be chosen."""
        rest = np.flatnonzero(self.open)
        self._score[rest] = self._gap_of(rest)
        rest = rest[np.argsort(-self._score[rest], kind="stable")]
        if eligible is not None:
            rest = np.concatenate([rest[eligible[rest]], rest[~eligible[rest]]])
        return Ranked(np.concatenate([self.chosen, rest]), self._score, self._count)

    def _gap_of(self, rows: np.ndarray) -> np.ndarray:
        return np.maximum(self._squares[rows] - 2 * self._closest[rows], 0.0)


def _largest(bounds: np.ndarray, size: int) -> tuple[np.ndarray, float, int]:
    """The rows with the largest bounds, ascending; the largest bound beyond them and its row.

    Of equal bounds the lowest rows are taken: else a block might hold none that may be chosen.
    """
    n = bounds.size
    if size >= n:
        return np.arange(n), -np.inf, n
    beyond, cut = np.partition(bounds, [n - size - 1, n - size])[n - size - 1 : n - size + 1]
    above, tied = np.flatnonzero(bounds > cut), np.flatnonzero(bounds == cut)
    room = size - above.size
    block = np.sort(np.concatenate([above, tied[:room]]))
    row = tied[room] if tied.size > room else np.argmax(bounds == beyond)
    return block, float(beyond), int(row)


@compiled
def _meet(left, panels, group, rows, values, centres, halves, slack, closest):
    """Let rows, whose values with a 1 are `left`, meet centres as panels, so many at a time."""
    width = panels.shape[2]
    similar = np.empty((rows.size, group * width), np.float32)
    for first in range(0, panels.shape[0], group):
        some = panels[first : first + group]
        products.store_products(left, some, np.float32(-np.inf), similar)
        widths = np.full(rows.size, some.shape[0] * width)
        improve(similar, rows, values, centres[first * width :], halves, slack, closest, widths)


@compiled
def _choose(
    block, bound, bound_row, budget, count, values, squares, halves, closest, seen, chosen, score
):
    """Choose from a block that is up to date while its farthest beats every bound beyond it.

    Returns how many are chosen then; rows that cannot be chosen any more in this block are left
    with what they have seen.
    """
    d = values.shape[1]
    wide = np.empty(d)
    active = block.copy()
    left = active.shape[0]
    gaps = np.empty(left)
    for a in range(left):
        gaps[a] = max(squares[active[a]] - 2 * closest[active[a]], 0.0)
    while count < budget:
        best = -1
        kept = 0
        for a in range(left):
            i = active[a]
            if gaps[a] < bound or (gaps[a] == bound and i > bound_row):
                seen[i] = count
                continue
            active[kept] = i
            gaps[kept] = gaps[a]
            if best < 0 or gaps[kept] > gaps[best]:
                best = kept
            kept += 1
        left = kept
        if best < 0:
            return count
        centre = active[best]
        chosen[count] = centre
        score[centre] = gaps[best]
        count += 1
        seen[centre] = count
        for t in range(d):
            wide[t] = values[centre, t]
        for a in range(best, left - 1):
            active[a] = active[a + 1]
            gaps[a] = gaps[a + 1]
        left -= 1
        for a in range(left):
            i = active[a]
            exact = row_dot(values, i, wide) - halves[centre]
            if exact > closest[i]:
                closest[i] = exact
                gaps[a] = max(squares[i] - 2 * exact, 0.0)
    for a in range(left):
        seen[active[a]] = count
    return count
