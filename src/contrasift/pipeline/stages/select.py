"""The stage that chooses: from embeddings and latent classes to `selection.parquet`."""

from __future__ import annotations

from typing import Any

from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.embed import load_embeddings
from contrasift.store.atomic import sha256_of
from contrasift.store.inputs import read_scores
from contrasift.store.remote import local_file
from contrasift.store.run import StageRecord
from contrasift.store.tables import read_latent_classes


def select(run: Run) -> StageRecord:
    """Choose the subset; no torch, no images, no pool."""
    options = run.options.select
    upstream = [run.record("classes").fingerprint]
    if options.scores:
        upstream.append(sha256_of(local_file(options.scores)))
    fingerprint = options.fingerprint(*upstream)

    def work() -> dict[str, Any]:
        from contrasift.selection.select import select as select_subset
        from contrasift.store.selections import write_selection

        embeddings = load_embeddings(run.folder.path)
        labels = read_latent_classes(run.folder.path / "classes.parquet", embeddings.index)
        scores = None
        if options.scores:
            scores = read_scores(options.scores, embeddings.index, options.scores_column)
        engine = None
        if run.cluster is not None:
            from contrasift.engines.solving import RayEngine

            engine = RayEngine(run.cluster, run.folder.path)
        chosen = select_subset(
            embeddings, labels, scores=scores, engine=engine, **options.arguments()
        )
        write_selection(run.folder.path, chosen, options=options.as_dict())
        if engine is not None:
            engine.remove_shards()
        for note in chosen.notes:
            run.narrator.say(f"  note: {note}")
        note = f"{chosen.budget:,} of {len(embeddings):,} kept"
        share = None if chosen.certificate is None else chosen.certificate.share
        if share is not None:
            note += f", {share:.4%} of the possible gain over random"
        return {"budget": chosen.budget, "note": note}

    return run.do("select", fingerprint, ["selection.parquet", "selection.json"], work)
