"""Latent classes of a bare matrix: found once, kept beside the selection, and used again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.classes.neighbours import EXACT_ROWS
from contrasift.engines.cluster import Cluster
from contrasift.errors import ContrasiftError, DataError, RunFolderError, UsageError
from contrasift.matrices import Matrix
from contrasift.narration import Narrator
from contrasift.options import ClassesOptions, MatrixReading
from contrasift.options.matrix import LEAST_ROWS_FOR_CLASSES
from contrasift.pipeline.stages.find_classes import SEEDED, default_seeds, remove_pieces, searching
from contrasift.pipeline.stages.matrix_rows import check_out, held, opened, usable, write_left_out
from contrasift.results import LatentClasses
from contrasift.store.atomic import read_json, sha256_of, write_json
from contrasift.store.inputs import load_classes_file, load_few_labels_file
from contrasift.store.remote import local_file
from contrasift.store.tables import read_latent_classes, write_classes

_TABLE, _FACTS = "classes.parquet", "classes.json"
_WORDS = {
    "auto": "communities of nearest neighbours, or k-means where a number of classes is asked for",
    "graph": "communities of nearest neighbours",
    "kmeans": "k-means",
    "few-labels": "a classifier from few labels",
    "propagate": "few labels spread among nearest neighbours",
    "labels": "as given",
    "none": "the whole is one class",
}


class MatrixClasses:
    """What `classes.parquet` of a folder holds, or shall hold, for one matrix.

    `classes.json` is there first, without `sizes`: what was killed in between is recognised, and
    a table that somebody else put there is never overwritten.
    """

    def __init__(self, matrix: Matrix, out: Path, options: ClassesOptions, *, skip: bool) -> None:
        """Look at what is there.

        Args:
            matrix: as it was opened.
            out: the folder of the table.
            options: how classes are found.
            skip: rows that cannot be used will be left out.
        """
        self.out, self.options = out, options
        self._n = len(matrix)
        self.source = f"{matrix.fingerprint}{' usable' if skip else ''}"
        files = [local_file(name) for name in (options.few_labels, options.classes_file) if name]
        self.fingerprint = options.fingerprint(self.source, *(sha256_of(file) for file in files))
        self.facts: dict[str, Any] = {}
        if (out / _FACTS).exists():
            self.facts = read_json(out / _FACTS)
        # By default whatever was found in these embeddings is as good: `contrasift classes` was here.
        if self._whole and self._ours and options == ClassesOptions(seed=options.seed):
            self.fingerprint = str(self.facts["fingerprint"])

    @property
    def _whole(self) -> bool:
        return "sizes" in self.facts and (self.out / _TABLE).exists()

    @property
    def _ours(self) -> bool:
        return self.facts.get("embeddings") == self.source

    @property
    def found_before(self) -> bool:
        """Whether they are there already."""
        return self._whole and self._ours and self.facts.get("fingerprint") == self.fingerprint

    def refuse_others(self, *, update: bool) -> None:
        """Stop before somebody's classes are overwritten.

        Raises:
            RunFolderError: a table that this program did not write; or one of other options or
                data, without `update`.
        """
        if self.found_before:
            return
        if (self.out / _TABLE).exists() and "fingerprint" not in self.facts:
            raise RunFolderError(
                f"a place for {_TABLE} in {self.out}",
                "one that was not written here",
                f"Take it with classes='{self.out / _TABLE}', or choose another out=",
            )
        if self._whole and not update:
            raise RunFolderError(
                f"the options and data of the classes in {self.out}",
                "others",
                "Choose another out=, or pass update=True to replace them",
            )

    def words(self) -> str:
        """What will be done, for the first line."""
        table = self.out / _TABLE
        if self.found_before:
            count = len(self.facts["sizes"])
            return (
                f"latent classes: the {count:,} by {self.facts['method']} in {table}, found before"
            )
        how = "" if self.options.classes == "auto" else f" {self.options.classes}"
        if self._by_graph and self._n < LEAST_ROWS_FOR_CLASSES:
            return (
                f"latent classes: one; among fewer than {LEAST_ROWS_FOR_CLASSES} rows nearly all are "
                "each other's neighbours"
            )
        method = _WORDS["graph" if self._by_graph else self.options.classes]
        return f"latent classes{how}: finding them, {method}; they are kept in {table}"

    @property
    def _by_graph(self) -> bool:
        return self.options.classes == "auto" and self.options.n_classes is None

    def take(
        self,
        matrix: Matrix,
        narrator: Narrator,
        dropped: np.ndarray | None = None,
        announce: Callable[[str], None] | None = None,
        cluster: Cluster | None = None,
    ) -> np.ndarray:
        """The class of every row, found now or before.

        Args:
            matrix: the usable rows.
            narrator: who tells of it.
            dropped: indices of rows that may hold anything.
            announce: told that something is compiled, which is not counted; default: the narrator.
            cluster: where neighbours of many rows are searched; None: in this process.
        """
        from contrasift.selection.compiling import compiling

        index = matrix.numbers
        if self.found_before:
            return read_latent_classes(self.out / _TABLE, index)
        write_json(self.out / _FACTS, {"embeddings": self.source, "fingerprint": self.fingerprint})
        begun = time.perf_counter()
        try:
            with (
                compiling(announce or narrator.say) as compiled,
                narrator.progress("latent classes") as progress,
            ):
                progress(0, len(matrix))
                how = (narrator, cluster if len(matrix) > EXACT_ROWS else None)
                found, stability = self._found(matrix, index, dropped, *how)
        except ContrasiftError as error:
            (self.out / _FACTS).unlink()
            raise _with_remedy(error) from error
        write_classes(self.out / _TABLE, index, found)
        self.facts = {
            "embeddings": self.source,
            "fingerprint": self.fingerprint,
            "method": found.method,
            "n_classes": len(found.names),
            **found.facts,
            "seconds": max(0.0, time.perf_counter() - begun - compiled.seconds),
            **({"stability": stability} if stability else {}),
        }
        write_json(self.out / _FACTS, self.facts)
        remove_pieces(self.out)
        agreed = f"; between seeds: ARI {stability['ari']:.2f}" if stability else ""
        count = (
            f"{len(found.names):,} latent classes" if len(found.names) > 1 else "one latent class"
        )
        narrator.say(f"{count} by {found.method}{agreed}" if found.method != "none" else count)
        return found.labels

    def _found(
        self, matrix: Matrix, index: np.ndarray, dropped: np.ndarray | None, *how: Any
    ) -> tuple[LatentClasses, dict[str, Any]]:
        from contrasift.classes import class_stability

        rows = matrix
        bad = _without_direction(matrix, index, dropped)
        if bad.size:
            rows = matrix.keeping(np.setdiff1d(np.arange(len(matrix)), bad))
        found = self._find(rows, self.options.seed, *how)
        count = (
            default_seeds(len(rows)) if self.options.stability is None else self.options.stability
        )
        seeded = found.method in SEEDED and not self.options.few_labels
        stability: dict[str, Any] = {}
        if seeded and count > 1:
            seeds = range(self.options.seed + 1, self.options.seed + count)
            others = [self._find(rows, seed, *how).codes for seed in seeds]
            stability = class_stability([found.codes, *others])
        return _with_rows(found, bad, len(matrix)), stability

    def _find(
        self, matrix: Matrix, seed: int, narrator: Narrator, cluster: Cluster | None
    ) -> LatentClasses:
        from contrasift.classes import latent_classes

        options, index = self.options, matrix.numbers
        labels, known, names = None, None, ()
        if options.classes_file:
            labels = load_classes_file(options.classes_file, index, matrix.ids)
        if options.few_labels:
            known, names = load_few_labels_file(options.few_labels, index)
        with searching(matrix.values, options, seed, self.out, narrator, cluster) as how:
            return latent_classes(
                matrix.values,
                **options.arguments(),
                labels=labels,
                known=known,
                label_names=names,
                seed=seed,
                searching=how,
            )


def classes_from_matrix(
    place: str,
    out: Path,
    options: ClassesOptions,
    reading: MatrixReading,
    *,
    narrator: Narrator,
    connect: Callable[[], Cluster] | None = None,
    update: bool = False,
) -> None:
    """Find latent classes of a matrix, and keep them where `select_from_matrix` looks for them.

    Args:
        place: whatever `open_embeddings` opens.
        out: the folder for `classes.parquet` and `classes.json`.
        options: how they are found.
        reading: how the matrix is read.
        narrator: who tells of it.
        connect: what reaches the cluster where neighbours are searched; None for this process.
        update: replace other classes in the folder.

    Raises:
        UsageError: a method that needs images or a pool.
        DataError: rows that cannot be used.
        RunFolderError: a folder that cannot be written or holds something else.
    """
    refuse_of_pools(options)
    check_out(out)
    matrix = opened(place, reading, narrator)
    held_classes = MatrixClasses(matrix, out, options, skip=reading.skip_bad)
    held_classes.refuse_others(update=update)
    narrator.say(held_classes.words())
    if held_classes.found_before:
        return
    with held(out, narrator):
        matrix, left_out = usable(
            matrix, out, reading, narrator, zeros=options.metric == "spherical"
        )
        held_classes.take(matrix, narrator, cluster=None if connect is None else connect())
        if reading.skip_bad:
            write_left_out(out, left_out)


def refuse_of_pools(options: ClassesOptions) -> None:
    """Methods that need more than embeddings.

    Raises:
        UsageError: names what a matrix can do instead.
    """
    missing = {
        "zero-shot": "the pool's images and names",
        "labels": "" if options.classes_file else "the pool's labels",
        "few-labels": "" if options.few_labels else "labels",
        "propagate": "" if options.few_labels else "labels",
    }.get(options.classes, "")
    missing = "rounds of training" if options.rounds else missing
    if missing:
        raise UsageError(
            "classes='auto', 'graph', 'kmeans' or 'none', or a file of classes, for bare embeddings",
            f"classes='{options.classes}', which needs {missing}",
            "Give few labels with few_labels=FILE, or all of them with classes=FILE",
        )


def _with_remedy(error: ContrasiftError) -> ContrasiftError:
    """Of rows that cannot be used: what to do with them here."""
    if isinstance(error, DataError) and "Leave these examples out" in error.remedy:
        return DataError(error.expected, error.got, "Leave these rows out: skip_bad=True")
    return error


def _without_direction(matrix: Matrix, index: np.ndarray, dropped: np.ndarray | None) -> np.ndarray:
    """Numbers of dropped rows that are not finite or all zero: they need not be comparable."""
    if dropped is None or not np.size(dropped):
        return np.empty(0, np.int64)
    rows = np.flatnonzero(np.isin(index, dropped))
    bad = [np.empty(0, np.int64)]
    for block in row_blocks(rows.size, 8 * matrix.shape[1]):
        part = np.asarray(matrix[rows[block]], dtype=np.float64)
        bad.append(rows[block][~np.isfinite(part).all(axis=1) | (part == 0).all(axis=1)])
    return np.concatenate(bad)


def _with_rows(found: LatentClasses, bad: np.ndarray, n: int) -> LatentClasses:
    """The classes of all rows; those that cannot be compared are of the first, with score 0."""
    if not bad.size:
        return found
    good = np.setdiff1d(np.arange(n), bad)

    def spread(values: np.ndarray) -> np.ndarray:
        out = np.zeros(n, dtype=values.dtype)
        out[good] = values
        return out

    levels = {gamma: spread(codes) for gamma, codes in found.levels.items()}
    codes = spread(found.codes)
    facts = {**found.facts, "sizes": np.bincount(codes, minlength=len(found.names)).tolist()}
    return dataclasses.replace(
        found, codes=codes, score=spread(found.score), levels=levels, facts=facts
    )
