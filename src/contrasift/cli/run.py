"""`contrasift run`: from a pool to a report."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from contrasift.cli.common import How, merge_options
from contrasift.cli.flags import with_options
from contrasift.cli.tables import show_comparison
from contrasift.errors import UsageError
from contrasift.options import (
    ClassesOptions,
    CompareOptions,
    EmbedOptions,
    PoolOptions,
    RunOptions,
    SelectOptions,
    SwitchOptions,
    TrainOptions,
)


@with_options(
    PoolOptions,
    EmbedOptions,
    ClassesOptions,
    SelectOptions,
    TrainOptions,
    SwitchOptions,
    CompareOptions,
    hide=["pool"],
    first=["fraction", "encoder", "epochs"],
    how=["device", "engine", "address", "update"],
)
def run_command(
    pool: Annotated[
        str | None,
        typer.Argument(
            help="A named set (see `contrasift datasets`), a folder of images or of shards, "
            "`shards/*.tar`, `s3://bucket/*.parquet`, hf:NAME, or a .npy/.npz file."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; default: runs/NAME.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="YAML with options, or one that comes with the package: demo, mnist, fashion-mnist, cifar10, cifar100, stl10, tiny-imagenet, imagenet; flags win over it.",
        ),
    ] = None,
    *,
    how: How,
    given: dict[str, Any],
) -> None:
    """Select a subset, show what it is worth, and write a report.

    Embeds the pool with a proxy, finds latent classes, selects, pre-trains on the selection, on a
    random subset per class and on everything, evaluates all of them and an untrained encoder.
    Finished stages are skipped and killed ones go on: repeat the same command.

    Examples:
        contrasift run letters --fraction 0.2

        contrasift run photos/ --labels folders --fraction 0.4 --epochs 100 --out runs/photos

        contrasift run photos/ --select-after 5 --fraction 0.4 --epochs 20

        contrasift run --recipe recipe.yaml --out runs/again
    """
    if pool is not None:
        given["pool"] = pool
    if "select_after" in given:
        # One training, which needs no other beside it; flags may ask for more.
        given = {"seeds": 1, "against": ""} | given
    options = merge_options(recipe, given)
    if not options.pool.pool:
        raise UsageError(
            "a pool", "none", "Name one: contrasift run letters, or see `contrasift datasets`"
        )
    folder = out or Path("runs") / _run_name(options)
    begun = time.perf_counter()
    with how.new_run(folder, options) as run:
        from contrasift.pipeline.full import run_all

        summary = run_all(run)
        took = time.perf_counter() - begun
        run.narrator.say(
            f"{took:.1f} s in all: {run.stage_seconds:.1f} s in stages, "
            f"{took - run.stage_seconds:.1f} s for loading libraries, opening the pool and checks"
        )
    show_comparison(summary, folder, as_json=how.as_json)


def _run_name(options: RunOptions) -> str:
    from contrasift.store.objects import shown

    path = Path(shown(options.pool.pool))
    # A pattern of shards is called after their folder.
    stem = path.parent.name if re.search(r"[*?\[{]", path.name) else path.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-") or "pool"
