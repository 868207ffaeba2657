"""The stages one by one; `contrasift run` does them all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from contrasift.cli.common import How, Json, RunArgument, classes_given, merge_options, print_stage
from contrasift.cli.console import print_json
from contrasift.cli.flags import pick, with_options
from contrasift.cli.tables import show_pools
from contrasift.errors import UsageError
from contrasift.options import (
    ClassesOptions,
    CompareOptions,
    EmbedOptions,
    MatrixReading,
    PoolOptions,
    SwitchOptions,
    TrainOptions,
)


@with_options(
    *(PoolOptions, EmbedOptions, TrainOptions),
    hide=["pool"],
    first=["encoder", "views"],
    how=["device", "engine", "address", "update"],
)
def embed_command(
    pool: Annotated[
        str,
        typer.Argument(
            help="A named set (see `contrasift datasets`), a folder of images or of shards, "
            "`shards/*.tar`, `s3://bucket/*.parquet`, hf:NAME, or a .npy/.npz file."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder.")],
    *,
    how: How,
    given: dict[str, Any],
) -> None:
    """Embed every example: the mean of its unit-norm view embeddings.

    Writes examples.parquet (what could not be read is listed there with its error) and
    embeddings.npy. Without a pretrained encoder a proxy is trained on the pool first.

    Example: contrasift embed photos/ --encoder resnet50 --views 4 --out runs/photos
    """
    from contrasift.store.run import RunFolder

    folder = RunFolder(out)
    base = folder.read_options() if folder.options_path.exists() else None
    options = merge_options(None, given | {"pool": pool}, base)
    with how.new_run(out, options) as run:
        from contrasift.pipeline.stages.embed import embed
        from contrasift.pipeline.stages.scan import scan

        scan(run)
        record = embed(run)
    if how.as_json:
        print_stage(out, "embed", record)


@with_options(
    *(ClassesOptions, MatrixReading),
    first=["classes"],
    how=["device", "engine", "address", "update"],
)
def classes_command(
    place: Annotated[
        str,
        typer.Argument(
            metavar="RUN|EMBEDDINGS",
            help="The run folder; with --out embeddings, as for `contrasift select`.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="For embeddings: the folder for classes.parquet."),
    ] = None,
    *,
    how: How,
    given: dict[str, Any],
) -> None:
    """Find latent classes: communities of neighbours, k-means, from few labels or names, or given.

    Writes classes.parquet, and classes.json with how well they agree between seeds (and so do the
    selections by them), and with the labels where there are any. `contrasift select` into the same
    folder takes them.

    Examples:
        contrasift classes embeddings.npy --out chosen/

        contrasift classes runs/photos --classes graph --resolution auto

        contrasift classes runs/photos --classes kmeans --n-classes 50:400

        contrasift classes runs/photos --classes few-labels --few-labels labels.csv
    """
    if out is not None:
        _classes_of_matrix(place, out, how, given)
        return
    folder = Path(place)
    if folder.exists() and not (folder / "options.yaml").exists():
        raise UsageError(
            "a run folder, or out= for classes of embeddings",
            f"{place}, which is no run, without out=",
            f"contrasift classes {place} --out FOLDER",
        )
    reading = pick(given, MatrixReading)
    if reading:
        raise UsageError("out= beside " + " and ".join(f"{name}=" for name in reading), "none")
    with how.run(folder, given) as run:
        from contrasift.pipeline.stages.classes import classes

        record = classes(run)
    if how.as_json:
        from contrasift.store.atomic import read_json

        print_stage(folder, "classes", record, classes=read_json(folder / "classes.json"))


def _classes_of_matrix(place: str, out: Path, how: How, given: dict[str, Any]) -> None:
    from contrasift.pipeline.stages.matrix_classes import classes_from_matrix
    from contrasift.store.atomic import read_json

    with how.reached() as connect:
        classes_from_matrix(
            place,
            out,
            ClassesOptions(**classes_given(given)),
            MatrixReading(**pick(given, MatrixReading)),
            narrator=how.narrator,
            connect=connect,
            update=how.update,
        )
    table, facts = out / "classes.parquet", read_json(out / "classes.json")
    if how.as_json:
        files = [str(table), str(out / "classes.json")]
        print_json({"files": files, "classes": facts})
        return
    print(f"{facts['n_classes']:,} classes by {facts['method']} -> {table}")


@with_options(
    *(TrainOptions, SwitchOptions, CompareOptions),
    hide=["seeds", "jobs"],
    first=["epochs"],
    how=["moved_to", "device", "update"],
)
def train_command(
    folder: RunArgument,
    subset: Annotated[
        str,
        typer.Option(
            "--subset",
            metavar="NAME|SHARE|FILE",
            help="What to train on: `selected`, `random`, `random-per-class` (as many as selected), "
            "`full`, a share of the ranking such as 0.1, or a file of indices (.npy, .txt, .csv or "
            ".parquet with a column `index`).",
        ),
    ] = "selected",
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights, batches and views.")] = 0,
    *,
    how: How,
    given: dict[str, Any],
) -> None:
    """Pre-train an encoder on the selection, a random subset of its size, a list, or everything.

    Examples:
        contrasift train runs/photos --subset selected --epochs 100

        contrasift train runs/photos --subset mine.txt --match steps
    """
    with how.run(folder, given) as run:
        from contrasift.pipeline.arms import parse_arm
        from contrasift.pipeline.stages.train import train

        arm = parse_arm(subset, seed)
        record = train(run, arm)
    if how.as_json:
        print_stage(folder, f"train {arm.name}", record)


@with_options(how=["moved_to"])
def report_command(
    folder: Annotated[
        Path,
        typer.Argument(metavar="RUN|SELECTION", help="A run folder, or the folder of a selection."),
    ],
    images: Annotated[
        str | None,
        typer.Option(
            "--images",
            metavar="COLUMN",
            help="Of a selection: the column of its source that holds images, their files or their "
            "addresses, for the gallery. [default: one that is called so and lies here]",
            show_default=False,
        ),
    ] = None,
    *,
    how: How,
) -> None:
    """Write report.html from what the folder has so far: one page that opens without a network.

    Examples:
        contrasift report runs/photos

        contrasift report chosen/

        contrasift report chosen/ --images url
    """
    if (folder / "options.yaml").exists():
        if images is not None:
            raise UsageError("the folder of a selection for images=", f"{folder}")
        with how.run(folder) as run:
            from contrasift.pipeline.stages.map import make_map
            from contrasift.pipeline.stages.report import report

            if "classes" in run.folder.records():
                make_map(run)
            page = report(run)
    else:
        from contrasift.pipeline.stages.selection_report import report_selection

        if how.moved_to is not None:
            raise UsageError("a run folder for pool=", f"{folder}, a selection")
        page = report_selection(folder, how.narrator, images)
    if how.as_json:
        print_json({"run": str(folder), "report": str(page)}, indent=None)
    else:
        print(page)


def datasets_command(as_json: Json = False) -> None:
    """List the pools that have a name, and how to get those that are not here.

    Example: contrasift datasets
    """
    show_pools(as_json=as_json)
