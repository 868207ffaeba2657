"""`contrasift extend`: new examples beside a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contrasift.cli.common import How
from contrasift.cli.console import print_json
from contrasift.cli.flags import with_options
from contrasift.errors import RunFolderError


@with_options(how=["device", "update"])
def extend_command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or an extension of one.")
    ],
    pool: Annotated[
        str,
        typer.Argument(
            metavar="NEWPOOL", help="The new images: a folder, a .npy or .npz file, a named set."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the new examples.")],
    reselect: Annotated[
        bool, typer.Option("--reselect", help="Select from old and new examples together, too.")
    ] = False,
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            help="The new pool's: `auto`, `folders`, `none` or a file; default: as the run's, if "
            "that is no file.",
        ),
    ] = "",
    *,
    how: How,
) -> None:
    """Add new images to a finished run: embedded alone, put into its classes, judged by its rule.

    The run is only read, and old indices stay: new examples follow behind them. Writes
    examples.parquet, embeddings.npy, classes.parquet and judged.parquet (index, latent_class,
    score, keep) of the new ones, and with --reselect the folder all/, which holds both and their
    selection.

    Examples:
        contrasift extend runs/photos photos-may/ --out runs/photos-may

        contrasift extend runs/photos-may photos-june/ --reselect --out runs/photos-june
    """
    from contrasift.pipeline.extend import MANIFEST, extend
    from contrasift.store.run import RunFolder

    if out.exists() and not out.is_dir():
        raise RunFolderError("a folder for --out", f"{out}, a file")
    folder = RunFolder(out)
    if not (out / MANIFEST).exists() and folder.holds_other_files:
        raise RunFolderError(
            "an empty folder, or one that holds this extension",
            f"{out}, which holds other files",
            "Choose another --out",
        )
    narrator = how.narrator
    with folder.locked(narrator.say):
        facts = extend(
            run,
            pool,
            out,
            labels=labels,
            reselect=reselect,
            device=how.device,
            update=how.update,
            narrator=narrator,
        )
    if how.as_json:
        print_json(facts)
        return
    kept = f", {facts['kept']:,} kept" if "kept" in facts else ""
    print(f"{facts['n']:,} new examples from index {facts['first_index']:,} on{kept} -> {out}")
