"""`contrasift negatives`: which negatives an encoder finds hard, and which of them are false."""

from __future__ import annotations

import json
from typing import Any

from contrasift.cli.common import Device, Json, PoolPlace, Quiet, RunArgument, Update, continue_run
from contrasift.cli.console import print_json
from contrasift.cli.flags import with_options
from contrasift.options.negatives import NegativesRequest


@with_options(NegativesRequest, first=["arm", "encoder"])
def negatives_command(
    folder: RunArgument,
    moved_to: PoolPlace = None,
    device: Device = "auto",
    update: Update = False,
    quiet: Quiet = False,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Show which negatives an encoder finds hard, and estimate how many of them are false.

    By difficulty (the cosine with the query, ranked): share of the same class, WordNet
    similarity, cosine, negatives that are always hard, extreme pairs of classes, the likeliest
    false negatives, and which band to leave out of training. Writes negatives/ARM.json, .parquet
    and .html.

    Example: contrasift negatives runs/photos --arm full-seed0
    """
    from contrasift.pipeline.studies.negatives import analyse_negatives
    from contrasift.store.atomic import read_json

    request = NegativesRequest(**given)
    with continue_run(
        folder, {}, device=device, update=update, quiet=quiet or as_json, moved_to=moved_to
    ) as run:
        _, path = analyse_negatives(run, request)
    result = read_json(path)
    page = path.with_suffix(".html")
    if as_json:
        print_json(json.dumps({**result, "page": str(page)}, indent=2))
        return
    for sentence in [*result["sentences"], *result["notes"]]:
        print(sentence)
    print(page)
