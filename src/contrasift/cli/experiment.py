"""`contrasift experiment`: the tables and figures of the papers, and our own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrasift.cli.common import Device, Quiet
from contrasift.cli.console import Narrator
from contrasift.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contrasift.experiments.declaring import Planned
    from contrasift.experiments.performing import Sitting

_RESULTS = Path("experiments/results")


def experiment_command(
    name: Annotated[str | None, typer.Argument(help="Which experiment; see --list.")] = None,
    scale: Annotated[
        str,
        typer.Option(
            help="`cpu`: pools of 10,000 and a narrow ResNet; `paper`: the papers' own settings, for GPUs; `tiny`: seconds, to try it."
        ),
    ] = "cpu",
    explore: Annotated[
        bool,
        typer.Option(
            "--explore",
            help="Judge on a validation split of the training pool, to look for what works; without it on the test images, with fresh seeds.",
        ),
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(help="Number of seeds; default: the experiment's.")
    ] = None,
    budget: Annotated[
        float, typer.Option(help="Hours that it may take; nothing is begun if it needs more.")
    ] = 2.0,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only the cells with this text in their arm or setting; may be given more than once, all must be there."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change an option of every cell, such as train.epochs=80; repeatable."
        ),
    ] = None,
    work: Annotated[
        Path, typer.Option(help="Folder for trainings, embeddings and selections.")
    ] = Path("runs/experiments"),
    results: Annotated[Path, typer.Option(help="Folder for the results, one JSON a cell.")] = (
        _RESULTS
    ),
    threads: Annotated[
        int | None,
        typer.Option(
            help="Threads of every library; 0: as many as they like; default: 1 for cpu and tiny, so that several of these commands run side by side."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells and what differs among them.")
    ] = False,
    listing: Annotated[
        bool, typer.Option("--list", help="What there is, and what is finished.")
    ] = False,
    write_results: Annotated[
        bool,
        typer.Option(
            "--write-results", help="Make RESULTS.md and its plots from the results; train nothing."
        ),
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Fill a table or a figure, cell by cell, and keep each as JSON.

    A cell is a training and what it is worth. Cells that are finished are skipped; the same
    command goes on after an interruption, and several of them share the work.

    Examples:
        contrasift experiment --list

        contrasift experiment headroom --seeds 3 --budget 3

        contrasift experiment goal --explore --set train.epochs=80 --only moco

        contrasift experiment --write-results
    """
    if listing:
        _show_list(results)
        return
    if write_results:
        from contrasift.experiments.page import write_page

        print(write_page(results))
        return
    from contrasift.experiments.catalogue import EXPERIMENTS

    if name is None:
        raise UsageError("the name of an experiment", "none", f"One of {', '.join(EXPERIMENTS)}")
    from contrasift.catalogue import check_choice
    from contrasift.experiments.declaring import parse_changes, select_planned
    from contrasift.experiments.performing import Sitting
    from contrasift.experiments.scales import SCALES

    check_choice("an experiment", name, EXPERIMENTS)
    planned = EXPERIMENTS[name].plan(
        scale, seeds=seeds, explore=explore, changes=parse_changes(changes or [])
    )
    count = SCALES[scale].threads if threads is None else threads
    sitting = Sitting(
        EXPERIMENTS[name],
        scale,
        "explore" if explore else "confirm",
        select_planned(planned, only or []),
        results,
        count,
    )
    if dry_run:
        _show_plan(sitting)
        return
    _go(sitting, work, budget, device, Narrator(quiet=quiet))


def _go(sitting: Sitting, work: Path, budget: float, device: str, narrator: Any) -> None:
    from contrasift.experiments.estimating import refuse_above
    from contrasift.experiments.performing import estimated, perform, with_threads
    from contrasift.experiments.workshop import Workshop

    todo = sitting.unfinished()
    narrator.say(f"{len(sitting.planned)} cells, {len(sitting.planned) - len(todo)} finished")
    if todo:
        with with_threads(sitting.threads):
            workshop = Workshop(work, narrator, device)
            seconds = sum(estimated(sitting, todo, workshop).values())
            narrator.say(f"about {seconds / 3600:.1f} h")
            refuse_above(seconds, budget)
            perform(sitting, todo, workshop, narrator)
    print(sitting.results / sitting.experiment.name)


def _show_list(results: Path) -> None:
    from contrasift.experiments.catalogue import EXPERIMENTS

    for name, one in EXPERIMENTS.items():
        cells = len(one.plan("cpu", seeds=1))
        finished = len(list((results / name).glob("*.json")))
        print(f"{name:<16} {cells:>3} cells a seed, {finished:>4} finished   {one.title}")
        print(f"{'':<48} {one.shows}")


def _show_plan(sitting: Sitting) -> None:
    """One line a cell: where it stands, and the options that are not at their defaults."""
    for planned in sitting.planned:
        place = ", ".join([*planned.setting.values(), planned.arm, f"seed {planned.cell.seed}"])
        options = " ".join(f"{name}={value}" for name, value in planned.cell.given().items())
        print(f"{place}\n    {options}")
    unique = _unique(sitting.planned)
    print(f"{len(sitting.planned)} cells, {unique} of them different")


def _unique(planned: Sequence[Planned]) -> int:
    return len({one.cell.key for one in planned})
