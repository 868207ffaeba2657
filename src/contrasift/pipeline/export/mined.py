"""Mined negatives on their way to a trainer: JSON lines, or a Hugging Face data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from contrasift.errors import RunFolderError, UsageError, with_extra
from contrasift.mining.forms import training_table
from contrasift.options.words import MinedForm
from contrasift.pipeline.export.huggingface import save_quietly
from contrasift.pipeline.export.whole import refuse_file, whole_folder
from contrasift.store.atomic import atomic_path, read_json
from contrasift.store.mined import FACTS, POSITIVES, TABLE, read_texts
from contrasift.store.tables import read_arrow

_BATCH = 1_000


def export_mined(folder: Path, form: str, out: Path, *, texts: bool, say: Any) -> int:
    """Write what was mined as a trainer takes it, to a `.jsonl` file or a folder that is new.

    Args:
        folder: what `contrasift mine` wrote.
        form: `triplet`, `n-tuple` or `labeled-list`.
        out: a file that ends in .jsonl, or a folder for `datasets.load_from_disk`.
        texts: with the texts that were named when it was mined; else with ids.
        say: told what is done differently from what was asked.

    Returns:
        Lines written.

    Raises:
        RunFolderError: no mined negatives there, or `out` holds something.
        UsageError: no such form.
        MissingExtraError: a folder without the package datasets.
    """
    if not (folder / FACTS).exists():
        raise RunFolderError(
            f"mined negatives in {folder}", "none", "Make them: contrasift mine QUERIES CORPUS"
        )
    table = _table(folder, cast(MinedForm, form), texts)
    if out.suffix == ".jsonl":
        _write_lines(table, out)
    else:
        with whole_folder(out, say) as place:
            _write_dataset(table, place)
    return table.num_rows


def _table(folder: Path, form: MinedForm, texts: bool) -> pa.Table:
    facts = read_json(folder / FACTS)
    mined, positives = read_arrow(folder / TABLE), read_arrow(folder / POSITIVES)
    rows_of = facts.get("stored", facts)
    q, n = rows_of["queries"], rows_of["corpus"]
    negatives = np.full((q, facts["per_query"]), -1, dtype=np.int64)
    rows = _numbers(mined, "negative")
    negatives[_numbers(mined, "query"), np.asarray(mined["rank"]) - 1] = rows
    pairs = np.stack([_numbers(positives, "query"), _numbers(positives, "positive")], axis=1)
    left, right = None, None
    if texts:
        source = facts["source"]
        left = _texts(source["query_texts"], q)
        same = source["corpus"] is None
        right = left if same else _texts(source["corpus_texts"], n)
        if left is None or right is None:
            raise UsageError(
                "texts that were named when the negatives were mined: query_texts=, corpus_texts=",
                "none",
                "Mine again with them (update=True), or export ids: texts=False",
            )
    else:
        left = _named(mined, positives, "query", "query", q)
        right = _named(mined, positives, "negative", "positive", n)
    return training_table(pairs, negatives, form, left, right)


def _texts(place: str, n: int) -> Any:
    return pa.array(list(read_texts(place, n))) if place else None


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    column = f"{name}_row" if f"{name}_row" in table.column_names else name
    return np.asarray(table[column]).astype(np.int64)


def _named(mined: pa.Table, positives: pa.Table, first: str, second: str, n: int) -> Any:
    """Ids of the rows that occur, by row; rows themselves where there are no ids."""
    if f"{first}_row" not in mined.column_names:
        return np.arange(n)
    kind = mined[first].type
    ids: list[Any] = [None] * n
    for table, name in ((mined, first), (positives, second)):
        for row, one in zip(_numbers(table, name).tolist(), table[name].to_pylist(), strict=True):
            ids[row] = one
    return pa.array(ids, type=kind)


def _write_lines(table: pa.Table, out: Path) -> None:
    refuse_file(out)
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for batch in table.to_batches(max_chunksize=_BATCH):
            for line in batch.to_pylist():
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _write_dataset(table: pa.Table, folder: Path) -> None:
    datasets = with_extra("datasets", "hf")
    save_quietly(datasets, datasets.Dataset(table), folder)
