"""A selection as a linear rule: one dot product judges an example, stored or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from contrasift.arrays import check_matrix
from contrasift.errors import DataError, UsageError
from contrasift.selection.gather import ClassRows, classwise, in_blocks
from contrasift.selection.kernels.linear_form import scores, total_of
from contrasift.selection.optimizers.relaxation import relax


@dataclass(frozen=True)
class Judged:
    """A block of judged rows.

    Attributes:
        start: number of its first row.
        keep: bool [rows].
        score: float64 [rows]; ⟨z, w_c⟩ of the row's class.
        class_code: int64 [rows]; number of the class in `LinearRule.names`.
    """

    start: int
    keep: np.ndarray
    score: np.ndarray
    class_code: np.ndarray


@dataclass(frozen=True)
class LinearRule:
    """Keep e of class c iff ⟨z_e, w_c⟩ ≥ θ_c, with w_c = T_c − 2λM_c.

    Attributes:
        names: [K]; classes, ascending. One alone if the pool was chosen from as a whole.
        direction: float64 [K, d]; w.
        threshold: float64 [K]; θ; infinite for a class of which nothing is kept.
        centroid: float64 [K, d]; mean of each class's rows.
        scaled: rows are brought to length one first.
        exception_rows: int64; rows of the pool itself that ties or lists decided otherwise.
        exception_keep: bool; what was decided about them.
        pool_shape: (n, d) of the pool.
        redundancy: λ.
        encoder: hash of the description of the embeddings; empty if they had none.
        pool_sha256: of the pool's matrix; empty if unknown.
    """

    names: np.ndarray
    direction: np.ndarray
    threshold: np.ndarray
    centroid: np.ndarray
    scaled: bool
    exception_rows: np.ndarray
    exception_keep: np.ndarray
    pool_shape: tuple[int, int]
    redundancy: float
    encoder: str = ""
    pool_sha256: str = ""

    def as_arrays(self) -> dict[str, np.ndarray]:
        """What `rule.npz` holds; no object arrays."""
        return {name: np.asarray(part) for name, part in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> LinearRule:
        """The rule behind the arrays of `rule.npz`.

        Raises:
            DataError: an array is missing, or they do not fit together.
        """
        missing = [name for name in cls.__dataclass_fields__ if name not in arrays]
        if missing:
            raise DataError("the rule of a selection with optimizer='relaxed'", f"no {missing[0]}")
        shaped = (("pool_shape", (2,)), ("scaled", ()), ("redundancy", ()))
        for name, shape in shaped:
            if arrays[name].shape != shape or arrays[name].dtype.kind not in "biuf":
                raise DataError(f"numbers of shape {shape} as the rule's {name}", str(arrays[name]))
        names, direction = arrays["names"], arrays["direction"]
        n_classes = names.shape[0] if names.ndim == 1 else -1
        shapes = (direction.shape[:1], arrays["threshold"].shape, arrays["centroid"].shape)
        if direction.ndim != 2 or shapes != ((n_classes,), (n_classes,), direction.shape):
            raise DataError("one direction, threshold and centroid a class", f"shapes {shapes}")
        pool_shape = arrays["pool_shape"].tolist()
        return cls(
            names=names,
            direction=direction,
            threshold=arrays["threshold"],
            centroid=arrays["centroid"],
            scaled=bool(arrays["scaled"]),
            exception_rows=arrays["exception_rows"],
            exception_keep=arrays["exception_keep"],
            pool_shape=(int(pool_shape[0]), int(pool_shape[1])),
            redundancy=float(arrays["redundancy"]),
            encoder=str(arrays["encoder"]),
            pool_sha256=str(arrays["pool_sha256"]),
        )

    def judge(
        self,
        values: object,
        class_codes: np.ndarray | None = None,
        *,
        is_pool: bool = False,
        threads: int | None = None,
    ) -> Iterator[Judged]:
        """Judge examples block by block; memory stays flat whatever their number.

        Args:
            values: [n, d] of any real type, possibly memory-mapped; scaled if the pool was.
            class_codes: int64 [n], numbers of classes in `names`; None: the nearest centroid.
            is_pool: these are the very rows that were selected from: rows that ties, must-keep or
                must-drop lists decided are decided the same. New rows at θ are kept.
            threads: None for all processors.

        Raises:
            UsageError: another width.
            DataError: NaN, infinity, or rows of zeros that should be scaled.
        """
        matrix = check_matrix(values)
        if matrix.shape[1] != self.direction.shape[1]:
            raise UsageError(
                f"embeddings of width {self.direction.shape[1]}, as the rule's pool",
                f"width {matrix.shape[1]}",
                "Embed new examples with the same encoder and layer as the pool",
            )
        for start, block in in_blocks(matrix, scale=self.scaled, threads=threads):
            inside = slice(start, start + len(block))
            codes = self.nearest(block) if class_codes is None else class_codes[inside]
            score = self._score(block, codes, threads)
            keep = score >= self.threshold[codes]
            if is_pool:
                here = (self.exception_rows >= start) & (self.exception_rows < inside.stop)
                keep[self.exception_rows[here] - start] = self.exception_keep[here]
            yield Judged(start, keep, score, codes)

    def nearest(self, block: np.ndarray) -> np.ndarray:
        """Class of the nearest centroid: argmax ⟨z, μ_c⟩ − ‖μ_c‖²/2; ties: lowest class."""
        if len(self.names) == 1:
            return np.zeros(len(block), dtype=np.int64)
        offset = np.einsum("cd,cd->c", self.centroid, self.centroid) / 2
        codes = np.empty(len(block), dtype=np.int64)
        step = max(1, (16 << 20) // (8 * len(self.names)))
        for start in range(0, len(block), step):
            near = block[start : start + step].astype(np.float64) @ self.centroid.T - offset
            codes[start : start + step] = near.argmax(axis=1)
        return codes

    def _score(self, block: np.ndarray, codes: np.ndarray, threads: int | None) -> np.ndarray:
        if len(self.names) == 1:
            return scores(block, self.direction[0], threads)
        result = np.empty(len(block))
        order = np.argsort(codes, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
            if part.size:
                result[part] = scores(block[part], self.direction[codes[part[0]]], threads)
        return result


def rule_of_selection(
    values: np.ndarray,
    codes: np.ndarray,
    names: np.ndarray,
    selected: np.ndarray,
    *,
    redundancy: float,
    scaled: bool,
    pool_sha256: str = "",
    threads: int | None = None,
) -> tuple[LinearRule, float]:
    """A linear rule for a selection by F_λ that has none of its own, as greedy's.

    It is the relaxation's (`relaxation.relax`), with as many places in every class as the selection
    has there, and under the largest λ that the relaxation takes: min(λ, n/(2k)). Greedy's own
    M = Σ_{j∈S} z_j would make a worse one: {⟨z, T − 2λM⟩ ≥ θ} is the set of one more step from
    there, and shares less with greedy's. Rows that the two decide otherwise are exceptions: judged
    as the pool, the selection comes back whole.

    Args:
        values: [n, d] of any real type, possibly memory-mapped.
        codes: int64 [n]; class of every row, 0..K−1. All 0 if the pool was chosen from as a whole.
        names: [K]; the classes.
        selected: bool [n]; S.
        redundancy: λ.
        scaled: rows are brought to length one first.
        pool_sha256: as in `LinearRule`.
        threads: None for all processors.

    Returns:
        the rule, and the share of S that it keeps when it judges the pool without exceptions.
    """
    n, width = check_matrix(values).shape
    direction, centroid = np.zeros((len(names), width)), np.zeros((len(names), width))
    threshold = np.full(len(names), np.inf)
    judged = np.zeros(n, dtype=bool)
    partition = ClassRows.of(codes, len(names))
    for group in classwise(values, partition, scale=scaled, threads=threads):
        for code, rows_of_class in group:
            rows = partition.of_class(code)
            budget = int(np.count_nonzero(selected[rows]))
            if budget == 0:
                centroid[code] = total_of(rows_of_class, threads) / max(rows.size, 1)
                continue
            usable = min(redundancy, rows.size / (2 * budget))
            relaxed = relax(rows_of_class, budget, redundancy=usable, threads=threads)
            centroid[code] = relaxed.total / rows.size
            direction[code], threshold[code] = relaxed.direction, relaxed.threshold
            judged[rows] = relaxed.scores >= relaxed.threshold
    exceptions = np.flatnonzero(judged != selected)
    rule = LinearRule(
        names=names,
        direction=direction,
        threshold=threshold,
        centroid=centroid,
        scaled=scaled,
        exception_rows=exceptions,
        exception_keep=selected[exceptions],
        pool_shape=(n, width),
        redundancy=redundancy,
        pool_sha256=pool_sha256,
    )
    kept = np.count_nonzero(selected)
    return rule, float(np.count_nonzero(judged & selected) / kept) if kept else 1.0
