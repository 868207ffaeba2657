"""The stages that turn the pool into matrices: of similarities, and for latent classes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from contrasift.arrays import row_blocks
from contrasift.fingerprints import json_fingerprint
from contrasift.options import EmbedOptions
from contrasift.pipeline.pool_of_run import pool_arguments
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.proxy import proxy
from contrasift.pipeline.stages.scan import readable_positions
from contrasift.results import Embeddings
from contrasift.store.atomic import (
    atomic_path,
    load_array,
    read_json,
    reserve,
    sha256_of,
    write_json,
)
from contrasift.store.made import is_there
from contrasift.store.run import RunFolder, StageRecord
from contrasift.store.tables import read_table

# `--classes-encoder same`: the encoder of --encoder, shown the images as they are.
SAME_ENCODER = "same"


def embed(run: Run) -> StageRecord:
    """Turn the pool into the matrix of mean view embeddings."""
    options = run.options.embed
    if options.classes_encoder not in ("", "proxy", SAME_ENCODER):
        from contrasift.training.sources import parse_source

        for name in class_encoders(options):  # a mistake in one must not wait for the proxy
            if name not in ("proxy", SAME_ENCODER):
                parse_source(name)
    source, made_of = _encoder_source(run, options.encoder)
    # The batch size sets the speed and nothing else; the classes have a matrix of their own, and
    # the proxy, where there is one, has a fingerprint.
    steady = dataclasses.replace(
        options,
        embed_batch_size=256,
        proxy_epochs=None,
        proxy_method="",
        proxy_architecture="",
        classes_encoder="",
        classes_layer="backbone",
        classes_views=0,
    )
    fingerprint = steady.fingerprint(run.record("scan").fingerprint, *made_of)

    def work() -> dict[str, Any]:
        return embed_pool(
            run, source, "embeddings", options.layer, options.views, options.plain_view
        )

    record = run.do("embed", fingerprint, ["embeddings.npy", "embeddings.json"], work)
    if options.classes_encoder not in ("", SAME_ENCODER):
        embed_for_classes(run)
    return record


def embed_for_classes(run: Run) -> StageRecord:
    """The matrix in which classes are found, where that is another than the similarities'."""
    options = run.options.embed
    sources = [_class_encoder_source(run, name) for name in class_encoders(options)]
    what = [options.classes_layer, options.classes_views, options.seed]
    made_of = [part for _, parts in sources for part in parts]
    scanned = run.record("scan").fingerprint
    fingerprint = json_fingerprint([*class_encoders(options), *what, scanned, *made_of])
    files = ["class_embeddings.npy", "class_embeddings.json"]

    def work() -> dict[str, Any]:
        layer, views = options.classes_layer, options.classes_views
        if len(sources) == 1:
            source = sources[0][0]
            return embed_pool(run, source, "class_embeddings", layer, views, plain_view=True)
        stems = [f"class_embeddings-{number}" for number in range(1, len(sources) + 1)]
        for (source, _), stem in zip(sources, stems, strict=True):
            embed_pool(run, source, stem, layer, views, plain_view=True)
        return _side_by_side(run.folder.path, stems, "class_embeddings")

    return run.do("embed-classes", fingerprint, files, work)


def class_encoders(options: EmbedOptions) -> list[str]:
    """Names of the encoders in whose features classes are found."""
    names = [name.strip() for name in options.classes_encoder.split(",")]
    return [options.encoder if name == SAME_ENCODER else name for name in names]


def _class_encoder_source(run: Run, name: str) -> tuple[str, list[str]]:
    """Like `_encoder_source`, but a proxy that was trained before is taken as it is."""
    if name == "proxy" and "proxy" in run.folder.records():
        own = run.folder.path / "training" / "proxy" / "encoder.safetensors"
        return str(own), [run.record("proxy").fingerprint]
    return _encoder_source(run, name)


def _side_by_side(folder: Path, stems: list[str], target: str) -> dict[str, Any]:
    """Join matrices of the same rows column by column, and remove the parts."""
    parts = [load_array(folder / f"{stem}.npy") for stem in stems]
    descriptions = [read_json(folder / f"{stem}.json") for stem in stems]
    n, width = parts[0].shape[0], sum(part.shape[1] for part in parts)
    with atomic_path(folder / f"{target}.npy") as path:
        joined = open_memmap(path, mode="w+", dtype=np.float32, shape=(n, width))
        reserve(path)
        for block in row_blocks(n, 4 * width):
            joined[block] = np.concatenate([part[block] for part in parts], axis=1)
        joined.flush()
    write_json(
        folder / f"{target}.json",
        {
            "side_by_side": descriptions,
            "shape": [n, width],
            "sha256": sha256_of(folder / f"{target}.npy"),
        },
    )
    for stem in stems:
        (folder / f"{stem}.npy").unlink()
        (folder / f"{stem}.json").unlink()
    return {"n": n, "dim": width, "note": f"{n:,} × {width}, of {len(stems)} encoders"}


