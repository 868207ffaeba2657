"""`contrasift plan`: which fraction is enough?"""

from __future__ import annotations

import json
from typing import Any

from contrasift.cli.common import Device, Json, PoolPlace, Quiet, RunArgument, Update, continue_run
from contrasift.cli.console import print_json
from contrasift.cli.flags import with_options
from contrasift.options.plan import PlanRequest


@with_options(PlanRequest, first=["accuracy", "metric", "fractions"])
def plan_command(
    folder: RunArgument,
    moved_to: PoolPlace = None,
    device: Device = "auto",
    update: Update = False,
    quiet: Quiet = False,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Show what every fraction reaches, and suggest the smallest that costs little accuracy.

    Draws ν_align and ν_div of the run's ranking against the fraction, with random's band. With
    --accuracy it trains for a short time at a few fractions, extrapolates by a power law with an
    interval, and suggests a fraction, or says that it cannot tell. Writes plan.json and plan.html.

    Examples:
        contrasift plan runs/photos

        contrasift plan runs/photos --accuracy --loss 1 --seeds 5
    """
    request = PlanRequest(**given)
    with continue_run(
        folder, {}, device=device, update=update, quiet=quiet or as_json, moved_to=moved_to
    ) as run:
        from contrasift.pipeline.studies.plan import plan

        result = plan(run, request)
    page = folder / "plan.html"
    if as_json:
        print_json(json.dumps({**result, "page": str(page)}, indent=2))
        return
    for sentence in result["sentences"]:
        print(sentence)
    print(page)
