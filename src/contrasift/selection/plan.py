"""What a selection works with, before anything is chosen: rows, limits, places, class by class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from contrasift.arrays import (
    Columns,
    NamedRows,
    Rows,
    check_matrix,
    class_codes,
    column_blocks,
    forget_pages,
)
from contrasift.errors import UsageError
from contrasift.ids import are_numbers, rows_of_ids
from contrasift.results import Embeddings, LatentClasses
from contrasift.selection.arguments import rows_of_indices
from contrasift.selection.budget import Shares
from contrasift.selection.gather import ClassRows, positions_by_quota
from contrasift.selection.task import SettledOptions, Task, with_limits


@dataclass(frozen=True)
class SelectionPool:
    """What is selected from.

    Attributes:
        values: [n, d].
        index: int [n]; the pool index of every row; None where it is the row's number.
        codes: int64 [n]; class of every row.
        names: [K]; of the classes.
        scale: rows are brought to length one.
        source: what the rows were handed in as; it may have ids and a description.
    """

    values: Rows
    index: np.ndarray | None
    codes: np.ndarray
    names: np.ndarray
    scale: bool
    source: Any

    @classmethod
    def of(cls, embeddings: Any, classes: Any, normalize: str, columns: Columns) -> SelectionPool:
        """Check rows and classes against each other; codes go into a column."""
        known = isinstance(embeddings, Embeddings)
        named = isinstance(embeddings, NamedRows)
        values = check_matrix(embeddings.values if known or named else embeddings)
        n = values.shape[0]
        index = None
        if known or (named and embeddings.index is not None):
            index = np.asanyarray(embeddings.index)
            if index.shape != (n,):
                raise UsageError(f"one pool index for each of the {n} rows", f"shape {index.shape}")
            index = None if _is_counting(index) else index
        labels = classes.labels if isinstance(classes, LatentClasses) else classes
        codes, names = class_codes(labels, n, columns)
        mean_views = known or (named and embeddings.described)
        scale = normalize == "rows" or (normalize == "auto" and not mean_views)
        return cls(values, index, codes, names, scale, embeddings)

    @property
    def n(self) -> int:
        """Examples."""
        return self.values.shape[0]

    @property
    def sizes(self) -> np.ndarray:
        """Examples of each class."""
        return np.bincount(self.codes, minlength=len(self.names))

    @cached_property
    def ids(self) -> Any:
        """Every row's id, an Arrow array; None where nobody named them."""
        return self.source.ids if isinstance(self.source, NamedRows) else None

    @property
    def description(self) -> Mapping[str, Any]:
        """Of the embeddings."""
        described = isinstance(self.source, (Embeddings, NamedRows))
        return self.source.description if described else {}

    def called(self, row: int) -> int | str:
        """What its user calls a row: by its id, else by its index."""
        return int(self.indices(np.array([row]))[0]) if self.ids is None else self.ids[row].as_py()

    def indices(self, rows: np.ndarray) -> np.ndarray:
        """The pool indices of some rows."""
        return rows if self.index is None else self.index[rows]


def _is_counting(index: np.ndarray) -> bool:
    """Whether it is 0, 1, 2, ..., so that nobody need look anything up in it."""
    if index.dtype != np.int64:
        return False
    for block in column_blocks(index.size):
        if not np.array_equal(index[block], np.arange(block.start, block.stop)):
            return False
        forget_pages(index)
    return True


def rows_of_examples(pool: SelectionPool, wanted: Any, name: str) -> np.ndarray:
    """Rows of examples that are named by their ids, or by pool indices; ascending, each once.

    Whole numbers are ids where the ids are whole numbers, else indices.

    Raises:
        UsageError: examples that there are not.
    """
    if wanted is None or (hasattr(wanted, "__len__") and not len(wanted)):
        return np.empty(0, dtype=np.int64)
    if pool.ids is not None and (not are_numbers(wanted) or are_numbers(pool.ids)):
        return np.unique(rows_of_ids(pool.ids, wanted, f"{name}="))
    return rows_of_indices(pool.index, pool.n, wanted, name)


