"""The command line: one subcommand a stage, each importing its work only when it is called."""

from __future__ import annotations

import difflib
import functools
import gc
import importlib
import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from contrasift.cli.console import check_output
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


# Every command and its first sentence, by panel: `contrasift --help` imports none of them.
COMMANDS: dict[str, dict[str, str]] = {
    "Begin here": {
        "run": "Select a subset, show what it is worth, and write a report.",
        "select": "Choose the part of a pool that is most worth training on, and certify how good it is.",
        "plan": "Show what every fraction reaches, and suggest the smallest that costs little accuracy.",
    },
    "Stage by stage": {
        "embed": "Embed every example: the mean of its unit-norm view embeddings.",
        "classes": "Find latent classes: communities of neighbours, k-means, from few labels or names, or given.",
        "train": "Pre-train an encoder on the selection, a random subset of its size, a list, or everything.",
        "evaluate": "Linear probe, kNN and mean classifier of every encoder trained in a run, on held-out data.",
        "report": "Write report.html from what the folder has so far: one page that opens without a network.",
    },
    "Questions to a run": {
        "explore": "Open the run's map in Embedding Atlas: zoom, search, and filter by class, rank or selection.",
        "compare": "Say how much runs of one pool agree: similarities, classes, ranks and selections.",
        "compare-selections": "Say what selections of one pool share, and what each is worth by every measure.",
        "dynamics": "Score every labelled example by the training of a supervised model.",
    },
    "Negatives and theory": {
        "negatives": "Show which negatives an encoder finds hard, and estimate how many of them are false.",
        "mine": "Mine negatives for retrieval and embedding models, and say how many of them are false.",
        "bounds": "Say how many negatives are enough, or which bounds hold for the encoders of a run.",
        "text": "Learn embeddings of texts without labels, or hold the theory against them.",
    },
    "New examples, and handing on": {
        "filter": "Judge new examples one by one by the rule of a selection, before they are ever stored.",
        "extend": "Add new images to a finished run: embedded alone, put into its classes, judged by its rule.",
        "export": "Hand the selection on: indices, ids, images, WebDataset shards, Hugging Face, FiftyOne.",
    },
    "Data, machine": {
        "datasets": "List the pools that have a name, and how to get those that are not here.",
        "doctor": "Say what is installed, what the machine has, and where data are.",
    },
}
# Those that are in `stages`; the others each have a module of their name.
_STAGES = ("embed", "classes", "train", "report", "datasets")


class _Group(TyperGroup):
    """Imports a command when it is called; turns our errors and Ctrl-C into one message and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command, in the order of the panels."""
        return [name for commands in COMMANDS.values() for name in commands]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Enough of a command to list it."""
        for panel, commands in COMMANDS.items():
            if cmd_name in commands:
                return TyperCommand(cmd_name, help=commands[cmd_name], rich_help_panel=panel)
        return super().get_command(ctx, cmd_name)

    def get_params(self, ctx: Any) -> list[Any]:
        """The flags; one that is not given is False: to convert None, Typer would load Pydantic."""
        flags = super().get_params(ctx)
        for flag in flags:
            if isinstance(flag, TyperOption) and flag.is_flag and flag.default is None:
                flag.default = False
        return flags

    def loaded(self) -> dict[str, Any]:
        """Every command with its flags, for messages that name one."""
        return {name: load_command(name) for name in self.list_commands(None)}

    def invoke(self, ctx: Any) -> Any:
        with explained(ctx):
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in _MOVED:
            raise UsageError("a command of contrasift", args[0], _MOVED[args[0]])
        known = self.list_commands(ctx)
        near = difflib.get_close_matches(args[0], known, n=1)
        if args[0] not in known and near:
            raise UsageError("a command of contrasift", args[0], f"contrasift {near[0]}")
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name else command, rest


class _Command(TyperCommand):
    """Says before the work, not after it, that results are not written to addresses."""

    def invoke(self, ctx: Any) -> Any:
        gc.enable()  # `main` paused it
        if (out := ctx.params.get("out")) is not None:
            from contrasift.store.atomic import local_output

            local_output(out)
        if ctx.params.get("as_json"):
            check_output()
        return super().invoke(ctx)


app: typer.Typer = typer.Typer(
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


@functools.cache
def load_command(name: str) -> Any:
    """A command with its flags."""
    own = name.replace("-", "_")
    module = importlib.import_module(f"contrasift.cli.{'stages' if name in _STAGES else own}")
    alone = typer.Typer(rich_markup_mode="markdown", add_completion=False)
    alone.command(name, cls=_Command)(getattr(module, f"{own}_command"))
    return typer.main.get_command(alone)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the `contrasift` command."""
    for stream in (sys.stdout, sys.stderr):
        # What an old terminal has no sign for must not end a command whose work is done.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    gc.disable()  # until the work begins: imports and help make much, and leave no garbage
    try:
        app()
    except KeyboardInterrupt:  # before the command had begun: nothing is to be explained
        sys.exit(130)
    finally:
        gc.enable()
