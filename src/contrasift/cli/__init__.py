"""The command line: one subcommand a stage, each importing its work only when it is called."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from contrasift.cli.console import show_error
from contrasift.cli.faults import explain
from contrasift.cli.flags import RUNNING
from contrasift.errors import ContrasiftError, missing_extra

# Threads that spin while they wait make training many times slower where cores are shared; a short
# spin costs nothing elsewhere. GNU OpenMP and OpenBLAS read these once, when they are loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")


class _Group(TyperGroup):
    """Turns our errors and Ctrl-C into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        speaking = RUNNING.set(ctx)
        try:
            return self._explained(ctx)
        finally:
            RUNNING.reset(speaking)

    def _explained(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ContrasiftError as error:
            show_error(error)
            raise typer.Exit(error.exit_code) from None
        except ModuleNotFoundError as error:
            missing = missing_extra(error)
            if missing is None:
                raise
            show_error(missing)
            raise typer.Exit(missing.exit_code) from None
        except OSError as error:
            fault = explain(error)
            if fault is None:
                raise
            show_error(fault)
            raise typer.Exit(fault.exit_code) from None
        except KeyboardInterrupt:
            print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
            raise typer.Exit(130) from None


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
        experiment,
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
        "Papers, data, machine": {
            "experiment": experiment.experiment_command,
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
