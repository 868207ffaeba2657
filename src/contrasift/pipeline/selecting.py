"""The stage that chooses: from embeddings and latent classes to `selection.parquet`."""

from __future__ import annotations

from typing import Any

from contrasift.pipeline.preparation import load_embeddings
from contrasift.pipeline.run import Run
from contrasift.store.run import StageRecord
from contrasift.store.tables import read_latent_classes


def select(run: Run) -> StageRecord:
    """Choose the subset; no torch, no images, no pool."""
    options = run.options.select
    fingerprint = options.fingerprint(run.record("classes").fingerprint)

    def work() -> dict[str, Any]:
        from contrasift.selection.select import select as select_subset
        from contrasift.store.selections import write_selection

        embeddings = load_embeddings(run.folder.path)
        labels = read_latent_classes(run.folder.path / "classes.parquet", embeddings.index)
        chosen = select_subset(embeddings, labels, **options.as_dict())
        write_selection(run.folder.path, chosen, options=options.as_dict())
        for note in chosen.notes:
            run.narrator.say(f"  note: {note}")
        note = f"{chosen.budget:,} of {len(embeddings):,} kept"
        if chosen.certificate is not None:
            note += f", {chosen.certificate.share:.4%} of the possible gain over random"
        return {"budget": chosen.budget, "note": note}

    return run.do("select", fingerprint, ["selection.parquet", "selection.json"], work)