def _encoder_source(run: Run, name: str) -> tuple[str, list[str]]:
    """What to load for an encoder's name, and hashes of what it is made of."""
    if name == "proxy":
        fingerprint = proxy(run).fingerprint
        return str(run.folder.path / "training" / "proxy" / "encoder.safetensors"), [fingerprint]
    from contrasift.training.sources import parse_source

    where = parse_source(name)
    source = str(where.path) if where.kind == "own" else name
    return source, [sha256_of(file) for file in where.files]


def embed_pool(
    run: Run, source: str, stem: str, layer: str, views: int, plain_view: bool
) -> dict[str, Any]:
    """Embed what can be read, into `<stem>.npy` and `<stem>.json`."""
    options = {
        "layer": layer,
        "views": views,
        "plain_view": plain_view,
        "seed": run.options.embed.seed,
        "batch_size": run.options.embed.embed_batch_size,
        "device": run.device,
    }
    path = run.folder.path / f"{stem}.npy"
    if run.cluster is not None:
        embeddings = _embed_on_cluster(run, source, path, options)
    else:
        from contrasift.embedding.embed import embed
        from contrasift.training.loading import load_encoder

        encoder = load_encoder(source, channels=run.pool.channels)
        with run.narrator.progress("embedding") as progress:
            embeddings = embed(
                run.pool, readable_positions(run), encoder, path=path, progress=progress, **options
            )
    n, width = embeddings.values.shape
    write_json(
        run.folder.path / f"{stem}.json",
        {
            **embeddings.description,
            "shape": [n, width],
            "sha256": sha256_of(run.folder.path / f"{stem}.npy"),
        },
    )
    return {"n": n, "dim": width, "note": f"{n:,} × {width}, {views + plain_view} view(s) each"}


def _embed_on_cluster(run: Run, source: str, path: Path, options: dict[str, Any]) -> Embeddings:
    """Embed what can be read in the actors of the run's cluster."""
    from contrasift.engines.embedding import embed_on_cluster
    from contrasift.engines.opening import share_pool
    from contrasift.training.sources import parse_source

    assert run.cluster is not None
    positions = readable_positions(run)
    made_of = [sha256_of(file) for file in parse_source(source).files]
    steady = {name: value for name, value in options.items() if name != "device"}
    text = json.dumps([source, made_of, steady, run.record("scan").fingerprint], sort_keys=True)
    with run.narrator.progress("embedding") as progress:
        return embed_on_cluster(
            run.cluster,
            share_pool(run.pool, pool_arguments(run.options.pool)),
            positions,
            np.asarray(run.pool.index)[positions].astype(np.int64),
            source,
            path=path,
            fingerprint=hashlib.sha256(text.encode()).hexdigest(),
            options=options,
            progress=progress,
            say=run.narrator.say,
        )


def load_class_embeddings(run: Run, home: str = "") -> Embeddings:
    """The embeddings in which classes are found: the similarities' own, or those of an encoder for it.

    Args:
        run: the run.
        home: "" for the first ones, `rounds/2/` for those of a round of refinement.
    """
    separate = bool(run.options.embed.classes_encoder)
    stem = "class_embeddings" if separate else "embeddings"
    return load_embeddings(run.folder.path, home + stem)


def class_embeddings_fingerprint(run: Run) -> str:
    """Of the stage that made what `load_class_embeddings` reads."""
    own = run.record("embed").fingerprint
    return run.record("embed-classes").fingerprint if run.options.embed.classes_encoder else own


def load_embeddings(folder: Path, stem: str | None = None) -> Embeddings:
    """The embeddings of a run folder, memory-mapped, with the pool index of every row.

    Args:
        folder: of the run.
        stem: which file; default: that of the similarities, of the last round where classes were
            refined in rounds.
    """
    stem = stem or RunFolder(folder).matrix
    for name in (f"{stem}.npy", f"{stem}.json"):
        is_there(folder / name)  # a run says how it is made again
    values = load_array(folder / f"{stem}.npy")
    description = read_json(folder / f"{stem}.json")
    if not is_there(folder / "examples.parquet"):
        return Embeddings(values, np.arange(values.shape[0], dtype=np.int64), description)
    table = read_table(folder / "examples.parquet", "index", "row")
    return Embeddings(values, table["index"][table["row"] >= 0], description)
