"""From two matrices and pairs to mined negatives: mined.parquet, mined.json and a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from contrasift.arrays import class_codes
from contrasift.errors import DataError, RunFolderError, UsageError
from contrasift.fingerprints import array_sha256, json_fingerprint
from contrasift.matrices import Matrix, mapped_copy
from contrasift.mining import Mined, mine
from contrasift.mining.judging import Tellers, judged, judgement, tellers_of
from contrasift.mining.listed import Known
from contrasift.mining.pairs import pairs_of
from contrasift.narration import Narrator
from contrasift.negatives.policies import parse_policy
from contrasift.options import ClassesOptions, MatrixReading
from contrasift.options.mining import MiningFiles, MiningOptions
from contrasift.options.selecting import METHODS_OF_A_MATRIX
from contrasift.options.words import RunClassMethod
from contrasift.pipeline.stages.matrix_classes import MatrixClasses
from contrasift.pipeline.stages.matrix_rows import check_out, held, opened
from contrasift.pipeline.studies.mine_gallery import suspect_pairs
from contrasift.report.mined import mined_page, write_mined_page
from contrasift.results import LatentClasses
from contrasift.store.atomic import read_json, sha256_of, write_json
from contrasift.store.inputs import load_classes_file
from contrasift.store.mined import FACTS, PAGE, POSITIVES, TABLE
from contrasift.store.pairs import read_pairs
from contrasift.store.pieces import KeptPieces
from contrasift.store.remote import local_file
from contrasift.store.shards import ShardFolder
from contrasift.store.tables import read_table, write_table

ROWS = "rows"
_PIECES = "mined.pieces"


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
    reading = MatrixReading(column=files.column, id=files.id)
    left = opened(queries, reading, narrator)
    right = left if corpus is None else opened(corpus, reading, narrator)
    inputs = _Inputs.read(left, right, files)
    found = _classes_to_find(right, out, options, files)
    fingerprint = json_fingerprint(
        [options.identity(), inputs.digests, "" if found is None else found.fingerprint]
    )
    earlier = read_json(out / FACTS) if (out / FACTS).exists() else {}
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
        own = inputs.classes
        if found is not None:
            narrator.say(found.words())
            codes, names = class_codes(found.take(right, narrator), len(right))
            score = read_table(out / "classes.parquet", "score")["score"]
            own = LatentClasses(codes, names, score, "auto")
        pieces = ShardFolder(out / _PIECES, fingerprint)
        with narrator.progress("mining", "queries") as progress:
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
            raise DataError(
                f"queries with {options.per_query} negatives under the policy {policy}",
                f"none of {mined.kept.size:,}; most have too few by {_commonest(mined)}",
                "Loosen the policy, ask for fewer (per_query=), or keep what there is: "
                "allow_fewer=True",
            )
        result = _write(out, mined, tellers, left, right, fingerprint, source, files)
        pieces.remove()
    return result


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """What files say of queries and corpus, and the hashes of all."""

    positives: np.ndarray
    relevant: np.ndarray | None
    labels: np.ndarray | None
    classes: LatentClasses | None
    other: LatentClasses | None
    digests: list[str]

    @classmethod
    def read(cls, left: Matrix, right: Matrix, files: MiningFiles) -> _Inputs:
        """Read all files."""
        positives = _pairs(files.positives, left, right, "positives")
        relevant = _pairs(files.relevant, left, right, "relevant") if files.relevant else None
        named = "" if files.classes in METHODS_OF_A_MATRIX else files.classes
        given = [_classes(name, right) for name in (named, files.other_classes)]
        labels = None
        if files.labels:
            labels = class_codes(_table_of(files.labels, right), len(right))[0]
        arrays = (positives, relevant, labels, *(one and one.codes for one in given))
        digests = [left.fingerprint, right.fingerprint]
        digests += ["" if one is None else array_sha256(one) for one in arrays]
        return cls(positives, relevant, labels, given[0], given[1], digests)

    def known(self, mined: Mined, same: bool) -> Known:
        """For the judgement."""
        relevant = None
        if self.relevant is not None:
            relevant = pairs_of(
                self.relevant, mined.kept.size, 1 + int(self.relevant.max(initial=0))
            )
        return Known(mined.positives, same, None, self.labels, relevant)


def _pairs(place: str, left: Matrix, right: Matrix, name: str) -> np.ndarray:
    if place == ROWS:
        if len(left) != len(right):
            raise UsageError(
                f"as many queries as rows of the corpus for {name}='rows'",
                f"{len(left):,} and {len(right):,}",
                "Give a file of pairs",
            )
        return np.stack([np.arange(len(left))] * 2, axis=1)
    return read_pairs(place, left.ids, right.ids, name)


def _classes(place: str, right: Matrix) -> LatentClasses | None:
    if not place:
        return None
    codes, names = class_codes(_table_of(place, right), len(right))
    score = np.ones(codes.size, np.float32)
    path = local_file(place)
    if path.suffix == ".parquet":
        table = read_table(path)
        if "score" in table and "index" in table:
            order = np.argsort(table["index"], kind="stable")
            place_of = np.searchsorted(table["index"], right.numbers, sorter=order)
            score = table["score"][order[place_of]].astype(np.float32)
    return LatentClasses(codes, names, score, "labels")


def _table_of(place: str, right: Matrix) -> np.ndarray:
    return load_classes_file(place, right.numbers, right.ids)


def _classes_to_find(
    right: Matrix, out: Path, options: MiningOptions, files: MiningFiles
) -> MatrixClasses | None:
    """Latent classes that are to be found; none where a file is given, or `none`."""
    if files.classes not in METHODS_OF_A_MATRIX or files.classes == "none":
        return None
    method = cast(RunClassMethod, files.classes)
    return MatrixClasses(right, out, ClassesOptions(classes=method, seed=options.seed), skip=False)


def _in_place(matrix: Matrix, out: Path, narrator: Narrator) -> Matrix:
    with narrator.progress("copying", "rows") as progress:
        return mapped_copy(matrix, out / "cache", narrator.say, progress)


def _whole(out: Path, facts: Mapping[str, Any]) -> bool:
    table = out / TABLE
    return table.exists() and sha256_of(table) == facts.get("sha256")


def _shows(source: Mapping[str, Any]) -> list[Any]:
    return [source.get(name) for name in ("query_texts", "corpus_texts", "images")]


def _commonest(mined: Mined) -> str:
    names, counts = np.unique(mined.reasons.astype(str), return_counts=True)
    return str(names[counts.argmax()])


def _write(
    out: Path,
    mined: Mined,
    tellers: Tellers,
    left: Matrix,
    right: Matrix,
    fingerprint: str,
    source: Mapping[str, Any],
    files: MiningFiles,
) -> dict[str, Any]:
    write_table(out / TABLE, table_of(mined, left.ids, right.ids))
    write_table(out / POSITIVES, positives_of(mined, left.ids, right.ids))
    result = {
        "fingerprint": fingerprint,
        "sha256": sha256_of(out / TABLE),
        **mined.facts,
        **judgement(mined, tellers),
        "source": source,
    }
    write_mined_page(mined_page(result, suspect_pairs(mined, left, right, files)), out / PAGE)
    write_json(out / FACTS, result)
    return read_json(out / FACTS)


def _named(ids: Any, rows: np.ndarray) -> Any:
    return rows if ids is None else ids.take(pa.array(rows)).combine_chunks()


def positives_of(mined: Mined, query_ids: Any, corpus_ids: Any) -> dict[str, Any]:
    """A line for each pair that belongs together, by ids (or rows)."""
    queries, rows = mined.positives.numbers, mined.positives.rows
    table = {"query": _named(query_ids, queries), "positive": _named(corpus_ids, rows)}
    if query_ids is not None:
        table["query_row"] = queries
    if corpus_ids is not None:
        table["positive_row"] = rows
    return table


def table_of(mined: Mined, query_ids: Any, corpus_ids: Any) -> dict[str, Any]:
    """A line for each negative: ids (or rows), rank, place, similarities, and how likely it is false."""
    which, column = np.nonzero(mined.negatives >= 0)
    rows = mined.negatives[which, column]

    table: dict[str, Any] = {
        "query": _named(query_ids, which),
        "negative": _named(corpus_ids, rows),
        "rank": (column + 1).astype(np.int32),
        "place": mined.places[which, column],
        "similarity": mined.similarity[which, column],
        "positive_similarity": mined.positive_similarity[which],
    }
    if mined.false_probability is not None:
        table["false_probability"] = mined.false_probability[which, column]
    if mined.known_false is not None:
        table["known_false"] = mined.known_false[which, column]
    if query_ids is not None:
        table["query_row"] = which
    if corpus_ids is not None:
        table["negative_row"] = rows
    return table
