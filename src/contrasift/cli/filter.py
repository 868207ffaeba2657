"""`contrasift filter`: new examples judged by the linear rule of an earlier selection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrasift.cli.common import Device, Json, Quiet
from contrasift.cli.console import ConsoleNarrator, print_json
from contrasift.cli.flags import with_options
from contrasift.errors import ContrasiftError, DataError, RunFolderError, UsageError
from contrasift.narration import Progress
from contrasift.options import MatrixReading

if TYPE_CHECKING:
    import numpy as np

    from contrasift.matrices import Matrix
    from contrasift.selection.rule import Judged, LinearRule


@with_options(MatrixReading, hide=["skip_bad"])
def filter_command(
    new: Annotated[
        str,
        typer.Argument(
            metavar="NEW",
            help="Embeddings to judge, in any format that `select` takes; with --run also images: a "
            "folder, a .npy or .npz file, a named set.",
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
    *,
    given: dict[str, Any],
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
    reading = MatrixReading(**given)
    if run is not None and not _is_matrix(new, reading):
        if classes is not None:
            raise UsageError("embeddings for --classes", f"images, {new}")
        if given:
            raise UsageError(
                f"embeddings for {', '.join(f'{one}=' for one in given)}", f"images, {new}"
            )
        from contrasift.pipeline.filter import judged_images

        with narrator.progress("judging") as progress:
            blocks = judged_images(
                run, new, narrator, device=device, threads=threads, progress=progress
            )
            n, kept = _write(out, blocks)
        is_pool = False
    else:
        known = _rule_of(rule, run, narrator, threads)
        matrix, index, is_pool = _load(new, reading, known, narrator)
        codes = None
        if classes is None and run is not None and is_pool:
            classes = str(run / "classes.parquet")
        if classes is not None and len(known.names) > 1:
            from contrasift.store.inputs import load_classes_file

            codes = _codes(load_classes_file(classes, index, matrix.ids), known.names, len(matrix))
        with narrator.progress("judging") as progress:
            judged = known.judge(matrix, codes, is_pool=is_pool, threads=threads)
            n, kept = _write(out, _columns(judged, known.names, index, matrix.ids, progress))
    if as_json:
        summary = {"n": n, "kept": kept, "is_pool": is_pool, "file": str(out)}
        print_json(json.dumps(summary, indent=2))
    else:
        share = f" ({kept / n:.2%})" if n else ""
        print(f"{kept:,} of {n:,} examples kept{share} -> {out}")


def _is_matrix(new: str, reading: MatrixReading) -> bool:
    """Whether NEW is embeddings, and not images."""
    from contrasift.matrices import open_embeddings

    try:
        open_embeddings(new, column=reading.column or None, id="none")
    except ContrasiftError:
        return False
    return True


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


def _load(
    place: str, reading: MatrixReading, rule: LinearRule, narrator: ConsoleNarrator
) -> tuple[Matrix, np.ndarray, bool]:
    """The matrix, the index of its rows, and whether it is the pool of the rule."""
    import numpy as np

    from contrasift.pipeline.stages.matrix_rows import opened

    matrix = opened(place, reading, narrator)
    # Hash only what can be the pool.
    is_pool = matrix.shape == rule.pool_shape and rule.pool_sha256 == matrix.fingerprint
    rows = np.arange(len(matrix), dtype=np.int64)
    known = matrix.index if is_pool else None
    return matrix, rows if known is None else known, is_pool


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
    blocks: Iterator[Judged], names: np.ndarray, index: np.ndarray, ids: Any, progress: Progress
) -> Iterator[dict[str, Any]]:
    for block in blocks:
        stop = block.start + len(block.keep)
        yield {
            "index": index[block.start : stop],
            **({} if ids is None else {"id": ids.slice(block.start, stop - block.start)}),
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
