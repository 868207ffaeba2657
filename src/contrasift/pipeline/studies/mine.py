"""From two matrices and pairs to mined negatives: mined.parquet, mined.json and a page."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from contrasift.arrays import class_codes
from contrasift.errors import DataError, RunFolderError, UsageError
from contrasift.fingerprints import json_fingerprint
from contrasift.matrices import Matrix, mapped_copy
from contrasift.mining import Mined, mine
from contrasift.mining.judging import Tellers, judged, judgement, tellers_of
from contrasift.mining.miner import check_numbers
from contrasift.mining.pairs import check_positives, pairs_of
from contrasift.narration import Narrator
from contrasift.negatives.parsing import parse_policy
from contrasift.negatives.policies import Policy
from contrasift.options import ClassesOptions, MatrixReading
from contrasift.options.matrix import METHODS_OF_A_MATRIX
from contrasift.options.mining import MiningFiles, MiningOptions
from contrasift.options.words import RunClassMethod
from contrasift.pipeline.stages.matrix_classes import MatrixClasses
from contrasift.pipeline.stages.matrix_rows import check_out, held, opened
from contrasift.pipeline.studies.mine_gallery import check_images, suspect_pairs
from contrasift.pipeline.studies.mine_inputs import MiningInputs, UsableSides, among, classes_of
from contrasift.report.mined import mined_page, write_mined_page
from contrasift.results import LatentClasses
from contrasift.store.atomic import read_json, sha256_of, write_json
from contrasift.store.mined import FACTS, PAGE, POSITIVES, TABLE, read_texts
from contrasift.store.pieces import KeptPieces
from contrasift.store.shards import ShardFolder
from contrasift.store.tables import read_table, write_table

_PIECES = "mined.pieces"
_BECAUSE = {"corpus": "a corpus with too few rows", "search": "the end of the search"}


def mine_files(
    queries: str,
    corpus: str | None,
    out: Path,
    options: MiningOptions,
    files: MiningFiles,
    *,
    narrator: Narrator,
    update: bool = False,
) -> dict[str, Any]:
    """Mine negatives of matrices into a folder; one that holds these very negatives is left alone.

    Args:
        queries: whatever `open_embeddings` opens.
        corpus: likewise; None: the queries are the corpus.
        out: the folder.
        options: which negatives.
        files: pairs, classes, labels, texts.
        narrator: who tells of it.
        update: replace other negatives in the folder.

    Returns:
        What mined.json says.

    Raises:
        UsageError: arguments that do not fit.
        DataError: files or rows that cannot be used.
        RunFolderError: a folder that cannot be written or holds something else.
    """
    if not files.positives:
        raise UsageError("positives=, the pairs of queries and corpus", "none")
    check_out(out)
    policy = parse_policy(options.policy)
    _check_needs(policy, files)
    reading = MatrixReading(column=files.column, id=files.id)
    left = opened(queries, reading, narrator)
    right = left if corpus is None else opened(corpus, reading, narrator)
    check_numbers(options.draw, options.per_query, len(right))
    inputs = MiningInputs.read(left, right, files)
    _check_before(left, right, inputs, files)
    found = _classes_to_find(right, out, options, files)
    fingerprint = json_fingerprint(
        [options.identity(), inputs.digests, "" if found is None else found.fingerprint]
    )
    earlier = _earlier(out, update)
    same = earlier.get("fingerprint") == fingerprint
    source = {"queries": queries, "corpus": corpus, **files.as_dict()}
    # Texts and images are no part of what is mined, but of the page and of exports.
    if same and _whole(out, earlier) and _shows(earlier["source"]) == _shows(source):
        narrator.say(f"{out} holds these negatives already; nothing to do")
        return earlier
    if earlier and not same and not update:
        raise RunFolderError(
            f"the options and data of the negatives in {out}",
            "others",
            "Choose another out=, or pass update=True to replace them",
        )
    with held(out, narrator):
        left = _in_place(left, out, narrator)
        right = left if corpus is None else _in_place(right, out, narrator)
        whole, comparable = (left, right), np.ones(len(right), dtype=bool)
        if files.skip_bad:
            sides = UsableSides.of(left, right, inputs.positives, files.threads)
            sides.write(out, narrator)
            inputs, comparable = inputs.of(sides.use_left, sides.use_right), sides.comparable
            left, right = sides.left, sides.right
        own = inputs.classes
        if found is not None:
            narrator.say(found.words())
            those = right if comparable.all() else whole[1].keeping(np.flatnonzero(comparable))
            with _of_the_corpus():
                classes = _found_classes(found, those, out, narrator)
            own = classes_of(classes, among(right, those))
        pieces = ShardFolder(out / _PIECES, fingerprint)
        with narrator.progress("mining", "queries") as progress, _rows_left_out():
            mined = mine(
                left.values,
                None if corpus is None else right.values,
                inputs.positives,
                **options.as_dict(),
                latent_classes=own,
                labels=inputs.labels,
                relevant=inputs.relevant,
                threads=files.threads,
                progress=progress,
                pieces=KeptPieces(pieces),
            )
        tellers = tellers_of(policy.compares("latent_classes"), own, inputs.other)
        mined = judged(mined, inputs.known(mined, corpus is None), tellers)
        if not mined.kept.any():
            raise _nothing_left(mined, options)
        sides_of = _Sides(left, right, *whole)
        result = _write(out, mined, tellers, sides_of, fingerprint, source, files)
        pieces.remove()
    return result


def _classes_to_find(
    right: Matrix, out: Path, options: MiningOptions, files: MiningFiles
) -> MatrixClasses | None:
    """Latent classes that are to be found; none where a file is given, or `none`."""
    if files.classes not in METHODS_OF_A_MATRIX or files.classes == "none":
        return None
    method = cast(RunClassMethod, files.classes)
    how = ClassesOptions(classes=method, seed=options.seed)
    return MatrixClasses(right, out, how, skip=files.skip_bad)


def _in_place(matrix: Matrix, out: Path, narrator: Narrator) -> Matrix:
    with narrator.progress("copying", "rows") as progress:
        return mapped_copy(matrix, out / "cache", narrator.say, progress)


def _whole(out: Path, facts: Mapping[str, Any]) -> bool:
    there = all((out / name).exists() for name in (TABLE, POSITIVES, PAGE))
    return there and sha256_of(out / TABLE) == facts.get("sha256")


def _shows(source: Mapping[str, Any]) -> list[Any]:
    return [source.get(name) for name in ("query_texts", "corpus_texts", "images")]


def _earlier(out: Path, update: bool) -> dict[str, Any]:
    """What mined.json says; nothing where there is none, or where it may be replaced."""
    if not (out / FACTS).exists():
        return {}
    try:
        return read_json(out / FACTS)
    except DataError as error:
        if update:
            return {}
        raise RunFolderError(
            error.expected, error.got, "Choose another out=, or pass update=True to replace it"
        ) from error


def _check_needs(policy: Policy, files: MiningFiles) -> None:
    """Say before anything is read that the policy needs what is not given."""
    if policy.compares("latent_classes") and files.classes == "none":
        raise UsageError(
            f"latent classes of the corpus for the policy {policy}",
            "none",
            "Find them: classes='auto', or give a file of them",
        )
    if policy.compares("labels") and not files.labels:
        raise UsageError(
            f"labels of the corpus for the policy {policy}",
            "none",
            "Give labels=, or use same_latent_class, which needs none",
        )


def _check_before(left: Matrix, right: Matrix, inputs: MiningInputs, files: MiningFiles) -> None:
    """Say before the work what would stop it, or be found after it."""
    if not files.skip_bad:
        pairs = pairs_of(inputs.positives, len(left), len(right))
        check_positives(pairs, same=left is right)
    for texts, side in ((files.query_texts, left), (files.corpus_texts, right)):
        if texts:
            read_texts(texts, sum(one.n for one in side.stored))
    check_images(files.images, left, right)


def _nothing_left(mined: Mined, options: MiningOptions) -> DataError:
    names, counts = np.unique(mined.reasons.astype(str), return_counts=True)
    why = str(names[counts.argmax()])
    return DataError(
        f"queries with {1 if options.allow_fewer else options.per_query} negatives under the "
        f"policy {options.policy}",
        f"none of {mined.kept.size:,}, mostly because of {_BECAUSE.get(why, why)}",
        "Loosen the policy"
        if options.allow_fewer
        else "Loosen the policy, ask for fewer (per_query=), or keep what there is: "
        "allow_fewer=True",
    )


@contextlib.contextmanager
def _rows_left_out() -> Iterator[None]:
    """The remedy that there is here for rows that cannot be compared."""
    try:
        yield
    except DataError as error:
        if "first of them row" not in error.got or "a positive" in error.expected:
            raise
        raise DataError(error.expected, error.got, "Leave these rows out: skip_bad=True") from error


@contextlib.contextmanager
def _of_the_corpus() -> Iterator[None]:
    """Classes are found in embeddings: which of the two, where both could be meant."""
    try:
        yield
    except DataError as error:
        expected = error.expected.replace("embeddings of", "corpus of")
        raise DataError(expected, error.got, error.remedy) from error


@dataclasses.dataclass(frozen=True)
class _Sides:
    """Queries and corpus as they were mined, and as they were opened."""

    left: Matrix
    right: Matrix
    whole_left: Matrix
    whole_right: Matrix


def _found_classes(
    found: MatrixClasses, right: Matrix, out: Path, narrator: Narrator
) -> LatentClasses:
    codes, names = class_codes(found.take(right, narrator), len(right))
    score = read_table(out / "classes.parquet", "score")["score"]
    return LatentClasses(codes, names, score, "auto")


def _write(
    out: Path,
    mined: Mined,
    tellers: Tellers,
    sides: _Sides,
    fingerprint: str,
    source: Mapping[str, Any],
    files: MiningFiles,
) -> dict[str, Any]:
    write_table(out / TABLE, table_of(mined, sides.left, sides.right))
    write_table(out / POSITIVES, positives_of(mined, sides.left, sides.right))
    stored = {"queries": len(sides.whole_left), "corpus": len(sides.whole_right)}
    result = {
        "fingerprint": fingerprint,
        "sha256": sha256_of(out / TABLE),
        **mined.facts,
        **judgement(mined, tellers),
        "stored": stored,
        "source": source,
    }
    pairs = suspect_pairs(mined, sides.left, sides.right, files)
    write_mined_page(mined_page(result, pairs), out / PAGE)
    write_json(out / FACTS, result)
    return read_json(out / FACTS)


def _named(matrix: Matrix, rows: np.ndarray) -> Any:
    """Ids of rows, or the numbers that they have where they are stored."""
    ids = matrix.ids
    return matrix.stored_rows(rows) if ids is None else ids.take(pa.array(rows)).combine_chunks()


def positives_of(mined: Mined, left: Matrix, right: Matrix) -> dict[str, Any]:
    """A line for each pair that belongs together, by ids (or rows)."""
    queries, rows = mined.positives.numbers, mined.positives.rows
    table = {"query": _named(left, queries), "positive": _named(right, rows)}
    if left.ids is not None:
        table["query_row"] = left.stored_rows(queries)
    if right.ids is not None:
        table["positive_row"] = right.stored_rows(rows)
    return table


def table_of(mined: Mined, left: Matrix, right: Matrix) -> dict[str, Any]:
    """A line for each negative: ids (or rows), rank, place, similarities, and how likely it is false."""
    which, column = np.nonzero(mined.negatives >= 0)
    rows = mined.negatives[which, column]

    table: dict[str, Any] = {
        "query": _named(left, which),
        "negative": _named(right, rows),
        "rank": (column + 1).astype(np.int32),
        "place": mined.places[which, column],
        "similarity": mined.similarity[which, column],
        "positive_similarity": mined.positive_similarity[which],
    }
    if mined.false_probability is not None:
        table["false_probability"] = mined.false_probability[which, column]
    if mined.known_false is not None:
        table["known_false"] = mined.known_false[which, column]
    if left.ids is not None:
        table["query_row"] = left.stored_rows(which)
    if right.ids is not None:
        table["negative_row"] = right.stored_rows(rows)
    return table
