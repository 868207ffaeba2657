"""New examples judged by the rule of a selection as they pass: rows, or images that are embedded first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.inference.apply import (
    RunClasses,
    encoders_of_run,
    first_new_index,
    judge_run,
    rule_of_run,
)
from contrasift.matrices import Matrix, open_embeddings
from contrasift.narration import Narrator, Progress
from contrasift.options import MatrixReading
from contrasift.pipeline.extend import labels_of, open_like
from contrasift.pipeline.stages.matrix_rows import opened
from contrasift.pools import scan_pool
from contrasift.selection.rule import Judged, LinearRule
from contrasift.store.inputs import load_classes_file
from contrasift.store.run import RunFolder
from contrasift.store.selections import read_rule
from contrasift.store.tables import write_blocks

# Batches of the encoder that are judged together.
_BATCHES = 16


def judged_images(
    run: Path,
    source: str,
    narrator: Narrator,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[dict[str, Any]]:
    """Judge the images of a pool as `contrasift extend` would, and keep nothing but the judgements.

    Args:
        run: finished up to its selection.
        source: the new pool.
        narrator: told how classes and the rule come about, and what cannot be read.
        device: where the encoder runs.
        threads: for judging; None for all processors.
        progress: called with (images judged, images).

    Yields:
        columns of some examples: index, id, latent_class, score, keep; unreadable ones are left out.
    """
    base = RunFolder.existing(run)
    known = rule_of_run(run, threads)
    classes = RunClasses.of(run)
    encoders = encoders_of_run(run)
    narrator.say(f"{known.in_words}; {classes.in_words()}")
    pool = open_like(encoders["embeddings"], source, labels_of(base), first_new_index(run))
    examples = scan_pool(pool)
    for line in pool.passed_over.in_words():
        narrator.say(line)
    if examples.unreadable:
        narrator.say(f"{examples.unreadable} of {len(pool)} images cannot be read and are left out")
    positions = examples.positions
    step = _BATCHES * encoders["embeddings"].batch_size
    for start in range(0, positions.size, step):
        some = positions[start : start + step]
        found = {
            stem: encoder.embed(pool, some, device=device).values
            for stem, encoder in encoders.items()
        }
        done = start
        for judged, names in judge_run(
            known.rule, classes, found["embeddings"], found.get("class_embeddings"), threads
        ):
            here = some[judged.start : judged.start + len(judged.keep)]
            done += here.size
            yield {
                "index": pool.index[here],
                "id": [pool.ids[int(position)] for position in here],
                "latent_class": names,
                "score": judged.score,
                "keep": judged.keep,
            }
            progress(done, positions.size)


def is_matrix(new: str, reading: MatrixReading) -> bool:
    """Whether a place holds embeddings, and not images."""
    try:
        open_embeddings(new, column=reading.column or None, id="none")
    except ContrasiftError:
        return False
    return True


def judged_rows(
    rule: Path | None,
    run: Path | None,
    new: str,
    reading: MatrixReading,
    narrator: Narrator,
    *,
    classes: str | None = None,
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[Iterator[dict[str, Any]], bool]:
    """Judge embeddings by a rule, or by that of a run's selection.

    Args:
        rule: `rule.npz`; None: that of the run.
        run: finished up to its selection; None with a rule.
        new: embeddings in any format.
        reading: how they are read.
        narrator: told how the rule comes about.
        classes: a file with the class of every row; None: the nearest class, and in the pool of the
            rule its own.
        threads: for judging; None for all processors.
        progress: called with (rows judged, rows).

    Returns:
        Columns of some rows after others: index, id if there are ids, latent_class, score, keep; and
        whether the rows are the pool of the rule.

    Raises:
        UsageError, DataError: classes that the rule does not have, or not one for each row.
    """
    known = _rule_of(rule, run, narrator, threads)
    matrix = opened(new, reading, narrator)
    # Hash only what can be the pool.
    is_pool = matrix.shape == known.pool_shape and known.pool_sha256 == matrix.fingerprint
    index = matrix.index if is_pool else None
    index = np.arange(len(matrix), dtype=np.int64) if index is None else index
    if classes is None and run is not None and is_pool:
        classes = str(run / "classes.parquet")
    codes = None
    if classes is not None and len(known.names) > 1:
        codes = _codes(load_classes_file(classes, index, matrix.ids), known.names, len(matrix))
    judged = known.judge(matrix, codes, is_pool=is_pool, threads=threads)
    return _columns(judged, known.names, index, matrix, progress), is_pool


def _rule_of(
    rule: Path | None, run: Path | None, narrator: Narrator, threads: int | None
) -> LinearRule:
    if rule is not None:
        return read_rule(rule)
    assert run is not None
    known = rule_of_run(RunFolder.existing(run).path, threads)
    narrator.say(known.in_words)
    return known.rule


def _codes(labels: np.ndarray, names: np.ndarray, n: int) -> np.ndarray:
    if labels.shape != (n,):
        raise DataError(f"one class for each of the {n} rows", f"{labels.shape}")
    if names.dtype.kind == "U" and labels.dtype.kind != "U":
        labels = labels.astype(str)
    if labels.dtype.kind != names.dtype.kind:
        raise DataError(f"classes of type {names.dtype}, as the rule's", f"{labels.dtype}")
    places = np.minimum(np.searchsorted(names, labels), len(names) - 1)
    unknown = np.flatnonzero(names[places] != labels)
    if unknown.size:
        raise UsageError(
            f"classes of the rule ({', '.join(str(name) for name in names[:5])}, ...)",
            f"{labels[unknown[0]]} in row {unknown[0]}",
            "Leave classes= away to take the nearest class",
        )
    return places.astype(np.int64)


def _columns(
    blocks: Iterator[Judged],
    names: np.ndarray,
    index: np.ndarray,
    matrix: Matrix,
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    ids = matrix.ids
    for block in blocks:
        stop = block.start + len(block.keep)
        yield {
            "index": index[block.start : stop],
            **({} if ids is None else {"id": ids.slice(block.start, stop - block.start)}),
            "latent_class": names[block.class_code],
            "score": block.score,
            "keep": block.keep,
        }
        progress(stop, len(index))


def write_judgements(out: Path, blocks: Iterator[dict[str, Any]]) -> tuple[int, int]:
    """Write judgements block by block into a Parquet file; returns how many, and how many are kept."""
    n = kept = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal n, kept
        for block in blocks:
            n += len(block["keep"])
            kept += int(block["keep"].sum())
            yield block

    write_blocks(out, counted())
    return n, kept
