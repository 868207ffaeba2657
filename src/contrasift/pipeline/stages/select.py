"""The stage that chooses: from embeddings and latent classes to `selection.parquet`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrasift.arrays import HeldColumns
from contrasift.matrices import Matrix
from contrasift.options import SelectOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.embed import load_embeddings
from contrasift.results import Embeddings, Selection
from contrasift.store.atomic import sha256_of
from contrasift.store.columns import MappedColumns
from contrasift.store.inputs import read_target
from contrasift.store.remote import local_file
from contrasift.store.run import StageRecord
from contrasift.store.scores import read_scores
from contrasift.store.selections import refuse_sampled, write_selection
from contrasift.store.tables import read_latent_classes

if TYPE_CHECKING:
    from contrasift.engines.cluster import Cluster


def select(run: Run) -> StageRecord:
    """Choose the subset; no torch, no images, no pool."""
    options = run.options.select
    upstream = [run.record("classes").fingerprint]
    for given in (options.scores, options.target):
        if given:
            upstream.append(sha256_of(local_file(given)))
    fingerprint = options.fingerprint(*upstream)
    refuse_sampled(run.folder.path, options.optimizer)

    def work() -> dict[str, Any]:
        embeddings = load_embeddings(run.folder.path)
        labels = read_latent_classes(run.folder.path / "classes.parquet", embeddings.index)
        scores = None
        if options.scores:
            scores = read_scores(options.scores, embeddings.index, options.scores_column)
        target = read_target(options.target, embeddings.index) if options.target else None
        with choosing(run.folder.path, run.cluster) as choose:
            chosen = choose(embeddings, labels, options, scores=scores, target=target)
            write_selection(run.folder.path, chosen, options=options.as_dict())
        for note in chosen.notes:
            run.narrator.say(f"  note: {note}")
        note = f"{chosen.budget:,} of {len(embeddings):,} kept"
        share = None if chosen.certificate is None else chosen.certificate.share
        if share is not None:
            note += f", {share:.4%} of the possible gain over random"
        return {"budget": chosen.budget, "note": note}

    return run.do("select", fingerprint, ["selection.parquet", "selection.json"], work)


@contextlib.contextmanager
def choosing(
    folder: Path, cluster: Cluster | None, *, hurries: bool = False
) -> Iterator[Callable[..., Selection]]:
    """What selects, here or on a cluster, whose shards are kept until the selection is written.

    Here the first interrupt may hurry, not end, it: see `LocalEngine`.
    """
    from contrasift.selection.local import LocalEngine
    from contrasift.selection.select import select as select_subset

    engine = None
    if cluster is not None:
        from contrasift.engines.solving import RayEngine

        engine = RayEngine(cluster, folder)

    def choose(
        embeddings: Embeddings | Matrix, labels: Any, options: SelectOptions, **given: Any
    ) -> Selection:
        linear = options.objective == "sas" and options.threshold is None and options.greedy
        limits = given.get("threads"), given.get("memory_limit")
        where = engine or LocalEngine(
            *limits,
            hurries=hurries and linear,
            columns=MappedColumns(folder) if limits[1] else HeldColumns(),
        )
        return select_subset(embeddings, labels, engine=where, **options.arguments(), **given)

    yield choose
    if engine is not None:
        engine.remove_shards()