def kept_and_dropped(pool: SelectionPool, must_keep: Any, must_drop: Any) -> list[np.ndarray]:
    """Rows of the examples that must be kept, and of those that must be dropped.

    Raises:
        UsageError: examples that there are not, or that are on both lists.
    """
    rows = [
        rows_of_examples(pool, listed, name)
        for name, listed in (("must_keep", must_keep), ("must_drop", must_drop))
    ]
    both = np.intersect1d(rows[0], rows[1])
    if both.size:
        raise UsageError(
            "must_keep= and must_drop= without a common example",
            f"{both.size} in both, among them {pool.called(int(both[0]))!r}",
        )
    return rows


@dataclass(frozen=True)
class Limits:
    """Rows that must and that may be selected, and that come last; None where there is no limit.

    Attributes:
        keep: int64, ascending.
        eligible: bool [n].
        later: bool [n]; copies of others, behind all that are none.
    """

    keep: np.ndarray | None
    eligible: np.ndarray | None
    later: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        pool: SelectionPool,
        keep: np.ndarray,
        drop: np.ndarray,
        budget: int,
        copy_of: np.ndarray | None = None,
    ) -> Limits:
        """Check rows that must be kept and dropped, ascending, against the budget."""
        if keep.size > budget:
            raise UsageError(
                f"must_keep= of at most {budget} examples, the budget",
                f"{keep.size}",
                "Raise the budget or shorten the list",
            )
        if budget > pool.n - drop.size:
            raise UsageError(
                f"a budget of at most {pool.n - drop.size}, what must_drop= leaves",
                f"{budget}",
                "Lower the budget or shorten the list",
            )
        eligible = None
        if drop.size:
            eligible = np.ones(pool.n, dtype=bool)
            eligible[drop] = False
        return cls(keep if keep.size else None, eligible, None if copy_of is None else copy_of >= 0)

    def within(self, rows: np.ndarray) -> Limits:
        """The limits of one class, in its own row numbers."""
        keep = later = None
        if self.keep is not None:
            keep = np.flatnonzero(np.isin(rows, self.keep, assume_unique=True))
        if self.later is not None and self.later[rows].any():
            later = self.later[rows]
        return Limits(keep, None if self.eligible is None else self.eligible[rows], later)

    @property
    def first(self) -> np.ndarray | None:
        """Rows that may be selected and are no copies, bool [n]; None for all."""
        if self.later is None:
            return self.eligible
        return ~self.later if self.eligible is None else self.eligible & ~self.later

    def order(self, order: np.ndarray) -> np.ndarray:
        """An order of all rows with those to keep first, then copies and the dropped last."""
        if self.later is not None:
            copies = self.later[order]
            order = np.concatenate([order[~copies], order[copies]])
        return with_limits(order, self.keep, self.eligible)


# Whose claims are others': one class has no claim to share, and complexity comes as weights.
_CLAIMS = {"global": "proportional", "density-quota": "equal"}


