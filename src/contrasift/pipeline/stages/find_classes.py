"""Finding the classes of a run with any seed, and holding them against each other."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.catalogue import OBJECTIVES
from contrasift.classes.graph_classes import NEIGHBOURS
from contrasift.classes.neighbours import EXACT_ROWS, Searching, check_memory
from contrasift.engines.assigning import RayAssigning
from contrasift.engines.cluster import Cluster
from contrasift.engines.searching import RaySearch
from contrasift.narration import Narrator
from contrasift.options import ClassesOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.embed import load_class_embeddings, load_embeddings
from contrasift.pipeline.stages.zero_shot import zero_shot_of_run
from contrasift.results import Embeddings, LatentClasses
from contrasift.store.inputs import load_classes_file, load_few_labels_file, parse_bytes
from contrasift.store.pieces import KeptPieces
from contrasift.store.shards import ShardFolder
from contrasift.store.tables import read_table

# Above this many examples, classes and selections are not found again with other seeds unasked.
_STABILITY_ROWS = 20_000
_STABILITY_SEEDS = 2
# Methods whose result depends on the seed; the others have nothing to be compared with.
SEEDED = ("graph", "kmeans", "few-labels", "propagate")


def default_seeds(n: int) -> int:
    """Seeds whose classes are held against each other where nothing is said, of n examples."""
    return _STABILITY_SEEDS if n <= _STABILITY_ROWS else 0


def agreement_in_words(facts: Mapping[str, Any]) -> list[str]:
    """How well classes agree with the labels, for the terminal; nothing without labels."""
    if "nmi" not in (found := facts.get("agreement", {})):
        return []
    measures = f"NMI {found['nmi']:.2f}, ARI {found['ari']:.2f}, purity {found['purity']:.2f}"
    return [f"with the labels: {measures}"]


@contextlib.contextmanager
def searching(
    values: Any,
    options: ClassesOptions,
    seed: int,
    folder: Path,
    narrator: Narrator,
    cluster: Cluster | None = None,
) -> Iterator[Searching]:
    """How neighbours are searched: of many rows in pieces, which are kept until the stage ends.

    Args:
        values: real [n, d]; the rows.
        options: how classes are found.
        seed: of the search.
        folder: where the pieces lie.
        narrator: who tells of it.
        cluster: where the lists are searched; None: in this process.
    """
    limit = options.memory_limit
    how = Searching(memory_limit=parse_bytes(limit) if limit else None)
    if len(values) <= EXACT_ROWS or options.classes not in ("auto", "graph", "propagate"):
        yield how
        return
    width = min(options.whiten or values.shape[1], values.shape[1])
    k = options.graph_neighbours
    needed = check_memory(len(values), width, max(NEIGHBOURS) if k == "auto" else int(k), None)
    narrator.say(f"  classes of {len(values):,} examples: about {needed / 2**30:.1f} GiB")
    digest = hashlib.blake2b(f"{options.fingerprint()} {seed}".encode())
    for block in row_blocks(len(values), 4 * values.shape[1]):
        digest.update(np.asarray(values[block]).tobytes())
    pieces = ShardFolder(folder / _PIECES / str(seed), digest.hexdigest()[:32])
    elsewhere = RaySearch(cluster, folder / _INDEX) if cluster else None
    with narrator.progress("neighbours") as told:
        yield dataclasses.replace(how, pieces=KeptPieces(pieces), told=told, elsewhere=elsewhere)


def remove_pieces(folder: Path) -> None:
    """Remove pieces of work that has ended."""
    for name in (_PIECES, _INDEX):
        shutil.rmtree(folder / name, ignore_errors=True)


_PIECES, _INDEX = "classes.pieces", "classes.index"


class ClassTask:
    """What finding classes needs of a run, read once for all seeds.

    Attributes:
        rows: embeddings that selections are made from.
        embeddings: those that classes are found in.
        labels: int [n], −1 unknown; None where the pool has none.
    """

    def __init__(self, run: Run, home: str = "") -> None:
        """Read the first embeddings, or with `rounds/2/` those of a round."""
        self.run = run
        self.options: ClassesOptions = run.options.classes
        self.rows: Embeddings = load_embeddings(run.folder.path, f"{home}embeddings")
        given = self.options.classes == "labels"
        self.embeddings: Embeddings = self.rows if given else load_class_embeddings(run, home)
        table = read_table(run.folder.path / "examples.parquet", "label", "row")
        codes, names = _encode(table["label"][table["row"] >= 0])
        self.names: tuple[str, ...] = names
        self.labels: np.ndarray | None = codes if self.names else None

    def find(self, seed: int) -> LatentClasses:
        """The classes, found with this seed."""
        from contrasift.classes import latent_classes

        options = self.options
        if options.classes == "zero-shot":
            return zero_shot_of_run(self.run, self.embeddings, self.labels)
        if options.classes_file:
            taken = load_classes_file(options.classes_file, self.embeddings.index)
            found = latent_classes(self.embeddings.values, method="labels", labels=taken)
            return self._with_agreement(found)
        known, names = None, self.names
        if options.few_labels:
            known, names = load_few_labels_file(options.few_labels, self.embeddings.index)
            found = self._latent_classes(seed, known=known, label_names=names, labels=None)
            return self._with_agreement(found)
        return self._latent_classes(seed, label_names=names, labels=self.labels)

    def _latent_classes(self, seed: int, **given: Any) -> LatentClasses:
        from contrasift.classes import latent_classes

        values, run = self.embeddings.values, self.run
        with searching(
            values, self.options, seed, run.folder.path, run.narrator, self._searching()
        ) as how:
            return latent_classes(
                values,
                **self.options.arguments(),
                seed=seed,
                assigning=self._assigning(),
                searching=how,
                **given,
            )

    def clean(self) -> None:
        """Remove pieces of work that has ended."""
        remove_pieces(self.run.folder.path)

    def _assigning(self) -> RayAssigning | None:
        """Where rows get their centroids: None for this process."""
        if self.run.cluster is None or self.options.classes not in ("kmeans", "auto"):
            return None
        return RayAssigning(self.run.cluster, self.run.folder.path / "classes.shards")

    def _searching(self) -> Cluster | None:
        """Where neighbours are searched: on the run's cluster, if there are enough rows for it."""
        return self.run.cluster if len(self.embeddings) > EXACT_ROWS else None

    def _with_agreement(self, found: LatentClasses) -> LatentClasses:
        from contrasift.classes import class_agreement

        if self.labels is None:
            return found
        facts = {**found.facts, "agreement": class_agreement(found.codes, self.labels)}
        return dataclasses.replace(found, facts=facts)

    def stability(self, found: LatentClasses) -> dict[str, Any]:
        """Agreement of other seeds' classes with these, and overlap of what is selected by them.

        Returns:
            `ari`, `ari_min`, `partitions` between seeds; `selection_overlap`, the mean overlap of
            their selections under the run's own options, and `selection_overlap_with_labels`, that
            of the selection by these classes with the one by the labels; `fraction` kept, which
            two random selections would overlap by. Empty if nothing was asked for, or if nothing
            depends on a seed and there are no labels.
        """
        from contrasift.classes import class_stability, selection_overlap

        count = self.options.stability
        if count is None:
            count = default_seeds(len(self.embeddings))
        if count == 0 or found.method == "labels":
            return {}
        seeded = found.method in SEEDED and not self.options.few_labels
        others = [self.find(self.options.seed + turn) for turn in range(1, count)] if seeded else []
        result: dict[str, Any] = {}
        if others:
            result |= class_stability([found.codes, *(other.codes for other in others)])
            result["n_classes"] = [len(one.names) for one in (found, *others)]
        if not self._selection_depends_on_classes():
            return result
        # Of the embeddings that selections are made from, not those that classes are found in.
        own = self.selected(found.codes)
        if others:
            kept = [own, *(self.selected(other.codes) for other in others)]
            result["selection_overlap"] = selection_overlap(kept)
        if self.labels is not None and (self.labels >= 0).all():
            by_labels = self.selected(self.labels)
            result["selection_overlap_with_labels"] = selection_overlap([own, by_labels])
        if "selection_overlap" in result or "selection_overlap_with_labels" in result:
            result["fraction"] = own.size / len(self.embeddings)
        return result

    def _selection_depends_on_classes(self) -> bool:
        options = self.run.options.select
        blind = OBJECTIVES[options.objective].blind
        return not (blind or options.scores or options.target)

    def selected(self, codes: np.ndarray) -> np.ndarray:
        """Pool indices that the run's own options select within these classes, ascending."""
        from contrasift.selection.select import select

        return select(self.rows, codes, **self.run.options.select.arguments()).indices


def _encode(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Label names as codes, −1 where there is none."""
    names = sorted({label for label in labels if label is not None})
    code = {name: number for number, name in enumerate(names)}
    return np.array([code.get(label, -1) for label in labels], dtype=np.int64), tuple(names)
