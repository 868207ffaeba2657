"""Rows that are equal: found in one pass, looked at once, given back afterwards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from contrasift.arrays import row_blocks


@dataclass(frozen=True)
class Distinct:
    """The different rows of a matrix.

    Attributes:
        first: int64 [m], ascending; the first row of each kind.
        kind: int64 [n]; which of them each row equals.
        counts: int64 [m]; rows of each kind.
    """

    first: np.ndarray
    kind: np.ndarray
    counts: np.ndarray


def distinct_rows(values: Any) -> Distinct | None:
    """The different rows, or None where all differ; told apart by 128 bits of BLAKE2.

    Args:
        values: real [n, d]; may be a map. −0 equals 0.
    """
    n, d = values.shape
    digests = np.empty((n, 2), dtype=np.uint64)
    for block in row_blocks(n, 16 * d):
        rows = np.ascontiguousarray(values[block]) + values.dtype.type(0)  # −0 + 0 = 0
        one = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in rows)
        digests[block] = np.frombuffer(one, dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: equal ones stay in their order
    ordered = digests[order]
    begins = np.ones(n, dtype=bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    if begins.all():
        return None
    firsts = order[begins]
    place = np.empty(firsts.size, dtype=np.int64)
    place[np.argsort(firsts)] = np.arange(firsts.size)
    kind = np.empty(n, dtype=np.int64)
    kind[order] = place[np.cumsum(begins) - 1]
    return Distinct(np.sort(firsts), kind, np.bincount(kind))
