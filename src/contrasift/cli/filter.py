"""`contrasift filter`: new examples judged by the linear rule of an earlier selection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrasift.cli.common import Json, Quiet
from contrasift.cli.console import Narrator, ProgressCallback, print_json
from contrasift.errors import DataError, RunFolderError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from contrasift.selection.rule import Judged, LinearRule


def filter_command(
    embeddings: Annotated[
        Path,
        typer.Argument(
            metavar="NEW.npy", help="Embeddings to judge, one row an example.", show_default=False
        ),
    ],
    rule: Annotated[
        Path, typer.Option("--rule", help="rule.npz of `contrasift select --optimizer relaxed`.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .parquet file to write.")],
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            help="Class of every row, as for `select`; without it the nearest class centroid.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Default: all processors.", min=1)
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Judge new examples one by one by the rule of a selection, before they are ever stored.

    An example is kept if its score, one dot product, reaches its class's threshold. Writes
    index, latent_class, score and keep. Applied to the pool itself (the same file, with the same
    classes) it gives back the selection: rows that ties or lists decided are decided the same.

    Example: contrasift filter new.npy --rule chosen/rule.npz --out kept.parquet
    """
    from contrasift.store.inputs import load_classes_file
    from contrasift.store.selections import read_rule

    if out.is_dir():
        raise RunFolderError("a .parquet file for --out", f"{out}, a folder")
    known = read_rule(rule)
    values, index, is_pool = _load(embeddings, known)
    codes = None
    if classes is not None and len(known.names) > 1:
        codes = _codes(load_classes_file(classes, index), known.names, len(values))
    narrator = Narrator(quiet=quiet or as_json)
    with narrator.progress("judging") as progress:
        kept = _write(
            out,
            known.names,
            index,
            _watched(
                known.judge(values, codes, is_pool=is_pool, threads=threads), len(values), progress
            ),
        )
    summary: dict[str, Any] = {"n": len(values), "kept": kept, "is_pool": is_pool, "file": str(out)}
    if as_json:
        print_json(json.dumps(summary, indent=2))
    else:
        share = f" ({kept / len(values):.2%})" if len(values) else ""
        print(f"{kept:,} of {len(values):,} examples kept{share} -> {out}")


def _load(path: Path, rule: LinearRule) -> tuple[np.ndarray, np.ndarray, bool]:
    """The matrix, the index of its rows, and whether it is the pool of the rule."""
    import numpy as np

    from contrasift.store.atomic import load_array, sha256_of

    values = load_array(path)
    if values.ndim != 2:
        raise DataError("a matrix with one row an example", f"an array of shape {values.shape}")
    # Hash only what can be the pool.
    is_pool = values.shape == rule.pool_shape and rule.pool_sha256 == sha256_of(path)
    if is_pool and (path.parent / "examples.parquet").exists():
        from contrasift.store.inputs import load_embeddings_file

        return values, load_embeddings_file(path)[0].index, True
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


def _watched(blocks: Iterator[Judged], n: int, progress: ProgressCallback) -> Iterator[Judged]:
    for block in blocks:
        yield block
        progress(block.start + len(block.keep), n)


def _write(out: Path, names: np.ndarray, index: np.ndarray, blocks: Iterator[Judged]) -> int:
    """Write the judgements block by block; returns how many rows are kept."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from contrasift.store.atomic import atomic_path

    kept = 0
    writer = None
    with atomic_path(out) as temporary:
        try:
            for block in blocks:
                inside = slice(block.start, block.start + len(block.keep))
                table = pa.table(
                    {
                        "index": index[inside],
                        "latent_class": names[block.class_code],
                        "score": block.score,
                        "keep": block.keep,
                    }
                )
                if writer is None:
                    writer = pq.ParquetWriter(temporary, table.schema, compression="zstd")
                writer.write_table(table)
                kept += int(block.keep.sum())
        finally:
            if writer is not None:
                writer.close()
    return kept
