"""The pool that a run was made from: known again wherever it lies, and refused when it has changed.

The record of the stage `scan` holds a cheap fingerprint in parts: names, sizes and times of files,
versions of objects, the bytes of arrays. Where it differs, `content.parquet` decides: a hash of every
image as it is stored, by its index. So a pool that was moved or copied is the same, and one of which
a file was exchanged is another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import ContrasiftError, MissingExtraError, RunFolderError
from contrasift.narration import Progress
from contrasift.options import PoolOptions
from contrasift.pools import Pool, open_pool
from contrasift.store.run import RunFolder
from contrasift.store.tables import read_table, write_table

CONTENT = "content.parquet"
Say = Callable[[str], None]


@dataclass(frozen=True)
class PoolComparison:
    """How a pool compares with the one that a run was made from.

    Attributes:
        changes: what differs, in words; empty for the same pool.
        moved: that only place, times or versions differ, while all content is the same.
        unsure: that they do, and the run kept no content to compare.
    """

    changes: tuple[str, ...] = ()
    moved: bool = False
    unsure: bool = False


def pool_arguments(options: PoolOptions) -> dict[str, Any]:
    """Options as arguments of `open_pool`, for whoever opens the pool elsewhere."""
    given = options.as_dict()
    return {"source": given.pop("pool"), **given}


def open_run_pool(options: PoolOptions) -> Pool:
    """The pool that these options name, whatever it holds by now."""
    return open_pool(**pool_arguments(options))


def find_pool(folder: RunFolder, options: PoolOptions) -> Pool:
    """What lies where the pool of a run should be, not compared.

    Raises:
        RunFolderError: nothing that can be opened, for a run that knew it; names the flag.
        ContrasiftError: the same, for a run that begins.
    """
    try:
        return open_run_pool(options)
    except MissingExtraError:
        raise
    except ContrasiftError as error:
        if "scan" not in folder.records():
            raise
        raise RunFolderError(
            f"the pool of {folder.path} at {options.pool}",
            f"none that can be opened ({error})",
            "If it has moved, say where it is now: moved_to='PLACE'",
        ) from error


def known_by(pool: Pool) -> dict[str, Any]:
    """What a pool is known by, where it lies now: facts of the stage `scan`."""
    return {
        "pool": pool.fingerprint,
        "parts": pool.parts,
        "image_size": pool.image_size,
        "end": pool.end,
        "test_labels": "" if pool.test is None else pool.test.parts["labels"],
    }


def keep_content(folder: Path, pool: Pool, progress: Progress | None = None) -> None:
    """Write a hash of every image of the pool and of its held-out part, by index."""
    parts = [pool] if pool.test is None else [pool, pool.test]
    write_table(
        folder / CONTENT,
        {
            "index": np.concatenate([part.index for part in parts]),
            "held_out": np.repeat(np.arange(len(parts)) == 1, [len(part) for part in parts]),
            "digest": np.concatenate([part.digests(progress) for part in parts]),
        },
    )


def compare_pool(folder: RunFolder, pool: Pool) -> PoolComparison:
    """How a pool compares with the one that a run was made from; content is read if need be."""
    scan = folder.records().get("scan")
    if scan is None:  # a folder that was put together from files
        return PoolComparison(tuple(_of_examples(folder.path, pool)))
    facts = scan.facts
    if facts.get("pool", pool.fingerprint) == pool.fingerprint:
        return PoolComparison()
    parts = facts.get("parts")
    if parts is None:  # an earlier version kept no more
        changes = tuple(_of_examples(folder.path, pool))
        return PoolComparison(changes, unsure=not changes)
    changes = []
    if parts["form"] != pool.parts["form"]:
        changes.append(f"images of {pool.parts['form']}, not {parts['form']}")
    changes += _of_examples(folder.path, pool)
    if parts["test"] != pool.parts["test"] and not changes:
        changes += _of_test(facts, pool)
    if changes:
        return PoolComparison(tuple(changes))
    return _of_content(folder.path, pool)


def check_pool(folder: RunFolder, pool: Pool, say: Say, *, keep: bool = True) -> None:
    """Go on with a pool that is the run's, and stop before another is taken for it.

    Args:
        folder: the run.
        pool: as it was found.
        say: told what was only known by its content, or not at all.
        keep: whether a new place is kept in the run.

    Raises:
        RunFolderError: another pool; says what changed, and what to do.
    """
    verdict = compare_pool(folder, pool)
    if verdict.changes:
        raise changed(folder, verdict)
    if verdict.unsure:
        say(
            "  note: the pool's files have other times, sizes or places than when the run was made; "
            "it kept no record of their content, so it goes on with what is there"
        )
    if verdict.moved:
        say("  note: the pool's files have other times or another place, and the same content")
        if keep:
            _keep_place(folder, pool)


def _keep_place(folder: RunFolder, pool: Pool) -> None:
    record = folder.records()["scan"]
    facts = {**record.facts, **known_by(pool)}
    folder.finish("scan", record.fingerprint, record.seconds, record.files, **facts)


def changed(folder: RunFolder, verdict: PoolComparison) -> RunFolderError:
    """Why a run does not go on with a pool."""
    return RunFolderError(
        f"the pool that {folder.path} was made from",
        f"another: {'; '.join(verdict.changes)}",
        f"Bring it back, or begin a new run with another out=. New examples are added from a place "
        f"of their own: contrasift extend {folder.path} NEWPOOL --out DIR",
    )


def move_pool(run: Path, place: str, say: Say) -> None:
    """Take another place for a run's pool, if what lies there is the same, and keep it.

    Raises:
        RunFolderError: no run, or another pool.
    """
    folder = RunFolder.existing(run)
    with folder.locked(say):
        options = folder.read_options()
        if "scan" not in folder.records():
            raise RunFolderError(
                "a run that knows its pool", f"{run}, which has not read it yet", "Embed it first"
            )
        pool = dataclasses.replace(options.pool, pool=place)
        check_pool(folder, open_run_pool(pool), say)
        folder.write_options(dataclasses.replace(options, pool=pool))


def _of_examples(folder: Path, pool: Pool) -> list[str]:
    """What differs from examples.parquet: names, their order, labels."""
    table = read_table(folder / "examples.parquet", "index", "id", "label")
    before, now = table["id"].tolist(), list(pool.ids)
    if before != now:
        new, gone = _beyond(now, before), _beyond(before, now)
        told = [f"{len(new):,} new image(s), such as {new[0]}"] if new else []
        told += [f"{len(gone):,} gone, such as {gone[0]}"] if gone else []
        return told or ["the same names in another order"]
    if not np.array_equal(table["index"], pool.index):
        return ["the same names under other indices"]
    codes = np.full(len(pool), -1) if pool.labels is None else pool.labels
    labels = np.array([*pool.label_names, None], dtype=object)[codes]
    other = [
        row
        for row, pair in enumerate(zip(table["label"], labels, strict=True))
        if pair[0] != pair[1]
    ]
    if not other:
        return []
    row = other[0]
    said = f"{len(other):,} other label(s), such as {labels[row]} for {table['label'][row]} of {now[row]}"
    return [said]


def _beyond(some: list[str], others: list[str]) -> list[str]:
    known = set(others)
    return [name for name in some if name not in known]


def _of_test(facts: Mapping[str, Any], pool: Pool) -> list[str]:
    """What differs of the held-out images but their content."""
    if pool.test is None:
        return ["no held-out images"]
    if not facts["parts"]["test"]:
        return ["held-out images, where there were none"]
    other = facts["test_labels"] != pool.test.parts["labels"]
    return ["other labels of held-out images"] if other else []


def _of_content(folder: Path, pool: Pool) -> PoolComparison:
    """By the hash of every image."""
    if not (folder / CONTENT).exists():
        return PoolComparison(unsure=True)
    table = read_table(folder / CONTENT, "index", "held_out", "digest")
    changes, unknown = [], False
    for part, held_out in ((pool, False), (pool.test, True)):
        rows = table["held_out"] == held_out
        if part is None:
            continue
        if not np.array_equal(table["index"][rows], part.index):
            return PoolComparison((f"other {'held-out ' if held_out else ''}examples",))
        before, now = table["digest"][rows], part.digests()
        unknown |= bool(((before == 0) & (now == 0)).any())
        other = np.flatnonzero(before != now)
        if other.size:
            what = "held-out image(s)" if held_out else "image(s)"
            changes.append(
                f"{other.size:,} {what} with other content, such as {part.ids[int(other[0])]}"
            )
    return PoolComparison(
        tuple(changes), moved=not changes and not unknown, unsure=not changes and unknown
    )
