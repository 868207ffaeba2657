"""`contrasift dynamics`: how hard each example is for a supervised model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from contrasift.cli.common import How, merge_options
from contrasift.cli.console import plain_console, plain_table, print_json
from contrasift.cli.flags import pick, with_options
from contrasift.errors import UsageError
from contrasift.narration import NO_NUMBER, shown
from contrasift.options import DynamicsOptions, PoolOptions


@with_options(
    *(DynamicsOptions, PoolOptions),
    hide=["pool"],
    first=["epochs"],
    how=["moved_to", "device", "update"],
)
def dynamics_command(
    source: Annotated[
        str,
        typer.Argument(metavar="RUN|POOL", help="A run folder, or a pool as for `embed`."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder to begin, for a pool.")
    ] = None,
    *,
    how: How,
    given: dict[str, Any],
) -> None:
    """Score every labelled example by the training of a supervised model.

    Writes scores.parquet: index, forgetting_events, never_learned, confidence, variability, el2n,
    grand. In a run with a selection it says how each score goes along with the ranking. The scores
    can be selected by: `contrasift select RUN --objective scores --scores RUN/scores.parquet
    --scores-column el2n`.

    Examples:
        contrasift dynamics runs/fashion --epochs 20 --seeds 3

        contrasift dynamics fashion-mnist --limit 10000 --out runs/fashion
    """
    options = DynamicsOptions.from_mapping(pick(given, DynamicsOptions))
    pool = pick(given, PoolOptions)
    folder = Path(source)
    if (folder / "options.yaml").exists():
        if out is not None:
            raise UsageError("a run or --out, not both", f"{source} and --out {out}")
        opened = how.run(folder, pool)
    else:
        if how.moved_to is not None:
            raise UsageError("a run folder for --pool", source)
        if out is None:
            raise UsageError(
                "--out for a pool, or a run folder",
                source,
                "Name the run folder to begin: --out DIR",
            )
        folder = out
        opened = how.new_run(out, merge_options(None, pool | {"pool": source}))
    with opened as run:
        from contrasift.pipeline.stages.scan import scan
        from contrasift.pipeline.studies.dynamics import score_dynamics

        scan(run)
        facts = score_dynamics(run, options)
    if how.as_json:
        print_json({**facts, "scores": str(folder / "scores.parquet")})
        return
    _show(facts, folder)


def _show(facts: Mapping[str, Any], folder: Path) -> None:
    console = plain_console()
    chosen = facts.get("selection")
    columns = ["mean"] if chosen is None else ["selected", "rest", "rank correlation"]
    table = plain_table("score", *columns)
    for name, mean in facts["means"].items():
        if chosen is None:
            table.add_row(name, f"{mean:.3f}")
        else:
            part = chosen[name]
            means = (shown(part["mean_selected"], ".3f"), shown(part["mean_rest"], ".3f"))
            table.add_row(name, *means, _correlation(part["correlation"]))
    console.print(table)
    if chosen is not None:
        console.print(
            f"Spearman's correlation with how early the ranking ({chosen['objective']}) has an "
            "example, and its 95 % interval:"
        )
        for name in facts["means"]:
            console.print(f"- {name}: {chosen[name]['in_words']}")
    never = facts["never_learned"]
    if never:
        console.print(
            f"{never:,} of {facts['n']:,} examples were never learned; they count as "
            f"{facts['options']['epochs']} forgetting events."
        )
    if facts["without_label"]:
        console.print(f"{facts['without_label']:,} examples without a label have no scores.")
    console.print(f"scores: {folder / 'scores.parquet'}")


def _correlation(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return NO_NUMBER
    if found["low"] is None:
        return f"{found['value']:+.3f}"
    return f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]".replace("[", r"\[")
