"""`python -m reproduce`: the tables and figures of the papers, and our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from contrasift.cli.common import Device, Json, Quiet
from contrasift.cli.console import Narrator, print_json
from contrasift.cli.faults import explained
from contrasift.errors import RunFolderError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reproduce.declared.declaring import Planned
    from reproduce.runner import Sitting

_RESULTS = Path("experiments/results")


class _Explained(TyperCommand):
    """Turns errors and Ctrl-C into one message and an exit code, as the product does."""

    def invoke(self, ctx: Any) -> Any:
        with explained(ctx):
            return super().invoke(ctx)


app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command(cls=_Explained)
def reproduce_command(
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
            help="Only the cells with this text in their arm or setting, or an axis, arm or seed in whole: fraction=0.2; may be given more than once, all must fit."
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
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures",
            help="Draw what the finished cells of the first seed chose: pairs, and a map with links; trains nothing while the work folder is there.",
        ),
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Make finished cells anew from nothing and say how far their numbers moved; no result is changed.",
        ),
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Fill a table or a figure, cell by cell, and keep each as JSON.

    A cell is a training and what it is worth. Cells that are finished are skipped; the same
    command goes on after an interruption, and several of them share the work.

    Examples:
        python -m reproduce --list

        python -m reproduce headroom --seeds 3 --budget 3

        python -m reproduce goal --explore --set train.epochs=80 --only moco

        python -m reproduce headroom --only "true classes" --pictures

        python -m reproduce temperatures --only temperature=0.1 --only seed=102 --again

        python -m reproduce --write-results
    """
    if listing:
        _show_list(_listed(results), as_json=as_json)
        return
    if write_results:
        from reproduce.render.pages import write_page

        page = str(write_page(results))
        _tell(page, {"page": page}, as_json=as_json)
        return
    from reproduce.declared.catalogue import EXPERIMENTS

    if name is None:
        raise UsageError("the name of an experiment", "none", f"One of {', '.join(EXPERIMENTS)}")
    from contrasift.catalogue import check_choice
    from reproduce.declared.declaring import parse_changes, select_planned
    from reproduce.declared.scales import SCALES
    from reproduce.runner import Sitting

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
        _show_plan(sitting, as_json=as_json)
        return
    if pictures:
        _draw(sitting, work, device, Narrator(quiet=quiet or as_json), as_json=as_json)
        return
    if again:
        _make_again(
            sitting, work, budget, device, Narrator(quiet=quiet or as_json), as_json=as_json
        )
        return
    done = _go(sitting, work, budget, device, Narrator(quiet=quiet or as_json))
    finished = _finished(sitting, done)
    _tell(finished["results"], finished, as_json=as_json)


