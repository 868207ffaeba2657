"""Chance: the controls."""

from __future__ import annotations

from typing import Any

import numpy as np

from contrasift.arrays import IndexVector, class_codes
from contrasift.selection.budget import Shares
from contrasift.selection.gather import ClassRows, positions_by_quota


def random_order(n: int, seed: int, class_code: int | None = None) -> IndexVector:
    """A random order of n rows: of the whole pool, or of one class.

    Every prefix is a uniformly random subset, so smaller budgets are nested in larger ones.

    Args:
        n: how many rows.
        seed: of the run.
        class_code: makes each class's order its own.
    """
    seeds = [seed] if class_code is None else [seed, class_code]
    return np.random.default_rng(seeds).permutation(n).astype(np.int64)


def random_per_class_order(classes: Any, seed: int) -> IndexVector:
    """A random order of the whole pool whose prefixes hold every class in proportion.

    Webster's divisors say which class comes next, chance which of its rows: the order of
    `select(..., objective="random-per-class")`.

    Args:
        classes: one label an example.
        seed: of the run.
    """
    codes, names = class_codes(classes, len(classes))
    partition = ClassRows.of(codes, len(names))
    ranked = [
        partition.of_class(code)[random_order(int(size), seed, code)]
        for code, size in enumerate(partition.sizes)
    ]
    turns = positions_by_quota(Shares.of(partition.sizes).webster_order(), len(names))
    return np.concatenate(ranked)[turns]
