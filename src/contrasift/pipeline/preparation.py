"""Stages from images to latent classes: scan, proxy, embed, classes, map."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.options import TrainOptions
from contrasift.pipeline.run import Run, positions_of
from contrasift.results import Embeddings
from contrasift.store.atomic import load_array, read_json, sha256_of, write_json
from contrasift.store.run import StageRecord
from contrasift.store.tables import read_latent_classes, read_table, write_classes, write_table


def scan(run: Run) -> StageRecord:
    """Read every image once; note those that cannot be read in `examples.parquet`."""
    fingerprint = run.options.pool.fingerprint(run.pool.fingerprint)

    def work() -> dict[str, Any]:
        from contrasift.pools.scan import scan_pool

        with run.narrator.progress("reading images") as progress:
            examples = scan_pool(run.pool, progress)
        names = np.array([*run.pool.label_names, None], dtype=object)
        write_table(
            run.folder.path / "examples.parquet",
            {
                "index": examples.index,
                "id": list(examples.id),
                "label": names[examples.label].tolist(),
                "error": list(examples.error),
                "row": examples.row,
            },
        )
        bad = [(id, error) for id, error in zip(examples.id, examples.error, strict=True) if error]
        _report_unreadable(run, bad)
        readable = len(examples.row) - len(bad)
        note = f"{readable:,} examples" + (f", {len(bad)} unreadable" if bad else "")
        return {"n": readable, "unreadable": len(bad), "note": note}

    return run.do("scan", fingerprint, ["examples.parquet"], work)


def _report_unreadable(run: Run, bad: list[tuple[str, str]], shown: int = 10) -> None:
    for id, error in bad[:shown]:
        run.narrator.say(f"  left out {id}: {error}")
    if len(bad) > shown:
        run.narrator.say(
            f"  ... and {len(bad) - shown} more: see the column `error` of examples.parquet"
        )


def readable_positions(run: Run) -> np.ndarray:
    """Positions in the pool of the examples that could be read, in the order of embedding rows."""
    table = read_table(run.folder.path / "examples.parquet", "index", "row")
    return positions_of(table["index"][table["row"] >= 0], run.pool.index)


def proxy_options(run: Run) -> TrainOptions:
    """How the proxy is trained: as the runs to come, for fewer epochs, with all negatives.

    Raises:
        UsageError: the runs to come name a policy for negatives that is none.
    """
    from contrasift.negatives.policies import parse_schedule

    epochs = run.options.embed.proxy_epochs or max(1, run.options.train.epochs // 2)
    parse_schedule(run.options.train.negatives, run.options.train.negatives_schedule)
    # A policy may need the latent classes that the proxy is there to find.
    return dataclasses.replace(
        run.options.train, epochs=epochs, negatives="", negatives_schedule="", queue_reserve=0
    )


def proxy(run: Run) -> StageRecord:
    """Train the encoder that embeds the pool, where no pretrained one is named."""
    options = proxy_options(run)
    seed = run.options.embed.seed
    fingerprint = options.fingerprint(run.record("scan").fingerprint, str(seed))

    def work() -> dict[str, Any]:
        from contrasift.training.pretrain import pretrain

        positions = readable_positions(run)
        with run.narrator.progress("training the proxy", "steps") as progress:
            result = pretrain(
                run.pool,
                positions,
                options,
                seed=seed,
                folder=run.training_folder("proxy", fingerprint),
                device=run.device,
                progress=progress,
            )
        note = f"{options.architecture}, {options.epochs} epochs, loss {result.loss:.3f}"
        return {"seconds": result.seconds, "steps": result.steps, "note": note}

    return run.do("proxy", fingerprint, ["training/proxy/encoder.safetensors"], work)


def embed(run: Run) -> StageRecord:
    """Turn the pool into the matrix of mean view embeddings."""
    options = run.options.embed
    upstream = [run.record("scan").fingerprint]
    if options.encoder == "proxy":
        upstream.append(proxy(run).fingerprint)
        source = str(run.folder.path / "training" / "proxy" / "encoder.safetensors")
    else:
        source = options.encoder
        if Path(source).is_file():
            upstream.append(sha256_of(Path(source)))
    # The batch size sets the speed and nothing else.
    steady = dataclasses.replace(options, embed_batch_size=256)
    fingerprint = steady.fingerprint(*upstream)

    def work() -> dict[str, Any]:
        from contrasift.embedding import embed as embed_pool
        from contrasift.training.encoders import load_encoder

        encoder = load_encoder(source, channels=run.pool.channels)
        with run.narrator.progress("embedding") as progress:
            embeddings = embed_pool(
                run.pool,
                readable_positions(run),
                encoder,
                layer=options.layer,
                views=options.views,
                plain_view=options.plain_view,
                seed=options.seed,
                batch_size=options.embed_batch_size,
                path=run.folder.path / "embeddings.npy",
                device=run.device,
                progress=progress,
            )
        n, width = embeddings.values.shape
        write_json(
            run.folder.path / "embeddings.json",
            {
                **embeddings.description,
                "shape": [n, width],
                "sha256": sha256_of(run.folder.path / "embeddings.npy"),
            },
        )
        views = options.views + options.plain_view
        return {"n": n, "dim": width, "note": f"{n:,} × {width}, {views} view(s) each"}

    return run.do("embed", fingerprint, ["embeddings.npy", "embeddings.json"], work)


def load_embeddings(folder: Path) -> Embeddings:
    """The embeddings of a run folder, memory-mapped, with the pool index of every row."""
    values = load_array(folder / "embeddings.npy")
    description = read_json(folder / "embeddings.json")
    if not (folder / "examples.parquet").exists():
        return Embeddings(values, np.arange(values.shape[0], dtype=np.int64), description)
    table = read_table(folder / "examples.parquet", "index", "row")
    return Embeddings(values, table["index"][table["row"] >= 0], description)


def classes(run: Run) -> StageRecord:
    """Find latent classes."""
    options = run.options.classes
    fingerprint = options.fingerprint(run.record("embed").fingerprint)

    def work() -> dict[str, Any]:
        from contrasift.classes import latent_classes

        embeddings = load_embeddings(run.folder.path)
        table = read_table(run.folder.path / "examples.parquet", "label", "row")
        labels, names = _encode(table["label"][table["row"] >= 0])
        found = latent_classes(
            embeddings.values,
            method=options.classes,
            n_classes=options.n_classes,
            labels=labels if names else None,
            label_names=names,
            seed=options.seed,
            restarts=options.restarts,
        )
        write_classes(run.folder.path / "classes.parquet", embeddings.index, found)
        write_json(
            run.folder.path / "classes.json",
            {"method": found.method, "n_classes": len(found.names), **found.facts},
        )
        note = f"{len(found.names)} classes by {found.method}"
        agreement = found.facts.get("agreement")
        if agreement:
            note += f"; with the labels: NMI {agreement['nmi']:.2f}, ARI {agreement['ari']:.2f}"
        return {"n_classes": len(found.names), "note": note}

    return run.do("classes", fingerprint, ["classes.parquet", "classes.json"], work)


def _encode(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Label names as codes, −1 where there is none."""
    names = sorted({label for label in labels if label is not None})
    code = {name: number for number, name in enumerate(names)}
    return np.array([code.get(label, -1) for label in labels], dtype=np.int64), tuple(names)


def make_map(run: Run) -> StageRecord:
    """Lay a sample of the embeddings out in the plane, and find telling pairs, for the report."""
    fingerprint = hashlib.sha256(f"map {run.record('classes').fingerprint}".encode()).hexdigest()[
        :16
    ]

    def work() -> dict[str, Any]:
        from contrasift.projection import project, telling_pairs

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
