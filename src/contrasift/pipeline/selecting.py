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

from contrasift.errors import RunFolderError, UsageError
from contrasift.options import MatrixOptions, SelectOptions
from contrasift.pipeline.preparation import load_embeddings
from contrasift.pipeline.run import Run
from contrasift.results import Embeddings, Selection
from contrasift.store.atomic import read_json, sha256_of
from contrasift.store.columns import MappedColumns
from contrasift.store.inputs import (
    load_classes_file,
    load_embeddings_file,
    load_indices_file,
    load_weights_file,
    parse_bytes,
    read_scores,
)
from contrasift.store.remote import local_file
from contrasift.store.run import RunFolder, StageRecord
from contrasift.store.selections import write_selection
from contrasift.store.tables import read_latent_classes

if TYPE_CHECKING:
    from contrasift.engines.cluster import Cluster
    from contrasift.pipeline.run import Narrator


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
        with _choosing(run.folder.path, run.cluster) as choose:
            chosen = choose(embeddings, labels, options)
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
        place: the matrix, its address, or a folder with `embeddings.npy`.
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
        embeddings, described = load_embeddings_file(
            place,
            in_place=connect is not None,
            progress=progress,
            columns=None if connect is None else MappedColumns(_what_is_there(out)),
        )
    if not beside.classes and (Path(place) / "classes.parquet").exists():
        beside = dataclasses.replace(beside, classes=str(Path(place) / "classes.parquet"))
    given = _read_lists(beside, embeddings)
    request, inputs = _request(options, beside), _inputs(options, beside, embeddings)
    fingerprint = _fingerprint(options, request, inputs)
    if not update and _holds_this(out, fingerprint):
        narrator.say(f"{out} holds this selection already; nothing to do")
        return
    normalize = beside.normalize
    if normalize == "auto" and not described:
        normalize = "rows"
    with (
        _held(out, narrator),
        _choosing(out, None if connect is None else connect()) as choose,
    ):
        with narrator.progress("selecting") as progress:
            chosen = choose(
                embeddings,
                given.pop("classes"),
                options,
                **given,
                fractions=request["fractions"],
                normalize=normalize,
                threads=beside.threads,
                memory_limit=limit,
                progress=progress,
                announce=narrator.say,
            )
        write_selection(out, chosen, options=request, inputs=inputs, fingerprint=fingerprint)


@contextlib.contextmanager
def _choosing(folder: Path, cluster: Cluster | None) -> Iterator[Callable[..., Selection]]:
    """What selects, here or on a cluster, whose shards are kept until the selection is written."""
    from contrasift.selection.select import select as select_subset

    engine = None
    if cluster is not None:
        from contrasift.engines.solving import RayEngine

        engine = RayEngine(cluster, folder)

    def choose(
        embeddings: Embeddings, labels: Any, options: SelectOptions, **given: Any
    ) -> Selection:
        scores = None
        if options.scores:
            scores = read_scores(options.scores, embeddings.index, options.scores_column)
        return select_subset(
            embeddings, labels, scores=scores, engine=engine, **options.arguments(), **given
        )

    yield choose
    if engine is not None:
        engine.remove_shards()


def _read_lists(beside: MatrixOptions, embeddings: Embeddings) -> dict[str, Any]:
    """The files of classes, of indices and of weights, read; None for what is not given."""
    keep, drop, weights = beside.must_keep, beside.must_drop, beside.class_weights
    return {
        "classes": load_classes_file(beside.classes, embeddings.index) if beside.classes else None,
        "must_keep": load_indices_file(keep) if keep else None,
        "must_drop": load_indices_file(drop) if drop else None,
        "class_weights": load_weights_file(weights) if weights else None,
    }


def _request(options: SelectOptions, beside: MatrixOptions) -> dict[str, Any]:
    """What was asked for, as it is kept beside the selection."""
    fractions = beside.nested_fractions()
    return {**options.arguments(), "fractions": fractions, "normalize": beside.normalize}


def _inputs(
    options: SelectOptions, beside: MatrixOptions, embeddings: Embeddings
) -> dict[str, str]:
    """Hashes of all files that are read."""
    files = {name: getattr(beside, name) for name in _FILES} | {"scores": options.scores}
    return {"embeddings": embeddings.description["sha256"]} | {
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
