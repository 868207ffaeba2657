"""What a selection needs in memory, known before the work begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contrasift.arrays import IndexVector, Rows
from contrasift.errors import UsageError

_INTERPRETER_BYTES = 250 << 20  # Python, NumPy, numba, pyarrow, two blocks of rows
_BYTES_A_ROW = 90  # codes, permutations, ranks, gains and the copies made while sorting them
_SOLVER_BYTES_A_ROW = 40  # scores, gains and heap of the classes that are in work
_BUFFER_BYTES = 1 << 30


@dataclass(frozen=True)
class MemoryPlan:
    """How a selection will use memory.

    Attributes:
        total_bytes: estimate for the whole process.
        buffer_bytes: how much of the embeddings is gathered at a time.
        in_place: nothing is gathered; the matrix serves as it is.
    """

    total_bytes: int
    buffer_bytes: int
    in_place: bool = False


def estimate_memory(
    n: int,
    dim: int,
    *,
    largest_class: int | None = None,
    buffer_bytes: int = _BUFFER_BYTES,
    copied: bool = True,
    resident_bytes: int = 0,
    mapped_columns: bool = False,
) -> int:
    """Bytes that a selection needs, all in all.

    Args:
        n: examples.
        dim: width of the embeddings.
        largest_class: examples of the largest class; default: n.
        buffer_bytes: how much is gathered at a time.
        copied: rows are gathered or scaled, so that they lie in memory of their own.
        resident_bytes: what the embeddings themselves hold in memory.
        mapped_columns: what has an entry for every example lies in mapped files.
    """
    largest = n if largest_class is None else largest_class
    row = 4 * dim
    gathered = min(n * row, max(largest * row, buffer_bytes)) if copied else 0
    rows = (0 if mapped_columns else n * _BYTES_A_ROW) + min(n, 2 * largest) * _SOLVER_BYTES_A_ROW
    return _INTERPRETER_BYTES + resident_bytes + gathered + rows


def plan_memory(
    values: Rows,
    sizes: IndexVector,
    *,
    in_place: bool,
    limit: int | None = None,
    mapped_columns: bool = False,
) -> MemoryPlan:
    """How much to gather at a time, and what that comes to.

    The pages of a memory-mapped file do not count: the system takes them back when it wants to.

    Args:
        values: the embeddings.
        sizes: examples of each class.
        in_place: the matrix serves as it is.
        limit: bytes that the process should stay below.
        mapped_columns: as in `estimate_memory`.

    Raises:
        UsageError: the largest class alone needs more than the limit.
    """
    n, dim = values.shape
    largest = int(sizes.max())
    mapped = isinstance(values, np.memmap) or not isinstance(values, np.ndarray)

    def estimate(buffer_bytes: int) -> int:
        return estimate_memory(
            n,
            dim,
            largest_class=largest,
            buffer_bytes=buffer_bytes,
            copied=not in_place,
            resident_bytes=0 if mapped else values.nbytes,
            mapped_columns=mapped_columns,
        )

    if limit is None:
        return MemoryPlan(estimate(_BUFFER_BYTES), _BUFFER_BYTES, in_place)
    least = estimate(0)
    if least > limit:
        raise UsageError(
            f"a memory limit of at least {least / 2**20:,.0f} MiB for {n} examples, the largest "
            f"class of {largest}",
            f"{limit / 2**20:,.0f} MiB",
            "Use more classes, or save the rows as float32 of length one so that they need no copy",
        )
    buffer_bytes = min(_BUFFER_BYTES, limit - least + 4 * dim * largest)
    return MemoryPlan(estimate(buffer_bytes), buffer_bytes, in_place)
