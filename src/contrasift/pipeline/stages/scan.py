"""The stage that reads every image once, and says which cannot be read."""

from __future__ import annotations

from typing import Any

import numpy as np

from contrasift.pipeline.run import Run, pool_arguments
from contrasift.pools import Examples, scan_pool
from contrasift.store.run import StageRecord
from contrasift.store.tables import positions_of, read_table, write_table


def scan(run: Run) -> StageRecord:
    """Read every image once; note those that cannot be read in `examples.parquet`."""
    fingerprint = run.options.pool.fingerprint(run.pool.fingerprint)

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
        bad = [(id, error) for id, error in zip(examples.id, examples.error, strict=True) if error]
        _report_unreadable(run, bad)
        readable = len(examples.row) - len(bad)
        note = f"{readable:,} examples" + (f", {len(bad)} unreadable" if bad else "")
        others = run.pool.passed_over
        for line in others.in_words():
            run.narrator.say(f"  {line}")
        return {
            "n": readable,
            "unreadable": len(bad),
            "passed_over": dict(others.files),
            "unlisted": [list(item) for item in others.unlisted],
            "pool": run.pool.fingerprint,
            "note": note,
        }

    return run.do("scan", fingerprint, ["examples.parquet"], work)


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


def _report_unreadable(run: Run, bad: list[tuple[str, str]], shown: int = 10) -> None:
    for id, error in bad[:shown]:
        run.narrator.say(f"  left out {id}: {error}")
    if len(bad) > shown:
        run.narrator.say(
            f"  ... and {len(bad) - shown} more: see the column `error` of examples.parquet"
        )


def readable_positions(run: Run) -> np.ndarray:
    """Positions in the pool of the examples that could be read, in the order of embedding rows."""
    table = read_table(run.folder.path / "examples.parquet", "index", "row")
    return positions_of(table["index"][table["row"] >= 0], run.pool.index)
