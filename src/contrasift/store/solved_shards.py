"""Solved classes as Parquet: what a task of a distributed selection leaves, and what is merged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError
from contrasift.selection.task import Rule, Solved
from contrasift.store.shards import ShardFolder
from contrasift.store.tables import read_records, read_table, write_table

_ROWS, _CLASSES = "rows.parquet", "classes.parquet"


def write_solved(
    folder: ShardFolder,
    shard: int,
    codes: Sequence[int],
    rows: Sequence[np.ndarray],
    solved: Sequence[Solved],
) -> None:
    """Write solved classes as one shard.

    `NNNNN-rows.parquet` has class_code, row (of the matrix of embeddings) and gain, best first
    within a class; `NNNNN-classes.parquet` what is known of each class.

    Args:
        folder: of the work.
        shard: its number.
        codes: number of each class.
        rows: int64; the rows of each class, ascending.
        solved: each class.

    Raises:
        ContrasiftError: the folder cannot be written.
    """
    sizes = [part.order.size for part in solved]
    columns: dict[str, object] = {
        "class_code": np.repeat(np.asarray(codes, dtype=np.int64), sizes),
        "row": _joined([own[part.order] for own, part in zip(rows, solved, strict=True)], np.int64),
        "gain": _joined([part.gains for part in solved], np.float64),
    }
    write_table(folder.file(shard, _ROWS), columns)
    write_table(
        folder.file(shard, _CLASSES),
        {
            "class_code": list(codes),
            "size": sizes,
            **{name: [getattr(part, name) for part in solved] for name in _PLAIN},
            "total": [part.total for part in solved],
            "parts": [part.parts for part in solved],
            "direction": [None if part.rule is None else part.rule.direction for part in solved],
            "threshold": [None if part.rule is None else part.rule.threshold for part in solved],
            "exceptions": [None if part.rule is None else part.rule.exceptions for part in solved],
            "facts": [json.dumps(part.facts) for part in solved],
        },
    )
    folder.finish(shard, (_ROWS, _CLASSES), classes=len(solved), rows=sum(sizes))


_PLAIN = ("budget", "value", "upper_bound", "random_value", "ranked_to", "turn")


def read_solved(
    folder: ShardFolder, shard: int, codes: Sequence[int], rows: Sequence[np.ndarray]
) -> list[Solved]:
    """The classes of a finished shard, exactly as they were written.

    Args:
        folder: of the work.
        shard: its number.
        codes: number of each class that it must hold.
        rows: int64; the rows of each class, ascending.

    Raises:
        DataError: the shard is missing, damaged, or holds others.
    """
    folder.entry(shard)
    path = folder.file(shard, _ROWS)
    table = read_table(path, "class_code", "row", "gain")
    records = read_records(folder.file(shard, _CLASSES))
    sizes = [own.size for own in rows]
    wanted = np.repeat(np.asarray(codes, dtype=np.int64), sizes)
    if not np.array_equal(table["class_code"], wanted):
        raise _of_others(path)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    solved = []
    for number, own in enumerate(rows):
        inside = slice(starts[number], starts[number + 1])
        order = np.searchsorted(own, table["row"][inside])
        if order.size and not np.array_equal(
            own[order.clip(max=own.size - 1)], table["row"][inside]
        ):
            raise _of_others(path)
        gains = np.array(table["gain"][inside])  # a view would hold the whole table
        solved.append(_solved(records[number], order.astype(np.int64), gains))
    return solved


def _solved(record: dict[str, Any], order: np.ndarray, gains: np.ndarray) -> Solved:
    rule = None
    if record["direction"] is not None:
        exceptions = np.asarray(record["exceptions"], dtype=np.int64)
        rule = Rule(np.array(record["direction"]), record["threshold"], exceptions)
    return Solved(
        order=order,
        gains=gains,
        budget=record["budget"],
        value=record["value"],
        upper_bound=record["upper_bound"],
        random_value=record["random_value"],
        ranked_to=record["ranked_to"],
        turn=record["turn"],
        total=np.array(record["total"]),
        parts=None if record["parts"] is None else np.array(record["parts"]),
        rule=rule,
        facts=json.loads(record["facts"]),
    )


def _joined(parts: Sequence[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype=kind), *parts])


def _of_others(path: Path) -> DataError:
    return DataError(
        f"the classes of this selection in {path}",
        "others",
        "Remove the folder of shards and repeat the same command",
    )
