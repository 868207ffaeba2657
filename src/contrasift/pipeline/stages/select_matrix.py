"""A selection from a matrix that a user has, with classes and lists from files."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from contrasift.arrays import Columns, HeldColumns
from contrasift.catalogue import OBJECTIVES
from contrasift.errors import RunFolderError, UsageError
from contrasift.fingerprints import json_fingerprint
from contrasift.ids import ids_digest, rows_of_ids
from contrasift.matrices import Matrix
from contrasift.options import ClassesOptions, MatrixOptions, MatrixReading, SelectOptions
from contrasift.options.words import RunClassMethod
from contrasift.pipeline.stages.beside_random import beside_random
from contrasift.pipeline.stages.card import CARD, repeating, write_card
from contrasift.pipeline.stages.duplicates import Duplicates, near_copies
from contrasift.pipeline.stages.matrix_classes import MatrixClasses
from contrasift.pipeline.stages.matrix_rows import (
    check_out,
    held,
    opened,
    rows_named,
    usable,
    what_is_there,
    write_left_out,
)
from contrasift.pipeline.stages.select import choosing
from contrasift.results import Selection
from contrasift.store.atomic import read_json, sha256_of
from contrasift.store.columns import MappedColumns
from contrasift.store.embeddings import row_numbers
from contrasift.store.inputs import (
    load_classes_file,
    load_examples_file,
    load_weights_file,
    parse_bytes,
    read_target,
)
from contrasift.store.remote import local_file
from contrasift.store.scores import read_scores
from contrasift.store.selections import write_selection

if TYPE_CHECKING:
    from contrasift.engines.cluster import Cluster
    from contrasift.narration import Narrator


@dataclass(frozen=True)
class _Request:
    """What is asked for, as it is kept beside the selection, and what tells it from others.

    Attributes:
        options: what is chosen.
        beside: classes, with where they come from settled; lists; limits of the machine.
        found: the latent classes that are to be found; None where they are given, or none.
        command: that repeats it.
        words: options and fractions, as selection.json has them.
        inputs: hashes of all files that are read.
        fingerprint: of the words and the inputs.
    """

    options: SelectOptions
    beside: MatrixOptions
    found: MatrixClasses | None
    command: str
    words: dict[str, Any]
    inputs: dict[str, str]
    fingerprint: str


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
    check_out(out)
    _check_limits(beside, clustered=connect is not None)
    matrix = opened(place, beside, narrator, remote_rows=connect is not None)
    asked, beside = beside, _settled(place, options, beside)
    found = _classes_to_find(matrix, out, options, beside)
    columns = HeldColumns() if connect is None else MappedColumns(what_is_there(out))
    given = _read_lists(options, beside, matrix, columns)
    words, inputs = _words(options, beside), _inputs(options, beside, matrix, found)
    fingerprint = _fingerprint(options, words, inputs)
    same = [fingerprint]
    if options.optimizer == "auto":  # what greedy did is what auto wants, and was the default
        exact = dataclasses.replace(options, optimizer="greedy")
        same.append(_fingerprint(exact, _words(exact, beside), inputs))
    if not update and _holds_this(out, same):
        if not (out / CARD).exists():
            write_card(out)
        narrator.say(f"{out} holds this selection already; nothing to do")
        return
    if found is not None:
        found.refuse_others(update=update)
    narrator.say(_first_line(found, options, beside))
    command = repeating(place, out, options, asked)
    request = _Request(options, beside, found, command, words, inputs, fingerprint)
    with held(out, narrator):
        cluster = None if connect is None else connect()
        with choosing(out, cluster, hurries=True) as choose:
            _select(matrix, out, request, given, narrator, choose, cluster)


def _select(
    matrix: Matrix,
    out: Path,
    request: _Request,
    given: dict[str, Any],
    narrator: Narrator,
    choose: Callable[..., Selection],
    cluster: Cluster | None,
) -> None:
    """Find classes and near-copies where they are asked for, choose, and write what was chosen."""
    options, beside, found = request.options, request.beside, request.found
    zeros = beside.normalize == "rows" or (beside.normalize == "auto" and not matrix.described)
    matrix, left_out = usable(matrix, out, beside, narrator, zeros=zeros, threads=beside.threads)
    if left_out is not None:
        given = _of_rows_kept(given, matrix)
    announce = functools.cache(narrator.say)  # that something is compiled is said once
    # Rows that are dropped may leave others under other numbers.
    by_name = contextlib.nullcontext if given["must_drop"] is not None else rows_named
    if found is not None:
        with by_name(matrix):
            given["classes"] = found.take(matrix, narrator, given["must_drop"], announce, cluster)
    copies = None
    if beside.drop_duplicates is not None:
        copies = _near_copies(matrix, given, options, beside, narrator)
        given["must_drop"] = copies.must_drop
    with by_name(matrix), narrator.progress("selecting") as progress:
        chosen = choose(
            matrix,
            given.pop("classes"),
            options,
            **given,
            fractions=request.words["fractions"],
            normalize=beside.normalize,
            threads=beside.threads,
            memory_limit=_memory_limit(beside),
            progress=progress,
            announce=announce,
        )
    if copies is not None:
        chosen = copies.put_into(chosen)
    write_left_out(out, left_out)
    facts = {
        **chosen.facts,
        "source": dict(matrix.source),
        "made_by": dict(matrix.about),
        "reading": {name: getattr(beside, name) for name in MatrixReading().as_dict()},
        "command": request.command,
        "dropped": chosen.n_dropped,
        "left_out": len(left_out or ()),
        "left_out_reasons": dict(Counter(left_out.reasons)) if left_out else {},
        "beside_random": beside_random(matrix, chosen, options.seed),
        "latent_classes": _kept_of_classes(found, beside),
        **({} if copies is None else {"duplicates": copies.facts}),
    }
    write_selection(
        out,
        dataclasses.replace(chosen, facts=facts),
        options=request.words,
        inputs=request.inputs,
        fingerprint=request.fingerprint,
    )
    write_card(out)


def _check_limits(beside: MatrixOptions, *, clustered: bool) -> None:
    if clustered and (beside.threads or beside.memory_limit):
        raise UsageError(
            "threads= and memory_limit= for engine='local'",
            "one of them with engine='ray'",
            "Ray's workers have one processor each, and the memory that their nodes give",
        )
    _memory_limit(beside)


def _memory_limit(beside: MatrixOptions) -> int | None:
    return parse_bytes(beside.memory_limit) if beside.memory_limit else None


def _classes_to_find(
    matrix: Matrix, out: Path, options: SelectOptions, beside: MatrixOptions
) -> MatrixClasses | None:
    """The classes that are to be found, if they are."""
    if beside.classes not in ("auto", "graph", "kmeans"):
        return None
    how = ClassesOptions(
        classes=cast(RunClassMethod, beside.classes),
        seed=options.seed,
        memory_limit=beside.memory_limit,
    )
    return MatrixClasses(matrix, out, how, skip=beside.skip_bad)


def _near_copies(
    matrix: Matrix,
    given: Mapping[str, Any],
    options: SelectOptions,
    beside: MatrixOptions,
    narrator: Narrator,
) -> Duplicates:
    """Near-copies within ε, which are told."""
    assert beside.drop_duplicates is not None
    scores = given["scores"]
    if scores is not None and options.scores_keep != "high":
        scores = -scores
    with narrator.progress("near-copies") as progress:
        copies = near_copies(
            matrix,
            given["classes"],
            beside.drop_duplicates,
            must_keep=given["must_keep"],
            must_drop=given["must_drop"],
            scores=scores,
            threads=beside.threads,
            progress=progress,
        )
    narrator.say(copies.words(len(matrix)))
    return copies


def _settled(place: str, options: SelectOptions, beside: MatrixOptions) -> MatrixOptions:
    """Where classes come from, if nothing was said of them."""
    if beside.classes != "auto":
        return beside
    kept = Path(place) / "classes.parquet"
    if kept.exists():
        return dataclasses.replace(beside, classes=str(kept))
    blind = OBJECTIVES[options.objective].blind or options.allocate == "global"
    return dataclasses.replace(beside, classes="none") if blind else beside


def _kept_of_classes(found: MatrixClasses | None, beside: MatrixOptions) -> dict[str, Any]:
    """How the classes were come by, as it is kept beside the selection."""
    if found is None:
        return {"file": beside.classes_file} if beside.classes_file else {"method": "none"}
    names = ("method", "n_classes", "resolution", "neighbours", "whiten", "seed", "stability")
    return {name: found.facts[name] for name in names if name in found.facts}


def _first_line(found: MatrixClasses | None, options: SelectOptions, beside: MatrixOptions) -> str:
    """Within which classes is selected."""
    if found is not None:
        return found.words()
    if beside.classes_file:
        return f"latent classes: those in {beside.classes}"
    if OBJECTIVES[options.objective].blind:
        return f"latent classes: none, the objective {options.objective} looks at none"
    if options.allocate == "global":
        return "latent classes: none, one objective ranks the whole pool"
    return (
        "latent classes: none; within one class nothing selects better than chance in our "
        "experiments, classes='auto' finds some"
    )


def _of_rows_kept(given: Mapping[str, Any], matrix: Matrix) -> dict[str, Any]:
    """What has a value for every stored row, for those that are not left out."""
    kept = matrix.kept
    if kept is None:
        return dict(given)
    return {
        name: value[kept] if name in ("classes", "scores") and value is not None else value
        for name, value in given.items()
    }


def _read_lists(
    options: SelectOptions, beside: MatrixOptions, matrix: Matrix, columns: Columns
) -> dict[str, Any]:
    """The files of classes, examples, weights and scores, read; None for what is not given."""
    weights = beside.class_weights
    lists = {name: getattr(beside, name) for name in ("must_keep", "must_drop")}
    index, ids = matrix.index, matrix.ids
    if index is None:
        used = beside.classes_file or options.scores or options.target or any(lists.values())
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
        "classes": load_classes_file(beside.classes, index, ids) if beside.classes_file else None,
        **examples,
        "class_weights": load_weights_file(weights) if weights else None,
        "scores": read_scores(options.scores, index, options.scores_column, dropped, ids)
        if options.scores
        else None,
        "target": read_target(options.target, index, ids) if options.target else None,
    }


def _words(options: SelectOptions, beside: MatrixOptions) -> dict[str, Any]:
    """What was asked for, as it is kept beside the selection."""
    fractions = beside.nested_fractions()
    how = {"id": beside.id, "skip_bad": beside.skip_bad}
    asked = {name: value for name, value in how.items() if value}
    if beside.drop_duplicates is not None:
        asked["drop_duplicates"] = beside.drop_duplicates
    return {
        **options.arguments(),
        "fractions": fractions,
        "normalize": beside.normalize,
        **asked,
    }


def _inputs(
    options: SelectOptions, beside: MatrixOptions, matrix: Matrix, found: MatrixClasses | None
) -> dict[str, str]:
    """Hashes of all files that are read; of classes that are to be found, how."""
    named = {} if matrix.ids is None else {"ids": ids_digest(matrix.ids)}
    files = {name: getattr(beside, name) for name in _FILES}
    files |= {"classes": beside.classes_file, "scores": options.scores}
    files |= {"target": options.target}
    hashes = {name: sha256_of(local_file(given)) for name, given in files.items() if given}
    hashes |= {} if found is None else {"classes": found.fingerprint}
    return {"embeddings": matrix.fingerprint, **named, **hashes}


_FILES = ("must_keep", "must_drop", "class_weights")


def _fingerprint(
    options: SelectOptions, words: Mapping[str, Any], inputs: Mapping[str, str]
) -> str:
    """Of a selection from a matrix; options that came later count where they are not defaults."""
    later = options.as_dict().keys() - options.identity().keys()
    asked = {name: value for name, value in words.items() if name not in later}
    if options.scores_column:
        asked["scores_column"] = options.scores_column
    return json_fingerprint([asked, inputs])


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


def _holds_this(out: Path, fingerprints: Sequence[str]) -> bool:
    """Whether `out` holds this very selection, by one of its fingerprints, whole.

    Raises:
        RunFolderError: it holds another selection.
    """
    facts = out / "selection.json"
    if not facts.exists():
        return False
    there = read_json(facts)
    if there.get("fingerprint") not in fingerprints:
        raise RunFolderError(
            f"the options and data of the selection in {out}",
            "others",
            "Choose another out=, or pass update=True to replace it",
        )
    whole = all((out / name).exists() for name in ("selection.parquet", "ranking.npy"))
    return whole and not there.get("hurried", False)  # an interrupted one is made anew
