"""`contrasift negatives`: which negatives an encoder finds hard, and which of them are false."""

from __future__ import annotations

from typing import Any

from contrasift.cli.common import How, RunArgument
from contrasift.cli.console import print_json
from contrasift.cli.flags import with_options
from contrasift.options.negatives import NegativesRequest


@with_options(NegativesRequest, first=["arm", "encoder"], how=["moved_to", "device", "update"])
def negatives_command(
    folder: RunArgument,
    *,
    how: How,
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
    with how.run(folder) as run:
        _, path = analyse_negatives(run, request)
    result = read_json(path)
    page = path.with_suffix(".html")
    if how.as_json:
        print_json({**result, "page": str(page)})
        return
    for sentence in [*result["sentences"], *result["notes"]]:
        print(sentence)
    print(page)
