"""Solved classes come back from a shard as they were written."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from contrasift import arrays
from contrasift.arrays import HeldColumns
from contrasift.errors import DataError
from contrasift.selection.gather import ClassRows
from contrasift.selection.ranking import RankedRows
from contrasift.selection.task import Rule, Solved
from contrasift.store.shards import ShardFolder
from contrasift.store.solved_shards import read_solved, write_solved


def solved_class(rng, size: int, **changes) -> Solved:
    settings = {
        "order": rng.permutation(size),
        "gains": rng.standard_normal(size),
        "budget": size // 2,
        "value": 0.1,
        "upper_bound": 0.3,
        "random_value": None,
        "ranked_to": size,
        "first_negative_gain": None,
        "total": rng.standard_normal(3),
        **changes,
    }
    return Solved(**settings)


CASES = {
    "plain": [{}, {"first_negative_gain": 2, "random_value": 0.0}],
    "rules": [
        {"rule": Rule(np.array([0.1, 1 / 3]), 0.7, np.array([1, 3]))},
        {"rule": Rule(np.array([0.2, -0.0]), np.inf, np.empty(0, dtype=np.int64))},
        {"facts": {"swaps": 3}},
    ],
    "parts": [{"parts": np.array([0.1, 0.2])}, {"parts": np.empty(0)}],
    "one": [{"parts": np.array([1 / 3])}],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("block", [3, 1 << 20])
def test_there_and_back(rng, tmp_path, monkeypatch, case, block):
    monkeypatch.setattr(arrays, "_BLOCK_ENTRIES", block)
    count = len(CASES[case])
    labels = np.concatenate([np.arange(count + 1), rng.integers(0, count + 1, 20)])
    partition = ClassRows.of(labels, count + 1)
    codes = list(range(1, count + 1))
    solved = [
        solved_class(rng, int(partition.sizes[code]), **changes)
        for code, changes in zip(codes, CASES[case], strict=True)
    ]
    folder = ShardFolder(tmp_path, "print")
    write_solved(folder, 4, codes, [partition.of_class(code) for code in codes], solved)
    expected, ranked = (RankedRows.empty(partition, HeldColumns()) for _ in range(2))
    outcomes = [expected.put(code, part) for code, part in zip(codes, solved, strict=True)]
    found = read_solved(folder, 4, codes, ranked, totals=True)
    assert np.array_equal(ranked.rows, expected.rows)
    assert np.array_equal(ranked.gains, expected.gains)
    assert [repr(part) for part in found] == [repr(part) for part in outcomes]
    without = read_solved(folder, 4, codes, ranked, totals=False)
    assert without[0].total.size == 0
    assert repr(dataclasses.replace(without[0], total=found[0].total)) == repr(found[0])
    with pytest.raises(DataError, match="the classes of this selection"):
        read_solved(folder, 4, [code - 1 for code in codes], ranked, totals=True)
