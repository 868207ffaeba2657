"""`contrasift filter`: new examples judged by the linear rule of an earlier selection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrasift.cli.common import Device, Json, Quiet
from contrasift.cli.console import ConsoleNarrator, print_json
from contrasift.errors import DataError, RunFolderError, UsageError
from contrasift.narration import Progress

if TYPE_CHECKING:
    import numpy as np

    from contrasift.selection.rule import Judged, LinearRule


def filter_command(
    new: Annotated[
        str,
        typer.Argument(
            metavar="NEW",
            help="Embeddings to judge, a .npy matrix with one row an example, or its address; with "
            "--run also images: a folder, a .npy or .npz file, a named set.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .parquet file to write.")],
    rule: Annotated[
        Path | None,
        typer.Option("--rule", help="rule.npz of `contrasift select --optimizer relaxed`."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", help="A run whose selection judges, by its rule, or by one made from it."
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="FILE",
            help="Class of every row, as for `select`; without it the nearest class centroid. "
            "Images are put into the run's own classes.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Default: all processors.", min=1)
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Judge new examples one by one by the rule of a selection, before they are ever stored.

    An example is kept if its score, one dot product, reaches its class's threshold. Writes
    index, latent_class, score and keep. Applied to the pool itself (the same file, with the same
    classes) it gives back the selection: rows that ties or lists decided are decided the same.

    Examples:
        contrasift filter new.npy --rule chosen/rule.npz --out kept.parquet

        contrasift filter photos-may/ --run runs/photos --out kept.parquet
    """
    if (rule is None) == (run is None):
        raise UsageError("one of --rule and --run", "none" if rule is None else "both")
    if out.is_dir():
        raise RunFolderError("a .parquet file for --out", f"{out}, a folder")
    narrator = ConsoleNarrator(quiet=quiet or as_json)
    if run is not None and not _is_matrix(new):
        if classes is not None:
            raise UsageError("embeddings for --classes", f"images, {new}")
        from contrasift.pipeline.filter import judged_images

        with narrator.progress("judging") as progress:
            blocks = judged_images(
                run, new, narrator, device=device, threads=threads, progress=progress
            )
            n, kept = _write(out, blocks)
        is_pool = False
    else:
        known = _rule_of(rule, run, narrator, threads)
        values, index, is_pool = _load(new, known)
        codes = None
        if classes is None and run is not None and is_pool:
            classes = str(run / "classes.parquet")
        if classes is not None and len(known.names) > 1:
            from contrasift.store.inputs import load_classes_file

            codes = _codes(load_classes_file(classes, index), known.names, len(values))
        with narrator.progress("judging") as progress:
            judged = known.judge(values, codes, is_pool=is_pool, threads=threads)
            n, kept = _write(out, _columns(judged, known.names, index, progress))
    if as_json:
        summary = {"n": n, "kept": kept, "is_pool": is_pool, "file": str(out)}
        print_json(json.dumps(summary, indent=2))
    else:
        share = f" ({kept / n:.2%})" if n else ""
        print(f"{kept:,} of {n:,} examples kept{share} -> {out}")


def _is_matrix(new: str) -> bool:
    """Whether NEW is a file with a matrix, and not with images."""
    from contrasift.store.atomic import load_array
    from contrasift.store.remote import file_name, local_file

    if file_name(new).endswith(".npy"):
        path = local_file(new)
        return path.is_file() and load_array(path).ndim <= 2
    return False


def _rule_of(
    rule: Path | None, run: Path | None, narrator: ConsoleNarrator, threads: int | None
) -> LinearRule:
    if rule is not None:
        from contrasift.store.selections import read_rule

        return read_rule(rule)
    from contrasift.inference.apply import rule_of_run
    from contrasift.store.run import RunFolder

    assert run is not None
    known = rule_of_run(RunFolder.existing(run).path, threads)
    narrator.say(known.in_words)
    return known.rule


def _load(place: str, rule: LinearRule) -> tuple[np.ndarray, np.ndarray, bool]:
    """The matrix, the index of its rows, and whether it is the pool of the rule."""
    import numpy as np

    from contrasift.store.atomic import load_array, sha256_of
    from contrasift.store.remote import beside, exists, local_file

    path = local_file(place)
    values = load_array(path)
    if values.ndim != 2:
        raise DataError("a matrix with one row an example", f"an array of shape {values.shape}")
    # Hash only what can be the pool.
    is_pool = values.shape == rule.pool_shape and rule.pool_sha256 == sha256_of(path)
    if is_pool and exists(beside(place, "examples.parquet")):
        from contrasift.store.inputs import load_embeddings_file

        return values, load_embeddings_file(place)[0].index, True
    return values, np.arange(len(values), dtype=np.int64), is_pool


def _codes(labels: np.ndarray, names: np.ndarray, n: int) -> np.ndarray:
    import numpy as np

    if labels.shape != (n,):
        raise DataError(f"one class for each of the {n} rows", f"{labels.shape}")
    if names.dtype.kind == "U" and labels.dtype.kind != "U":
        labels = labels.astype(str)
    if labels.dtype.kind != names.dtype.kind:
        raise DataError(f"classes of type {names.dtype}, as the rule's", f"{labels.dtype}")
    places = np.minimum(np.searchsorted(names, labels), len(names) - 1)
    unknown = np.flatnonzero(names[places] != labels)
    if unknown.size:
        raise UsageError(
            f"classes of the rule ({', '.join(str(name) for name in names[:5])}, ...)",
            f"{labels[unknown[0]]} in row {unknown[0]}",
            "Leave --classes away to take the nearest class",
        )
    return places.astype(np.int64)


def _columns(
    blocks: Iterator[Judged], names: np.ndarray, index: np.ndarray, progress: Progress
) -> Iterator[dict[str, Any]]:
    for block in blocks:
        stop = block.start + len(block.keep)
        yield {
            "index": index[block.start : stop],
            "latent_class": names[block.class_code],
            "score": block.score,
            "keep": block.keep,
        }
        progress(stop, len(index))


def _write(out: Path, blocks: Iterator[dict[str, Any]]) -> tuple[int, int]:
    """Write the judgements block by block; returns how many there are, and how many are kept."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from contrasift.store.atomic import atomic_path

    n = kept = 0
    writer = None
    with atomic_path(out) as temporary:
        try:
            for block in blocks:
                table = pa.table(block)
                if writer is None:
                    writer = pq.ParquetWriter(temporary, table.schema, compression="zstd")
                writer.write_table(table)
                n += table.num_rows
                kept += int(block["keep"].sum())
        finally:
            if writer is not None:
                writer.close()
    return n, kept
