"""The stages one by one; `contrasift run` does them all."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from contrasift.cli.common import (
    Device,
    Json,
    Quiet,
    RunArgument,
    Update,
    continue_run,
    merge_options,
    start_run,
)
from contrasift.cli.flags import with_options
from contrasift.cli.tables import show_comparison, show_pools
from contrasift.options import ClassesOptions, EmbedOptions, PoolOptions, TrainOptions


@with_options(PoolOptions, EmbedOptions, TrainOptions, hide=["pool"])
def embed_command(
    pool: Annotated[
        str,
        typer.Argument(
            help="A named set (see `contrasift datasets`), a folder of images, or a .npy/.npz file."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder.")],
    device: Device = "auto",
    update: Update = False,
    quiet: Quiet = False,
    *,
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
    with start_run(out, options, device=device, update=update, quiet=quiet) as run:
        from contrasift.pipeline import preparation

        preparation.scan(run)
        preparation.embed(run)


@with_options(ClassesOptions)
def classes_command(
    folder: RunArgument, update: Update = False, quiet: Quiet = False, *, given: dict[str, Any]
) -> None:
    """Find latent classes among the embeddings: k-means, or the pool's labels.

    Example: contrasift classes runs/photos --n-classes 100
    """
    with continue_run(folder, given, update=update, quiet=quiet) as run:
        from contrasift.pipeline.preparation import classes

        classes(run)


class Subset(StrEnum):
    """What a training may use."""

    selected = "selected"
    random_per_class = "random-per-class"
    random = "random"
    full = "full"


@with_options(TrainOptions)
def train_command(
    folder: RunArgument,
    subset: Annotated[Subset, typer.Option("--subset", help="What to train on.")] = Subset.selected,
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights, batches and views.")] = 0,
    device: Device = "auto",
    update: Update = False,
    quiet: Quiet = False,
    *,
    given: dict[str, Any],
) -> None:
    """Pre-train an encoder on the selection, on a random subset of its size, or on everything.

    Example: contrasift train runs/photos --subset selected --epochs 100
    """
    with continue_run(folder, given, device=device, update=update, quiet=quiet) as run:
        from contrasift.pipeline.comparing import Arm, train

        train(run, Arm(subset.value, seed))


def evaluate_command(
    folder: RunArgument,
    device: Device = "auto",
    update: Update = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Linear probe, kNN and mean classifier of every encoder trained in a run, on held-out data.

    The untrained encoder is evaluated beside them, so that one sees what is worth how much.
    """
    with continue_run(folder, {}, device=device, update=update, quiet=quiet or as_json) as run:
        from contrasift.pipeline import comparing
        from contrasift.pipeline.summary import summarise

        comparing.require_evaluation_data(run)
        arms = comparing.trained_arms(run)
        untrained = [
            comparing.Arm("untrained", seed) for seed in sorted({arm.seed for arm in arms} | {0})
        ]
        for arm in [*arms, *untrained]:
            comparing.evaluate(run, arm)
        summary = summarise(run)
    show_comparison(summary, folder, as_json=as_json)


def report_command(folder: RunArgument, quiet: Quiet = False) -> None:
    """Write report.html from what the run has so far: one page that opens without a network."""
    with continue_run(folder, {}, quiet=quiet) as run:
        from contrasift.pipeline.preparation import make_map
        from contrasift.pipeline.reporting import report

        if "classes" in run.folder.records():
            make_map(run)
        print(report(run))


class Export(StrEnum):
    """Forms in which a selection leaves a run."""

    indices = "indices"
    ids = "ids"
    images = "images"


def export_command(
    folder: RunArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A .npy or .txt file, or a folder for images.")
    ],
    to: Annotated[
        Export,
        typer.Option(
            "--to", help="`indices` of the pool, `ids` (paths or keys), or the `images` themselves."
        ),
    ] = Export.indices,
) -> None:
    """Hand the selection on: as indices, as ids, or as a folder of images.

    Example: contrasift export runs/photos --to images --out photos-selected/
    """
    from contrasift.pipeline.exporting import export

    print(f"{export(folder, to.value, out):,} examples -> {out}")


def datasets_command() -> None:
    """List the pools that have a name, and how to get those that are not here."""
    show_pools()