@dataclass(frozen=True)
class Places:
    """Places by class, and the order in which they are given.

    Attributes:
        places: int64 [K].
        quota_order: every place from the first to the last example, in blocks: positions among the
            ranks of class 0, then of class 1, ...; the j-th place of a class is its rank j.
        least: the smallest budget that the limits allow.
        row_rank: int64 [n]; place of every row in an order of the whole pool, else None.
    """

    places: np.ndarray
    quota_order: Callable[[], Iterator[np.ndarray]]
    least: int
    row_rank: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        partition: ClassRows,
        limits: Limits,
        budget: int,
        weights: np.ndarray | None,
        options: SettledOptions,
        pool: SelectionPool,
        order: np.ndarray | None = None,
    ) -> Places:
        """Share a budget among the classes, as `budget.Shares` does it, or as an order has them.

        Args:
            partition: rows by class.
            limits: rows that must and that may be selected.
            budget: to share.
            weights: float64 [K]; factors on the claims of classes.
            options: how it is shared.
            pool: what is selected from.
            order: int64 [n]; of all rows, by an objective that is blind to classes.
        """
        if order is not None:
            return cls._in_order(partition, limits, budget, pool, order)
        sizes = partition.sizes
        if sizes.size == 1:
            kept = 0 if limits.keep is None else limits.keep.size
            return cls(np.array([budget]), lambda: _one_by_one(pool.n), kept)
        code_of_row = pool.codes
        kept = available = first = None
        if limits.keep is not None:
            kept = np.bincount(code_of_row[limits.keep], minlength=sizes.size)
        if limits.eligible is not None:
            available = np.bincount(code_of_row[limits.eligible], minlength=sizes.size)
        if limits.later is not None:
            first = np.bincount(code_of_row[limits.first], minlength=sizes.size)
        shares = Shares.of(
            sizes,
            how=_CLAIMS.get(options.allocate, options.allocate),
            minimum=options.min_per_class,
            weights=weights,
            kept=kept,
            available=available,
            first=first,
        )

        def quota_order() -> Iterator[np.ndarray]:
            for given, seats in shares.seats_by_quota():
                yield partition.starts[given] + seats

        return cls(shares.allocate(budget), quota_order, int(shares.floor.sum()))

    @classmethod
    def _in_order(
        cls,
        partition: ClassRows,
        limits: Limits,
        budget: int,
        pool: SelectionPool,
        order: np.ndarray,
    ) -> Places:
        rank = np.empty(pool.n, dtype=np.int64)
        rank[order] = np.arange(pool.n)
        n_classes = partition.sizes.size
        codes = pool.codes[order] if n_classes > 1 else np.zeros(pool.n, dtype=np.int64)
        places = np.bincount(codes[:budget], minlength=n_classes)
        kept = 0 if limits.keep is None else limits.keep.size
        positions = positions_by_quota(codes, n_classes)
        return cls(places, lambda: iter([positions]), kept, rank)


def _one_by_one(n: int) -> Iterator[np.ndarray]:
    for block in column_blocks(n):
        yield np.arange(block.start, block.stop)


# Under optimizer='auto', greedy may compute as many gains as all rows of a class have in so many
# passes, or this many numbers of a pool, whichever is more: some tens of seconds at most.
_PASSES = 512
_NUMBERS = 25_600_000_000


@dataclass(frozen=True)
class Plan:
    """What is chosen from what, class by class, for whatever engine solves the classes.

    Attributes:
        pool: the rows.
        partition: rows by class; one class alone where the pool is chosen from as a whole.
        places: budgets by class, and the order in which places are given.
        columns: where arrays of one entry an example lie.
        limits: rows that must and that may not be selected.
        options: how each class is solved.
        budget: how many were asked for.
        fraction: the same as a share.
        fractions: nested selections that were asked for, ascending.
        scores: float64 [n], of a file or of the whole pool, or None.
        aim: float64 [d]; see `Task`.
        copy_of: int64 [n]; whose copy each row is, −1 of none; None without copies.
    """

    pool: SelectionPool
    partition: ClassRows
    places: Places
    columns: Columns
    limits: Limits
    options: SettledOptions
    budget: int
    fraction: float
    fractions: tuple[float, ...]
    scores: np.ndarray | None
    aim: np.ndarray | None = None
    copy_of: np.ndarray | None = None

    @property
    def whole(self) -> bool:
        """Whether the pool is chosen from as one class."""
        return self.options.allocate == "global"

    def task(self, code: int) -> Task:
        """What is to be chosen from one class of the partition."""
        rows = self.partition.of_class(code)
        limits = self.limits.within(rows)
        row_rank = self.places.row_rank
        return Task(
            code=code,
            budget=int(self.places.places[code]),
            keep=limits.keep,
            eligible=limits.eligible,
            later=limits.later,
            order=None if row_rank is None else np.argsort(row_rank[rows]),
            split=self.whole,
            scores=None if self.scores is None else self.scores[rows],
            work=self._work(rows.size),
            aim=self.aim,
        )

    def _work(self, size: int) -> int:
        """Gains that may be computed in a class, by its part of the pool; never by any clock."""
        share = size / max(1, self.pool.n)
        numbers = _NUMBERS * share / max(1, self.pool.values.shape[1])
        return max(_PASSES * size, int(numbers))
