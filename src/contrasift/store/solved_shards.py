"""Solved classes as Parquet: what a task of a distributed selection leaves, and what is merged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from contrasift.arrays import column_blocks, forget_pages
from contrasift.errors import DataError
from contrasift.selection.ranking import RankedRows
from contrasift.selection.task import Outcome, Rule, Solved
from contrasift.store.shards import ShardFolder
from contrasift.store.tables import read_blocks, read_records, write_blocks, write_table

_ROWS, _CLASSES = "rows.parquet", "classes.parquet"
_PLAIN = ("budget", "value", "upper_bound", "random_value", "ranked_to", "first_negative_gain")
_RULE = ("direction", "threshold", "exceptions")


def write_solved(
    folder: ShardFolder,
    shard: int,
    codes: Sequence[int],
    rows: Sequence[np.ndarray],
    solved: Sequence[Solved],
) -> None:
    """Write solved classes as one shard.

    `NNNNN-rows.parquet` has row (of the matrix of embeddings) and gain, class by class, best first;
    `NNNNN-classes.parquet` what is known of each class.

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
    write_blocks(folder.file(shard, _ROWS), _row_blocks(rows, solved))
    write_table(
        folder.file(shard, _CLASSES),
        {
            "class_code": list(codes),
            "size": sizes,
            **{name: [getattr(part, name) for part in solved] for name in _PLAIN},
            "total": [part.total for part in solved],
            "parts": [part.parts for part in solved],
            **{name: [getattr(part.rule, name, None) for part in solved] for name in _RULE},
            "facts": [json.dumps(part.facts) for part in solved],
        },
    )
    folder.finish(shard, (_ROWS, _CLASSES), classes=len(solved), rows=sum(sizes))


def read_solved(
    folder: ShardFolder,
    shard: int,
    codes: Sequence[int],
    ranked: RankedRows,
    *,
    totals: bool,
) -> list[Outcome]:
    """The classes of a finished shard, exactly as they were written.

    Args:
        folder: of the work.
        shard: its number.
        codes: numbers of the classes that it must hold, one after the other.
        ranked: gets their rows and gains.
        totals: also T of each class.

    Raises:
        DataError: the shard is missing, damaged, or holds others.
    """
    folder.entry(shard)
    names = ("class_code", "size", *_PLAIN, "parts", *_RULE, "facts")
    records = read_records(folder.file(shard, _CLASSES), *names, *(["total"] if totals else []))
    path = folder.file(shard, _ROWS)
    sizes = ranked.partition.sizes
    if [(line["class_code"], line["size"]) for line in records] != [
        (code, int(sizes[code])) for code in codes
    ]:
        raise DataError(
            f"the classes of this selection in {path}",
            "others",
            "Remove the folder of shards and repeat the same command",
        )
    start = int(ranked.partition.starts[codes[0]])
    for block in read_blocks(path, "row", "gain"):
        stop = start + block["row"].size
        ranked.rows[start:stop], ranked.gains[start:stop] = block["row"], block["gain"]
        start = stop
    forget_pages(ranked.rows, ranked.gains)
    return [_outcome(line) for line in records]


def _row_blocks(
    rows: Sequence[np.ndarray], solved: Sequence[Solved]
) -> Iterator[dict[str, object]]:
    """The rows of small classes together, those of one large class block by block."""
    if len(solved) > 1:
        yield {
            "row": np.concatenate([own[p.order] for own, p in zip(rows, solved, strict=True)]),
            "gain": np.concatenate([part.gains for part in solved]),
        }
        return
    for block in column_blocks(rows[0].size) or [slice(0, 0)]:
        yield {"row": rows[0][solved[0].order[block]], "gain": solved[0].gains[block]}
        forget_pages(rows[0])


def _outcome(line: dict[str, Any]) -> Outcome:
    rule = None if line["direction"] is None else Rule(*(line[name] for name in _RULE))
    return Outcome(
        **{name: line[name] for name in _PLAIN},
        total=line.get("total", np.empty(0)),
        parts=line["parts"],
        rule=rule,
        facts=json.loads(line["facts"]),
    )
