"""The command line: one subcommand a stage, each importing its work only when it is called."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from contrasift.cli.faults import explained
from contrasift.errors import UsageError

# Threads that spin while they wait make training many times slower where cores are shared; a short
# spin costs nothing elsewhere. GNU OpenMP and OpenBLAS read these once, when they are loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")

# Commands of earlier versions, and what to type now.
_MOVED = {
    "experiment": "The papers' tables and figures are made in a clone of the repository: "
    "python -m reproduce NAME, or --help"
}


class _Group(TyperGroup):
    """Turns our errors and Ctrl-C into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        with explained(ctx):
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in _MOVED:
            raise UsageError("a command of contrasift", args[0], _MOVED[args[0]])
        return super().resolve_command(ctx, args)


class _Command(TyperCommand):
    """Says before the work, not after it, that results are not written to addresses."""

    def invoke(self, ctx: Any) -> Any:
        if (out := ctx.params.get("out")) is not None:
            from contrasift.store.atomic import local_output

            local_output(out)
        return super().invoke(ctx)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "**contrasift** sifts the examples and the negatives that contrastive pre-training really "
        "needs.\n\n"
        "A pool goes through *embed → classes → select → train → evaluate → report*; `run` does all "
        "of it. Have embeddings already? Begin at `select`."
    ),
)


def _version(value: bool) -> bool:
    if value:
        from importlib.metadata import version

        print(f"contrasift {version('contrasift')}")
        raise typer.Exit
    return value


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _register() -> None:
    from contrasift.cli import (
        bounds,
        compare,
        compare_selections,
        doctor,
        dynamics,
        explore,
        export,
        extend,
        filter,
        negatives,
        plan,
        run,
        select,
        stages,
        text,
    )

    panels = {
        "From a pool to a report": {
            "run": run.run_command,
            "embed": stages.embed_command,
            "classes": stages.classes_command,
            "select": select.select_command,
            "train": stages.train_command,
            "evaluate": stages.evaluate_command,
            "report": stages.report_command,
        },
        "Questions to a run": {
            "plan": plan.plan_command,
            "explore": explore.explore_command,
            "compare": compare.compare_command,
            "compare-selections": compare_selections.compare_selections_command,
            "dynamics": dynamics.dynamics_command,
        },
        "Negatives and theory": {
            "negatives": negatives.negatives_command,
            "bounds": bounds.bounds_command,
            "text": text.text_command,
        },
        "New examples, and handing on": {
            "filter": filter.filter_command,
            "extend": extend.extend_command,
            "export": export.export_command,
        },
        "Data, machine": {
            "datasets": stages.datasets_command,
            "doctor": doctor.doctor_command,
        },
    }
    for panel, commands in panels.items():
        for name, command in commands.items():
            app.command(name, cls=_Command, rich_help_panel=panel)(command)


_register()


def main() -> None:
    """Entry point of the `contrasift` command."""
    app()
