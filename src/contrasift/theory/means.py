"""Bounds of several trainings as one row a batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_AVERAGED = (
    "contrastive_loss",
    "shift",
    "supervised",
    "supervised_weighted",
    "partial_weighted",
    "expected_log_collisions",
    "coverage_probability",
    "collision_probability",
    "trivial",
)


def mean_over_seeds(results: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """For every subset, one row a batch size: means of the terms, and of the bounds' logarithms."""
    by_subset: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        by_subset.setdefault(result["subset"], []).append(result)
    means: dict[str, list[dict[str, Any]]] = {}
    for subset, seeds in by_subset.items():
        means[subset] = []
        for rows in zip(*(result["rows"] for result in seeds), strict=True):
            row: dict[str, Any] = {
                name: float(np.mean([r[name] for r in rows])) for name in _AVERAGED
            }
            row["draws"] = rows[0]["draws"]
            for name in rows[0]["upper_bounds"]:
                logs = [r["upper_bounds"][name]["log_value"] for r in rows]
                known = [value for value in logs if value is not None]
                row[name] = float(np.mean(known)) if known else None
            means[subset].append(row)
    return means
