"""Rows that cannot be compared (NaN, infinity, zeros to be scaled) and that a user drops.

They count as not in the pool, and stand last in their class when all is done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from contrasift.arrays import NamedRows, RowReader, row_blocks
from contrasift.errors import DataError
from contrasift.results import ClassSummary, Selection
from contrasift.selection.plan import SelectionPool

_FLOAT32_MAX = float(np.finfo(np.float32).max)


def unusable_rows(pool: SelectionPool, dropped: np.ndarray) -> np.ndarray:
    """Which of the dropped rows could not be compared with others.

    Args:
        pool: what is selected from.
        dropped: rows, ascending.
    """
    found = [np.empty(0, dtype=np.int64)]
    for block in row_blocks(dropped.size, 8 * pool.values.shape[1]):
        part = np.asarray(pool.values[dropped[block]], dtype=np.float64)
        bad = ~np.isfinite(part).all(axis=1)
        bad |= (part == 0).all(axis=1) if pool.scale else np.abs(part).max(axis=1) > _FLOAT32_MAX
        found.append(dropped[block][bad])
    return np.concatenate(found)


@dataclass(frozen=True)
class KeptRows:
    """Some rows of a matrix that lies elsewhere, as `contrasift.arrays.RowReader`.

    Attributes:
        whole: the matrix.
        kept: int64 [m]; numbers of its rows, ascending.
    """

    whole: Any
    kept: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's."""
        return (self.kept.size, *self.whole.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """As an array's."""
        return self.whole.dtype

    @property
    def ndim(self) -> int:
        """As an array's."""
        return len(self.shape)

    @property
    def file(self) -> Any:
        """What it is read from."""
        return self.whole.file

    def __len__(self) -> int:
        return self.kept.size

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it, as an array."""
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return self.whole[self.kept[rows]]


@dataclass(frozen=True)
class Usable:
    """A pool without the rows that cannot be compared.

    Attributes:
        whole: with them.
        out: int64 [m]; their row numbers, ascending.
        rows: int64 [n − m]; those of all others.
        present: bool [K]; the classes that still have an example.
        pool: what is left.
    """

    whole: SelectionPool
    out: np.ndarray
    rows: np.ndarray
    present: np.ndarray
    pool: SelectionPool

    @classmethod
    def of(cls, whole: SelectionPool, out: np.ndarray) -> Usable:
        """Leave rows out.

        Raises:
            DataError: no row is left.
        """
        if out.size == whole.n:
            raise DataError("at least one row of finite numbers", f"{out.size} rows without")
        named = isinstance(whole.source, NamedRows)
        elsewhere = isinstance(whole.values, RowReader) and not isinstance(whole.values, np.ndarray)
        rows = np.setdiff1d(np.arange(whole.n), out, assume_unique=True)
        kept, codes = np.unique(whole.codes[rows], return_inverse=True)
        source = whole.source.keeping(rows) if named else whole.source
        values: Any = source
        if not (elsewhere and named):
            values = KeptRows(whole.values, rows) if elsewhere else whole.values[rows]
        pool = replace(
            whole,
            values=values,
            source=source,
            index=whole.indices(rows),
            codes=codes.astype(np.int64),
            names=whole.names[kept],
        )
        return cls(whole, out, rows, np.isin(np.arange(len(whole.names)), kept), pool)

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """What rows of the whole that are not out are called in what is left."""
        return np.searchsorted(self.rows, rows)

    def put_back(self, chosen: Selection) -> Selection:
        """The selection of the whole pool: the rows that were left out rank last in their class."""
        m, names = self.out.size, self.whole.names
        sizes = [part.size for part in chosen.classes]
        codes = np.append(
            np.repeat(np.flatnonzero(self.present), sizes), self.whole.codes[self.out]
        )
        by_class = np.argsort(codes, kind="stable")
        place = np.empty(codes.size, dtype=np.int64)
        place[by_class] = np.arange(codes.size)

        def column(values: np.ndarray, rest: Any) -> np.ndarray:
            return np.append(values, np.full(m, rest, dtype=values.dtype))[by_class]

        index = np.append(chosen.index, self.whole.indices(self.out))[by_class]
        note = (
            f"{m:,} dropped example{'s' if m != 1 else ''} without finite numbers or a direction "
            "count as not in the pool"
        )
        return replace(
            chosen,
            index=index,
            gain=column(chosen.gain, np.nan),
            selected=column(chosen.selected, False),
            order=place[np.append(chosen.order, np.arange(chosen.order.size, codes.size))],
            classes=self._summaries(chosen, np.bincount(codes, minlength=len(names))),
            notes=(*chosen.notes, note),
            facts={**chosen.facts, "unusable": m, "n_classes": len(names)},
            rule=self._rule(chosen.rule),
            marks={share: column(mark, False) for share, mark in chosen.marks.items()},
            ids=self._ids(chosen, by_class),
            copy_of=None if chosen.copy_of is None else column(chosen.copy_of, -1),
        )

    def _ids(self, chosen: Selection, by_class: np.ndarray) -> Any:
        if chosen.ids is None:
            return None
        import pyarrow as pa

        rest = self.whole.ids.take(self.out)
        return pa.chunked_array([*chosen.ids.chunks, *rest.chunks], rest.type).take(by_class)

    def _summaries(self, chosen: Selection, sizes: np.ndarray) -> tuple[ClassSummary, ...]:
        solved = iter(chosen.classes)
        return tuple(
            replace(next(solved), size=size) if there else ClassSummary(name, size, 0, None)
            for name, size, there in zip(
                self.whole.names.tolist(), sizes.tolist(), self.present.tolist(), strict=True
            )
        )

    def _rule(self, rule: Any) -> dict[str, np.ndarray] | None:
        """The rule speaks of rows of the whole pool."""
        if rule is None:
            return None
        shape = np.asarray(self.whole.values.shape)
        exceptions = self.rows[rule["exception_rows"]]
        known = np.array(str(self.whole.description.get("sha256", "")))
        return {
            **rule,
            "pool_shape": shape,
            "exception_rows": exceptions,
            "pool_sha256": known,
        }
