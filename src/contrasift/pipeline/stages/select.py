"""The stage that chooses: from embeddings and latent classes to `selection.parquet`."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrasift.arrays import Columns, HeldColumns
from contrasift.errors import RunFolderError, UsageError
from contrasift.ids import ids_digest, rows_of_ids
from contrasift.matrices import LeftOut, Matrix, leave_out_bad, mapped_copy, open_embeddings
from contrasift.options import MatrixOptions, SelectOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.embed import load_embeddings
from contrasift.results import Embeddings, Selection
from contrasift.store.atomic import read_json, sha256_of
from contrasift.store.columns import MappedColumns
from contrasift.store.inputs import (
    load_classes_file,
    load_examples_file,
    load_weights_file,
    parse_bytes,
    read_scores,
    row_numbers,
)
from contrasift.store.remote import local_file
from contrasift.store.run import RunFolder, StageRecord
from contrasift.store.selections import write_selection
from contrasift.store.tables import read_latent_classes, write_table

if TYPE_CHECKING:
    from contrasift.engines.cluster import Cluster
    from contrasift.narration import Narrator


def select(run: Run) -> StageRecord:
    """Choose the subset; no torch, no images, no pool."""
    options = run.options.select
    upstream = [run.record("classes").fingerprint]
    if options.scores:
        upstream.append(sha256_of(local_file(options.scores)))
    fingerprint = options.fingerprint(*upstream)

    def work() -> dict[str, Any]:
        embeddings = load_embeddings(run.folder.path)
        labels = read_latent_classes(run.folder.path / "classes.parquet", embeddings.index)
        scores = None
        if options.scores:
            scores = read_scores(options.scores, embeddings.index, options.scores_column)
        with _choosing(run.folder.path, run.cluster) as choose:
            chosen = choose(embeddings, labels, options, scores=scores)
            write_selection(run.folder.path, chosen, options=options.as_dict())
        for note in chosen.notes:
            run.narrator.say(f"  note: {note}")
        note = f"{chosen.budget:,} of {len(embeddings):,} kept"
        share = None if chosen.certificate is None else chosen.certificate.share
        if share is not None:
            note += f", {share:.4%} of the possible gain over random"
        return {"budget": chosen.budget, "note": note}

    return run.do("select", fingerprint, ["selection.parquet", "selection.json"], work)


def select_from_matrix(
    place: str,
    out: Path,
    options: SelectOptions,
    beside: MatrixOptions,
    *,
    narrator: Narrator,
    connect: Callable[[], Cluster] | None = None,
    update: bool = False,
) -> None:
    """Choose from a matrix of embeddings, with classes and lists from files, into a folder.

    Args:
        place: whatever `open_embeddings` opens.
        out: the folder for the selection; one that holds this very selection is left alone.
        options: what is chosen.
        beside: classes, lists, and how much of the machine may be used.
        narrator: who tells of it.
        connect: what reaches the cluster; None for this process.
        update: replace another selection in the folder.

    Raises:
        UsageError: no budget or several; limits of this process for a cluster.
        DataError: files that cannot be used.
        RunFolderError: a folder that cannot be written or holds something else.
    """
    _require_one_budget(options, beside)
    _check_out(out)
    if connect is not None and (beside.threads or beside.memory_limit):
        raise UsageError(
            "threads= and memory_limit= for engine='local'",
            "one of them with engine='ray'",
            "Ray's workers have one processor each, and the memory that their nodes give",
        )
    limit = parse_bytes(beside.memory_limit) if beside.memory_limit else None
    with narrator.progress("copying", "bytes") as progress:
        matrix = open_embeddings(
            place,
            column=beside.column or None,
            id=beside.id or None,
            scale=beside.steps(),
            progress=progress,
            remote_rows=connect is not None,
        )
    for note in matrix.notes:
        narrator.say(note)
    if not beside.classes and (Path(place) / "classes.parquet").exists():
        beside = dataclasses.replace(beside, classes=str(Path(place) / "classes.parquet"))
    held = HeldColumns() if connect is None else MappedColumns(_what_is_there(out))
    given = _read_lists(options, beside, matrix, held)
    request, inputs = _request(options, beside), _inputs(options, beside, matrix)
    fingerprint = _fingerprint(options, request, inputs)
    if not update and _holds_this(out, fingerprint):
        narrator.say(f"{out} holds this selection already; nothing to do")
        return
    with (
        _held(out, narrator),
        _choosing(out, None if connect is None else connect()) as choose,
    ):
        matrix, left_out = _usable(matrix, out, beside, narrator)
        if left_out is not None:
            given = _of_rows_kept(given, matrix)
        with narrator.progress("selecting") as progress:
            chosen = choose(
                matrix,
                given.pop("classes"),
                options,
                **given,
                fractions=request["fractions"],
                normalize=beside.normalize,
                threads=beside.threads,
                memory_limit=limit,
                progress=progress,
                announce=narrator.say,
            )
        _write_left_out(out, left_out)
        facts = {**chosen.facts, "source": dict(matrix.source), "left_out": len(left_out or ())}
        chosen = dataclasses.replace(chosen, facts=facts)
        write_selection(out, chosen, options=request, inputs=inputs, fingerprint=fingerprint)


def _usable(
    matrix: Matrix, out: Path, beside: MatrixOptions, narrator: Narrator
) -> tuple[Matrix, LeftOut | None]:
    """Rows that any class can be gathered from, without those that are to be left out."""
    with narrator.progress("copying", "rows") as progress:
        matrix = mapped_copy(matrix, out / _CACHE, narrator.say, progress)
    if not beside.skip_bad:
        return matrix, None
    zeros = beside.normalize == "rows" or (beside.normalize == "auto" and not matrix.described)
    with narrator.progress("looking at rows", "rows") as progress:
        matrix, left_out = leave_out_bad(
            matrix, zeros=zeros, threads=beside.threads, progress=progress
        )
    if left_out:
        narrator.say(
            f"{len(left_out):,} rows are left out, listed in {out / _SKIPPED}; the first: "
            f"{left_out.reasons[0]} in {left_out.places[0]}"
        )
    return matrix, left_out


_CACHE = "cache"
_SKIPPED = "skipped.parquet"


def _of_rows_kept(given: Mapping[str, Any], matrix: Matrix) -> dict[str, Any]:
    """What has a value for every stored row, for those that are not left out."""
    kept = matrix.kept
    if kept is None:
        return dict(given)
    return {
        name: value[kept] if name in ("classes", "scores") and value is not None else value
        for name, value in given.items()
    }


def _write_left_out(out: Path, left_out: LeftOut | None) -> None:
    path = out / _SKIPPED
    if not left_out:
        path.unlink(missing_ok=True)
        return
    columns = {"row": left_out.rows, "reason": left_out.reasons, "place": left_out.places}
    write_table(path, columns)


@contextlib.contextmanager
def _choosing(folder: Path, cluster: Cluster | None) -> Iterator[Callable[..., Selection]]:
    """What selects, here or on a cluster, whose shards are kept until the selection is written."""
    from contrasift.selection.select import select as select_subset

    engine = None
    if cluster is not None:
        from contrasift.engines.solving import RayEngine

        engine = RayEngine(cluster, folder)

    def choose(
        embeddings: Embeddings | Matrix, labels: Any, options: SelectOptions, **given: Any
    ) -> Selection:
        return select_subset(embeddings, labels, engine=engine, **options.arguments(), **given)

    yield choose
    if engine is not None:
        engine.remove_shards()


def _read_lists(
    options: SelectOptions, beside: MatrixOptions, matrix: Matrix, columns: Columns
) -> dict[str, Any]:
    """The files of classes, examples, weights and scores, read; None for what is not given."""
    weights = beside.class_weights
    lists = {name: getattr(beside, name) for name in ("must_keep", "must_drop")}
    index, ids = matrix.index, matrix.ids
    if index is None:
        used = beside.classes or options.scores or any(lists.values())
        index = row_numbers(len(matrix) if used else 0, columns)
    examples = {
        name: load_examples_file(path, index, ids) if path else None for name, path in lists.items()
    }
    dropped = examples["must_drop"]
    for name, listed in examples.items():
        if listed is not None and ids is not None:
            rows = rows_of_ids(ids, listed, f"{name}=")  # told before anything is copied
            dropped = index[rows] if name == "must_drop" else dropped
    return {
        "classes": load_classes_file(beside.classes, index, ids) if beside.classes else None,
        **examples,
        "class_weights": load_weights_file(weights) if weights else None,
        "scores": read_scores(options.scores, index, options.scores_column, dropped, ids)
        if options.scores
        else None,
    }


def _request(options: SelectOptions, beside: MatrixOptions) -> dict[str, Any]:
    """What was asked for, as it is kept beside the selection."""
    fractions = beside.nested_fractions()
    how = {"id": beside.id, "skip_bad": beside.skip_bad}
    return {
        **options.arguments(),
        "fractions": fractions,
        "normalize": beside.normalize,
        **{name: value for name, value in how.items() if value},
    }


def _inputs(options: SelectOptions, beside: MatrixOptions, matrix: Matrix) -> dict[str, str]:
    """Hashes of all files that are read."""
    named = {} if matrix.ids is None else {"ids": ids_digest(matrix.ids)}
    files = {name: getattr(beside, name) for name in _FILES} | {"scores": options.scores}
    return {"embeddings": matrix.fingerprint, **named} | {
        name: sha256_of(local_file(given)) for name, given in files.items() if given
    }


_FILES = ("classes", "must_keep", "must_drop", "class_weights")


def _fingerprint(
    options: SelectOptions, request: Mapping[str, Any], inputs: Mapping[str, str]
) -> str:
    """Of a selection from a matrix; options that came later count where they are not defaults."""
    later = options.as_dict().keys() - options.identity().keys()
    asked = {name: value for name, value in request.items() if name not in later}
    if options.scores_column:
        asked["scores_column"] = options.scores_column
    text = json.dumps([asked, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _held(out: Path, narrator: Narrator) -> Iterator[None]:
    """Hold the folder against a second selection; one that stays empty is taken away again."""
    new = not out.exists()
    try:
        with RunFolder(out).locked(narrator.say):
            yield
    finally:
        if new:
            with contextlib.suppress(OSError):  # it is not empty
                out.rmdir()


def _require_one_budget(options: SelectOptions, beside: MatrixOptions) -> None:
    budgets = {
        "fraction=": options.fraction is not None,
        "budget=": options.budget is not None,
        "fractions=": bool(beside.fractions),
    }
    given = [name for name, there in budgets.items() if there]
    if len(given) != 1:
        raise UsageError(
            "one of fraction=, budget= and fractions=",
            f"more than one, {' and '.join(given)}" if given else "none",
            "A fifth of the pool is fraction=0.2",
        )


def _what_is_there(out: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not out.exists() and out != out.parent:
        out = out.parent
    return out


def _check_out(out: Path) -> None:
    """Say before the work, not after it, that the result could not be written."""
    place = out
    try:
        place = _what_is_there(out)
        usable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    except OSError:  # a folder on the way may not even be looked into
        usable = False
    if not usable:
        what = "a file" if place.is_file() else "which cannot be written"
        raise RunFolderError("a folder for out=", f"{place}, {what}", "Choose another out=")


def _holds_this(out: Path, fingerprint: str) -> bool:
    """Whether `out` holds this very selection, whole.

    Raises:
        RunFolderError: it holds another selection, or a run.
    """
    if (out / "options.yaml").exists():
        raise RunFolderError(
            "a folder of its own for this selection",
            f"{out}, the folder of a run",
            "Choose another out=, or leave out= away to select within the run",
        )
    facts = out / "selection.json"
    if not facts.exists():
        return False
    if read_json(facts).get("fingerprint") != fingerprint:
        raise RunFolderError(
            f"the options and data of the selection in {out}",
            "others",
            "Choose another out=, or pass update=True to replace it",
        )
    return all((out / name).exists() for name in ("selection.parquet", "ranking.npy"))
