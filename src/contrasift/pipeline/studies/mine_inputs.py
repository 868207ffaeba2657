"""What files say of queries and corpus: pairs, labels, classes; and all of it without bad rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.arrays import class_codes
from contrasift.errors import DataError, UsageError
from contrasift.fingerprints import array_sha256
from contrasift.matrices import LeftOut, Matrix, leave_out_bad
from contrasift.mining import Mined
from contrasift.mining.listed import Known
from contrasift.mining.pairs import pairs_of
from contrasift.narration import Narrator
from contrasift.options.matrix import METHODS_OF_A_MATRIX
from contrasift.options.mining import MiningFiles
from contrasift.results import LatentClasses
from contrasift.store.inputs import load_classes_file
from contrasift.store.pairs import read_pairs
from contrasift.store.remote import local_file
from contrasift.store.tables import read_table, write_table

ROWS = "rows"
SKIPPED = "skipped.parquet"
_LONELY = "no positive that is left"


@dataclass(frozen=True)
class MiningInputs:
    """What files say of queries and corpus, and the hashes of all."""

    positives: np.ndarray
    relevant: np.ndarray | None
    labels: np.ndarray | None
    classes: LatentClasses | None
    other: LatentClasses | None
    digests: list[str]

    @classmethod
    def read(cls, left: Matrix, right: Matrix, files: MiningFiles) -> MiningInputs:
        """Read all files."""
        positives = _pairs(files.positives, left, right, "positives")
        relevant = _pairs(files.relevant, left, right, "relevant") if files.relevant else None
        named = "" if files.classes in METHODS_OF_A_MATRIX else files.classes
        given = [_classes(name, right) for name in (named, files.other_classes)]
        labels = None
        if files.labels:
            labels = class_codes(_table_of(files.labels, right), len(right))[0]
        arrays = (positives, relevant, labels, *(one and one.codes for one in given))
        digests = [left.fingerprint, right.fingerprint]
        digests += ["" if one is None else array_sha256(one) for one in arrays]
        digests += ["usable"] if files.skip_bad else []
        return cls(positives, relevant, labels, given[0], given[1], digests)

    def of(self, left: np.ndarray, right: np.ndarray) -> MiningInputs:
        """Of some rows, under their new numbers.

        Args:
            left: bool [q]; the queries that are left.
            right: bool [n]; the rows of the corpus.
        """
        return replace(
            self,
            positives=_renumbered(self.positives, left, right),
            relevant=None if self.relevant is None else _renumbered(self.relevant, left, right),
            labels=None if self.labels is None else self.labels[right],
            classes=classes_of(self.classes, right),
            other=classes_of(self.other, right),
        )

    def known(self, mined: Mined, same: bool) -> Known:
        """For the judgement."""
        relevant = None
        if self.relevant is not None:
            relevant = pairs_of(
                self.relevant, mined.kept.size, 1 + int(self.relevant.max(initial=0))
            )
        return Known(mined.positives, same, None, self.labels, relevant)


@dataclass
class UsableSides:
    """Queries and corpus without rows that cannot be compared, nor queries that lose all positives.

    Attributes:
        left: queries that are left.
        right: the corpus that is left.
        comparable: bool [n]; corpus rows whose classes can be found.
        use_left: bool [q]; which queries are left, of those that were opened.
        use_right: bool [n]; likewise.
        skipped: columns of skipped.parquet.
    """

    left: Matrix
    right: Matrix
    comparable: np.ndarray
    use_left: np.ndarray
    use_right: np.ndarray
    skipped: dict[str, list[Any]] = field(
        default_factory=lambda: {"side": [], "row": [], "reason": [], "place": []}
    )

    @classmethod
    def of(
        cls, left: Matrix, right: Matrix, positives: np.ndarray, threads: int | None
    ) -> UsableSides:
        """Look at all rows once.

        Args:
            left: queries.
            right: the corpus; the same object where it is the queries.
            positives: int [m, 2].
            threads: None for all processors.

        Raises:
            DataError: nothing is left.
        """
        same = left is right
        use_left, out_left = _usable(left, threads)
        use_right, out_right = (use_left, None) if same else _usable(right, threads)
        sides = cls(left, right, use_right.copy(), use_left, use_right)
        sides._list("queries", out_left)
        sides._list("corpus", out_right)
        sides._leave_lonely_out(positives, same)
        sides.left = _keeping(left, use_left)
        sides.right = sides.left if same else _keeping(right, use_right)
        return sides

    def _list(self, side: str, left_out: LeftOut | None) -> None:
        if left_out:
            self._add(side, left_out.rows.tolist(), left_out.reasons, left_out.places)

    def _add(self, side: str, rows: Any, reasons: Any, places: Any) -> None:
        columns = self.skipped.values()
        for column, more in zip(columns, ([side] * len(rows), rows, reasons, places), strict=True):
            column.extend(more)

    def _leave_lonely_out(self, positives: np.ndarray, same: bool) -> None:
        """Queries that had positives and have none left; again, where they were others' positives."""
        had = np.isin(np.arange(self.use_left.size), positives[:, 0])
        while True:
            alive = self.use_left[positives[:, 0]] & self.use_right[positives[:, 1]]
            has = np.isin(np.arange(self.use_left.size), positives[alive, 0])
            lonely = np.flatnonzero(self.use_left & had & ~has)
            self.use_left[lonely] = False
            stored, places = self.left.stored_rows(lonely), map(self.left.place, lonely.tolist())
            self._add("queries", stored.tolist(), [_LONELY] * lonely.size, list(places))
            if not self.use_left.any():
                raise DataError(
                    "queries with a positive that can be compared",
                    f"none of {self.use_left.size:,}",
                    "Embed again, or name other positives",
                )
            if not (same and lonely.size):
                return

    def write(self, out: Path, narrator: Narrator) -> None:
        """List what was left out; no list where there is nothing."""
        count = len(self.skipped["row"])
        if not count:
            (out / SKIPPED).unlink(missing_ok=True)
            return
        narrator.say(
            f"{count:,} rows are left out, listed in {out / SKIPPED}; the first: "
            f"{self.skipped['reason'][0]} in {self.skipped['place'][0]}"
        )
        columns: dict[str, Any] = dict(self.skipped)
        write_table(out / SKIPPED, columns | {"row": np.array(columns["row"], np.int64)})