def _tell(text: str, result: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(json.dumps(result, indent=2))
    else:
        print(text)


def _go(sitting: Sitting, work: Path, budget: float, device: str, narrator: Any) -> int:
    """Do what is unfinished; how many cells that were here."""
    from reproduce.artifacts import Workshop
    from reproduce.estimate import refuse_above
    from reproduce.runner import estimated, perform, with_threads

    todo = sitting.unfinished()
    narrator.say(f"{len(sitting.planned)} cells, {len(sitting.planned) - len(todo)} finished")
    if not todo:
        return 0
    with with_threads(sitting.threads):
        workshop = Workshop(work, narrator, device)
        seconds = sum(estimated(sitting, todo, workshop).values())
        narrator.say(f"about {seconds / 3600:.1f} h")
        refuse_above(seconds, budget)
        return perform(sitting, todo, workshop, narrator)


def _make_again(
    sitting: Sitting, work: Path, budget: float, device: str, narrator: Any, *, as_json: bool
) -> None:
    from contrasift.store.atomic import read_json
    from reproduce.artifacts import Busy, Workshop
    from reproduce.estimate import refuse_above
    from reproduce.render.repeats import moved_text
    from reproduce.repeat import finished, make_again
    from reproduce.runner import estimated, with_threads

    found, paths = finished(sitting), []
    with with_threads(sitting.threads):
        workshop = Workshop(work, narrator, device)
        # Nothing is shared: each is made from an empty folder.
        seconds = sum(sum(estimated(sitting, [one], workshop).values()) for one in found)
        narrator.say(f"{len(found)} cells, about {seconds / 3600:.1f} h")
        refuse_above(seconds, budget)
        for planned in found:
            try:
                paths.append(str(make_again(sitting, planned, work, narrator, device)))
            except Busy as error:
                raise RunFolderError(
                    "a cell that no other process is making again", f"{error}", "Wait for it"
                ) from error
            narrator.say(moved_text(read_json(Path(paths[-1]))))
    _tell("\n".join(paths), {"again": paths}, as_json=as_json)


def _draw(sitting: Sitting, work: Path, device: str, narrator: Any, *, as_json: bool) -> None:
    from reproduce.artifacts import Busy, Workshop
    from reproduce.render.pictures import draw, pictured
    from reproduce.runner import with_threads

    sitting.unfinished()  # looks for finished cells elsewhere as well
    found = pictured(sitting)
    if not found:
        raise UsageError(
            "finished cells in which something is chosen by embeddings",
            "none",
            f"Finish some first: python -m reproduce {sitting.experiment.name}",
        )
    with with_threads(sitting.threads):
        workshop = Workshop(work, narrator, device)
        try:
            paths = [str(path) for planned in found for path in draw(sitting, planned, workshop)]
        except Busy as error:
            raise RunFolderError(
                "parts that no other process is making", f"{error}", "Wait for it, then try again"
            ) from error
    _tell("\n".join(paths), {"pictures": paths}, as_json=as_json)


def _listed(results: Path) -> list[dict[str, Any]]:
    """Every experiment, and how much of it is there."""
    from reproduce.declared.catalogue import EXPERIMENTS

    return [
        {
            "name": name,
            "title": one.title,
            "shows": one.shows,
            "arms": list(one.arms),
            "axes": {axis: list(labels) for axis, labels in one.axes.items()},
            "cells_a_seed": len(list(one.settings("cpu"))) * len(one.arms),
            "finished": len(list((results / name).glob("*.json"))),
        }
        for name, one in EXPERIMENTS.items()
    ]


def _show_list(listed: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    lines = []
    for one in listed:
        cells, finished = one["cells_a_seed"], one["finished"]
        lines += [
            f"{one['name']:<24} {cells:>3} cells a seed, {finished:>4} finished   {one['title']}",
            f"{'':<56} {one['shows']}",
        ]
    _tell("\n".join(lines), {"experiments": listed}, as_json=as_json)


def _show_plan(sitting: Sitting, *, as_json: bool) -> None:
    """One line a cell: where it stands, and the options that are not at their defaults."""
    unique = _unique(sitting.planned)
    cells = [
        sitting.place(one) | {"key": one.cell.key, "options": one.cell.given()}
        for one in sitting.planned
    ]
    lines = []
    for planned in sitting.planned:
        place = ", ".join([*planned.setting.values(), planned.arm, f"seed {planned.cell.seed}"])
        options = " ".join(f"{name}={value}" for name, value in planned.cell.given().items())
        lines += [place, f"    {options}"]
    lines.append(f"{len(sitting.planned)} cells, {unique} of them different")
    _tell("\n".join(lines), {"cells": cells, "different": unique}, as_json=as_json)


def _finished(sitting: Sitting, done: int) -> dict[str, Any]:
    """Where the results are, and the accuracies of every cell."""
    from contrasift.store.atomic import read_json

    cells = []
    for planned in sitting.planned:
        path = sitting.path(planned)
        if path.is_file():  # else another process is at it
            metrics = read_json(path)["metrics"]
            cells.append(sitting.place(planned) | {"file": str(path), "metrics": metrics})
    folder = sitting.results / sitting.experiment.name
    return {"results": str(folder), "done_now": done, "cells": cells}


def _unique(planned: Sequence[Planned]) -> int:
    return len({one.cell.key for one in planned})
