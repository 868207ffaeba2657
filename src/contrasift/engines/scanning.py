"""The scan on Ray: which images can be read, found out a range of positions a task.

A task opens the pool by itself and leaves what it found in a manifest entry, so that a scan whose
driver died goes on with the ranges that are left. Images do not pass through the driver.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contrasift.engines.cluster import Cluster
from contrasift.engines.opening import SharedPool, opened
from contrasift.engines.tasks import in_tasks
from contrasift.narration import Progress
from contrasift.pools import Pool
from contrasift.pools.scan import Examples, examples_of, unreadable
from contrasift.store.shards import ShardFolder

# Seconds of work, and how many ranges a huge pool has at most.
_SPAN_ROWS = 2_048
_MOST_SPANS = 10_000
# Tasks run side by side: a thread that decodes, and one that waits for the disk.
_THREADS = 2


def scan_on_cluster(
    cluster: Cluster,
    pool: Pool,
    shared: SharedPool,
    *,
    folder: Path,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    span_rows: int | None = None,
) -> Examples:
    """Read every image of a pool once, in tasks, and note which cannot be read, and why.

    Args:
        cluster: a connected one.
        pool: as it is open here; no image of it is read.
        shared: the same for workers.
        folder: where ranges that are done are noted, where every node can write; removed in the end.
        progress: called with (images done, images) after every range.
        say: told what is taken over from an attempt before.
        span_rows: images of a range.

    Returns:
        The same as `contrasift.pools.scan_pool`.

    Raises:
        DataError: fewer than two images can be read.
        ContrasiftError: workers that lack the pool, or the versions.
    """
    rows = span_rows or max(_SPAN_ROWS, -(-len(pool) // _MOST_SPANS))
    spans = [(start, min(start + rows, len(pool))) for start in range(0, len(pool), rows)]
    notes = ShardFolder(folder.resolve(), f"scan {pool.fingerprint} {len(spans)}")
    finished = notes.finished(len(spans))
    if say is not None and finished:
        say(f"  {len(finished):,} of {len(spans):,} ranges were read before")
    done = sum(spans[number][1] - spans[number][0] for number in finished)
    waiting = (
        (number, (shared, notes, number, *spans[number]))
        for number in range(len(spans))
        if number not in finished
    )
    for number, _ in in_tasks(scan_span, waiting, cpus=cluster.cpus):
        done += spans[number][1] - spans[number][0]
        if progress is not None:
            progress(done, len(pool))
    errors = {
        int(position): str(reason)
        for number in range(len(spans))
        for position, reason in notes.entry(number)["unreadable"]
    }
    notes.remove()
    return examples_of(pool, errors)


def scan_span(shared: SharedPool, notes: ShardFolder, number: int, start: int, stop: int) -> None:
    """In a task: try the images of a range, and note those that cannot be read.

    Raises:
        ContrasiftError: other versions here, or another pool.
    """
    errors = unreadable(opened(shared), range(start, stop), threads=_THREADS)
    notes.finish(number, (), unreadable=sorted(errors.items()))