def classes_of(classes: LatentClasses | None, rows: np.ndarray) -> LatentClasses | None:
    """Those of some rows of the corpus."""
    if classes is None or rows.all():
        return classes
    return replace(classes, codes=classes.codes[rows], score=classes.score[rows])


def among(some: Matrix, all_of: Matrix) -> np.ndarray:
    """Which rows of a matrix are rows of one with fewer; bool [n]."""
    whole, part = (one.stored_rows(np.arange(len(one))) for one in (all_of, some))
    return np.isin(whole, part)


def _usable(matrix: Matrix, threads: int | None) -> tuple[np.ndarray, LeftOut]:
    rest, left_out = leave_out_bad(matrix, zeros=True, threads=threads)
    return among(rest, matrix), left_out


def _keeping(matrix: Matrix, rows: np.ndarray) -> Matrix:
    return matrix if rows.all() else matrix.keeping(np.flatnonzero(rows))


def _renumbered(pairs: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    alive = pairs[left[pairs[:, 0]] & right[pairs[:, 1]]]
    numbers = [np.cumsum(side) - 1 for side in (left, right)]
    return np.stack([number[rows] for number, rows in zip(numbers, alive.T, strict=True)], axis=1)


def _pairs(place: str, left: Matrix, right: Matrix, name: str) -> np.ndarray:
    if place == ROWS:
        if len(left) != len(right):
            raise UsageError(
                f"as many queries as rows of the corpus for {name}='rows'",
                f"{len(left):,} and {len(right):,}",
                "Give a file of pairs",
            )
        return np.stack([np.arange(len(left))] * 2, axis=1)
    pairs = read_pairs(place, left.ids, right.ids, name)
    pairs_of(pairs, len(left), len(right), f"{name}=")  # says what is no row
    return pairs


def _classes(place: str, right: Matrix) -> LatentClasses | None:
    if not place:
        return None
    codes, names = class_codes(_table_of(place, right), len(right))
    score = np.ones(codes.size, np.float32)
    path = local_file(place)
    if path.suffix == ".parquet":
        table = read_table(path)
        if "score" in table and "index" in table:
            order = np.argsort(table["index"], kind="stable")
            place_of = np.searchsorted(table["index"], right.numbers, sorter=order)
            score = table["score"][order[place_of]].astype(np.float32)
    return LatentClasses(codes, names, score, "labels")


def _table_of(place: str, right: Matrix) -> np.ndarray:
    return load_classes_file(place, right.numbers, right.ids)
