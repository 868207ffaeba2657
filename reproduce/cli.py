"""`python -m reproduce`: the tables and figures of the papers, and our own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from contrasift.cli.common import Device, Json, Quiet
from contrasift.cli.console import ConsoleNarrator, print_json
from contrasift.cli.faults import explained
from contrasift.errors import RunFolderError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reproduce.cell_store import CellStore
    from reproduce.declared.declaring import PlannedCell
    from reproduce.runner import Session


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
            help="Evaluate on a validation split of the training pool, to look for what works; without it on the test images, with fresh seeds.",
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
    ] = Path("runs/reproduce"),
    cells: Annotated[
        Path, typer.Option(help="Folder for finished cells, one JSONL an experiment.")
    ] = Path("reproduce/cells"),
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
    write: Annotated[
        bool,
        typer.Option(
            "--write-pages", help="Write the pages and their plots from the cells; train nothing."
        ),
    ] = False,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures",
            help="Draw what the finished cells of the first seed chose: pairs, and a map with links; trains nothing while the work folder is there.",
        ),
    ] = False,
    repeat: Annotated[
        bool,
        typer.Option(
            "--repeat",
            help="Run finished cells once more from nothing and say how far their numbers moved; no cell is changed.",
        ),
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Fill a table or a figure of a paper, cell by cell.

    A cell is a training and its accuracies. Cells that are finished are skipped; the same
    command goes on after an interruption, and several of them share the work.

    Examples:
        python -m reproduce --list

        python -m reproduce headroom --seeds 3 --budget 3

        python -m reproduce goal --explore --set train.epochs=80 --only moco

        python -m reproduce headroom --only "true classes" --pictures

        python -m reproduce temperatures --only temperature=0.1 --only seed=102 --repeat

        python -m reproduce --write-pages
    """
    from reproduce.cell_store import CellStore

    store = CellStore(cells)
    if listing:
        _show_list(_listed(store), as_json=as_json)
        return
    if write:
        from reproduce.render.pages import write_pages

        page = str(write_pages(store))
        _tell(page, {"page": page}, as_json=as_json)
        return
    from reproduce.declared.catalogue import EXPERIMENTS

    if name is None:
        raise UsageError("the name of an experiment", "none", f"One of {', '.join(EXPERIMENTS)}")
    from contrasift.catalogue import check_choice
    from reproduce.declared.declaring import parse_changes, select_planned
    from reproduce.declared.scales import SCALES
    from reproduce.runner import Session

    check_choice("an experiment", name, EXPERIMENTS)
    planned = EXPERIMENTS[name].plan(
        scale, seeds=seeds, explore=explore, changes=parse_changes(changes or [])
    )
    count = SCALES[scale].threads if threads is None else threads
    session = Session(
        EXPERIMENTS[name],
        scale,
        "explore" if explore else "confirm",
        select_planned(planned, only or []),
        store,
        count,
    )
    if dry_run:
        _show_plan(session, as_json=as_json)
        return
    if pictures:
        _draw(session, work, device, ConsoleNarrator(quiet=quiet or as_json), as_json=as_json)
        return
    if repeat:
        _repeat(
            session, work, budget, device, ConsoleNarrator(quiet=quiet or as_json), as_json=as_json
        )
        return
    done = _go(session, work, budget, device, ConsoleNarrator(quiet=quiet or as_json))
    finished = _finished(session, done)
    _tell(finished["results"], finished, as_json=as_json)


def _tell(text: str, result: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        print(text)


def _go(session: Session, work: Path, budget: float, device: str, narrator: Any) -> int:
    """Do what is unfinished; how many cells that were here."""
    from reproduce.artifacts import ArtifactCache
    from reproduce.estimate import refuse_above
    from reproduce.runner import estimated, run_cells, with_threads

    todo = session.unfinished()
    narrator.say(f"{len(session.planned)} cells, {len(session.planned) - len(todo)} finished")
    if not todo:
        return 0
    with with_threads(session.threads):
        artifacts = ArtifactCache(work, narrator, device)
        seconds = sum(estimated(session, todo, artifacts).values())
        narrator.say(f"about {seconds / 3600:.1f} h")
        refuse_above(seconds, budget)
        return run_cells(session, todo, artifacts, narrator)


def _repeat(
    session: Session, work: Path, budget: float, device: str, narrator: Any, *, as_json: bool
) -> None:
    from reproduce.artifacts import ArtifactCache, Busy
    from reproduce.estimate import refuse_above
    from reproduce.render.repeats import change_text
    from reproduce.repeat import finished, repeat_cell, repeats_path
    from reproduce.runner import estimated, with_threads

    found, repeats = finished(session), []
    with with_threads(session.threads):
        artifacts = ArtifactCache(work, narrator, device)
        # Nothing is shared: each is made from an empty folder.
        seconds = sum(sum(estimated(session, [one], artifacts).values()) for one in found)
        narrator.say(f"{len(found)} cells, about {seconds / 3600:.1f} h")
        refuse_above(seconds, budget)
        for planned in found:
            try:
                repeats.append(repeat_cell(session, planned, work, narrator, device))
            except Busy as error:
                raise RunFolderError(
                    "a cell that no other process is repeating", f"{error}", "Wait for it"
                ) from error
            narrator.say(change_text(repeats[-1]))
    path = str(repeats_path(session.store))
    _tell(path, {"file": path, "repeats": repeats}, as_json=as_json)


def _draw(session: Session, work: Path, device: str, narrator: Any, *, as_json: bool) -> None:
    from reproduce.artifacts import ArtifactCache, Busy
    from reproduce.render.pictures import draw, pictured
    from reproduce.runner import with_threads

    session.unfinished()  # looks for finished cells elsewhere as well
    found = pictured(session)
    if not found:
        raise UsageError(
            "finished cells in which something is chosen by embeddings",
            "none",
            f"Finish some first: python -m reproduce {session.experiment.name}",
        )
    with with_threads(session.threads):
        artifacts = ArtifactCache(work, narrator, device)
        try:
            paths = [str(path) for planned in found for path in draw(session, planned, artifacts)]
        except Busy as error:
            raise RunFolderError(
                "parts that no other process is making", f"{error}", "Wait for it, then try again"
            ) from error
    _tell("\n".join(paths), {"pictures": paths}, as_json=as_json)


def _listed(store: CellStore) -> list[dict[str, Any]]:
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
            "finished": store.count(name),
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


def _show_plan(session: Session, *, as_json: bool) -> None:
    """One line a cell: where it stands, and the options that are not at their defaults."""
    unique = _unique(session.planned)
    cells = [session.place(one) | {"options": one.cell.given()} for one in session.planned]
    lines = []
    for planned in session.planned:
        place = ", ".join([*planned.setting.values(), planned.arm, f"seed {planned.cell.seed}"])
        options = " ".join(f"{name}={value}" for name, value in planned.cell.given().items())
        lines += [place, f"    {options}"]
    lines.append(f"{len(session.planned)} cells, {unique} of them different")
    _tell("\n".join(lines), {"cells": cells, "different": unique}, as_json=as_json)


def _finished(session: Session, done: int) -> dict[str, Any]:
    """Where the cells are, and the accuracies of each."""
    places = map(session.place, session.planned)
    # One that is missing is another process's.
    found = [(place, cell) for place in places if (cell := session.store.find(place)) is not None]
    return {
        "results": str(session.store.path(session.experiment.name)),
        "done_now": done,
        "cells": [place | {"metrics": cell["metrics"]} for place, cell in found],
    }


def _unique(planned: Sequence[PlannedCell]) -> int:
    return len({one.cell.key for one in planned})
