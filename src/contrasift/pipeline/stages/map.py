"""The stage that lays the embeddings out in the plane, for the report."""

from __future__ import annotations

from typing import Any

from contrasift.fingerprints import fingerprint_of
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.embed import load_embeddings
from contrasift.store.atomic import write_json
from contrasift.store.run import StageRecord
from contrasift.store.tables import read_latent_classes, write_table


def make_map(run: Run) -> StageRecord:
    """Lay a sample of the embeddings out in the plane, and find telling pairs, for the report."""
    fingerprint = fingerprint_of("map", run.record("classes").fingerprint)

    def work() -> dict[str, Any]:
        from contrasift.embedding.projection import project, telling_pairs

        embeddings = load_embeddings(run.folder.path)
        index, seed = embeddings.index, run.options.select.seed
        rows, xy = project(embeddings.values, seed=seed)
        write_table(
            run.folder.path / "map.parquet", {"index": index[rows], "x": xy[:, 0], "y": xy[:, 1]}
        )
        labels = read_latent_classes(run.folder.path / "classes.parquet", index)
        near, far = telling_pairs(embeddings.values, labels, seed=seed)
        write_json(
            run.folder.path / "pairs.json",
            {
                name: {
                    "first": index[pairs.first],
                    "second": index[pairs.second],
                    "expected_squared_distance": pairs.distance,
                }
                for name, pairs in (("small", near), ("large", far))
            },
        )
        return {"note": f"t-SNE of {len(rows):,} examples"}

    return run.do("map", fingerprint, ["map.parquet", "pairs.json"], work)
