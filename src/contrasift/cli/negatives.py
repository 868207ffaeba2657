"""`contrasift negatives`: which negatives an encoder finds hard, and which of them are false."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from contrasift.cli.common import Device, Json, Quiet, RunArgument, Update, continue_run
from contrasift.cli.console import print_json


def negatives_command(
    folder: RunArgument,
    arm: Annotated[
        str,
        typer.Option(
            "--arm",
            help="A training of the run, e.g. `full-seed0` or `proxy`; default: the first there is.",
        ),
    ] = "",
    encoder: Annotated[
        str, typer.Option("--encoder", help="A timm name or a .safetensors file instead of an arm.")
    ] = "",
    layer: Annotated[
        str, typer.Option("--layer", help="`head` (where the loss is) or `backbone`.")
    ] = "head",
    latent: Annotated[
        str,
        typer.Option(
            "--latent",
            help="Latent classes for the estimate without labels: `own` (k-means on these vectors) or `run` (classes.parquet).",
        ),
    ] = "own",
    queries: Annotated[int, typer.Option("--queries", help="Queries a draw.")] = 2000,
    negatives: Annotated[int, typer.Option("--negatives", help="Negatives a draw.")] = 2000,
    replicates: Annotated[
        int, typer.Option("--replicates", help="Draws; intervals are over them.")
    ] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0,
    wordnet: Annotated[
        Path | None,
        typer.Option("--wordnet", help="WordNet's data.noun; default: the machine's."),
    ] = None,
    synsets: Annotated[
        Path | None,
        typer.Option(
            "--synsets",
            help="Lines `class<TAB>n02084071`; built in for ImageNet-1k, CIFAR-10/100, Fashion-MNIST.",
        ),
    ] = None,
    device: Device = "auto",
    update: Update = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show which negatives an encoder finds hard, and estimate how many of them are false.

    By difficulty (the cosine with the query, ranked): share of the same class, WordNet
    similarity, cosine, negatives that are always hard, extreme pairs of classes, the likeliest
    false negatives, and which band to leave out of training. Writes negatives/ARM.json, .parquet
    and .html.

    Example: contrasift negatives runs/photos --arm full-seed0
    """
    from contrasift.pipeline.negatives import NegativesRequest, analyse_negatives
    from contrasift.store.atomic import read_json

    request = NegativesRequest(
        arm, encoder, layer, latent, queries, negatives, replicates, seed, wordnet, synsets
    )
    with continue_run(folder, {}, device=device, update=update, quiet=quiet or as_json) as run:
        _, path = analyse_negatives(run, request)
    result = read_json(path)
    page = path.with_suffix(".html")
    if as_json:
        print_json(json.dumps({**result, "page": str(page)}, indent=2))
        return
    for sentence in [*result["sentences"], *result["notes"]]:
        print(sentence)
    print(page)
