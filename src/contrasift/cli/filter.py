"""`contrasift filter`: new examples judged by the linear rule of an earlier selection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from contrasift.cli.common import How
from contrasift.cli.console import print_json
from contrasift.cli.flags import with_options
from contrasift.errors import RunFolderError, UsageError
from contrasift.options import MatrixReading


@with_options(MatrixReading, hide=["skip_bad"], how=["device"])
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
    *,
    how: How,
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
    narrator = how.narrator
    reading = MatrixReading(**given)
    from contrasift.pipeline.filter import is_matrix, judged_images, judged_rows, write_judgements

    if run is not None and not is_matrix(new, reading):
        if classes is not None:
            raise UsageError("embeddings for --classes", f"images, {new}")
        if given:
            raise UsageError(
                f"embeddings for {', '.join(f'{one}=' for one in given)}", f"images, {new}"
            )
        with narrator.progress("judging") as progress:
            blocks = judged_images(
                run, new, narrator, device=how.device, threads=threads, progress=progress
            )
            n, kept = write_judgements(out, blocks)
        is_pool = False
    else:
        with narrator.progress("judging") as progress:
            blocks, is_pool = judged_rows(
                rule, run, new, reading, narrator, classes=classes, threads=threads,
                progress=progress,
            )  # fmt: skip
            n, kept = write_judgements(out, blocks)
    if how.as_json:
        summary = {"n": n, "kept": kept, "is_pool": is_pool, "file": str(out)}
        print_json(summary)
    else:
        share = f" ({kept / n:.2%})" if n else ""
        print(f"{kept:,} of {n:,} examples kept{share} -> {out}")
