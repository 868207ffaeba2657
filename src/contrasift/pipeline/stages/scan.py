"""The stage that reads every image once, and says which cannot be read."""

from __future__ import annotations

from typing import Any

import numpy as np

from contrasift.pipeline.pool_of_run import (
    CONTENT,
    check_pool,
    compare_pool,
    keep_content,
    known_by,
    pool_arguments,
)
from contrasift.pipeline.run import Run
from contrasift.pools import Examples, scan_pool
from contrasift.store.run import StageRecord
from contrasift.store.tables import positions_of, read_table, write_table

_SHOWN = 10  # of the images that cannot be read


def scan(run: Run) -> StageRecord:
    """Read every image once; note those that cannot be read in `examples.parquet`.

    Raises:
        RunFolderError: the run has read another pool, and nothing is to be done anew.
    """
    fingerprint = _fingerprint(run)

    def work() -> dict[str, Any]:
        examples = _scanned(run)
        names = np.array([*run.pool.label_names, None], dtype=object)
        write_table(
            run.folder.path / "examples.parquet",
            {
                "index": examples.index,
                "id": list(examples.id),
                "label": names[examples.label].tolist(),
                "error": list(examples.error),
                "row": examples.row,
            },
        )
        if run.cluster is None or run.pool.always_readable:
            with run.narrator.progress("hashing images") as progress:
                keep_content(run.folder.path, run.pool, progress)
        bad = [(id, error) for id, error in zip(examples.id, examples.error, strict=True) if error]
        _report_unreadable(run, bad)
        readable = len(examples.row) - len(bad)
        note = f"{readable:,} examples" + (f", {len(bad)} unreadable" if bad else "")
        _report_unlabelled(run)
        others = run.pool.passed_over
        for line in others.in_words():
            run.narrator.say(f"  {line}")
        return {
            "n": readable,
            "unreadable": len(bad),
            "passed_over": dict(others.files),
            "unlisted": [list(item) for item in others.unlisted],
            **known_by(run.pool),
            "note": note,
        }

    return run.do("scan", fingerprint, ["examples.parquet"], work)


def _fingerprint(run: Run) -> str:
    """Of the pool as it is found; of the run's own, where that is known by its content."""
    pool = run.__dict__.get("pool") or run.found_pool
    fingerprint = run.options.pool.fingerprint(pool.fingerprint)
    known = run.folder.records().get("scan")
    if known is not None and known.fingerprint != fingerprint:
        verdict = compare_pool(run.folder, pool)
        if not run.update or not (verdict.changes or verdict.unsure):
            check_pool(run.folder, pool, run.narrator.say)
            fingerprint = known.fingerprint
        else:  # so that what is cut short now leaves no record beside another pool's files
            run.folder.forget("scan")
            (run.folder.path / CONTENT).unlink(missing_ok=True)
    run.pool = pool
    return fingerprint


def _scanned(run: Run) -> Examples:
    """Try every image, on the run's cluster if it has one and there is anything to decode."""
    cluster = None if run.pool.always_readable else run.cluster
    with run.narrator.progress("reading images") as progress:
        if cluster is None:
            return scan_pool(run.pool, progress)
        from contrasift.engines.opening import share_pool
        from contrasift.engines.scanning import scan_on_cluster

        return scan_on_cluster(
            cluster,
            run.pool,
            share_pool(run.pool, pool_arguments(run.options.pool)),
            folder=run.folder.path / "examples.shards",
            progress=progress,
            say=run.narrator.say,
        )


def _report_unreadable(run: Run, bad: list[tuple[str, str]]) -> None:
    for id, error in bad[:_SHOWN]:
        run.narrator.say(f"  left out {id}: {error}")
    if len(bad) > _SHOWN:
        run.narrator.say(
            f"  ... and {len(bad) - _SHOWN} more: see the column `error` of examples.parquet"
        )


def _report_unlabelled(run: Run) -> None:
    labels = run.pool.labels
    missing = 0 if labels is None else int((labels < 0).sum())
    if missing:
        run.narrator.say(f"  note: {missing:,} of {len(run.pool):,} examples have no label")


def readable_positions(run: Run) -> np.ndarray:
    """Positions in the pool of the examples that could be read, in the order of embedding rows."""
    table = read_table(run.folder.path / "examples.parquet", "index", "row")
    return positions_of(table["index"][table["row"] >= 0], run.pool.index)
